"""Real kernels for tests, started from the kernelspec of this very tree."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.kernel.process import Kernel
from tests.kernel.shell import Session

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def kernelspec(tmp_path_factory):
    """Jupyter finds the kernelspec of this tree, installed or not."""
    folder = tmp_path_factory.mktemp("jupyter")
    shutil.copytree(ROOT / "aegis_kernel" / "kernelspec", folder / "kernels" / "aegis")
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(folder)
    yield
    if before is None:
        del os.environ["JUPYTER_PATH"]
    else:
        os.environ["JUPYTER_PATH"] = before


@pytest.fixture
def start_kernel():
    """Starts kernels that end with the test."""
    kernels = []

    def start(*words, **more):
        kernels.append(Kernel(*words, **more))
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.close()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for the tests of a module."""
    kernel = Kernel(tmp_path_factory.mktemp("notebooks"))
    yield kernel
    kernel.close()


@pytest.fixture
def session(monkeypatch):
    # IPython takes the place of the program's main module.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    session = Session()
    yield session
    session.close()
