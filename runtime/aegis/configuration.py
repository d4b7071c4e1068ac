"""aegis.toml and the environment, read once into one frozen Config."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from aegis.core.address import FORGES, Forge, forge_of
from aegis.core.allowance import Allowance
from aegis.core.caching import Caching
from aegis.core.errors import ConfigError, InvalidError, closest
from aegis.core.grant import read_grant
from aegis.core.keep import Keep
from aegis.core.lock import FILE as LOCK
from aegis.core.lock import Wanted
from aegis.core.manifest import NAME
from aegis.core.manifest import TABLE as COMPONENT
from aegis.core.policy import TABLE, Policy, spelled
from aegis.core.port import REQUIRED
from aegis.core.rehearsal import Gate
from aegis.core.trust import Trusted
from aegis.engine.resident import defaults_of

FILE = "aegis.toml"
RECORDINGS = "replay.recordings"
KEY = "keys.recordings"
FIELDS = "keys.fields"
SOURCES = "sources"
INDEX = "libraries.index"
COMPONENTS = "components"
WASM = "wasm"

_YES = {"1", "true", "yes"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """All that a host is built from.

    `data` is its data directory (None keeps everything in memory), `fetched` where else what was
    fetched is kept, `host` and `port` where it
    listens (port 0 takes a free one), `token` what callers must show (None lets everybody in),
    `names` further host names it answers to. `values` are what components ask for with
    `config("table.key")`, `overrides` those of the command line, `bindings` which adapter a
    Protocol gets where several do it, `grants` what a component may reach of others. `datasources`
    describe where models can be kept besides the host's store, `stores` says of models
    (`orders.Note`) in which they are. `components` are deployed at the start, `lock` is the file
    that says which versions, and with `locked` no others. `trusted` says which keys may sign what
    comes from where, and so does a file in `pins`, the data directory without.
    `directory` is what paths of sources are relative to, the working directory without; `forges`
    are the tables `[sources.NAME]` as they were written.
    `gate` is what a version has to pass that comes by itself.
    """

    data: Path | None = None
    fetched: Path | None = None
    directory: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    names: tuple[str, ...] = ()
    bindings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    grants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    values: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    keep: Keep = field(default_factory=Keep)
    datasources: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    stores: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    caching: Caching = field(default_factory=Caching)
    gate: Gate = field(default_factory=Gate)
    trusted: Trusted = field(default_factory=Trusted)
    pins: Path | None = None
    forges: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    components: Mapping[str, Wanted] = field(default_factory=lambda: MappingProxyType({}))
    lock: Path | None = None
    locked: bool = False
    overrides: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def cache(self) -> Path | None:
        """Where what was fetched is kept, None for in memory."""
        return self.data if self.fetched is None else self.fetched

    @property
    def defaults(self) -> Policy:
        """How ports are attempted that say nothing themselves. Raises ConfigError."""
        return defaults_of(self.lookup, Policy())

    @property
    def recordings(self) -> bool:
        """Whether what adapters answer is kept, sealed, to be replayed. Raises ConfigError."""
        said = self._find(RECORDINGS)
        try:
            return msgspec.convert(True if said is REQUIRED else said, bool, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"configuration value {RECORDINGS!r}: {error}") from None

    @property
    def recordings_key(self) -> str | None:
        """The key that recordings are sealed with; None leaves it to a file beside the data."""
        return self._key(KEY)

    @property
    def fields_key(self) -> str | None:
        """The key that the keys of sealed fields are locked with; None leaves them unlocked."""
        return self._key(FIELDS)

    @cached_property
    def sources(self) -> Mapping[str, Forge]:
        """The servers of repositories by name, those that come with Aegis and one's own.

        The environment goes before the file: AEGIS_SOURCES_WORK_TOKEN. Raises ConfigError.
        """
        found = {}
        for name in (*FORGES, *(self.forges.keys() - FORGES.keys())):
            said = {
                **self.forges.get(name, {}),
                **{
                    key: value
                    for key in Forge.__struct_fields__
                    if (value := self._find(f"{SOURCES}.{name}.{key}")) is not REQUIRED
                },
            }
            try:
                found[name] = forge_of(name, said, FORGES.get(name)) if said else FORGES[name]
            except InvalidError as error:
                raise ConfigError(error.detail, hint=error.hint) from None
        return MappingProxyType(found)

    @property
    def index(self) -> str | None:
        """Where libraries are looked for that a manifest does not place; None as pip does."""
        said = self._find(INDEX)
        if said is not REQUIRED and not isinstance(said, str):
            raise ConfigError(f"configuration value {INDEX!r} is text, the address of an index")
        return None if said is REQUIRED else said

    @cached_property
    def allowance(self) -> Allowance:
        """The most that a component in WebAssembly gets. Raises ConfigError.

        The environment goes before the file: AEGIS_WASM_SECONDS.
        """
        table = self.values.get(WASM, {})
        said = dict(table) if isinstance(table, Mapping) else table
        try:
            if isinstance(said, dict):
                for key in Allowance.__struct_fields__:
                    value = self._find(f"{WASM}.{key}")
                    if value is not REQUIRED:
                        said[key] = value
            return msgspec.convert(said, Allowance, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"[{WASM}]: {error}") from None

    def _key(self, name: str) -> str | None:
        said = self._find(name)
        if said is not REQUIRED and not isinstance(said, str):
            raise ConfigError(f"configuration value {name!r} is text, 32 bytes in base64 or hex")
        return None if said is REQUIRED else said

    def lookup(self, key: str) -> Any:
        """The value of a component's `config(key)`; REQUIRED itself when nothing says it.

        The command line goes before the environment (`AEGIS_PAYMENTS_KEY` for `payments.key`),
        and that before the file. The host's own keys are no component's business.
        """
        is_own = key in (KEY, FIELDS) or key.partition(".")[0] in {SOURCES, COMPONENT, WASM}
        return REQUIRED if is_own else self._find(key)

    def _find(self, key: str) -> Any:
        if key in self.overrides:
            return self.overrides[key]
        name = "AEGIS_" + key.upper().replace(".", "_").replace("-", "_")
        if name in self.environment:
            return self.environment[name]
        found: Any = self.values
        for part in key.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return REQUIRED
            found = found[part]
        return found


def read(directory: Path | None = None, **given: Any) -> Config:
    """The Config of a directory's aegis.toml and the environment; `given` goes before both.

    Raises ConfigError naming the file and the key at fault. Tables `[ports]` (timeout, retries,
    backoff, factor, backoff_most, jitter, breaker), `[bind]` (Protocol = adapter), `[grants]`
    (component = what it may reach of others: `["orders.Order:read", "orders:order.*"]`), `[server]`
    (host, port, names), `[components]` (name = address, or source, follow, every, gate: see
    Wanted), `[keep]` (see Keep), `[cache]` (see Caching), `[gate]` (see Gate), `[datasources.NAME]`
    (kind, and path or url and database), `[stores]` ("component.Model" = datasource),
    `[sources.NAME]` (see Forge), `[trust]` (unsigned) and `[trust.pins]` (pattern of addresses =
    keys; see Trusted), `[wasm]` (see Allowance) and `[component]` (see Manifest) are the host's
    own, and so are `replay.recordings` (true or false), `keys.recordings` (see adapters/cipher.py),
    `keys.fields` (see adapters/vault.py) and `libraries.index` (the address of a package index);
    every other table is for components.
    """
    path = (directory or Path.cwd()) / FILE
    content: dict[str, Any] = {}
    if path.is_file():
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{path.name} cannot be read: {error}") from error
    try:
        bindings = msgspec.convert(_flat(content.pop("bind", {})), dict[str, str])
        grants = msgspec.convert(content.pop("grants", {}), dict[str, tuple[str, ...]])
        for granted in grants.values():
            for text in granted:
                read_grant(text)
        server = msgspec.convert(content.pop("server", {}), dict[str, Any])
        keep = msgspec.convert(content.pop("keep", {}), Keep)
        datasources = msgspec.convert(content.pop("datasources", {}), dict[str, dict[str, Any]])
        stores = msgspec.convert(content.pop("stores", {}), dict[str, str])
        caching = msgspec.convert(content.pop("cache", {}), Caching)
        gate = msgspec.convert(content.pop("gate", {}), Gate)
        trusted = _trusted(content.pop("trust", {}))
        forges = msgspec.convert(content.pop(SOURCES, {}), dict[str, dict[str, Any]])
        content.pop(COMPONENT, None)  # what the folder itself is as a source
        components = _components(content.pop(COMPONENTS, {}))
        spelled({TABLE: msgspec.convert(content.get(TABLE, {}), dict[str, Any])})
    except (msgspec.ValidationError, ConfigError, InvalidError) as error:
        raise ConfigError(f"{path.name}: {error}") from error
    allowed = {"host", "port", "names"}
    for key in server:
        if key not in allowed:
            raise ConfigError(f"{path.name}: [server] has no {key!r}", hint=closest(key, allowed))
    if "names" in server:
        server["names"] = tuple(server["names"])
    environment = {name: text for name, text in os.environ.items() if name.startswith("AEGIS_")}
    settings: dict[str, Any] = {
        "bindings": MappingProxyType(bindings),
        "grants": MappingProxyType(grants),
        "keep": keep,
        "datasources": MappingProxyType(datasources),
        "stores": MappingProxyType(stores),
        "caching": caching,
        "gate": gate,
        "trusted": trusted,
        "directory": path.parent.absolute(),
        "forges": MappingProxyType(forges),
        "components": MappingProxyType(components),
        "lock": path.with_name(LOCK),
        "environment": MappingProxyType(environment),
        **server,
        **given,
        "values": MappingProxyType(content),
    }
    config = Config(**settings)
    spelled(config.overrides)
    _ = (
        config.defaults,
        config.recordings,
        config.recordings_key,
        config.fields_key,
        config.sources,
        config.index,
        config.allowance,
    )  # a value that is wrong is told now
    return config


def _trusted(table: Any) -> Trusted:
    """What `[trust]` says. Raises ConfigError."""
    said = msgspec.convert(table, _Trust)
    trusted = Trusted(pins=said.pins, unsigned=said.unsigned)
    try:
        trusted.check()
    except InvalidError as error:
        raise ConfigError(f"[trust]: {error.detail}", hint=error.hint) from None
    return trusted


class _Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[trust]`. What is older is allowed with `aegis keys allow-older`."""

    pins: dict[str, tuple[str, ...]] = {}
    unsigned: tuple[str, ...] = ()


