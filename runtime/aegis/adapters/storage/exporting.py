"""Writes an export: one file, private, there when it is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import aegis
from aegis.core.errors import AegisError, ConflictError, NotFoundError, StoreError, closest
from aegis.core.moving import EXPORT, Header, Part, Progress, digest, written
from aegis.core.record import Record


def header(
    counts: Mapping[str, int], schemas: Mapping[str, bytes], models: Sequence[str], seq: int
) -> Header:
    """What an export of `models` begins with, of all when none is named. Raises NotFoundError."""
    known = sorted({*counts, *schemas})
    for model in models:
        if model not in known:
            raise NotFoundError(
                f"there is no model {model!r} here",
                hint=closest(model, known) or f"there are {', '.join(known) or 'none'}",
            )
    return Header(
        format=EXPORT,
        version=aegis.__version__,
        made=now(),
        seq=seq,
        models={
            model: Part(counts.get(model, 0), digest(schemas.get(model)))
            for model in sorted(models or known)
        },
    )


def write(target: Path, header: Header, records: Iterable[Record], told: Progress) -> None:
    """Write an export to `target`, which appears when it is whole and durable."""
    if target.exists():
        raise ConflictError(f"{target} exists already", hint="name a new file")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(file, "wb") as out:
                out.writelines(written(header, records, told))
                out.flush()
                os.fsync(out.fileno())
            part.rename(target)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        settle(target.parent)
    except OSError as error:
        raise full(target, error) from error


def settle(directory: Path) -> None:
    """Make durable which names `directory` holds."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def now() -> str:
    """Wall time as RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def full(path: Path, error: OSError) -> AegisError:
    """What to raise when `path` cannot be written."""
    return StoreError(f"{path} cannot be written: {error.strerror or error}")
