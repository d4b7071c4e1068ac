"""`aegis-serve --watch`: a saved notebook runs beside what serves, and is swapped in when whole."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from aegis.adapters.components.files import component_files
from aegis.adapters.components.notices import Notices
from aegis.adapters.sources.notebook import Cell, HalfWrittenError
from aegis.core.component import Source
from aegis.core.errors import AegisError
from aegis.core.grant import Grants
from aegis.engine.plan import Change
from aegis_kernel.headless import (
    CellError,
    Given,
    HeadlessShell,
    make_current,
    make_shell,
    run_cells,
)
from aegis_kernel.hosting import HostThread
from aegis_kernel.ipynb import code_of, parameter_cell, read_cells
from aegis_kernel.notebook import Notebook

# Seconds that a file may be half written.
TURN = 1.0  # seconds after which a signal is seen that came at the wrong moment
PATIENCE = 1.0
# Seconds that flows of a rehearsal may take to end.
DRAIN_SECONDS = 10.0

Say = Callable[[str], None]


class Surroundings:
    """What the cells of all revisions share: the process. It can be put back as it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first = frozenset(sys.modules)
        self._path = list(sys.path)

    def modules(self) -> dict[str, ModuleType]:
        """The modules from the notebook's folder that its cells imported."""
        return {
            name: module
            for name, module in list(sys.modules.items())
            if name not in self._first and self._is_own(getattr(module, "__file__", None))
        }

    def files(self) -> set[Path]:
        """The files of those modules."""
        return {Path(str(module.__file__)) for module in self.modules().values()}

    def _is_own(self, file: object) -> bool:
        if not isinstance(file, str):
            return False
        path = Path(file)
        return self._folder in path.parents and "site-packages" not in path.parts

    def enter(self) -> Callable[[], None]:
        """Make it as it was before the first cell; the function that undoes this."""
        modules, path = self.modules(), list(sys.path)
        directory, environment = Path.cwd(), dict(os.environ)
        main = sys.modules["__main__"]
        for name in modules:
            del sys.modules[name]
        importlib.invalidate_caches()
        sys.path[:] = self._path
        os.chdir(self._folder)

        def undo() -> None:
            for name in self.modules():
                del sys.modules[name]
            sys.modules.update(modules)
            sys.modules["__main__"] = main
            sys.path[:] = path
            os.chdir(directory)
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)

        return undo


@dataclass(frozen=True, kw_only=True)
class Served:
    """One run of the notebook: its shell, its names, and the components that it deployed."""

    cells: tuple[Cell, ...]
    shell: HeadlessShell
    notebook: Notebook
    components: frozenset[str]


