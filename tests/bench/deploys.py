"""200 hot deploys of a component that is being called all the while, each with another text."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.machine import Foreign
from tests.bench.program import COMPONENTS, MODELS, Load, Served, ask, told

DEPLOYS = 200
CONNECTIONS = 8
BODY = json.dumps({"customer": "c-1", "total": "129.90"})


def measure(directory: Path) -> list[Figure]:
    text = (COMPONENTS / "note.py").read_text()
    inside, serving, wrong = [], [], 0
    with Served(directory / "data", "note") as served:
        notes = f"{served.address}{MODELS}/notes"
        one = json.loads(ask("POST", notes, BODY))["id"]

        def deploy(edition: int) -> tuple[float, float, bool]:
            """Milliseconds inside the host and to the first answer; whether the new code gave it."""
            began = time.perf_counter()
            took = served.deploy(
                "note", text.replace("edition: int = 0", f"edition: int = {edition}")
            )
            answer = json.loads(ask("POST", notes, BODY))
            return took, (time.perf_counter() - began) * 1e3, answer["edition"] == edition

        alone = sorted(deploy(number + 1_000)[1] for number in range(20))
        requests = [
            ("GET", "GET", f"{MODELS}/notes/{one}", ""),
            ("POST", "POST", f"{MODELS}/notes", BODY),
        ]
        with Load(served.address, CONNECTIONS, requests) as load:
            foreign = Foreign(served.pid, load.pid)
            time.sleep(0.5)
            for number in range(DEPLOYS):
                took, answered, new = deploy(number + 1)
                inside.append(took)
                serving.append(answered)
                wrong += not new
            timed = load.end()
            share = foreign.share()
    calls = sum(kind.count for kind in timed.values())
    failed = sum(kind.failed for kind in timed.values())
    failure = next((kind.failure for kind in timed.values() if kind.failure), "")
    told(f"  {DEPLOYS} deploys during {calls:,} calls; foreign CPU {share:.0%}")
    serving.sort()
    inside.sort()
    return [
        Figure(name="failed calls", value=failed, most=1, note=failure or f"of {calls:,}"),
        Figure(name="answers of old code after a deploy", value=wrong, most=1),
        Figure(
            name="text to first answer of the new code, p50",
            value=serving[DEPLOYS // 2],
            unit="ms",
            most=30,
            note=f"p99 {serving[DEPLOYS * 99 // 100]:.0f} ms; {CONNECTIONS} connections with GET and "
            f"POST meanwhile; foreign CPU {share:.0%}",
        ),
        Figure(name="  of that inside Host.deploy, p50", value=inside[DEPLOYS // 2], unit="ms"),
        Figure(name="  without other calls, p50", value=alone[10], unit="ms"),
        *(
            Figure(name=f"{name} meanwhile, p99", value=kind.p99, unit="ms")
            for name, kind in timed.items()
        ),
    ]
