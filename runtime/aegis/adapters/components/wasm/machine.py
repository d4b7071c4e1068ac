"""The machine under all guests: compiles modules once, and stops what runs for too long."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import wasmtime
from wasmtime.component import Component

from aegis.adapters.components.wasm import compiling
from aegis.adapters.components.wasm.compiling import STACK, config_of

TICK = 0.01  # seconds of an epoch: how exactly a guest is stopped
SMALL = 16 << 10  # bytes of a module that is compiled at once, which may take a few seconds
MOST = 64 << 20  # bytes of a module: what is larger is no component
ON_DISK = 1 << 30  # bytes of compiled code
KEPT = 8  # compiled modules in memory that nobody may be using
GRACE = 0.25  # seconds over its time after which one that no epoch stops is given up
ASLEEP = 1.0  # seconds without a guest after which nobody counts time
COMPONENT = b"\x00asm\x0d\x00\x01\x00"
MODULE = b"\x00asm\x01\x00\x00\x00"

_log = logging.getLogger("aegis.wasm")

Compiled = Component | wasmtime.Module


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one guest may use: seconds of computing, bytes of memory and of an answer, and fuel.

    Fuel is counted only where it is said. `output` is also what it may give the host in one text
    that it asks or emits. `memory` is that of one memory, of which a plain module has one, and a
    component that was put together of several modules `memories` at most; `elements` are those of
    one table, of which there are `tables`.
    """

    seconds: float = 1.0
    memory: int = 64 << 20
    output: int = 1 << 20
    fuel: int | None = None
    memories: int = 4
    elements: int = 50_000
    tables: int = 16
    instances: int = 64


class Run(Protocol):
    """A guest that computes now."""

    @property
    def due(self) -> float:
        """When its time is over, as time.monotonic() counts."""
        ...

    def lose(self) -> None:
        """It is over its time, in a call of WASI that no epoch ends perhaps: go on without it."""
        ...


