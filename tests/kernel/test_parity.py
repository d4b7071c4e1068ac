"""The notebook and `aegis-serve` are one runtime: the same API and the same graph, byte for byte."""

import httpx
import pytest

from tests.kernel.process import ORDERS, Kernel
from tests.serve.process import Serving, cell, write
from tests.wasm.modules import module

WAT = module(
    {
        "name": "depot",
        "version": "1.0.0",
        "models": {"Crate": {"fields": {}, "ports": {"pack": {"consumes": ["crate.created"]}}}},
    }
)
DEPOT = f"""\
import wasmtime
from aegis.core.component import Source
wat = {WAT!r}
host.deploy(Source.of("depot", "1.0.0", wat, binary=bytes(wasmtime.wat2wasm(wat))))
"""
CELLS = ["import decimal", cell("raise SystemError", "aegis-skip"), ORDERS, DEPOT, "1 + 1"]


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
    assert "depot" in in_kernel.text
    assert in_kernel.content == headless.content


def test_both_tell_what_is_webassembly(answers):
    for found in answers:
        nodes = found["/aegis/api/graph.json"].json()["nodes"]
        languages = {node["component"]: node["language"] for node in nodes if node["language"]}
        assert languages == {"depot": "wasm", "orders": "python"}
        assert found["/aegis/api/graph.svg"].text.count('data-language="wasm"') == 2
