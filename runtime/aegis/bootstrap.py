"""The composition root, the only file that picks adapters: a Config becomes host and server."""

from __future__ import annotations

import gc
import importlib
import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aegis.adapters.clock import SystemClock
from aegis.adapters.components.polyglot import PolyglotLoader
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.libraries.shelf import Shelf
from aegis.configuration import Config
from aegis.core.lock import Lock
from aegis.core.port import Secret
from aegis.core.sealing import Vault
from aegis.core.trust import Trusted
from aegis.engine.elsewhere import Datasources
from aegis.engine.host import Host
from aegis.protocols import (
    Analyst,
    Cipher,
    Libraries,
    Loader,
    Lockfile,
    Sighted,
    Sources,
    Store,
    Trust,
)

if TYPE_CHECKING:
    from aegis.adapters.components.watch import Watcher
    from aegis.adapters.http.server import Server
    from aegis.core.bundle import Bundle
    from aegis.core.component import Library
    from aegis.core.moving import Progress


def build_host(config: Config) -> Host:
    """A host as `config` says, not opened yet."""
    shelf = Shelf(None if config.cache is None else config.cache / "libraries")
    loader = _loader(config, PythonLoader(shelf.wheel))
    sources, trust = build_sources(config, loader), _trust(config)
    host = Host(
        store=_store(config),
        clock=SystemClock(),
        loader=loader,
        lookup=config.lookup,
        bindings=config.bindings,
        grants=config.grants,
        cipher=_cipher(config),
        vault=_vault(config),
        keep=config.keep,
        caching=config.caching,
        scratch=_scratch,
        analyst=_analyst,
        backups=None if config.data is None else str(config.data / "backups"),
        datasources=_datasources(config),
        stores=config.stores,
        trust=trust,
        sources=sources,
        libraries=_Wheels(config, shelf, sources, trust),
        components=config.components,
        lockfile=_lockfile(config),
        locked=config.locked,
    )
    if config.recordings:
        host.guard(config.gate)  # what comes by itself, comes by what was recorded
    return host


async def lock(config: Config, upgrade: Collection[str] | None = ()) -> tuple[Lock, Lock]:
    """The lock before and after what `Host.lock` does, without a running host.

    Raises as that does.
    """
    lockfile = _lockfile(config)
    before = {} if lockfile is None else await lockfile.read()
    # A host in memory, so whoever owns the data directory is not in the way.
    apart = replace(config, data=None, fetched=config.cache, pins=config.pins or config.data)
    async with build_host(apart) as host:
        return before, await host.lock(upgrade)


class _Wheels(Libraries):
    """The libraries of components, found by what few hosts need and takes time to import."""

    def __init__(self, config: Config, shelf: Shelf, sources: Sources, trust: Trust) -> None:
        self._parts = (config, shelf, sources, trust)
        self._made: Libraries | None = None

    async def provide(self, bundle: Bundle, *, told: Progress | None = None) -> Sequence[Library]:
        if not bundle.manifest.dependencies:
            return ()
        if self._made is None:
            from aegis.adapters.libraries.provider import WheelLibraries

            config, shelf, sources, trust = self._parts
            self._made = WheelLibraries(shelf, index=config.index, sources=sources, trust=trust)
        return await self._made.provide(bundle, told=told)


def _loader(config: Config, python: PythonLoader | None = None) -> Loader:
    """What makes revisions of sources in any language."""
    folder = None if config.cache is None else config.cache / "wasm"
    return PolyglotLoader(python, folder=folder, most=config.allowance)


def build_sources(config: Config, loader: Loader | None = None) -> Sources:
    """What fetches components from wherever they are; `loader` is the host's, if there is one."""
    from aegis.adapters.sources.anywhere import Anywhere

    return Anywhere(
        directory=config.directory,
        forges=config.sources,
        folder=None if config.cache is None else config.cache / "sources",
        loader=loader or _loader(config),
    )


def _lockfile(config: Config) -> Lockfile | None:
    """What keeps the versions of components, beside aegis.toml."""
    if config.lock is None:
        return None
    from aegis.adapters.components.lockfile import TomlLockfile

    return TomlLockfile(config.lock)


def _trust(config: Config) -> Trust:
    """What says whether a component from elsewhere may be deployed."""
    from aegis.adapters.trust.pinned import PinnedTrust
    from aegis.adapters.trust.pins import PinFile

    pins = config.pins or config.data
    return PinnedTrust(config.trusted, None if pins is None else PinFile(pins))


def _datasources(config: Config) -> Datasources:
    """What makes each datasource that a model can name."""
    from aegis.adapters.storage.datasources.kinds import making

    return making(config.datasources, config.data)


def _scratch() -> Store:
    """Where a replay keeps what it does."""
    from aegis.adapters.storage.memory import MemoryStore

    return MemoryStore()


def _analyst(store: Sighted) -> Analyst:
    """What answers questions in SQL; few hosts are asked any."""
    from aegis.adapters.analyst.duckdb import DuckAnalyst

    return DuckAnalyst(store)


def _cipher(config: Config) -> Cipher | None:
    """What seals recordings, None where nothing is recorded. Raises ConfigError."""
    if not config.recordings:
        return None
    from aegis.adapters.cipher import AesCipher, given_key, kept_key, random_key

    if config.recordings_key is not None:
        return AesCipher(given_key(config.recordings_key))
    return AesCipher(random_key() if config.data is None else kept_key(config.data))


def _vault(config: Config) -> Vault:
    """What seals fields. Raises ConfigError."""
    from aegis.adapters.cipher import given_key
    from aegis.adapters.vault import KEY, AesVault, FileKeeper, MemoryKeeper

    lock = None if config.fields_key is None else given_key(config.fields_key, KEY)
    return AesVault(MemoryKeeper() if config.data is None else FileKeeper(config.data, lock))


def _store(config: Config) -> Store:
    if config.data is None:
        from aegis.adapters.storage.memory import MemoryStore

        return MemoryStore()
    from aegis.adapters.storage.sqlite import SqliteStore

    return SqliteStore(config.data)


def build_watcher(host: Host) -> Watcher:
    """What follows component files for an open host, on its loop."""
    from aegis.adapters.components.watch import Watcher

    return Watcher(host)


async def start_server(host: Host, config: Config) -> Server:
    """Serve the API of an open host. Raises AddressInUseError."""
    from aegis.adapters.graph.svg import render
    from aegis.adapters.http.server import start
    from aegis.api.policy import hosts_of
    from aegis.api.router import Router

    router = Router(
        host,
        token=config.token,
        hosts=hosts_of(config.host, config.names),
        render=render,
    )
    server = await start(router, config.host, config.port)
    host.store.announce(server.address)
    host.introduce(address=server.address, token=Secret(config.token or ""))
    host.monitor.at(address=server.address, data=None if config.data is None else str(config.data))
    if _trust(config).trusted() != Trusted():
        threading.Thread(target=_prepare, name="aegis-prepare", daemon=True).start()
    return server


def _prepare() -> None:
    """Import what a first fetch needs: it takes longer than the fetch."""
    for name in (
        "aegis.adapters.sources.client",
        "aegis.adapters.trust.pinned",
        "semantic_version",
    ):
        importlib.import_module(name)


def dedicate() -> None:
    """Tune this process's garbage collector for nothing but serving.

    Of what a request makes next to nothing is in a cycle, so rounds may be rarer. Nothing is
    frozen: a revision that is replaced must be able to leave. Not for a kernel, whose process is
    the user's.
    """
    gc.set_threshold(10_000, 20, 50)
