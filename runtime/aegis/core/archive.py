"""Archives that nobody is trusted to have made: a zip's files as bytes, within bounds."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib

from aegis.core.errors import SourceError
from aegis.core.manifest import is_inside

MOST = 128 << 20  # bytes of all files unpacked
FILES = 10_000
RATIO = 200  # how often a file may be packed that is larger than SMALL
SMALL = 1 << 20  # bytes

# All that zipfile raises of archives that are damaged, or made to do damage.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def unpack(data: bytes, where: str, *, most: int = MOST, files: int = FILES) -> dict[str, bytes]:
    """The files of the zip `data` by path, in memory: at most `most` bytes and `files` of them.

    Folders are left out. Raises SourceError naming `where`, and the path at fault: for what is no
    zip, is damaged or encrypted, holds too much, leads out of its folder, says a path twice, or is
    a link.
    """
    # An entry costs the reader far more than the 46 bytes that it has in here.
    if data.count(b"PK\x01\x02") > 2 * files:
        raise SourceError(f"{where}: the archive holds more than {files:,} files")
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check(entries, where, most, files)
            for entry in entries:
                with archive.open(entry) as file:
                    # What is read is never more than the entry says, which was added up before.
                    found[entry.filename] = file.read()
    except _DAMAGE as error:
        raise SourceError(f"{where}: the archive cannot be read: {error}") from None
    return found


def _check(entries: list[zipfile.ZipInfo], where: str, most: int, files: int) -> None:
    if len(entries) > files:
        raise SourceError(f"{where}: the archive holds more than {files:,} files")
    if sum(entry.file_size for entry in entries) > most:
        raise SourceError(f"{where}: the archive unpacks to more than {most >> 20} MiB")
    seen: set[str] = set()
    for entry in entries:
        path = entry.filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        # zipfile cuts a name at a null byte, so that two tools would see two paths.
        if not is_inside(path) or entry.orig_filename != path:
            raise SourceError(f"{where}: {entry.orig_filename!r} is no path inside the archive")
        if kind not in {0, stat.S_IFREG}:
            raise SourceError(f"{where}: {path!r} is a link or a device, not a file")
        if entry.flag_bits & 0x1:
            raise SourceError(f"{where}: {path!r} is encrypted")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise SourceError(f"{where}: {path!r} is packed in a way that is not read here")
        if entry.file_size > max(SMALL, RATIO * entry.compress_size):
            raise SourceError(f"{where}: {path!r} is packed more than {RATIO} times")
        if path in seen:
            raise SourceError(f"{where}: {path!r} is in the archive twice")
        seen.add(path)
