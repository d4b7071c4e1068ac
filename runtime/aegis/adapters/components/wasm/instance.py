"""One running guest: its exports, what it imports, and the world that both must keep to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import wasmtime
from wasmtime import component as wc

from aegis.adapters.components.wasm.machine import Compiled, Limits, Machine, ticks
from aegis.core.component import Source
from aegis.core.description import CAPABILITIES, CONTRACT, CONTRACT_VERSION, WASI
from aegis.core.errors import ComponentError

_IMPORT = re.compile(rf"^{re.escape(CONTRACT)}/([a-z]+)@(\d+)\.(\d+)\.(\d+)$")
PREVIEW_1 = "wasi_snapshot_preview1"
FAILED = 1 << 31  # the bit of a packed text that says it is an error

# What interfaces offer: parameters and result, as the Component Model and as a plain module has
# them. A plain module gets and gives texts as address and length; what it gets is packed into one
# i64, the address above the length, in memory from its own `aegis_alloc`.
_TEXT, _MAYBE, _ANSWER = "string", "option<string>", "result<string, string>"
_LEVEL = "enum"
OFFERED: Mapping[str, Mapping[str, tuple[tuple[str, ...], str]]] = {
    "host": {
        "log": ((_LEVEL, _TEXT), ""),
        "config": ((_TEXT,), _ANSWER),
        "emit": ((_TEXT, _MAYBE, _TEXT), _ANSWER),
        "call": ((_TEXT, _TEXT), _ANSWER),
    },
    "clock": {"now": ((), "u64")},
    "random": {"bytes": (("u32",), "list<u8>")},
    "keys": {
        "get": ((_TEXT,), _ANSWER),
        "set": ((_TEXT, _MAYBE), _ANSWER),
        "list": ((_TEXT, "u32"), _ANSWER),
    },
    "http": {"fetch": ((_TEXT,), _ANSWER)},
}
EXPORTED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "describe": ((), _TEXT),
    "invoke": ((_TEXT, _TEXT), _ANSWER),
    "migrate": ((_TEXT, _TEXT), _ANSWER),
}
LEVELS = ("debug", "info", "warning", "error")

# Answers what a guest imports: interface, function, arguments. A result is (text, failed).
Answers = Callable[[str, str, tuple[Any, ...]], Any]


class StoppedError(Exception):
    """A guest broke off; what wasmtime said of it."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What a module imports and exports, as far as it is ours."""

    imports: frozenset[str]
    versions: Mapping[str, str]
    exports: frozenset[str]

    @property
    def needs(self) -> frozenset[str]:
        """What of it a host grants."""
        return self.imports - {"host"}


def world_of(machine: Machine, compiled: Compiled, source: Source) -> World:
    """The world of a compiled module. Raises ComponentError with all that is not ours."""
    problems: list[str] = []
    if isinstance(compiled, wc.Component):
        engine = machine.engine()
        kind = compiled.type
        imports = {name: extern.ty for name, extern in kind.imports(engine).items()}
        exports: dict[str, Any] = {n: extern.ty for n, extern in kind.exports(engine).items()}
        found = _imports(imports, problems, lambda ty: _functions(ty, engine))
        problems += _missing(exports)
    else:
        named: dict[str, dict[str, str]] = {}
        for one in compiled.imports:
            named.setdefault(one.module, {})[one.name or ""] = _core(one.type)
        found = _imports(named, problems, lambda functions: functions, is_core=True)
        plain = {one.name: one.type for one in compiled.exports}
        problems += _missing_of_module(plain)
        exports = dict.fromkeys(plain)
    if problems:
        raise ComponentError(source.name, problems)
    return World(
        imports=frozenset(found),
        versions={name: said for name, said in found.items() if said},
        exports=frozenset(name.removeprefix("aegis_") for name in exports),
    )


