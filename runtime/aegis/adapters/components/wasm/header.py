"""What a plain module imports and exports, and by which types, read from its own bytes.

wasmtime's C interface ends the process when it is asked for a type that it has no number for, like
that of vectors, so it is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_TYPES, _IMPORTS, _FUNCTIONS, _EXPORTS = 1, 2, 3, 7
_VALUES = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
}
_KINDS = ("function", "table", "memory", "global", "tag")


@dataclass(frozen=True)
class Header:
    """Imports by module and name, and exports by name, each spelled: `(i32) -> i64`, `memory`."""

    imports: Mapping[str, Mapping[str, str]]
    exports: Mapping[str, str]


def header_of(binary: bytes) -> Header:
    """The header of a module that wasmtime has found sound.

    Raises ValueError for types that no guest may use.
    """
    types: list[str] = []
    functions: list[str] = []
    imports: dict[str, dict[str, str]] = {}
    exports: dict[str, str] = {}
    reader = _Reader(binary, 8)
    while not reader.at_end:
        section, size = reader.byte(), reader.number()
        end = reader.at + size
        if section == _TYPES:
            types = [reader.function() for _ in range(reader.number())]
        elif section == _IMPORTS:
            for _ in range(reader.number()):
                module, name = reader.name(), reader.name()
                spelled = reader.imported(types)
                if spelled[:1] == "(":
                    functions.append(spelled)
                # Only the last of those that are called alike is told: they have to be of one type.
                before = imports.setdefault(module, {}).setdefault(name, spelled)
                if before != spelled:
                    raise ValueError(f"it imports {name!r} twice, by two types")
        elif section == _FUNCTIONS:
            functions += [types[reader.number()] for _ in range(reader.number())]
        elif section == _EXPORTS:
            for _ in range(reader.number()):
                name, kind, index = reader.name(), reader.byte(), reader.number()
                exports[name] = functions[index] if kind == 0 else _KINDS[kind]
        reader.at = end
    return Header(imports, exports)


class _Reader:
    """Reads a module from a place on."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self.at = data, at

    @property
    def at_end(self) -> bool:
        return self.at >= len(self._data)

    def byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def number(self) -> int:
        """An unsigned number, in groups of seven bits."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def name(self) -> str:
        length = self.number()
        self.at += length
        return self._data[self.at - length : self.at].decode()

    def value(self) -> str:
        byte = self.byte()
        if byte not in _VALUES:
            raise ValueError(f"it has values of a type that no guest may use: {byte:#x}")
        return _VALUES[byte]

    def function(self) -> str:
        if (form := self.byte()) != 0x60:
            raise ValueError(f"it has a type that no guest may use: {form:#x}")
        given, gives = ([self.value() for _ in range(self.number())] for _ in range(2))
        return f"({', '.join(given)}) -> {', '.join(gives) or '()'}"

    def imported(self, types: list[str]) -> str:
        """The type of an import; only functions are spelled out."""
        kind = self.byte()
        if kind == 0:
            return types[self.number()]
        if kind == 3:
            self.at += 2
        elif kind == 4:
            self.at += 1
            self.number()
        else:
            if kind == 1:
                self.value()
            flags = self.byte()
            for _ in range(2 if flags & 1 else 1):
                self.number()
            if flags & 8:  # the size of a page
                self.number()
        return _KINDS[kind]
