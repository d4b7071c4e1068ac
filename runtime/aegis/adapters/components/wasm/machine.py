"""The machine under all guests: compiles modules once, and stops what runs for too long."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import wasmtime
from wasmtime.component import Component

TICK = 0.01  # seconds of an epoch: how exactly a guest is stopped
STACK = 512 * 1024  # bytes of a guest's stack
MOST = 64 << 20  # bytes of a module: what is larger is no component
KEPT = 8  # compiled modules in memory that nobody may be using
COMPONENT = b"\x00asm\x0d\x00\x01\x00"
MODULE = b"\x00asm\x01\x00\x00\x00"

Compiled = Component | wasmtime.Module


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one guest may use: seconds of computing, bytes of memory and of an answer, and fuel.

    Fuel is counted only where it is said. `elements` are those of all its tables.
    """

    seconds: float = 1.0
    memory: int = 64 << 20
    output: int = 1 << 20
    fuel: int | None = None
    elements: int = 20_000
    instances: int = 32


class Machine:
    """Compiles for this process. `folder` keeps what is compiled, None keeps nothing on disk.

    What is on disk is machine code, so it is as trusted as the host's own files: it is kept by the
    digest of the module and the version and settings of wasmtime, and checked against its own.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._engines: dict[bool, wasmtime.Engine] = {}
        self._known: OrderedDict[tuple[str, bool], Compiled] = OrderedDict()
        # Stopped calls are numbered through, so that a number means one of whatever revision.
        self.numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._running = 0
        self._ticking = threading.Condition()
        self._ticker: threading.Thread | None = None

    def engine(self, *, fuel: bool = False) -> wasmtime.Engine:
        """The engine, or the one that counts fuel."""
        with self._lock:
            if fuel not in self._engines:
                config = wasmtime.Config()
                config.epoch_interruption = True
                config.consume_fuel = fuel
                config.max_wasm_stack = STACK
                # Threads of a guest could outlive its call, and share what the limits count.
                config.wasm_threads = False
                config.shared_memory = False
                self._engines[fuel] = wasmtime.Engine(config)
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
            found = kind(engine, binary)
            if path is not None:
                self._keep(path, bytes(found.serialize()))
        with self._lock:
            self._known[key] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    @cached_property
    def _settings(self) -> str:
        """What compiled code depends on besides the module."""
        said = (version("wasmtime"), os.uname().machine, STACK, "1")
        return hashlib.sha256(repr(said).encode()).hexdigest()[:16]

    def _path(self, digest: str, *, fuel: bool) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{digest}-{self._settings}{'-fuel' if fuel else ''}.cwasm"

    def _kept(self, engine: wasmtime.Engine, kind: type[Compiled], path: Path) -> Compiled | None:
        """What is on disk, None where there is nothing sound."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, code = content[:32], content[32:]
        if hashlib.sha256(code).digest() == digest:
            with suppress(wasmtime.WasmtimeError):  # another processor's, say
                return kind.deserialize(engine, code)
        return None

    def _keep(self, path: Path, code: bytes) -> None:
        """Write what was compiled, whole or not at all; without a disk it is compiled again."""
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(code).digest() + code)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    @contextmanager
    def ticking(self) -> Generator[None]:
        """Let epochs go by meanwhile: `TICK` seconds each, while any guest runs."""
        with self._ticking:
            self._running += 1
            if self._ticker is None:
                self._ticker = threading.Thread(
                    target=self._tick, name="aegis-wasm-clock", daemon=True
                )
                self._ticker.start()
            elif self._running == 1:
                self._ticking.notify()
        try:
            yield
        finally:
            with self._ticking:
                self._running -= 1

    def _tick(self) -> None:
        while True:
            with self._ticking:
                while not self._running:
                    self._ticking.wait()
            time.sleep(TICK)
            with self._lock:
                engines = list(self._engines.values())
            for engine in engines:
                engine.increment_epoch()


def ticks(seconds: float) -> int:
    """So many epochs, of which the first one has begun already."""
    return max(1, round(seconds / TICK)) + 1