def _imports(
    imports: Mapping[str, Any],
    problems: list[str],
    functions: Callable[[Any], Mapping[str, str]],
    *,
    is_core: bool = False,
) -> dict[str, str]:
    """The interfaces that are imported, and their versions."""
    found: dict[str, str] = {}
    for name, type in imports.items():
        if name == PREVIEW_1 or name.startswith("wasi:"):
            found[WASI] = ""
            continue
        match = _IMPORT.match(name)
        if match is None or match[1] not in OFFERED:
            offered = ", ".join(("host", *CAPABILITIES))
            problems.append(
                f"it imports {name!r}, which no host offers: of {CONTRACT} there are {offered}"
            )
            continue
        said = f"{match[2]}.{match[3]}.{match[4]}"
        if not is_spoken(said):
            problems.append(
                f"it was built for version {said} of the contract {CONTRACT}, and this host speaks "
                f"{CONTRACT_VERSION}: build it against that"
            )
            continue
        found[match[1]] = said
        offer = OFFERED[match[1]]
        for function, spelled in functions(type).items():
            if function not in offer:
                problems.append(f"it imports {name} {function!r}, which is not there")
                continue
            wanted = _spelled_core(*offer[function]) if is_core else _spelled(*offer[function])
            if function == "bytes" and is_core:
                wanted = "(i32, i32) -> ()"
            if spelled != wanted:
                problems.append(f"it imports {name} {function!r} as {spelled}; it is {wanted}")
    return found


def is_spoken(said: str) -> bool:
    """Whether this host keeps to a version of the contract."""
    theirs, ours = (tuple(map(int, one.split("."))) for one in (said, CONTRACT_VERSION))
    if ours[0] == 0:
        return theirs[:2] == ours[:2] and theirs <= ours
    return theirs[0] == ours[0] and theirs <= ours


def _functions(type: Any, engine: wasmtime.Engine) -> Mapping[str, str]:
    """The functions of an imported instance, each as it is spelled."""
    if not isinstance(type, wc.ComponentInstanceType):
        return {}
    return {
        name: _signature(extern.ty)
        for name, extern in type.exports(engine).items()
        if isinstance(extern.ty, wc.FuncType)
    }


def _spelled(parameters: tuple[str, ...], result: str) -> str:
    return f"({', '.join(parameters)}) -> {result or '()'}"


def _signature(type: wc.FuncType) -> str:
    result = type.result
    names = tuple(_named(one) for _, one in type.params)
    return _spelled(names, "" if result is None else _named(result))


def _named(type: Any) -> str:
    """A type as WIT spells it, as far as the contract has it."""
    if isinstance(type, wc.ResultType):
        ok, error = ("_" if one is None else _named(one) for one in (type.ok, type.err))
        return f"result<{ok}, {error}>"
    if isinstance(type, wc.OptionType):
        return f"option<{_named(type.payload)}>"
    if isinstance(type, wc.ListType):
        return f"list<{_named(type.element)}>"
    return builtin_name(type)


def builtin_name(type: Any) -> str:
    """`String()` is `string`, `EnumType` is `enum`."""
    spelled: str = type.__class__.__name__
    return spelled.lower().removesuffix("type")


def _core(type: Any) -> str:
    if not isinstance(type, wasmtime.FuncType):
        return builtin_name(type)
    parts = [", ".join(map(str, some)) for some in (type.params, type.results)]
    return f"({parts[0]}) -> {parts[1] or '()'}"


def _spelled_core(parameters: tuple[str, ...], result: str) -> str:
    flat: list[str] = []
    for one in parameters:
        flat += ["i32", "i32"] if one in {_TEXT, _MAYBE} else ["i32"]
    return f"({', '.join(flat)}) -> {'i64' if result else '()'}"


def _missing(exports: Mapping[str, Any]) -> Iterator[str]:
    for name, (parameters, result) in EXPORTED.items():
        found = exports.get(name)
        if found is None and name != "migrate":
            yield f"it exports no {name!r}: its world is none of {CONTRACT}@{CONTRACT_VERSION}"
        elif found is not None:
            said = _signature(found) if isinstance(found, wc.FuncType) else builtin_name(found)
            wanted = _spelled(parameters, result)
            if said != wanted:
                yield f"it exports {name!r} as {said}; it is {wanted}"


def _missing_of_module(exports: Mapping[str, Any]) -> Iterator[str]:
    wanted = {
        "memory": "memory",
        "aegis_alloc": "(i32) -> i32",
        "aegis_describe": "() -> i64",
        "aegis_invoke": "(i32, i32, i32, i32) -> i64",
    }
    optional = {"aegis_migrate": "(i32, i32, i32, i32) -> i64", "aegis_free": "(i32, i32) -> ()"}
    for name, spelled in (wanted | optional).items():
        found = exports.get(name)
        if found is None:
            if name in wanted:
                yield f"it is a plain module and exports no {name!r}: {spelled}"
        elif _core(found) != spelled:
            yield f"it exports {name!r} as {_core(found)}; it is {spelled}"


