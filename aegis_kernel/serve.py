"""The command `aegis-serve`: run a notebook headless and serve its components until told to end."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Any

from aegis.adapters.sources.notebook import Cell, NotebookError
from aegis.bootstrap import dedicate
from aegis.configuration import Config, environment, read
from aegis.core.errors import AegisError, ConfigError
from aegis_kernel.hosting import HostThread, NotebookHost
from aegis_kernel.ipynb import Stopped, literal, parameter_cell, read_cells

if TYPE_CHECKING:
    from aegis.engine.host import Host
    from aegis_kernel.reload import Reloads, Surroundings

# What a cell says that may deploy something.
DEPLOYING = ("%%component", "%%wat", "deploy", "%aegis watch")
SAY_AFTER_SECONDS = 1.0
TURN = 1.0  # seconds after which a signal is seen that came at the wrong moment
DRAIN_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `aegis-serve`. Exit codes: 0 after a drain, 1 a cell failed, 2 it cannot begin."""
    options = _parser().parse_args(arguments)
    _log_aloud()
    try:
        sys.exit(_Service(options).run())
    except AegisError as error:
        _say(str(error))
        sys.exit(2)


def _log_aloud() -> None:
    """What the host warns of goes to standard error: nobody sees a panel here."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("aegis-serve: %(message)s"))
    logging.getLogger("aegis").addHandler(handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aegis-serve",
        description="Run the cells of a notebook, and serve its components until told to end.",
        epilog="Cells tagged aegis-skip or skip-execution are left out.",
    )
    add = parser.add_argument
    add("notebook", type=Path, help="the .ipynb file, or a .py file of `# %%%%` cells")
    add("--host", metavar="ADDRESS", help="to listen on (default: 127.0.0.1)")
    add("--port", type=int, help="to listen on (default: AEGIS_PORT, or a free one)")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="default: AEGIS_DATA, or .aegis/<notebook>/serve",
    )
    add("--ephemeral", action="store_true", help="keep nothing on disk")
    add("--locked", action="store_true", help="take of [components] only what is in aegis.lock")
    add("--token", help="what callers must show (default: AEGIS_TOKEN, or a new one)")
    add("--no-token", action="store_true", help="let everybody in who reaches the address")
    add("--timeout", type=float, default=600.0, metavar="SECONDS", help="for a cell (%(default)g)")
    add(
        "--watch",
        action="store_true",
        help="serve what is saved: the notebook and the files that it uses",
    )
    add(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a value for the cell tagged 'parameters'",
    )
    add(
        "-f", "--parameters-file", type=Path, action="append", default=[], metavar="FILE",
        help="such values from a YAML or JSON file",
    )  # fmt: skip
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="a value of the components' configuration",
    )  # fmt: skip
    return parser


class _Service:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.began, self.began_at = time.perf_counter(), time.time()
        self.options = options
        self.path = options.notebook.absolute()
        self.cells = read_cells(options.notebook)
        self.values = _given(options)
        parameter_cell(self.cells, self.values)
        self.config = _config(options, self.path)
        self.fetched: TemporaryDirectory[str] | None = None
        if options.watch and self.config.data is None:
            # What is tried beside what serves has to find what that was made of.
            self.fetched = TemporaryDirectory(prefix="aegis-")
            self.config = replace(self.config, fetched=Path(self.fetched.name))
        deploying = any(word in c.source for c in self.cells for word in DEPLOYING)
        if not deploying and not self.config.components:
            raise NotebookError(f"{options.notebook} has no component: no cell says %%component")
        self.thread = HostThread()
        self.stopping = False
        self.reloads: Reloads | None = None
        self.holds: list[Callable[[], None]] = []

    def run(self) -> int:
        """Serve until a signal; the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            self.thread.start(self.config, self._open)
            self._announce()
            failed = self._run_cells()
            if failed is None:
                self._ready()
                if self.reloads is not None:
                    self.reloads.run(lambda: self.stopping)
                while not self.stopping:
                    time.sleep(TURN)  # what comes just before a pause would not end it
                raise Stopped
            _say(failed)
            return 1
        except Stopped:
            _say("draining")
            return 0
        finally:
            self.stopping = True
            if not self.thread.close(DRAIN_SECONDS):
                _say(f"not drained in {DRAIN_SECONDS:g} s; what is open goes on at the next start")
            if self.fetched is not None:
                self.fetched.cleanup()

    def _open(self, host: Host) -> None:
        """What a view is told before the first cell has run. On the host's own thread."""
        host.monitor.at(notebook=str(self.path))
        self.holds.append(host.starting("cells"))

    def _run_cells(self) -> str | None:
        """Run the notebook from top to bottom; why it cannot go on, or None at its end."""
        # Relative paths and imports mean in the cells what they mean in Jupyter.
        os.chdir(self.path.parent)
        sys.path.insert(0, "")
        from aegis_kernel.headless import CellError, Given, leave_input, make_shell, run_cells
        from aegis_kernel.notebook import Notebook

        leave_input()
        given = Given(values=self.values, timeout=self.options.timeout)
        surroundings = self._surroundings()
        shell = make_shell()
        notebook = Notebook(shell, self.thread)
        notebook.attach()
        progress = _Progress(self.began, len(self.cells))
        try:
            run_cells(shell, self.cells, given, around=progress.of)
        except CellError as error:
            return f"{error}\n{error.text}".rstrip()
        if self.stopping:
            raise Stopped
        if surroundings is not None:
            from aegis_kernel.reload import Reloads, Served

            components = frozenset(self.thread.host.engine.registry.live)
            served = Served(cells=self.cells, shell=shell, notebook=notebook, components=components)
            self.reloads = Reloads(
                self.path, given, served, surroundings, began=self.began_at, say=_say
            )
        return None

    def _surroundings(self) -> Surroundings | None:
        """The process as it is before the first cell, where it is wanted again."""
        if not self.options.watch:
            return None
        from aegis_kernel.reload import Surroundings

        # Compiled files are told apart by the second of their saving, which is too coarse here.
        sys.dont_write_bytecode = True
        return Surroundings(self.path.parent)

    def _ready(self) -> None:
        host = self.thread.host
        resumed = self.thread.call(host.resume)
        dedicate()
        self.thread.call(self.holds.pop())
        served = [
            f"{part.name} {part.version}" for part in self.thread.call(host.status).components
        ]
        if not served and not self.config.components:
            raise NotebookError(f"{self.options.notebook} has no component: no cell deployed one")
        took = time.perf_counter() - self.began
        text = f"serving {', '.join(served) or 'nothing yet'} after {took:.2f} s"
        _say(text + (f"; resumed {', '.join(resumed)}" if resumed else ""))

    def _announce(self) -> None:
        host = NotebookHost(self.thread)
        _say(f"{self.options.notebook} at {host.url('/aegis/api/openapi.json')}")
        if self.config.data is None:
            _say("nothing is kept: --ephemeral")
        if host.token is None:
            _say("WARNING: --no-token: whoever reaches this address can read and change everything")

    def _stop(self, number: int, _: FrameType | None) -> None:
        """End what the main thread does, wherever it is; at the second signal, end at once."""
        if self.stopping:
            os._exit(128 + number)
        self.stopping = True
        raise Stopped


