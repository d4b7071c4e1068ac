"""The kernel that runs the notebooks: this tree's, with its data in memory."""

from __future__ import annotations

import shutil

import pytest

from tests.orders.sandbox import ROOT


@pytest.fixture
def kernelspec(tmp_path, monkeypatch):
    """The kernel as this source tree has it, whatever is installed."""
    shutil.copytree(ROOT / "aegis_kernel" / "kernelspec", tmp_path / "jupyter/kernels/aegis")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'runtime'}:{ROOT}")
    monkeypatch.setenv("AEGIS_EPHEMERAL", "1")
