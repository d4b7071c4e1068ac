"""The kinds of datasources that come with Aegis, and those that every host has by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from aegis.adapters.storage.datasources.memory import MemoryDatasource
from aegis.core.errors import ConfigError, closest
from aegis.protocols import Datasource

BUILT_IN = ("memory", "files", "sqlite", "duckdb")


class _Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str


class _Mongo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    database: str


_SETTINGS: Mapping[str, type[msgspec.Struct]] = {
    "memory": _Memory,
    "files": _Kept,
    "sqlite": _Kept,
    "duckdb": _Kept,
    "mongodb": _Mongo,
}


def making(
    said: Mapping[str, Mapping[str, Any]], data: Path | None
) -> Mapping[str, Callable[[], Datasource]]:
    """What makes a datasource, by its name: those that `said` describes, and the built-in ones.

    `data` is the host's data directory, below which the built-in ones are; without one they forget,
    as the host does. Raises ConfigError naming what is wrong.
    """
    made: dict[str, Callable[[], Datasource]] = {}
    for name in BUILT_IN:
        kept = data is not None and name != "memory"
        settings = _Kept(str(data / "datasources" / name)) if data and kept else _Memory()
        made[name] = partial(_make, name, name if kept else "memory", settings)
    for name, table in said.items():
        made[name] = partial(_make, name, *_read(name, table))
    return made


def _read(name: str, table: Mapping[str, Any]) -> tuple[str, msgspec.Struct]:
    given = dict(table)
    kind = given.pop("kind", None)
    if kind not in _SETTINGS:
        raise ConfigError(
            f"[datasources.{name}] has the kind {kind!r}",
            hint=closest(str(kind), _SETTINGS) or f"kinds are {', '.join(_SETTINGS)}",
        )
    try:
        return kind, msgspec.convert(given, _SETTINGS[kind])
    except msgspec.ValidationError as error:
        raise ConfigError(f"[datasources.{name}]: {error}") from None


def _make(name: str, kind: str, settings: Any) -> Datasource:
    if kind == "files":
        from aegis.adapters.storage.datasources.files import FilesDatasource

        return FilesDatasource(Path(settings.path).expanduser())
    if kind == "sqlite":
        from aegis.adapters.storage.datasources.sqlite import SqliteDatasource

        return SqliteDatasource(Path(settings.path).expanduser())
    if kind == "duckdb":
        from aegis.adapters.storage.datasources.duckdb import DuckDatasource

        return DuckDatasource(Path(settings.path).expanduser())
    if kind == "mongodb":
        try:
            from aegis.adapters.storage.datasources.mongo import MongoDatasource
        except ImportError as error:
            raise ConfigError(
                f"datasource {name!r} needs the package {error.name}",
                hint="pip install 'aegis-kernel[mongo]'",
            ) from error
        return MongoDatasource(settings.url, settings.database, name=name)
    return MemoryDatasource()
