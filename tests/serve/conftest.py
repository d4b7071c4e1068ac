"""Real servers for tests, ended with them."""

import pytest

from tests.serve.process import Serving, write


@pytest.fixture
def serve(tmp_path):
    """Serves a notebook of the given cells: `serve([cell, ...], "--port", "0")`."""
    started = []

    def start(cells, *words, name="shop.ipynb", **more):
        path = tmp_path / name
        if cells is not None:
            write(path, *cells)
        started.append(Serving(path, *words, **more))
        return started[-1]

    yield start
    for serving in started:
        if serving.process.poll() is None:
            serving.process.kill()
            serving.process.wait()
