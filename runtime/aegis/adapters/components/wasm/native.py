"""How host and guest call each other: wasmtime's C interface, which wasmtime-py only covers.

What wasmtime-py offers copies a text whole before anybody can say that it is too long, asks for all
types at each call, and hands what a callback raises from thread to thread by a global. Here a text
is measured first, types were compared when the module was loaded (see instance.py), and a callback
that fails is a trap of its own call. pyproject.toml pins the version whose structures these are.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import weakref
from collections.abc import Sequence
from ctypes import byref
from dataclasses import dataclass
from typing import Any, Protocol

import wasmtime
from wasmtime import _ffi
from wasmtime import component as wc

TEXT, MAYBE, LEVEL, COUNT = "string", "option<string>", "enum", "u32"
ANSWER, NUMBER, BYTES = "result<string, string>", "u64", "list<u8>"
LEVELS = ("debug", "info", "warning", "error")
FAILED = 1 << 31  # the bit of a packed text that says it is an error
LINE = 4096  # bytes that are looked at of a line for the log, however long it is

# Its annotations say ctypes' own types, and not what Python sees of them.
ffi: Any = _ffi

_I32, _I64 = ffi.WASMTIME_I32.value, ffi.WASMTIME_I64.value
_STRING = ffi.WASMTIME_COMPONENT_STRING.value
_RESULT = ffi.WASMTIME_COMPONENT_RESULT.value
_LIST = ffi.WASMTIME_COMPONENT_LIST.value
_U8, _U64 = ffi.WASMTIME_COMPONENT_U8.value, ffi.WASMTIME_COMPONENT_U64.value
_Value = ffi.wasmtime_component_val_t

_log = logging.getLogger(__name__)


class StoppedError(Exception):
    """A guest broke off; what wasmtime said of it."""


class Asker(Protocol):
    """Whose guests call the host."""

    def ask(self, interface: str, name: str, arguments: tuple[Any, ...]) -> Any:
        """What the host answers: (text, failed), a number, bytes or nothing.

        Raises StoppedError to stop the guest right there.
        """
        ...

    def running(self) -> PlainMemory | None:
        """The memory of the plain module that runs on this thread; None until it has begun."""
        ...

    @property
    def most(self) -> int:
        """Bytes of a text that a guest may give."""
        ...


@dataclass(frozen=True)
class Import:
    """A function that guests of `asker` import. It keeps nobody alive: wasmtime keeps it."""

    asker: weakref.ref[Asker]
    interface: str
    name: str
    parameters: tuple[str, ...]
    result: str

    def ask(self, arguments: Sequence[Any]) -> Any:
        """What the host answers."""
        asker = self.asker()
        if asker is None:  # whoever runs is on the stack of who runs it
            raise StoppedError("its host has gone")
        return asker.ask(self.interface, self.name, tuple(arguments))

    def most(self) -> int:
        """Bytes of a text that it may be given."""
        asker = self.asker()
        return 0 if asker is None else asker.most


# --- exports ----------------------------------------------------------------------------------


class PlainFunction:
    """An export of a plain module, which takes addresses and lengths and may give one number."""

    def __init__(self, function: wasmtime.Func, parameters: int, *, gives: bool = True) -> None:
        self._function = function
        self._at = byref(function._func)  # noqa: SLF001 -- see the head of this file
        self._count, self._gives = parameters, int(gives)
        self._arguments = (ffi.wasmtime_val_t * parameters)()
        for one in self._arguments:
            one.kind = _I32
        self._results = (ffi.wasmtime_val_t * 1)()

    def __call__(self, context: Any, *values: int) -> int:
        """The number, as it lies in 64 bits; 0 for none. Raises StoppedError."""
        for one, value in zip(self._arguments, values, strict=True):
            one.of.i32 = value
        trap: Any = ctypes.POINTER(ffi.wasm_trap_t)()
        error = ffi.wasmtime_func_call(
            context,
            self._at,
            self._arguments,
            self._count,
            self._results,
            self._gives,
            byref(trap),
        )
        if error:
            raise StoppedError(str(wasmtime.WasmtimeError._from_ptr(error)))  # noqa: SLF001
        if trap:
            raise StoppedError(str(wasmtime.Trap._from_ptr(trap)))  # noqa: SLF001
        if not self._gives:
            return 0
        result = self._results[0]
        number: int = result.of.i64 if result.kind == _I64 else result.of.i32
        return number


class ComponentFunction:
    """An export of a component that takes texts and gives one."""

    def __init__(self, function: wc.Func, parameters: int) -> None:
        self._function = function
        self._at = byref(function._func)  # noqa: SLF001 -- see the head of this file
        self._count = parameters
        self._array = _Value * parameters

    def __call__(self, context: Any, texts: Sequence[bytes], most: int) -> tuple[str, bool]:
        """The text and whether it is an error. Raises StoppedError."""
        arguments, result = self._array(), _Value()
        try:
            for one, text in zip(arguments, texts, strict=True):
                _put_text(one, text)
            error = ffi.wasmtime_component_func_call(
                self._at, context, arguments, self._count, byref(result), 1
            )
        finally:
            for one in arguments:
                ffi.wasmtime_component_val_delete(byref(one))
        if error:
            raise StoppedError(str(wasmtime.WasmtimeError._from_ptr(error)))  # noqa: SLF001
        try:
            if result.kind == _STRING:
                return _text(result.of.string, most), False
            answer = result.of.result
            return _text(answer.val.contents.of.string, most), not answer.is_ok
        finally:
            ffi.wasmtime_component_val_delete(byref(result))


def _put_text(value: Any, text: bytes) -> None:
    value.kind = _STRING
    vector = value.of.string
    ffi.wasm_byte_vec_new_uninitialized(byref(vector), len(text))
    if text:
        ctypes.memmove(vector.data, text, len(text))


def _text(vector: Any, most: int) -> str:
    size: int = vector.size
    if size > most:
        raise StoppedError(too_long(size, most))
    return ctypes.string_at(vector.data, size).decode() if size else ""


def too_long(length: int, most: int) -> str:
    """What to say of a text that nobody reads."""
    return f"it gave a text of {length} bytes, and {most} are allowed"


# --- the memory of plain modules --------------------------------------------------------------


class PlainMemory:
    """The memory of a plain module, through which texts go, and what gives out places in it."""

    def __init__(
        self,
        context: Any,
        memory: wasmtime.Memory,
        alloc: wasmtime.Func,
        free: wasmtime.Func | None,
    ) -> None:
        self._context = context
        self._at = byref(memory._memory)  # noqa: SLF001 -- see the head of this file
        self._memory = memory
        self._alloc = PlainFunction(alloc, 1)
        self._free = None if free is None else PlainFunction(free, 2, gives=False)
        self.is_allocating = False

    def put(self, data: bytes) -> tuple[int, int]:
        """Address and length of bytes, in memory that the guest gave for them."""
        length = len(data)
        if length >= FAILED:
            raise StoppedError(f"{length} bytes are too many for a plain module")
        self.is_allocating = True
        try:
            address = self._alloc(self._context, length) & 0xFFFF_FFFF
        finally:
            self.is_allocating = False
        if address + length > self.size():
            raise StoppedError(
                f"its aegis_alloc gave {length} bytes at {address}, outside of its memory"
            )
        self.write(address, data)
        return address, length

    def free(self, address: int, length: int) -> None:
        """Give back memory of a text that was read."""
        if self._free is not None:
            self.is_allocating = True
            try:
                self._free(self._context, address, length)
            finally:
                self.is_allocating = False

    def write(self, address: int, data: bytes) -> None:
        """Write into the memory. Raises StoppedError where there is none."""
        self.check(address, len(data))
        if data:
            ctypes.memmove(self._base() + address, data, len(data))

    def text(self, address: int, length: int, most: int) -> str:
        """The text at an address. Raises StoppedError for what is none."""
        if length > most:
            raise StoppedError(too_long(length, most))
        self.check(address, length)
        if not length:
            return ""
        try:
            return ctypes.string_at(self._base() + address, length).decode()
        except UnicodeDecodeError as error:
            raise StoppedError(f"it gave a text that is not UTF-8: {error.reason}") from None

    def line(self, address: int, length: int) -> str:
        """The begin of a text for people."""
        self.check(address, length)
        length = min(length, LINE)
        if not length:
            return ""
        return ctypes.string_at(self._base() + address, length).decode(errors="replace")

    def check(self, address: int, length: int) -> None:
        """Raise StoppedError where it has no memory."""
        if address + length > self.size():
            raise StoppedError(f"it gave {length} bytes at {address}, outside of its memory")

    def size(self) -> int:
        size: int = ffi.wasmtime_memory_data_size(self._context, self._at)
        return size

    def _base(self) -> int:
        """Where it lies now: it moves when it grows."""
        return ctypes.addressof(ffi.wasmtime_memory_data(self._context, self._at).contents)


def unpacked(packed: int) -> tuple[int, int, bool]:
    """Address, length and whether it is an error, of what a plain module gives."""
    length = packed & 0xFFFF_FFFF
    return (packed >> 32) & 0xFFFF_FFFF, length & ~FAILED, bool(length & FAILED)


# --- imports ----------------------------------------------------------------------------------

# What wasmtime calls back, by the number it was given, until it lets go of it.
_IMPORTS: dict[int, Import] = {}
_numbers = itertools.count(1)


def imports_kept() -> int:
    """How many functions of the host guests can call now."""
    return len(_IMPORTS)


def define_plain(linker: wasmtime.Linker, place: str, type: wasmtime.FuncType, one: Import) -> None:
    """Offer a function to plain modules, in the module `place`."""
    module, name, number = place.encode(), one.name.encode(), next(_numbers)
    _IMPORTS[number] = one
    error = ffi.wasmtime_linker_define_func(
        linker.ptr(),
        ctypes.create_string_buffer(module),
        len(module),
        ctypes.create_string_buffer(name),
        len(name),
        type.ptr(),
        _plain,
        number,
        _let_go,
    )
    if error:
        raise wasmtime.WasmtimeError._from_ptr(error)  # noqa: SLF001 -- as wasmtime-py does


def define(instance: wc.LinkerInstance, one: Import) -> None:
    """Offer a function to components, as part of an interface."""
    name, number = one.name.encode(), next(_numbers)
    _IMPORTS[number] = one
    error = ffi.wasmtime_component_linker_instance_add_func(
        instance.ptr(),
        ctypes.create_string_buffer(name),
        len(name),
        _component,
        number,
        _let_go,
    )
    if error:
        raise wasmtime.WasmtimeError._from_ptr(error)  # noqa: SLF001 -- as wasmtime-py does


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # type: ignore[untyped-decorator]
def _let_go(number: int | None) -> None:
    if _IMPORTS:  # None of it is there any more when the process ends
        _IMPORTS.pop(number or 0, None)


def _reason(error: BaseException) -> str:
    """Why a callback stops its guest."""
    if isinstance(error, StoppedError):
        return str(error)
    _log.error("a call of a guest failed in the host", exc_info=error)
    return f"the host failed: {type(error).__name__}"


@ffi.wasmtime_component_func_callback_t  # type: ignore[untyped-decorator]  # of ctypes
def _component(
    number: int, _context: Any, _type: Any, given: Any, _count: int, results: Any, _results: int
) -> int:
    """A component calls the host. Nothing may be raised here: the trap is what is returned."""
    try:
        one = _IMPORTS[number or 0]
        arguments = [_lifted(one, kind, given[n].of) for n, kind in enumerate(one.parameters)]
        answer = one.ask(arguments)
        if one.result:
            _lower(one.result, results[0], answer)
    except BaseException as error:  # noqa: BLE001 -- it would be lost, and the result be garbage
        failure = wasmtime.WasmtimeError(_reason(error))._consume()  # noqa: SLF001
        return ctypes.cast(failure, ctypes.c_void_p).value or 0
    return 0


def _lifted(one: Import, kind: str, value: Any) -> Any:
    """An argument, as it is given to a component's import."""
    if kind == TEXT:
        if one.name == "log":
            vector = value.string
            size = min(vector.size, LINE)
            return ctypes.string_at(vector.data, size).decode(errors="replace") if size else ""
        return _text(value.string, one.most())
    if kind == MAYBE:
        there = value.option
        return _text(there.contents.of.string, one.most()) if there else None
    if kind == LEVEL:
        return _text(value.enumeration, LINE)
    return value.u32


