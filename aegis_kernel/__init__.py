"""Aegis in Jupyter: the kernel, the magics for any IPython, and `aegis-serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext aegis_kernel`: a host, `host` and the magics in any IPython session."""
    from aegis_kernel.notebook import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """`%unload_ext aegis_kernel`: drain the host and take its names away."""
    from aegis_kernel.notebook import unload

    unload(shell)