class Instance(Protocol):
    """A guest that runs. All is called on one thread; StoppedError ends it for good."""

    store: wasmtime.Store

    @property
    def memory(self) -> int | None:
        """Bytes of its memory, None where it does not show it."""
        ...

    def call(self, export: str, *texts: str) -> tuple[str, bool]:
        """What an export gives, and whether that is an error."""
        ...


class Template:
    """Makes instances of one module, all with the same limits and imports."""

    def __init__(
        self,
        machine: Machine,
        compiled: Compiled,
        world: World,
        limits: Limits,
        answers: Answers,
    ) -> None:
        self._engine = machine.engine(fuel=limits.fuel is not None)
        self._limits = limits
        self._has_wasi = WASI in world.imports
        self._begin = (
            self._components(compiled, world, answers)
            if isinstance(compiled, wc.Component)
            else self._modules(compiled, answers)
        )

    def _components(
        self, component: wc.Component, world: World, answers: Answers
    ) -> Callable[[wasmtime.Store], Instance]:
        linker = wc.Linker(self._engine)
        if self._has_wasi:
            linker.add_wasip2()
        with linker.root() as root:
            for interface, said in world.versions.items():
                with root.add_instance(f"{CONTRACT}/{interface}@{said}") as instance:
                    for name, (_, result) in OFFERED[interface].items():
                        instance.add_func(name, _function(answers, interface, name, result))
        output = self._limits.output
        return lambda store: _ComponentInstance(store, linker.instantiate(store, component), output)

    def _modules(
        self, module: wasmtime.Module, answers: Answers
    ) -> Callable[[wasmtime.Store], Instance]:
        linker = wasmtime.Linker(self._engine)
        if self._has_wasi:
            linker.define_wasi()
        for one in module.imports:
            match, kind = _IMPORT.match(one.module), one.type
            if match is not None and one.name is not None and isinstance(kind, wasmtime.FuncType):
                parameters, result = OFFERED[match[1]][one.name]
                function = _plain_function(answers, match[1], one.name, parameters, result)
                linker.define_func(one.module, one.name, kind, function, access_caller=True)
        output = self._limits.output
        return lambda store: _ModuleInstance(store, linker.instantiate(store, module), output)

    def instance(self) -> Instance:
        """A new one. Raises StoppedError when it cannot begin."""
        store = wasmtime.Store(self._engine)
        limits = self._limits
        store.set_limits(
            memory_size=limits.memory,
            table_elements=limits.elements,
            instances=limits.instances,
            tables=limits.instances,
            memories=limits.instances,
        )
        store.set_epoch_deadline(ticks(limits.seconds))
        if limits.fuel is not None:
            store.set_fuel(limits.fuel)
        if self._has_wasi:
            store.set_wasi(wasmtime.WasiConfig())
        try:
            return self._begin(store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise StoppedError(str(error)) from None


class _ComponentInstance:
    """An instance of a component."""

    memory = None

    def __init__(self, store: wasmtime.Store, instance: wc.Instance, output: int) -> None:
        self.store = store
        self._output = output
        self._functions = {
            name: found
            for name in EXPORTED
            if (found := instance.get_func(store, name)) is not None
        }

    def call(self, export: str, *texts: str) -> tuple[str, bool]:
        function = self._functions[export]
        try:
            found = function(self.store, *texts)
            function.post_return(self.store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise StoppedError(str(error)) from None
        text, failed = (
            (found, False) if isinstance(found, str) else (found.payload, found.tag == "err")
        )
        return bounded(text, self._output), failed


class _ModuleInstance:
    """An instance of a plain module, which passes texts through its memory."""

    def __init__(self, store: wasmtime.Store, instance: wasmtime.Instance, output: int) -> None:
        self.store = store
        self._output = output
        self._exports = instance.exports(store)
        initialize = self._exports.get("_initialize")  # of a WASI reactor
        if initialize is not None:
            initialize(store)  # type: ignore[operator]  # world_of looked at what we call
        self._memory: wasmtime.Memory = self._exports["memory"]  # type: ignore[assignment]

    @property
    def memory(self) -> int | None:
        return self._memory.data_len(self.store)

    def call(self, export: str, *texts: str) -> tuple[str, bool]:
        try:
            places: list[int] = []
            for text in texts:
                places += put(self.store, self._memory, self._exports["aegis_alloc"], text.encode())
            packed = self._exports[f"aegis_{export}"](self.store, *places)  # type: ignore[operator]
            address, length, failed = unpacked(packed)
            if length > self._output:
                raise StoppedError(_too_long(length, self._output))
            text = taken(self.store, self._memory, address, length)
            free = self._exports.get("aegis_free")
            if free is not None:
                free(self.store, address, length)  # type: ignore[operator]
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise StoppedError(str(error)) from None
        return text, failed


def bounded(text: str, most: int) -> str:
    """A text that is not too long. Raises StoppedError."""
    if len(text) > most or len(text.encode()) > most:
        raise StoppedError(_too_long(len(text), most))
    return text


def _too_long(length: int, most: int) -> str:
    return f"it gave a text of {length} bytes, and {most} are allowed"


def put(store: Any, memory: wasmtime.Memory, alloc: Any, data: bytes) -> tuple[int, int]:
    """Address and length of bytes, in memory that the guest gave for them."""
    address = alloc(store, len(data)) & 0xFFFF_FFFF
    if address + len(data) > memory.data_len(store):
        raise StoppedError(
            f"its aegis_alloc gave {len(data)} bytes at {address}, outside of its memory"
        )
    memory.write(store, data, address)
    return address, len(data)


def taken(store: Any, memory: wasmtime.Memory, address: int, length: int) -> str:
    """The text at an address. Raises StoppedError for what is none."""
    if address + length > memory.data_len(store):
        raise StoppedError(f"it gave {length} bytes at {address}, outside of its memory")
    try:
        return bytes(memory.read(store, address, address + length)).decode()
    except UnicodeDecodeError as error:
        raise StoppedError(f"it gave a text that is not UTF-8: {error}") from None


def unpacked(packed: int) -> tuple[int, int, bool]:
    """Address, length and whether it is an error, of what a plain module gives."""
    length = packed & 0xFFFF_FFFF
    return (packed >> 32) & 0xFFFF_FFFF, length & ~FAILED, bool(length & FAILED)


def _function(answers: Answers, interface: str, name: str, result: str) -> Callable[..., Any]:
    """What a component calls."""

    def function(_: Any, *arguments: Any) -> Any:
        found = answers(interface, name, arguments)
        if result != _ANSWER:
            return found
        text, failed = found
        return wc.Variant("err" if failed else "ok", text)

    return function


def _plain_function(
    answers: Answers, interface: str, name: str, parameters: tuple[str, ...], result: str
) -> Callable[..., Any]:
    """What a plain module calls."""

    def function(caller: wasmtime.Caller, *places: int) -> Any:
        memory, alloc = caller["memory"], caller["aegis_alloc"]
        if not isinstance(memory, wasmtime.Memory):  # world_of has looked
            raise StoppedError("it has no memory")
        if name == "bytes":
            address, count = places[0] & 0xFFFF_FFFF, places[1] & 0xFFFF_FFFF
            memory.write(caller, answers(interface, name, (count,)), address)
            return None
        rest = list(places)
        arguments: list[Any] = []
        for kind in parameters:
            if kind == _LEVEL:
                arguments.append(LEVELS[min(rest.pop(0) & 0xFF, 3)])
            elif kind == "u32":
                arguments.append(rest.pop(0) & 0xFFFF_FFFF)
            else:
                address, length = rest.pop(0) & 0xFFFF_FFFF, rest.pop(0) & 0xFFFF_FFFF
                is_none = kind == _MAYBE and not address
                arguments.append(None if is_none else taken(caller, memory, address, length))
        found = answers(interface, name, tuple(arguments))
        if not result:
            return None
        if result == "u64":
            return found
        text, failed = found
        address, length = put(caller, memory, alloc, text.encode())
        packed = (address << 32) | length | (FAILED if failed else 0)
        return packed - (1 << 64) if packed >= 1 << 63 else packed

    return function