class _Progress:
    """Says what a start is doing, once it takes longer than a second."""

    def __init__(self, began: float, total: int) -> None:
        self.loud_from = began + SAY_AFTER_SECONDS
        self.total = total
        self.kept: list[str] = []

    @contextmanager
    def of(self, cell: Cell) -> Generator[None, None, None]:
        """Time one cell; when it is long, say that it runs before it ends."""
        label = f"[{cell.number}/{self.total}] {cell.id or 'cell'}"
        began = time.perf_counter()
        timer = threading.Timer(
            max(0.0, self.loud_from - began) + SAY_AFTER_SECONDS, _say, [f"{label} ..."]
        )
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        now = time.perf_counter()
        self.kept.append(f"{label} {(now - began) * 1000:.0f} ms")
        if now >= self.loud_from:
            for line in self.kept:
                _say(line)
            self.kept.clear()


def _say(text: str) -> None:
    """To standard error, as Jupyter's own servers do; standard output belongs to the cells."""
    print(f"aegis-serve: {text}", file=sys.stderr, flush=True)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The parameters: those of files first, then those of the command line."""
    values: dict[str, Any] = {}
    for path in options.parameters_file:
        import yaml

        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotebookError(f"{path} cannot be read: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise NotebookError(f"{path} is no YAML: {error}") from None
        if not isinstance(found, dict):
            raise NotebookError(f"{path} holds no parameters", hint="write them as `name: value`")
        values.update(found)
    values.update((name, literal(text)) for name, text in options.parameter)
    return values


def _config(options: argparse.Namespace, notebook: Path) -> Config:
    data = notebook.parent / ".aegis" / notebook.stem / "serve"
    given: dict[str, Any] = {"token": secrets.token_hex(24), "data": data, **environment()}
    said = {"host": options.host, "port": options.port, "token": options.token}
    given |= {name: value for name, value in said.items() if value is not None}
    if options.data is not None:
        given["data"] = options.data.absolute()
    if options.ephemeral:
        given["data"] = None
    if options.locked:
        given["locked"] = True
    if options.no_token:
        given["token"] = None
    elif not given["token"]:
        raise ConfigError("the token is empty", hint="--no-token lets everybody in")
    settings: dict[str, str] = {}
    for text in options.settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: it has no value", hint=f"--set {key}=...")
        settings[key] = value
    return read(notebook.parent, overrides=settings, **given)


if __name__ == "__main__":
    main()
