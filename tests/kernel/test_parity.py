"""The notebook and `aegis-serve` are one runtime: the same API and the same graph, byte for byte."""

import httpx
import pytest

from tests.kernel.process import ORDERS, Kernel
from tests.serve.process import Serving, cell, write

CELLS = ["import decimal", cell("raise SystemError", "aegis-skip"), ORDERS, "1 + 1"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory, kernelspec):
    """What the kernel and the server answer for one notebook, by path."""
    folder = tmp_path_factory.mktemp("parity")
    paths = ["/aegis/api/openapi.json", "/aegis/api/graph.json", "/aegis/api/graph.svg"]

    def ask(address, token):
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}) as client:
            return {path: client.get(path) for path in paths}

    kernel = Kernel(folder, notebook="shop.ipynb")
    try:
        for source in (CELLS[0], *CELLS[2:]):
            assert kernel.run(source).status == "ok"
        in_kernel = ask(kernel.value("host.address"), kernel.value("host.token"))
    finally:
        kernel.close()
    serving = Serving(write(folder / "shop.ipynb", *CELLS))
    try:
        serving.ready().close()
        headless = ask(serving.address(), serving.token())
        assert serving.end() == 0
    finally:
        serving.process.kill()
        serving.process.wait()
    return in_kernel, headless


@pytest.mark.parametrize("path", ["openapi.json", "graph.json", "graph.svg"])
def test_a_notebook_answers_the_same_in_the_kernel_and_headless(answers, path):
    in_kernel, headless = (found[f"/aegis/api/{path}"] for found in answers)
    assert in_kernel.status_code == headless.status_code == 200
    assert "authorize" in in_kernel.text
    assert in_kernel.content == headless.content
