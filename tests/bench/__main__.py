"""How fast it is, beside what it has to reach: `python -m tests.bench [TOPIC ...] [--json FILE]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.bench import (
    browser,
    bundle,
    busy,
    call,
    deploys,
    gated,
    graph,
    http,
    inline,
    memory,
    migrate,
    monitor,
    orders,
    panel,
    query,
    records,
    reload,
    resume,
    sql,
    start,
    wasm,
)
from tests.bench.figure import Figure, table
from tests.bench.machine import described, pace
from tests.bench.program import told

TOPICS: dict[str, Callable[[Path], list[Figure]]] = {
    "http": http.measure,
    "call": call.measure,
    "orders": orders.measure,
    "deploys": deploys.measure,
    "bundle": bundle.measure,
    "reload": reload.measure,
    "busy": busy.measure,
    "monitor": monitor.measure,
    "inline": inline.measure,
    "panel": panel.measure,
    "query": query.measure,
    "records": records.measure,
    "start": start.measure,
    "resume": resume.measure,
    "memory": memory.measure,
    "gate": gated.measure,
    "graph": graph.measure,
    "sql": sql.measure,
    "migrate": migrate.measure,
    "wasm": wasm.measure,
    "browser": browser.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    options = parser.parse_args()
    for name in options.topics:
        if name not in TOPICS:
            parser.error(f"there is no topic {name!r}; there are: {', '.join(TOPICS)}")
    machine = described()
    for name, text in machine.items():
        print(f"{name:9} {text}")
    found = {name: _measured(name) for name in options.topics or TOPICS}
    aims = [
        figure.met for figures in found.values() for figure in figures if figure.met is not None
    ]
    print(f"\nmet {sum(aims)} of {len(aims)}")
    if options.json is not None:
        topics = {
            name: [{**dataclasses.asdict(figure), "met": figure.met} for figure in figures]
            for name, figures in found.items()
        }
        options.json.write_text(json.dumps({**machine, "topics": topics}, indent=1) + "\n")


def _measured(topic: str) -> list[Figure]:
    """The figures of a topic, printed; one that cannot be measured is a target missed."""
    told(f"\n{topic} ...")
    began, before = time.perf_counter(), pace()
    with tempfile.TemporaryDirectory(prefix="aegis-bench-") as directory:
        try:
            figures = TOPICS[topic](Path(directory))
        except Exception as error:
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            figures = [Figure(name="measurements that broke", value=1, most=1, note=said)]
    print(f"\n{table(topic, figures)}", flush=True)
    took = time.perf_counter() - began
    print(f"({took:.0f} s; a million additions: {before:.0f} ms before, {pace():.0f} ms after)")
    return figures


if __name__ == "__main__":
    main()