def _lower(kind: str, value: Any, answer: Any) -> None:
    """Write the result of a component's import."""
    if kind == ANSWER:
        text, failed = answer
        payload = _Value()
        _put_text(payload, _bytes(text))
        value.kind = _RESULT
        value.of.result.is_ok = not failed
        value.of.result.val = ffi.wasmtime_component_val_new(byref(payload))
    elif kind == NUMBER:
        value.kind, value.of.u64 = _U64, answer
    else:
        vector = value.of.list
        ffi.wasmtime_component_vallist_new_uninit(byref(vector), len(answer))
        for n, byte in enumerate(answer):
            vector.data[n].kind, vector.data[n].of.u8 = _U8, byte
        value.kind = _LIST


@ffi.wasmtime_func_callback_t  # type: ignore[untyped-decorator]  # of ctypes
def _plain(
    number: int, _caller: Any, given: Any, count: int, results: Any, result_count: int
) -> int:
    """A plain module calls the host. As in `_component`, nothing may be raised."""
    try:
        one = _IMPORTS[number or 0]
        places = [given[n].of.i32 & 0xFFFF_FFFF for n in range(count)]
        value = _answered(one, places)
        if result_count:
            results[0].kind, results[0].of.i64 = _I64, value
    except BaseException as error:  # noqa: BLE001 -- as above
        failure = wasmtime.Trap(_reason(error))._consume()  # noqa: SLF001
        return ctypes.cast(failure, ctypes.c_void_p).value or 0
    return 0