def environment() -> dict[str, Any]:
    """What the environment says of the host itself, by the names of Config, as far as it does.

    AEGIS_PORT, AEGIS_DATA, AEGIS_TOKEN, AEGIS_EPHEMERAL (1, true or yes: `data` is None), and
    AEGIS_LOCKED (as that: nothing is deployed at the start but what is in aegis.lock). Raises
    ConfigError.
    """
    said = {name: text for name, text in os.environ.items() if text}
    found: dict[str, Any] = {}
    if "AEGIS_PORT" in said:
        try:
            found["port"] = int(said["AEGIS_PORT"])
        except ValueError:
            raise ConfigError(f"AEGIS_PORT is {said['AEGIS_PORT']!r}, which is no number") from None
    if "AEGIS_TOKEN" in said:
        found["token"] = said["AEGIS_TOKEN"]
    if "AEGIS_DATA" in said:
        found["data"] = Path(said["AEGIS_DATA"]).expanduser().absolute()
    if said.get("AEGIS_EPHEMERAL", "").lower() in _YES:
        found["data"] = None
    if said.get("AEGIS_LOCKED", "").lower() in _YES:
        found["locked"] = True
    return found


def _components(table: Any) -> dict[str, Wanted]:
    """What `[components]` says. Raises ConfigError, msgspec.ValidationError."""
    wanted: dict[str, Wanted] = {}
    for name, said in msgspec.convert(table, dict[str, Any]).items():
        if not NAME.match(name):
            raise ConfigError(
                f"[{COMPONENTS}]: {name!r} is no name of a component",
                hint="lower case letters, digits, - and _, a letter first",
            )
        spelled_out = {"source": said} if isinstance(said, str) else said
        try:
            wanted[name] = msgspec.convert(spelled_out, Wanted)
        except msgspec.ValidationError as error:
            raise ConfigError(f"[{COMPONENTS}] {name}: {error}") from None
        if not wanted[name].source.strip():
            raise ConfigError(f"[{COMPONENTS}] {name}: its address is empty")
    return wanted


def _flat(table: Any, prefix: str = "") -> Any:
    """`{"orders": {"Payments": "X"}}` as `{"orders.Payments": "X"}`."""
    if not isinstance(table, Mapping):
        return table
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
