"""Deploys under load, a tenth of them broken: no call fails, no effect is lost or doubled."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.engine.swapping import MANY

ROOT = Path(__file__).parents[2]
# `make soak` asks for a thousand, of which memory has to stay as it is.
DEPLOYS = int(os.environ.get("AEGIS_DEPLOYS", "120"))


def test_no_call_fails_and_no_event_is_lost_or_doubled_while_components_are_replaced(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.swapping", tmp_path / "data", str(DEPLOYS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failed"] == []
    assert found["wrong"] == []
    assert found["refused"] == DEPLOYS // 10
    assert found["orders"] >= 8
    sizes = found["sizes"]
    begin = statistics.median(sizes[len(sizes) // 5 : len(sizes) * 3 // 10])
    end = statistics.median(sizes[-len(sizes) // 10 :])
    print(
        f"{DEPLOYS} deploys, {found['refused']} refused; {found['calls']:,} calls, "
        f"{found['orders']:,} orders, {found['moved']:,} events; memory {end / begin - 1:+.1%}"
    )
    if DEPLOYS >= MANY:
        assert end / begin < 1.05