class Machine:
    """Compiles for this process. `folder` keeps what is compiled, None keeps nothing on disk.

    What is on disk is machine code, so it is as trusted as the host's own files: only in a folder
    that nobody else can write to. It is kept by the digest of the module and the version and
    settings of wasmtime, checked against its own, and goes when it was not used for longest.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._engines: dict[bool, wasmtime.Engine] = {}
        self._known: OrderedDict[tuple[str, bool], Compiled] = OrderedDict()
        # Stopped calls are numbered through, so that a number means one of whatever revision.
        self.numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._runs: set[Run] = set()
        self._watch = threading.Condition()
        self._ticker: threading.Thread | None = None
        self._is_resting = False

    def engine(self, *, fuel: bool = False) -> wasmtime.Engine:
        """The engine, or the one that counts fuel."""
        with self._lock:
            if fuel not in self._engines:
                self._engines[fuel] = wasmtime.Engine(config_of(fuel=fuel))
            return self._engines[fuel]

    def compiled(self, binary: bytes, *, fuel: bool = False) -> Compiled:
        """The compiled code of a module or component. Raises wasmtime.WasmtimeError for neither."""
        digest = hashlib.sha256(binary).hexdigest()
        key = (digest, fuel)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        engine = self.engine(fuel=fuel)
        kind: type[Compiled] = Component if binary.startswith(COMPONENT) else wasmtime.Module
        path = self._path(digest, fuel=fuel)
        found = None if path is None else self._kept(engine, kind, path)
        if found is None:
            found, code = self._compile(engine, kind, binary, fuel=fuel)
            if path is not None:
                self._keep(path, code or bytes(found.serialize()))
        with self._lock:
            self._known[key] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    @staticmethod
    def _compile(
        engine: wasmtime.Engine, kind: type[Compiled], binary: bytes, *, fuel: bool
    ) -> tuple[Compiled, bytes]:
        """The compiled module, and its code where a process made it, which can be stopped."""
        if len(binary) <= SMALL:
            return kind(engine, binary), b""
        given = ("component" if kind is Component else "module", str(int(fuel)))
        try:
            done = subprocess.run(  # noqa: S603 -- this Python, and a file of ours
                [sys.executable, "-P", compiling.__file__, *given],
                input=binary,
                capture_output=True,
                timeout=compiling.PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise wasmtime.WasmtimeError("it does not come to an end") from None
        if done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
            raise wasmtime.WasmtimeError(f"it takes more than {compiling.SECONDS} s")
        if done.returncode or not done.stdout:
            raise wasmtime.WasmtimeError(f"it takes more than {compiling.MEMORY >> 20:,} MiB")
        if done.stdout[:1] == b"\0":
            raise wasmtime.WasmtimeError(done.stdout[1:].decode(errors="replace"))
        return kind.deserialize(engine, done.stdout[1:]), done.stdout[1:]

    @cached_property
    def _is_private(self) -> bool:
        """Whether the folder is there, and nobody else can put code into it."""
        assert self._folder is not None  # noqa: S101 -- nobody asks then
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            about = self._folder.stat()
        except OSError:
            return False
        is_own = about.st_uid == os.getuid() and not about.st_mode & 0o022
        if not is_own:
            _log.warning("%s is not used: others can write to it; chmod 700 it", self._folder)
        return is_own

    @cached_property
    def _settings(self) -> str:
        """What compiled code depends on besides the module."""
        said = (version("wasmtime"), os.uname().machine, STACK, "3")
        return hashlib.sha256(repr(said).encode()).hexdigest()[:16]

    def _path(self, digest: str, *, fuel: bool) -> Path | None:
        if self._folder is None or not self._is_private:
            return None
        return self._folder / f"{digest}-{self._settings}{'-fuel' if fuel else ''}.cwasm"

    def _kept(self, engine: wasmtime.Engine, kind: type[Compiled], path: Path) -> Compiled | None:
        """What is on disk, None where there is nothing sound."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, code = content[:32], content[32:]
        if _digest(path, code) == digest:
            with suppress(wasmtime.WasmtimeError):  # another processor's, say
                found = kind.deserialize(engine, code)
                with suppress(OSError):
                    os.utime(path)
                return found
        return None

    def _keep(self, path: Path, code: bytes) -> None:
        """Write what was compiled, whole or not at all; without a disk it is compiled again."""
        with suppress(OSError):
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_digest(path, code) + code)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            _forget(path.parent)

    def begin(self, run: Run) -> None:
        """Let epochs go by from now on, `TICK` seconds each, for as long as any guest runs."""
        with self._watch:
            self._runs.add(run)
            if self._ticker is None:
                self._ticker = threading.Thread(
                    target=self._tick, name="aegis-wasm-clock", daemon=True
                )
                self._ticker.start()
            elif self._is_resting:
                self._watch.notify()

    def end(self, run: Run) -> None:
        """It runs no more."""
        with self._watch:
            self._runs.discard(run)

    def _tick(self) -> None:
        """Count epochs by the clock: when this thread gets no turn, several at once afterwards."""
        last = time.monotonic()
        idle = 0.0
        while True:
            with self._watch:
                if not self._runs:
                    # Guests that are called one after the other should not wake it each time.
                    idle = idle or last
                    if last - idle > 10 * TICK:
                        self._is_resting = True
                        is_called = self._watch.wait(ASLEEP)
                        self._is_resting = False
                        if not is_called and not self._runs:
                            self._ticker = None
                            return
                        idle, last = 0.0, time.monotonic()
                else:
                    idle = 0.0
            time.sleep(TICK)
            now = time.monotonic()
            with self._lock:
                engines = list(self._engines.values())
            while last + TICK <= now:
                last += TICK
                for engine in engines:
                    engine.increment_epoch()
            with self._watch:
                lost = [run for run in self._runs if now > run.due + GRACE]
                self._runs.difference_update(lost)
            for run in lost:
                run.lose()


@cache
def machine_of(folder: Path | None) -> Machine:
    """The machine of this process that keeps code there: several hosts compile it once."""
    return Machine(folder)


def _digest(path: Path, code: bytes) -> bytes:
    """What is in a file of compiled code before the code: of that, and of what it is kept as."""
    return hashlib.sha256(path.name.encode() + b"\0" + code).digest()


def _forget(folder: Path) -> None:
    """Leave in a folder no more than may be, of what was used last. Raises OSError."""
    files = [(path, path.stat()) for path in folder.glob("*.cwasm")]
    files.sort(key=lambda file: -file[1].st_mtime_ns)
    size = 0
    for path, about in files:
        size += about.st_size
        if size > ON_DISK:
            path.unlink(missing_ok=True)


def ticks(seconds: float) -> int:
    """So many epochs, of which the first one has begun already."""
    return max(1, math.ceil(seconds / TICK)) + 1
