"""A component's files, and the same component in every kind of source."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping

ORDERS = """\
__version__ = "{version}"
from aegis import Model
import pricing

class Order(Model, endpoint="orders"):
    total: int = pricing.PRICE
"""
PRICING = "PRICE = 3\n"


def orders(version: str = "1.2.0") -> dict[str, str]:
    """A component that says nothing of itself but its version, with what else is beside it."""
    return {
        "orders.py": ORDERS.format(version=version),
        "pricing.py": PRICING,
        "setup.py": "raise SystemExit\n",
        "tests/test_orders.py": "import orders\n",
        "README.md": "Orders.\n",
    }


def manifest(files: Mapping[str, str | bytes], version: str = "1.2.0", more: str = "") -> str:
    """An aegis.toml of `orders.py` that has the digest of each file."""
    listed = "".join(
        f'"{path}" = "{hashlib.sha256(_bytes(content)).hexdigest()}"\n'
        for path, content in sorted(files.items())
    )
    return (
        f'[component]\nname = "orders"\nversion = "{version}"\nmodels = ["orders.py"]\n{more}'
        f"[component.files]\n{listed}"
    )


def described(version: str = "1.2.0") -> dict[str, str]:
    """The component with a manifest, and nothing else."""
    files = {"orders.py": ORDERS.format(version=version), "pricing.py": PRICING}
    return {**files, "aegis.toml": manifest(files, version)}


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A zip of files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return packed.getvalue()


def wheel(files: Mapping[str, str | bytes]) -> bytes:
    """A wheel whose package `shop` has files."""
    info = {"shop-1.0.dist-info/METADATA": "Name: shop\n", "shop-1.0.dist-info/RECORD": ""}
    inside = {f"shop/{path}": content for path, content in files.items()}
    return zipped({**inside, "shop/__init__.py": "", **info})


def book(*cells: str, **more: object) -> str:
    """A notebook of code cells."""
    code = [{"cell_type": "code", "source": text, "metadata": {}, "outputs": []} for text in cells]
    words = {"cell_type": "markdown", "source": "# Orders", "metadata": {}}
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [words, *code]} | more
    )


def cell(version: str = "1.2.0") -> str:
    """The component as a cell."""
    text = ORDERS.format(version=version).partition("\n")[2]
    return f"%%component orders {version}\n{text}"


def percent(*cells: str) -> str:
    """A percent notebook of cells, whose magics are comments."""
    marked = (f"# {text}" if text.startswith("%%") else text for text in cells)
    return "".join(f"# %%\n{text}\n\n" for text in marked)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