def _answered(one: Import, places: list[int]) -> int:
    """What a plain module gets: a packed text, a number, or 0 for nothing."""
    asker = one.asker()
    memory = None if asker is None else asker.running()
    if asker is None or memory is None:
        raise StoppedError(f"it calls {one.interface}.{one.name} before it has begun")
    if memory.is_allocating:
        raise StoppedError("its aegis_alloc or aegis_free calls the host")
    if one.result == BYTES:
        memory.check(places[0], places[1])
        memory.write(places[0], one.ask([places[1]]))
        return 0
    arguments: list[Any] = []
    rest = iter(places)
    for kind in one.parameters:
        first = next(rest)
        if kind == LEVEL:
            arguments.append(LEVELS[min(first & 0xFF, 3)])
        elif kind == COUNT:
            arguments.append(first)
        elif one.name == "log":
            arguments.append(memory.line(first, next(rest)))
        elif kind == MAYBE and not first:
            next(rest)
            arguments.append(None)
        else:
            arguments.append(memory.text(first, next(rest), asker.most))
    answer = one.ask(arguments)
    if one.result != ANSWER:
        return int(answer or 0)
    text, failed = answer
    address, length = memory.put(_bytes(text))
    return (address << 32) | length | (FAILED if failed else 0)


def _bytes(text: str) -> bytes:
    """A text of the host for a guest; what is no text there (a half of a pair) becomes `?`."""
    return text.encode(errors="replace")
