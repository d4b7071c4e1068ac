"""The watchdog in a real kernel: which cell held the interpreter, and at which line."""

import re
import time

import pytest

LAGS = (
    "[line.text for line in host._thread.host.monitor.frame(0, frozenset({'log'}), reset=True).log]"
)


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
def test_a_call_in_c_that_holds_the_interpreter_is_told_with_its_cell(kernel, cell):
    # On a machine that is busy with other things a delay is nobody's fault, so it may take another.
    for _ in range(5):
        number = numbered(kernel, cell.format(n=3 * 10**7))
        told = re.compile(rf"cell {number} \(line 3\) held the interpreter for \d\.\d s")
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if told.search(said := kernel.value(LAGS)):
                return
    pytest.fail(said)


def test_a_cell_that_only_waits_is_not_blamed(kernel):
    number = numbered(kernel, "import time\ntime.sleep(0.5)\nx = sum(n for n in range(10**6))")
    assert f"cell {number} " not in kernel.value(LAGS)
