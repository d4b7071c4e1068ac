"""Tells when files change, vanish or come back."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from watchfiles._rust_notify import RustNotify

from aegis.core.manifest import WASM

# Milliseconds: a save is told when the folder has been quiet for STEP, or after DEBOUNCE.
DEBOUNCE = 50
STEP = 10
# How often the files are looked at besides. It finds what the system does not tell: changes on
# many network and container mounts, and folders that were replaced by others.
LOOK = 1000

Mark = tuple[int, ...]


class Notices:
    """Follows paths on a thread of its own until it is closed.

    `tell` is called on that thread with the paths that may have changed, at first with all. Where
    the system tells no changes (network and container mounts), they are found within LOOK; with
    WATCHFILES_FORCE_POLLING=1 in WATCHFILES_POLL_DELAY_MS (300).
    """

    def __init__(self, tell: Callable[[frozenset[Path]], object]) -> None:
        self._tell = tell
        self._paths: frozenset[Path] = frozenset()
        self._stop = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="aegis-notices", daemon=True)

    def follow(self, paths: Collection[Path]) -> None:
        """Follow exactly `paths`, whether they exist or not; what is new among them is told."""
        new = frozenset(paths)
        if new == self._paths or self._closed:
            return
        self._paths = new
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._stop.set()

    def close(self, wait: float = 0.0) -> None:
        """Follow nothing any more. Any thread may call it, and need not wait.

        Before the process ends its thread has to be gone, for which `wait` is the time, in seconds:
        cut in the middle of the library's own code it may keep the process from ending.
        """
        self._closed = True
        self._stop.set()
        if wait and self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(wait)

    def _run(self) -> None:
        seen: dict[Path, Mark | None] = {}
        while not self._closed:
            self._stop.clear()
            paths = self._paths
            folders = _folders(paths)
            notify = _notify(folders)
            with notify:
                while True:
                    now = {path: _mark(path) for path in paths}
                    changed = {p for p in paths if p not in seen or seen[p] != now[p]}
                    seen = now
                    if changed:
                        self._tell(frozenset(changed))
                    if _folders(paths) != folders:
                        break  # one came, went or was replaced: the system follows the old one
                    found = notify.watch(DEBOUNCE, STEP, LOOK, self._stop)
                    if found == "stop" or self._closed:
                        break
                    if isinstance(found, set):
                        # A second save within the clock's grain leaves the marks as they were.
                        for _, name in found:
                            path = Path(name)
                            seen.pop(path, None)
                            if path.suffix in {".py", *WASM}:
                                seen.pop(path.parent, None)  # if it is that which is followed


def _notify(folders: Iterable[Path]) -> RustNotify:
    said = os.environ.get("WATCHFILES_FORCE_POLLING", "").lower()
    polling = said not in {"", "0", "false", "disable", "disabled"}
    delay = int(os.environ.get("WATCHFILES_POLL_DELAY_MS", "300"))
    names = [str(folder) for folder in folders]
    try:
        return RustNotify(names, False, polling, delay, False, True)
    except OSError:
        # Every watch of the system is taken, or a folder just went: looking is what remains.
        return RustNotify([], False, polling, delay, False, True)


def _folders(paths: Iterable[Path]) -> Mapping[Path, Mark]:
    """The folders that hold `paths` and exist, each with its identity."""
    found = {}
    for folder in {folder for path in paths for folder in (path.parent, path)}:
        try:
            about = folder.stat()
        except OSError:
            continue
        if stat.S_ISDIR(about.st_mode):
            found[folder] = (about.st_dev, about.st_ino)
    return found


def _mark(path: Path) -> Mark | None:
    """What changes when the file does; None when there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return (about.st_mtime_ns, about.st_size, about.st_ino, about.st_mode)
