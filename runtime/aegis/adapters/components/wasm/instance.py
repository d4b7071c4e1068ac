"""One running guest: its exports, what it imports, and the world that both must keep to."""

from __future__ import annotations

import re
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import wasmtime
from wasmtime import component as wc

from aegis.adapters.components.wasm.header import header_of
from aegis.adapters.components.wasm.machine import Compiled, Limits, Machine, ticks
from aegis.adapters.components.wasm.native import (
    ANSWER,
    BYTES,
    COUNT,
    LEVEL,
    MAYBE,
    NUMBER,
    TEXT,
    Asker,
    ComponentFunction,
    Import,
    PlainFunction,
    PlainMemory,
    StoppedError,
    define,
    define_plain,
    unpacked,
)
from aegis.adapters.components.wasm.printed import Printed
from aegis.core.component import Source
from aegis.core.description import CAPABILITIES, CONTRACT, CONTRACT_VERSION, WASI
from aegis.core.errors import ComponentError

_IMPORT = re.compile(rf"^{re.escape(CONTRACT)}/([a-z]+)@(\d+)\.(\d+)\.(\d+)$")
PREVIEW_1 = "wasi_snapshot_preview1"

# What interfaces offer: parameters and result, as the Component Model and as a plain module has
# them. A plain module gets and gives texts as address and length; what it gets is packed into one
# i64, the address above the length, in memory from its own `aegis_alloc`.
OFFERED: Mapping[str, Mapping[str, tuple[tuple[str, ...], str]]] = {
    "host": {
        "log": ((LEVEL, TEXT), ""),
        "config": ((TEXT,), ANSWER),
        "emit": ((TEXT, MAYBE, TEXT), ANSWER),
        "call": ((TEXT, TEXT), ANSWER),
    },
    "clock": {"now": ((), NUMBER)},
    "random": {"bytes": ((COUNT,), BYTES)},
    "keys": {
        "get": ((TEXT,), ANSWER),
        "set": ((TEXT, MAYBE), ANSWER),
        "list": ((TEXT, COUNT), ANSWER),
    },
    "http": {"fetch": ((TEXT,), ANSWER)},
}
EXPORTED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "describe": ((), TEXT),
    "invoke": ((TEXT, TEXT), ANSWER),
    "migrate": ((TEXT, TEXT), ANSWER),
}

# Answers what a guest imports: interface, function, arguments. A result is (text, failed).
Answers = Callable[[str, str, tuple[Any, ...]], Any]


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
    """The world of a compiled module. Raises ComponentError with what is not ours."""
    try:
        world, problems = _looked(machine, compiled, source.binary)
    except ValueError as error:
        raise ComponentError(source.name, [str(error)]) from None
    except Exception as error:  # noqa: BLE001 -- a type that wasmtime-py has no class for
        said = f"it cannot be read: {type(error).__name__}: {error}"
        raise ComponentError(source.name, [said]) from None
    if problems:
        raise ComponentError(source.name, problems)
    return world


def _looked(machine: Machine, compiled: Compiled, binary: bytes) -> tuple[World, list[str]]:
    """The world of a module, and what of it is not ours."""
    problems: list[str] = []
    if isinstance(compiled, wc.Component):
        engine = machine.engine()
        kind = compiled.type
        imports = {name: extern.ty for name, extern in kind.imports(engine).items()}
        exports: dict[str, Any] = {n: extern.ty for n, extern in kind.exports(engine).items()}
        found = _imports(imports, problems, lambda ty: _functions(ty, engine))
        problems += _missing(exports)
    else:
        header = header_of(binary)
        found = _imports(header.imports, problems, lambda functions: functions, is_core=True)
        problems += _missing_of_module(header.exports)
        exports = dict(header.exports)
    world = World(
        imports=frozenset(found),
        versions={name: said for name, said in found.items() if said},
        exports=frozenset(name.removeprefix("aegis_") for name in exports),
    )
    return world, problems


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


def _spelled_core(parameters: tuple[str, ...], result: str) -> str:
    flat: list[str] = []
    for one in parameters:
        flat += ["i32", "i32"] if one in {TEXT, MAYBE} else ["i32"]
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


def _missing_of_module(exports: Mapping[str, str]) -> Iterator[str]:
    wanted = {
        "memory": "memory",
        "aegis_alloc": "(i32) -> i32",
        "aegis_describe": "() -> i64",
        "aegis_invoke": "(i32, i32, i32, i32) -> i64",
    }
    optional = {
        "aegis_migrate": "(i32, i32, i32, i32) -> i64",
        "aegis_free": "(i32, i32) -> ()",
        "_initialize": "() -> ()",
    }
    for name, spelled in (wanted | optional).items():
        found = exports.get(name)
        if found is None:
            if name in wanted:
                yield f"it is a plain module and exports no {name!r}: {spelled}"
        elif found != spelled:
            yield f"it exports {name!r} as {found}; it is {spelled}"


