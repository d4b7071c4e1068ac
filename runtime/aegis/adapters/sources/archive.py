"""Zips, wheels and tarballs, read in memory and within limits: nothing of them is ever written."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from typing import IO

from aegis.adapters.sources.tree import Limits, MemoryTree, Taking
from aegis.core.errors import ManifestError
from aegis.core.manifest import FILE, is_inside

BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,  # gzip.BadGzipFile among others
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    IndexError,
    KeyError,
)
CHUNK = 1 << 16
SMALL = 1 << 20  # bytes that may be packed however well


def unzipped(content: bytes, where: str, limits: Limits) -> MemoryTree:
    """The files of a zip. Raises ManifestError for what is none, or would do harm."""
    # An entry costs the reader far more than the 46 bytes it has in here.
    if content.count(b"PK\x01\x02") > 4 * limits.files:
        raise ManifestError(f"{where}: has more than {limits.files:,} files")
    taking = Taking(where, limits, strict=True)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                _unzip(archive, entry, taking, limits)
    except ManifestError:
        raise
    except BROKEN as error:
        raise ManifestError(f"{where} is no zip that can be read: {error}") from None
    return taking.tree()


def _unzip(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, taking: Taking, limits: Limits
) -> None:
    # The name as it is in the archive: the library's own is cut where there is a null byte.
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.endswith("/"):
        taking.name(name[:-1])
        if entry.file_size or kind not in {0, stat.S_IFDIR}:
            raise taking.error(f"{name} is a folder with content")
        return
    path = taking.name(name)
    if kind not in {0, stat.S_IFREG}:
        raise taking.error(f"{path} is a link or a device")
    if entry.flag_bits & 1:
        raise taking.error(f"{path} is encrypted")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise taking.error(f"{path} is packed in a way that is not read here")
    if not taking.room(path, entry.file_size):
        return
    if entry.file_size > max(SMALL, limits.ratio * entry.compress_size):
        raise taking.error(f"{path} is packed more than {limits.ratio} times")
    with archive.open(entry) as opened:
        taking.take(path, _read(opened, entry.file_size))


def untarred(content: bytes, where: str, limits: Limits) -> MemoryTree:
    """The files of a repository's tarball, without the folder that all of them are in.

    A link or a submodule is refused when it is used. Raises ManifestError.
    """
    taking = Taking(where, limits, strict=False)
    empty: dict[str, bool] = {}
    most = min(len(content) * limits.ratio + SMALL, 4 * limits.total)
    try:
        with (
            gzip.GzipFile(fileobj=io.BytesIO(content)) as packed,
            tarfile.open(fileobj=_Bounded(packed, most, taking), mode="r|") as archive,
        ):
            for entry in archive:
                name = entry.name.rstrip("/")
                _, _, path = name.partition("/")
                if name.startswith("/") or ".." in name.split("/"):
                    raise taking.error(f"{name[:200]!r} leads out of its folder")
                if not is_inside(path):  # the top folder, and what no manifest can name
                    continue
                taking.name(path)
                above = path
                while "/" in above:
                    above = above.rpartition("/")[0]
                    empty[above] = False
                if entry.isdir():
                    empty.setdefault(path, True)
                elif entry.issym() or entry.islnk():
                    taking.refuse(path, "is a link")
                elif not entry.isreg() or entry.issparse():
                    raise taking.error(f"{path} is a device, or a file with holes")
                elif taking.room(path, entry.size):
                    opened = archive.extractfile(entry)
                    taking.take(path, b"" if opened is None else _read(opened, entry.size))
    except ManifestError:
        raise
    except BROKEN as error:
        raise ManifestError(f"{where} is no tarball that can be read: {error}") from None
    for path in (path for path, is_empty in empty.items() if is_empty):
        taking.refuse(path, "is a submodule, whose files are elsewhere")
    return taking.tree()


def without_top(tree: MemoryTree) -> MemoryTree:
    """The tree itself, or its only folder where all of it is in there."""
    if not tree.names() and len(tree.folders) == 1:
        return tree.below(tree.folders[0])
    return tree


def of_wheel(tree: MemoryTree, where: str) -> MemoryTree:
    """The folder of a wheel that has the aegis.toml: its root, or its top package."""
    tops = [name for name in tree.folders if not name.endswith((".dist-info", ".data"))]
    if tree.is_file(FILE):
        return tree
    found = [top for top in tops if tree.is_file(f"{top}/{FILE}")]
    if len(found) == 1:
        return tree.below(found[0])
    raise ManifestError(
        f"{where}: the wheel has " + (f"no {FILE}" if not found else f"several {FILE}"),
        hint=f"put {FILE} into the package",
    )


def _read(opened: IO[bytes], size: int) -> bytes:
    content = opened.read(size)
    if len(content) != size or opened.read(1):
        raise ValueError("a file ends too early or too late")
    return content


class _Bounded(io.RawIOBase):
    """What gzip unpacks, up to a limit."""

    def __init__(self, packed: gzip.GzipFile, most: int, taking: Taking) -> None:
        self._packed = packed
        self._taking = taking
        self._most = most
        self._left = most

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes. Raises ManifestError for one too many."""
        content = self._packed.read(CHUNK if size < 0 else min(size, CHUNK))
        self._left -= len(content)
        if self._left < 0:
            raise self._taking.error(f"is more than {self._most >> 20} MiB unpacked")
        return content
