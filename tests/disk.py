"""A disk that loses power: SQLite writes to it through a VFS of ours, which fails when told to."""

from __future__ import annotations

import _sqlite3
import contextlib
import ctypes
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_int64, c_void_p, cast
from pathlib import Path

# What the interpreter's own sqlite3 is linked with, so that its connections see the VFS.
_sqlite = ctypes.CDLL(_sqlite3.__file__)

SQLITE_OK = 0
SQLITE_IOERR_WRITE = 10 | 3 << 8
SQLITE_IOERR_FSYNC = 10 | 4 << 8
SQLITE_IOERR_TRUNCATE = 10 | 6 << 8
SQLITE_IOERR_DELETE = 10 | 10 << 8

Close = CFUNCTYPE(c_int, c_void_p)
Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
Sync = CFUNCTYPE(c_int, c_void_p, c_int)
# Names are addresses here, not c_char_p: SQLite keeps the one it gave.
Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)


class Methods(ctypes.Structure):
    """sqlite3_io_methods."""

    _fields_ = (
        ("iVersion", c_int),
        ("xClose", Close),
        ("xRead", c_void_p),
        ("xWrite", Write),
        ("xTruncate", Truncate),
        ("xSync", Sync),
        *((f"x{n}", c_void_p) for n in range(13)),
    )


class File(ctypes.Structure):
    """sqlite3_file, as far as it is public."""

    _fields_ = (("pMethods", POINTER(Methods)),)


class Vfs(ctypes.Structure):
    """sqlite3_vfs."""

    _fields_ = (
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", Open),
        ("xDelete", Delete),
        *((f"x{n}", c_void_p) for n in range(14)),
    )


_sqlite.sqlite3_vfs_find.restype = POINTER(Vfs)
_sqlite.sqlite3_vfs_find.argtypes = [c_char_p]
_sqlite.sqlite3_vfs_register.argtypes = [POINTER(Vfs), c_int]
_sqlite.sqlite3_vfs_unregister.argtypes = [POINTER(Vfs)]


class _Content:
    """A file: what a power cut leaves of it for sure, and what was written since its last sync."""

    def __init__(self, durable: bytes) -> None:
        self.durable = bytearray(durable)
        self.pending: list[tuple[int, bytes | None]] = []  # where, what; None cuts the file there

    def sync(self) -> None:
        for at, data in self.pending:
            self.put(self.durable, at, data)
        self.pending.clear()

    @staticmethod
    def put(content: bytearray, at: int, data: bytes | None) -> None:
        if data is None:
            del content[at:]
            return
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data


_left_open: list[Disk] = []


class Disk:
    """All files under `directory` that SQLite opens while this is mounted.

    `operations` counts its writes, cuts, syncs and deletions. From number `fails` on (from 1) each
    of them fails, as on a disk that is gone; `broken` says that one has. What happens to files that
    SQLite does not write, such as the owner's lock, is not watched.
    """

    def __init__(self, directory: Path, *, fails: int | None = None) -> None:
        self.operations = 0
        self.syncs = 0
        self.broken = False
        self._directory = directory.resolve()
        self._fails = fails
        self._files: dict[Path, _Content] = {}
        self._open: dict[int, tuple[Path, Methods]] = {}  # by the address of the sqlite3_file
        self._replaced: dict[int, Methods] = {}  # by the address of the methods that are replaced
        self._system = _sqlite.sqlite3_vfs_find(None)
        self._vfs = Vfs.from_buffer_copy(self._system.contents)
        self._name = f"disk-{id(self)}".encode()
        self._vfs.zName = self._name
        # ctypes keeps no callback alive by itself.
        self._hooks = [
            *(Open(self._on_open), Delete(self._on_delete), Close(self._on_close)),
            *(Write(self._on_write), Truncate(self._on_truncate), Sync(self._on_sync)),
        ]
        self._vfs.xOpen, self._vfs.xDelete = self._hooks[:2]

    @contextlib.contextmanager
    def mounted(self):
        """While this lasts, SQLite opens all files through this disk."""
        _sqlite.sqlite3_vfs_register(byref(self._vfs), 1)
        try:
            yield self
        finally:
            _sqlite.sqlite3_vfs_unregister(byref(self._vfs))
            _sqlite.sqlite3_vfs_register(self._system, 1)
            if self._open:  # SQLite may call at any time, and must find somebody
                _left_open.append(self)
                raise AssertionError(f"still open: {[path for path, _ in self._open.values()]}")

    def image(self, directory: Path, dice) -> None:
        """What a power cut leaves, in a new directory.

        That is all that was synced, and by the dice any of what was written since, of which the
        last is torn: only a first part of it is there.
        """
        directory.mkdir()
        for path, file in self._files.items():
            content = bytearray(file.durable)
            kept = [write for write in file.pending if dice.random() < dice.choice([0.2, 0.5, 0.9])]
            if kept and kept[-1][1] is not None:
                at, data = kept[-1]
                kept[-1] = (at, data[: dice.randrange(len(data) + 1)])
            for at, data in kept:
                file.put(content, at, data)
            (directory / path.name).write_bytes(content)
        (directory / "owner.lock").write_text('{"pid":1,"started":""}\n')  # nobody released it

    def _fail(self) -> bool:
        """Count an operation; whether it fails."""
        self.operations += 1
        if self._fails is not None and self.operations >= self._fails:
            self.broken = True
        return self.broken

    def _on_open(self, vfs, name, file, flags, found):
        result = self._system.contents.xOpen(cast(self._system, c_void_p), name, file, flags, found)
        path = None if name is None else _path(name)
        if result != SQLITE_OK or path is None or path.parent != self._directory:
            return result
        opened = cast(file, POINTER(File)).contents
        original = opened.pMethods.contents
        address = ctypes.addressof(original)
        if address not in self._replaced:
            ours = Methods.from_buffer_copy(original)
            ours.xClose, ours.xWrite, ours.xTruncate, ours.xSync = self._hooks[2:]
            self._replaced[address] = ours
        opened.pMethods = ctypes.pointer(self._replaced[address])
        self._open[file] = (path, original)
        if path not in self._files:
            self._files[path] = _Content(path.read_bytes())
        return result

    def _on_delete(self, vfs, name, sync):
        path = _path(name)
        if path.parent == self._directory and self._fail():
            return SQLITE_IOERR_DELETE
        result = self._system.contents.xDelete(cast(self._system, c_void_p), name, sync)
        if result == SQLITE_OK:
            self._files.pop(path, None)
        return result

    def _on_close(self, file):
        _, original = self._open.pop(file)
        return original.xClose(file)

    def _on_write(self, file, data, size, at):
        path, original = self._open[file]
        self._files[path].pending.append((at, ctypes.string_at(data, size)))
        if self._fail():  # some of it may have reached the disk
            return SQLITE_IOERR_WRITE
        return original.xWrite(file, data, size, at)

    def _on_truncate(self, file, size):
        path, original = self._open[file]
        self._files[path].pending.append((size, None))
        if self._fail():
            return SQLITE_IOERR_TRUNCATE
        return original.xTruncate(file, size)

    def _on_sync(self, file, flags):
        path, original = self._open[file]
        self.syncs += 1
        if self._fail():
            return SQLITE_IOERR_FSYNC
        result = original.xSync(file, flags)
        if result == SQLITE_OK:
            self._files[path].sync()
        return result


def _path(name: int) -> Path:
    return Path(ctypes.string_at(name).decode())
