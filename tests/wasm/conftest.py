"""What the tests of guests share."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from tests.wasm.partner import Server


@pytest.fixture
def partner() -> Generator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()