class Template(Asker):
    """Makes instances of one module, all with the same limits, whose imports `answers` answers."""

    def __init__(
        self,
        machine: Machine,
        compiled: Compiled,
        world: World,
        limits: Limits,
        answers: Answers,
    ) -> None:
        self.has_wasi = WASI in world.imports
        self._is_component = isinstance(compiled, wc.Component)
        self._engine = machine.engine(fuel=limits.fuel is not None)
        self._limits = limits
        self._answers = answers
        self._here = threading.local()
        self._begin = (
            self._components(compiled, world)
            if isinstance(compiled, wc.Component)
            else self._modules(compiled)
        )

    def _import(self, interface: str, name: str) -> Import:
        parameters, result = OFFERED[interface][name]
        return Import(weakref.ref(self), interface, name, parameters, result)

    def _components(
        self, component: wc.Component, world: World
    ) -> Callable[[wasmtime.Store], Instance]:
        linker = wc.Linker(self._engine)
        if self.has_wasi:
            linker.add_wasip2()
        with linker.root() as root:
            for interface, said in world.versions.items():
                with root.add_instance(f"{CONTRACT}/{interface}@{said}") as instance:
                    for name in OFFERED[interface]:
                        define(instance, self._import(interface, name))
        return lambda store: _ComponentInstance(store, linker.instantiate(store, component))

    def _modules(self, module: wasmtime.Module) -> Callable[[wasmtime.Store], Instance]:
        linker = wasmtime.Linker(self._engine)
        if self.has_wasi:
            linker.define_wasi()
        defined: set[tuple[str, str]] = set()
        for one in module.imports:
            match, kind, name = _IMPORT.match(one.module), one.type, one.name or ""
            if match is None or not isinstance(kind, wasmtime.FuncType):
                continue
            if (one.module, name) not in defined:  # a module may import it twice
                define_plain(linker, one.module, kind, self._import(match[1], name))
                defined.add((one.module, name))
        here = self._here
        return lambda store: _ModuleInstance(store, linker.instantiate(store, module), here)

    def instance(self, seconds: float, printed: Printed | None = None) -> Instance:
        """A new one, which has so many seconds to begin. Raises StoppedError when it cannot.

        `printed` gets what it prints, where it has WASI.
        """
        store = wasmtime.Store(self._engine)
        limits = self._limits
        store.set_limits(
            memory_size=limits.memory,
            table_elements=limits.elements,
            instances=limits.instances,
            tables=limits.tables,
            memories=limits.memories if self._is_component else 1,
        )
        store.set_epoch_deadline(ticks(seconds))
        if limits.fuel is not None:
            store.set_fuel(limits.fuel)
        if self.has_wasi:
            store.set_wasi((printed or Printed()).config())
        try:
            instance = self._begin(store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise StoppedError(str(error)) from None
        instance.printed = printed
        return instance

    # What guests ask, on their threads

    def ask(self, interface: str, name: str, arguments: tuple[Any, ...]) -> Any:
        """See native.Asker."""
        return self._answers(interface, name, arguments)

    def running(self) -> PlainMemory | None:
        """See native.Asker."""
        found: PlainMemory | None = getattr(self._here, "memory", None)
        return found

    @property
    def most(self) -> int:
        """See native.Asker."""
        return self._limits.output


class Instance(ABC):
    """A guest that runs. All is called on one thread; StoppedError ends it for good."""

    def __init__(self, store: wasmtime.Store) -> None:
        self.printed: Printed | None = None
        self._store = store
        self._context = store._context()  # noqa: SLF001 -- see native.py

    def arm(self, seconds: float, fuel: int | None = None) -> None:
        """Let it compute for so many seconds from now on, and use so much fuel."""
        self._store.set_epoch_deadline(ticks(seconds))
        if fuel is not None:
            self._store.set_fuel(fuel)

    @property
    def memory(self) -> int | None:
        """Bytes of its memory, None where it does not show it."""
        return None

    @abstractmethod
    def call(self, export: str, texts: Sequence[str], most: int) -> tuple[str, bool]:
        """What an export gives, at most so many bytes, and whether that is an error."""


class _ComponentInstance(Instance):
    """An instance of a component."""

    def __init__(self, store: wasmtime.Store, instance: wc.Instance) -> None:
        super().__init__(store)
        self._functions = {
            name: ComponentFunction(found, len(parameters))
            for name, (parameters, _) in EXPORTED.items()
            if (found := instance.get_func(store, name)) is not None
        }

    def call(self, export: str, texts: Sequence[str], most: int) -> tuple[str, bool]:
        return self._functions[export](self._context, [text.encode() for text in texts], most)


class _ModuleInstance(Instance):
    """An instance of a plain module, which passes texts through its memory."""

    def __init__(
        self, store: wasmtime.Store, instance: wasmtime.Instance, here: threading.local
    ) -> None:
        super().__init__(store)
        exports: Any = instance.exports(store)  # world_of has looked at what we call
        self._here = here
        memory = self._memory = PlainMemory(
            self._context, exports["memory"], exports["aegis_alloc"], exports.get("aegis_free")
        )
        self._functions = {
            name: PlainFunction(found, 2 * len(parameters))
            for name, (parameters, _) in EXPORTED.items()
            if (found := exports.get(f"aegis_{name}")) is not None
        }
        initialize = exports.get("_initialize")  # of a WASI reactor
        if initialize is not None:
            here.memory = memory
            try:
                PlainFunction(initialize, 0, gives=False)(self._context)
            finally:
                here.memory = None

    @property
    def memory(self) -> int | None:
        return self._memory.size()

    def call(self, export: str, texts: Sequence[str], most: int) -> tuple[str, bool]:
        memory = self._here.memory = self._memory
        try:
            places: list[int] = []
            for text in texts:
                places += memory.put(text.encode())
            address, length, failed = unpacked(self._functions[export](self._context, *places))
            text = memory.text(address, length, most)
            memory.free(address, length)
        finally:
            self._here.memory = None
        return text, failed