class Reloads:
    """Follows the notebook that is served, with every file that it uses. Main thread only."""

    def __init__(
        self,
        path: Path,
        given: Given,
        served: Served,
        surroundings: Surroundings,
        *,
        began: float,
        say: Say,
    ) -> None:
        self._path = path
        self._given = given
        self._served = served
        self._thread = served.notebook.thread
        self._surroundings = surroundings
        self._say = say
        self._source = f"watch:{path.name}"
        self._changed = threading.Event()
        self._notices = Notices(lambda _: self._changed.set())
        self._depends: set[Path] = set()
        self._attend(served.notebook)
        # The digest of what serves, and that of the last try.
        self._now = self._tried = self._digest_since(began, served.cells)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Serve what is saved, until a signal.

        That raises; but what is raised while the collector runs is lost, so `stopping` is asked.
        One that comes just before a wait begins does not end it: so none is without an end.
        """
        try:
            while not stopping():
                if self._changed.wait(TURN):
                    self._changed.clear()
                    self.reload()
        finally:
            self._notices.close(wait=2.0)

    def reload(self) -> None:
        """Take over what the notebook says now, if that is new and whole."""
        try:
            cells = self._read()
            digest = self._digest(cells)
            if digest == self._now:
                self._tried = digest
                self._mended()
            elif digest != self._tried:
                self._tried = digest
                self._replace(cells)
                self._mended()
        except AegisError as error:
            self._tell(error)
        except Exception as error:  # noqa: BLE001 -- whatever it is, what serves must serve on
            self._report(f"{type(error).__name__}: {error}; what served before serves on")

    def _read(self) -> tuple[Cell, ...]:
        """The cells that are there now; what is half written gets time to become whole."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return read_cells(self._path)
            except HalfWrittenError:
                if time.monotonic() > end:
                    raise
            self._changed.wait(0.1)
            self._changed.clear()

    def _digest(self, cells: Sequence[Cell]) -> str:
        """What running `cells` would run: their code, and the files that it was made from."""
        found = hashlib.sha256(code_of(cells).encode())
        for path in sorted(self._depends):
            try:
                found.update(f"\0{path}\0".encode() + path.read_bytes())
            except IsADirectoryError:
                found.update(repr(component_files(path)).encode())
            except OSError:  # it is not there
                found.update(b"\0")
        return found.hexdigest()

    def _digest_since(self, began: float, cells: Sequence[Cell]) -> str:
        """The digest of a run that began then; none, when a file was saved while it ran."""
        # Read first, asked afterwards: a save between the two is then known to be newer.
        digest = self._digest(cells)
        if any(_saved(path) >= began for path in self._depends):
            self._changed.set()
            return ""
        return digest

    def _attend(self, *notebooks: Notebook) -> None:
        """Follow what these runs of the notebook used."""
        self._depends = self._surroundings.files()
        for notebook in notebooks:
            self._depends |= notebook.depends
        self._notices.follow({self._path, *self._depends})

    # --- the new revision -----------------------------------------------------------------------

    def _replace(self, cells: tuple[Cell, ...]) -> None:
        """Run the notebook beside what serves, and swap in what that came to."""
        began = time.time()
        saved = max(_saved(path) for path in (self._path, *self._depends))
        parameter_cell(cells, self._given.values)
        undo = self._surroundings.enter()
        before = self._served
        thread = HostThread()
        notebook = None
        try:
            config = self._thread.config
            assert config is not None  # noqa: S101 -- it runs
            # A host of its own: what cells do to records, they do to records in memory. What this
            # host has from elsewhere is not the notebook's, and is there for its cells as it is.
            apart = replace(config, data=None, fetched=config.cache, host="127.0.0.1", port=0)
            pins = config.pins or config.data
            apart = replace(apart, components={}, lock=None, pins=pins)
            thread.start(apart)
            elsewhere, granted = self._elsewhere(), self._thread.host.setup().grants
            given = Change(sources=tuple(elsewhere.values()), grants=granted)
            thread.call(thread.host.change, given)
            shell = make_shell()
            notebook = Notebook(shell, thread, rehearsal=True)
            notebook.attach()
            run_cells(shell, cells, self._given, stuck=self._stuck)
            served = self._swap(shell, notebook, cells, elsewhere, granted)
        except BaseException:
            undo()
            make_current(before.shell)
            if notebook is not None:
                self._attend(before.notebook, notebook)
                self._tried = self._digest_since(began, cells)
                notebook.detach()
            raise
        finally:
            threading.Thread(target=thread.close, args=(DRAIN_SECONDS,), daemon=True).start()
        self._served = served
        self._attend(notebook)
        self._now = self._tried = self._digest_since(began, cells)
        before.notebook.detach()
        ms = (time.time() - (saved if 0 <= began - saved < PATIENCE else began)) * 1000
        self._say(f"{self._path.name} is live {ms:.0f} ms after it was saved")

    def _swap(
        self,
        shell: HeadlessShell,
        notebook: Notebook,
        cells: tuple[Cell, ...],
        elsewhere: Mapping[str, Source],
        granted: Grants | None,
    ) -> Served:
        """Let the host that serves become what the rehearsal's is, at once.

        What neither had of its cells stays: a newer version may have come meanwhile. So do grants
        that no cell changed.
        """
        setup = notebook.thread.host.setup()
        theirs = {source.digest for source in elsewhere.values()}
        sources = tuple(source for source in setup.sources if source.digest not in theirs)
        grants = None if setup.grants == granted else setup.grants
        setup = replace(setup, sources=sources, grants=grants)
        components = frozenset(source.name for source in sources)
        host = self._thread.host
        gone = self._served.components - components - elsewhere.keys()
        deployments = self._thread.call(
            host.change, replace(setup, gone=gone & host.engine.registry.live.keys()), who="watch"
        )
        notebook.move_to(self._thread)
        for deployment in deployments:
            self._say(f"serving {deployment.component} {deployment.version}")
        return Served(cells=cells, shell=shell, notebook=notebook, components=components)

    def _elsewhere(self) -> dict[str, Source]:
        """What the host that serves has of `[components]` and of what it follows, by name."""
        config, host = self._thread.config, self._thread.host
        assert config is not None  # noqa: S101 -- it runs
        names = {*config.components, *(one.name for one in self._thread.call(host.followed))}
        live = self._thread.call(host.setup).sources
        return {source.name: source for source in live if source.name in names}

    # --- what went wrong ------------------------------------------------------------------------

    def _stuck(self, said: str) -> None:
        """A cell neither ends nor can be interrupted. Called on another thread."""
        self._report(f"{said}; what served before serves on")

    def _tell(self, error: AegisError) -> None:
        self._report(f"{error}; what served before serves on")
        if isinstance(error, CellError) and error.text:
            self._say(error.text.rstrip())

    def _report(self, text: str) -> None:
        text = f"{self._path.name}: {text}"
        self._say(text)
        self._thread.call(self._thread.host.monitor.report, self._source, text)

    def _mended(self) -> None:
        self._thread.call(self._thread.host.monitor.clear, self._source)


def _saved(path: Path) -> float:
    """When a file was saved, in seconds of wall time; 0 when it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
