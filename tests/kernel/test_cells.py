"""The watchdog in a real kernel: which cell held the interpreter, and at which line."""

import re
import time

import pytest

LAGS = "[line.text for line in host._thread.host.monitor.frame(0, frozenset({'log'}), reset=True).log]"


def lag(kernel) -> str:
    """What the host's log says of a held interpreter, once it does."""
    deadline = time.monotonic() + 10
    while "held the interpreter" not in (said := kernel.value(LAGS)):
        assert time.monotonic() < deadline, said
    return said


def numbered(kernel, cell: str) -> int:
    """The number of a cell that is run."""
    done = kernel.client.execute_interactive(cell, output_hook=lambda _: None, timeout=60)
    assert done["content"]["status"] == "ok"
    return done["content"]["execution_count"]


@pytest.mark.parametrize(
    "cell",
    [
        "import math\nx = 1\n_ = sum(range({n}))\ny = 2",
        "import asyncio\nawait asyncio.sleep(0)\n_ = sum(range({n}))\ny = 2",
        "def compute():\n    return sum(range({n}))\n_ = compute()\ny = 2",
    ],
    ids=["plain", "after an await", "in a function"],
)
def test_a_call_in_c_that_holds_the_interpreter_is_told_with_its_cell(start_kernel, tmp_path, cell):
    kernel = start_kernel(tmp_path, AEGIS_EPHEMERAL="1")
    number = numbered(kernel, cell.format(n=5 * 10**7))
    said = lag(kernel)
    assert re.search(rf"cell {number} \(line 3\) held the interpreter for \d\.\d s", said), said
