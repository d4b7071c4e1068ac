"""From a save to serving: a component file in a kernel's hands, a notebook under `aegis-serve`."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.busy import kernel, run
from tests.bench.figure import Figure
from tests.bench.machine import SERVER, Foreign, environment, python
from tests.bench.program import COMPONENTS, MODELS, TOKEN, Load, ask, told, until_true

SAVES = 200
BROKEN_EACH = 10
LINES = 350
CONNECTIONS = 8
BODY = json.dumps({"customer": "c-1", "total": "129.90"})
# Seconds until a save is given up.
PATIENCE = 10.0


def measure(directory: Path) -> list[Figure]:
    figures = []
    for name, serving, most in (
        (f"a component file of {LINES} lines, %aegis watch", _file, 40),
        (f"a notebook of {LINES} lines, aegis-serve --watch", _notebook, 100),
    ):
        place = directory / serving.__name__
        place.mkdir()
        with serving(place) as (address, pid, save):
            figures += _measured(name, most, address, pid, save)
    return figures


Save = Callable[[int, bool], None]


def _measured(name: str, most: float, address: str, pid: int, save: Save) -> list[Figure]:
    """Saves one after the other, each until its code answers; alone, then while calls go on."""
    notes = f"{address}{MODELS}/notes"

    def live(edition: int) -> float:
        """Milliseconds from the save of an edition to the first answer that it gave."""
        began = time.perf_counter()
        save(edition, False)
        while json.loads(ask("POST", notes, BODY))["edition"] != edition:
            if time.perf_counter() - began > PATIENCE:
                raise RuntimeError(f"edition {edition} did not come to serve")
        return (time.perf_counter() - began) * 1e3

    until_true(lambda: "edition" in ask("POST", notes, BODY), "the first edition")
    alone = sorted(live(number + 1_000) for number in range(SAVES // 4))
    one = json.loads(ask("POST", notes, BODY))["id"]
    requests = [
        ("GET", "GET", f"{MODELS}/notes/{one}", ""),
        ("POST", "POST", f"{MODELS}/notes", BODY),
    ]
    loaded = []
    with Load(address, CONNECTIONS, requests) as load:
        foreign = Foreign(pid, load.pid)
        for number in range(1, SAVES + 1):
            if number % BROKEN_EACH == 0:
                save(number, True)
                time.sleep(0.05)
            else:
                loaded.append(live(number))
        timed = load.end()
        share = foreign.share()
    loaded.sort()
    calls = sum(kind.count for kind in timed.values())
    failed = sum(kind.failed for kind in timed.values())
    failure = next((kind.failure for kind in timed.values() if kind.failure), "")
    told(f"  {name}: {SAVES} saves during {calls:,} calls; foreign CPU {share:.0%}")
    return [
        Figure(
            name=f"{name}: save to first answer, p50",
            value=alone[len(alone) // 2],
            unit="ms",
            most=most,
            note=f"p99 {alone[len(alone) * 99 // 100]:.0f} ms",
        ),
        Figure(
            name="  while calls go on, p50",
            value=loaded[len(loaded) // 2],
            unit="ms",
            note=f"p99 {loaded[len(loaded) * 99 // 100]:.0f} ms; {CONNECTIONS} connections, "
            f"foreign CPU {share:.0%}",
        ),
        Figure(
            name=f"  failed calls, {SAVES} saves of which {SAVES // BROKEN_EACH} are broken",
            value=failed,
            most=1,
            note=failure or f"of {calls:,}",
        ),
    ]


def _text(edition: int, *, broken: bool) -> str:
    """The component of an edition, filled up to LINES with functions such as people write."""
    text = (COMPONENTS / "note.py").read_text()
    text = text.replace("edition: int = 0", f"edition: int = {edition}")
    text = text.replace('"""\n', '"""\n\n__version__ = "1.0.0"\n', 1)
    number = 0
    while len(text.splitlines()) < LINES:
        number += 1
        text += (
            f"\n\ndef rule_{number}(total: float, days: int = {number}) -> float:\n"
            f'    """What rule {number} makes of a total."""\n'
            f"    if days > {number}:\n"
            f"        return round(total * 1.{number:02}, 2)\n"
            "    return total\n"
        )
    return text + ("\n1 / 0\n" if broken else "")


def _write(path: Path, text: str) -> None:
    """Save as editors do: beside it, then in its place."""
    aside = path.with_suffix(".tmp")
    aside.write_text(text)
    aside.replace(path)


@contextmanager
def _file(directory: Path) -> Iterator[tuple[str, int, Save]]:
    """A kernel that follows a component file."""
    path = directory / "note.py"
    _write(path, _text(0, broken=False))
    with kernel(directory) as (pid, client):
        run(client, "%aegis watch note.py")
        address = run(client, "print(host.address)").strip()
        yield (
            address,
            pid,
            lambda edition, broken: _write(path, _text(edition, broken=broken)),
        )


@contextmanager
def _notebook(directory: Path) -> Iterator[tuple[str, int, Save]]:
    """`aegis-serve --watch` with a notebook of that component and some cells around it."""
    path = directory / "note.ipynb"

    def save(edition: int, broken: bool) -> None:
        component = "%%component note 1.0.0\n" + _text(edition, broken=broken)
        sources = ["import json\nfrom decimal import Decimal", component, "len(json.dumps({}))"]
        cells = [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {},
                "source": source.splitlines(keepends=True),
                "outputs": [],
                "execution_count": None,
            }
            for number, source in enumerate(sources)
        ]
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
        _write(path, json.dumps(notebook))

    save(0, False)
    log = directory / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [
                *("taskset", "-c", str(SERVER)),
                *python("-m", "aegis_kernel.serve", path, "--watch", "--token", TOKEN),
                *("--data", str(directory / "data")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment(),
        )
    try:
        until_true(lambda: "serving note" in log.read_text(), "aegis-serve")
        address = re.search(r" at (http://[\w.:]+)", log.read_text())
        assert address is not None
        yield address[1], process.pid, save
    finally:
        process.terminate()
        process.wait(60)
