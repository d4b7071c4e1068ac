"""Live reload: follows component files, and what they import, and deploys what was saved."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from aegis.adapters.components.files import Reading, component_files, read_component
from aegis.adapters.components.notices import Notices
from aegis.core.deployment import Deployment
from aegis.core.errors import AegisError, ComponentError, ConflictError, NotFoundError, closest
from aegis.core.manifest import WASM
from aegis.engine.host import Host
from aegis.protocols import Loader

# Seconds that a file may be empty or away, or a module half there, while somebody writes it.
PATIENCE = 0.15
# Seconds after which a reload is said to take long.
STUCK = 5.0

_log = logging.getLogger("aegis.watch")


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A component file that is followed, and what came of its last save.

    `deployment` is what serves from it; `error` why what the file holds now does not. `at` is
    when that was found, `ms` the time from the save to serving. `saves` counts what was deployed.
    With `ended` it is followed no more, since `at`.
    """

    path: Path
    component: str
    deployment: Deployment | None = None
    error: AegisError | None = None
    at: datetime | None = None
    ms: float = 0.0
    saves: int = 0
    ended: bool = False


Tell = Callable[[Followed], object]


class Watcher:
    """Follows component files for a host, on its loop."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._files: dict[Path, _File] = {}
        self._folders: dict[Path, Tell | None] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._notices = Notices(self._told)

    async def watch(
        self,
        path: Path,
        name: str | None = None,
        version: str | None = None,
        *,
        tell: Tell | None = None,
    ) -> list[Followed]:
        """Deploy the component in `path`, or each in that folder, now and at every save.

        Returns when that was tried once; `tell` is called whenever something came of a save. A file
        that is broken is followed too. Raises NotFoundError when there is no such path.
        """
        path, files = await asyncio.to_thread(_found, path)
        if files is not None:
            if name is not None:
                raise ConflictError(f"{path} is a folder", hint="its files say name and version")
            self._folders[path] = tell
            found = [await self._add(file, None, None, tell) for file in files]
            self._attend()
            return found
        return [await self._add(path, name, version, tell)]

    def unwatch(self, path: Path) -> list[Path]:
        """Follow a file, or a folder with its files, no more; what it served goes on serving.

        Raises NotFoundError for what is not followed.
        """
        path = path.expanduser().absolute()
        gone = sorted(file for file in self._files if file == path or path in file.parents)
        if not gone and path not in self._folders:
            known = [str(each) for each in (*self._files, *self._folders)]
            raise NotFoundError(f"{path} is not followed", hint=closest(str(path), known))
        self._folders.pop(path, None)
        for file in gone:
            self._files.pop(file).stop()
        self._attend()
        return gone

    def followed(self) -> Sequence[Followed]:
        """All that is followed, by path."""
        return [self._files[path].state for path in sorted(self._files)]

    async def close(self) -> None:
        """Follow nothing any more."""
        await asyncio.to_thread(self._notices.close, wait=2.0)
        for file in self._files.values():
            file.stop()
        tasks = [*self._looking, *(file.task for file in self._files.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _add(
        self, path: Path, name: str | None, version: str | None, tell: Tell | None
    ) -> Followed:
        before = self._files.pop(path, None)
        if before is not None:
            before.stop()
        component = name or path.stem
        for other in self._files.values():
            if other.state.component == component:
                raise ConflictError(
                    f"component {component!r} is followed from {other.path}",
                    hint=f"%aegis unwatch {other.path}",
                )
        file = _File(self._host, path, name, version, tell, self._attend)
        self._files[path] = file
        try:
            await file.reload()
        except BaseException:  # interrupted, mostly
            self._files.pop(path, None)
            raise
        if self._files.get(path) is file:
            file.task = asyncio.create_task(file.follow())
        self._attend()
        return file.state

    def _attend(self) -> None:
        """Follow what the files depend on now."""
        paths = {path for file in self._files.values() for path in file.depends}
        self._notices.follow(paths | self._folders.keys())

    def _told(self, paths: frozenset[Path]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed, paths)
        except RuntimeError:  # the loop was closed this very moment
            self._notices.close()

    def _changed(self, paths: frozenset[Path]) -> None:
        for file in self._files.values():
            if not file.depends.isdisjoint(paths):
                file.saved.set()
        for folder in self._folders.keys() & paths:
            looking = self._loop.create_task(self._look_into(folder))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    async def _look_into(self, folder: Path) -> None:
        """Follow what came into a folder."""
        for path in await asyncio.to_thread(component_files, folder):
            if folder in self._folders and path not in self._files:
                try:
                    await self._add(path, None, None, self._folders[folder])
                except ConflictError as error:
                    _log.warning("%s is not followed: %s", path, error)


class _File:
    """One component file: deployed whenever it, or a file that it imports, was saved."""

    task: asyncio.Task[None]

    def __init__(
        self,
        host: Host,
        path: Path,
        name: str | None,
        version: str | None,
        tell: Tell | None,
        attend: Callable[[], None],
    ) -> None:
        self.path = path
        self.state = Followed(path=path, component=name or path.stem)
        self.depends: frozenset[Path] = frozenset({path})
        self.saved = asyncio.Event()
        self._host = host
        self._name = name
        self._version = version
        self._tell = tell
        self._attend = attend
        self._tried = ("", 0.0)  # digest or message, and time of the save, of the last try
        self.task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]

    def stop(self) -> None:
        """Follow it no more, and say so."""
        self.task.cancel()
        self._host.monitor.clear(self._source)
        self._say(replace(self.state, ended=True, at=self._now()))

    @property
    def _source(self) -> str:
        return f"watch:{self.state.component}"

    async def follow(self) -> None:
        """Reload at every save. A burst of them is one, and the last one wins."""
        while True:
            await self.saved.wait()
            self.saved.clear()
            reloading = asyncio.create_task(self.reload())
            try:
                await self._ended(reloading)
            except Exception:  # noqa: BLE001 -- this file's next save must still be heard
                _log.exception("%s cannot be followed", self.path)
            finally:
                reloading.cancel()

    async def _ended(self, reloading: asyncio.Task[None]) -> None:
        """Wait for a reload. One that takes long is told, and given up at the next save."""
        await asyncio.wait({reloading}, timeout=STUCK)
        if not reloading.done():
            self._host.monitor.report(
                self._source,
                f"{self.path.name} has been loading for {STUCK:g} s: if it never ends, mend it and "
                f"save it again, or `%aegis unwatch {self.path.name}`",
            )
            saved = asyncio.create_task(self.saved.wait())
            await asyncio.wait({reloading, saved}, return_when=asyncio.FIRST_COMPLETED)
            saved.cancel()
        if reloading.done():
            await reloading

    async def reload(self) -> None:
        """Deploy what the file holds now, if that is new; what serves goes on when it is broken."""
        began = time.time()
        reading, saved = await asyncio.to_thread(
            _look, self.path, self._name, self._version, self._host.loader
        )
        if reading.paths != self.depends:
            self.depends = reading.paths
            self._attend()
        found = (str(reading.error) if reading.source is None else reading.source.digest, saved)
        before, self._tried = self._tried, found
        # Saved again as it was: that asks for another try only where the last one failed.
        if found == before or (found[0] == before[0] and self.state.error is None):
            return
        if reading.source is not None and reading.source.name != self.state.component:
            # A module says its name itself.
            self._host.monitor.clear(self._source)
            self.state = replace(self.state, component=reading.source.name)
        state = self.state
        try:
            source = reading.result()
            deployment = await self._host.deploy(source, who="watch")
        except AegisError as error:
            self._set(replace(state, error=error, at=self._now()))
            return
        # Of a file that was there before, the time since its save says nothing.
        since = saved if 0 <= began - saved < 1 else began
        ms = (time.time() - since) * 1000
        self._set(
            replace(
                state,
                deployment=deployment,
                error=None,
                at=self._now(),
                ms=ms,
                saves=state.saves + 1,
            )
        )

    def _now(self) -> datetime:
        return datetime.now().astimezone()

    def _set(self, state: Followed) -> None:
        self.state = state
        if state.error is None:
            self._host.monitor.clear(self._source)
        else:
            self._host.monitor.report(self._source, said(state))
        self._say(state)

    def _say(self, state: Followed) -> None:
        if self._tell is not None:
            try:
                self._tell(state)
            except Exception:  # noqa: BLE001 -- a view that is gone must not end the reload
                _log.exception("%s: the view of it failed", self.path)


def _found(path: Path) -> tuple[Path, list[Path] | None]:
    """`path` from the root, and the component files in it when it is a folder."""
    path = path.expanduser().absolute()
    if path.is_dir():
        return path, component_files(path)
    if not path.exists():
        raise NotFoundError(f"there is no file {path}")
    return path, None


def said(state: Followed) -> str:
    """What is wrong with a followed file, in one text."""
    error = state.error
    problems = "; ".join(error.problems) if isinstance(error, ComponentError) else str(error)
    if isinstance(error, ComponentError) and error.hint is not None:
        problems += f" ({error.hint})"
    if problems.startswith("line "):
        problems = f"{state.path.name}, {problems}"
    if state.deployment is None:
        return problems
    return f"{problems}; {state.deployment.version} still serves"


def _look(
    path: Path, name: str | None, version: str | None, loader: Loader
) -> tuple[Reading, float]:
    """Read a component file; and when it or an import was saved last, in seconds of wall time."""
    reading = read_component(path, name, version, loader=loader)
    if reading.source is None and (_size(path) == 0 or path.suffix in WASM):
        time.sleep(PATIENCE)  # an editor may be about to write it, or a compiler about to end
        reading = read_component(path, name, version, loader=loader)
    times = [0.0]
    for each in reading.paths:
        with suppress(OSError):
            times.append(each.stat().st_mtime)
    return reading, max(times)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
