"""Reads the marks in a loaded module: what a component is made of, and what is wrong with it."""

from __future__ import annotations

import inspect
import itertools
import re
import typing
from collections.abc import Callable, Iterator
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

import msgspec

from aegis.adapters.components.libraries import is_of_others
from aegis.adapters.components.reaching import Reaching
from aegis.core.column import columns_of
from aegis.core.component import (
    MODULES,
    Call,
    CommandSpec,
    ListenerSpec,
    ModelSpec,
    Part,
    PortSpec,
    Revision,
    Setting,
    Slot,
    Source,
    noun,
)
from aegis.core.constraint import check_of
from aegis.core.errors import AegisError, ComponentError, closest
from aegis.core.event import NAME as EVENT_NAME
from aegis.core.event import Event
from aegis.core.fitting import is_protocol, misfits
from aegis.core.manifest import NAME, TAKEN, VERSION
from aegis.core.model import RESERVED, Model
from aegis.core.port import (
    AdapterNeed,
    Command,
    ConfigNeed,
    Hearing,
    Need,
    Port,
    ServiceNeed,
)
from aegis.core.query import Index
from aegis.core.relation import RelationSpec, clearable, place
from aegis.core.rule import Rules, rule_problems, rules_of
from aegis.core.serializer import schema_of, shape_of
from aegis.engine.relation import Relation

# How msgspec says that it does not know a type.
_CUSTOM = re.compile(r"custom types.*type <class '(.+)'> is not supported", re.DOTALL)

_numbers = itertools.count(1)


def module_name(source: Source) -> str:
    """The name of the module of a new revision, which no other has.

    Raises ComponentError for a name or a version that no component may have.
    """
    if not NAME.match(source.name):
        raise ComponentError(
            source.name,
            ["a component's name is lower case letters, digits, - and _, a letter first"],
        )
    if source.name in TAKEN:
        raise ComponentError(
            source.name, [f"the host itself calls things {source.name!r}: choose another name"]
        )
    if not VERSION.match(source.version):
        raise ComponentError(
            source.name, [f"{source.version!r} is no version"], hint="write it as 1.2.0"
        )
    return f"{MODULES}{source.name.replace('-', '_')}_r{next(_numbers)}"


class Survey:
    """Reads the marks in a loaded module and collects every problem before it says one."""

    def __init__(self, source: Source, module: ModuleType) -> None:
        self.source = source
        self.module = module
        self.problems: list[str] = []

    def revision(self, emits: frozenset[str]) -> Revision:
        own = {
            name: value
            for name, value in vars(self.module).items()
            if not name.startswith("_") and self._is_own(value)
        }
        classes = [value for value in own.values() if isinstance(value, type)]
        models = [self._model(cls) for cls in classes if issubclass(cls, Model)]
        parts = [
            self._part(cls)
            for cls in classes
            if not issubclass(cls, Model) and not is_protocol(cls) and _protocols(cls)
        ]
        listeners = [
            self._listener(name, value)
            for name, value in own.items()
            if hasattr(value, "__aegis_on__")
        ]
        if not (models or parts or listeners):
            self.problems.append(
                "it holds no Model, no adapter and no listener: write a `class Name(Model)` in it"
            )
        said = Reaching(self.source, vars(self.module), self.problems)
        exports, asks = said.exports(models, parts, own), said.asks()
        if self.problems:
            raise ComponentError(self.source.name, self.problems)
        return Revision(
            source=self.source,
            models=tuple(models),
            parts=tuple(parts),
            listeners=tuple(listeners),
            names=MappingProxyType(own),
            emits=emits,
            exports=exports,
            asks=asks,
            module=self.module,
        )

    def _is_own(self, value: Any) -> bool:
        """Whether the component offers `value`: what it defines, or took from a file beside it.

        Of what it took, only what the host has a use for.
        """
        ours = self.module.__name__
        where = str(getattr(value, "__module__", None))
        if where == ours:
            return isinstance(value, type | FunctionType) or hasattr(value, "__aegis_on__")
        if not where.startswith(f"{ours}.") or is_of_others(where):
            return False
        if isinstance(value, type):
            return issubclass(value, Model) or (bool(_protocols(value)) and not is_protocol(value))
        return hasattr(value, "__aegis_on__")

    def _model(self, cls: type) -> ModelSpec:
        name = cls.__name__
        fields = [f for f in msgspec.structs.fields(cls) if f.name != "id"]
        for item in fields:
            if item.encode_name != item.name:
                self.problems.append(
                    f"{name}.{item.name}: is stored under its own name, not as {item.encode_name!r}"
                )
            if item.name in RESERVED or item.name.startswith("_") or hasattr(Model, item.name):
                self.problems.append(
                    f"{name}.{item.name}: the name is taken by Model: choose another"
                )
        endpoint = vars(cls).get("__aegis_endpoint__")
        if endpoint is not None and not NAME.match(endpoint):
            self.problems.append(
                f"{name}: endpoint {endpoint!r} must be lower case letters, digits, - and _"
            )
        schema, definitions = self._schema(cls)
        marks = {key: getattr(cls, key) for key in dir(cls) if not key.startswith("_")}
        ports = {
            key: self._port(name, value) for key, value in marks.items() if isinstance(value, Port)
        }
        commands = {
            key: self._command(name, value)
            for key, value in marks.items()
            if isinstance(value, Command)
        }
        indexes = self._indexes(cls)
        rules = self._rules(cls, indexes)
        if rules is not None:
            fields = [item for item in fields if item.name not in rules.derived]
        return ModelSpec(
            component=self.source.name,
            name=name,
            endpoint=endpoint,
            cls=cls,
            schema=schema,
            definitions=definitions,
            ports=MappingProxyType(ports),
            commands=MappingProxyType(commands),
            create=_input(f"{name}Create", fields, required=True),
            patch=_input(f"{name}Patch", fields, required=False),
            last_wins=getattr(cls, "__aegis_concurrency__", "etag") == "last-wins",
            relations=MappingProxyType(
                {
                    key: self._relation(cls, value)
                    for key, value in marks.items()
                    if isinstance(value, Relation)
                }
            ),
            indexes=indexes,
            rules=rules,
            migrate=self._migrates(cls, "migrate", "old"),
            unmigrate=self._migrates(cls, "unmigrate", "new"),
            store=vars(cls).get("__aegis_store__"),
            cache=vars(cls).get("__aegis_cache__"),
            doc=inspect.cleandoc(vars(cls).get("__doc__") or ""),
        )

    def _migrates(self, cls: type, name: str, of: str) -> Callable[[dict[str, Any]], Any] | None:
        """The classmethod of a model that gives a record another form, if it has one."""
        found = inspect.getattr_static(cls, name, None)
        where = f"{cls.__name__}.{name}"
        if isinstance(found, FunctionType | staticmethod):
            self.problems.append(f"{where} is called with the class: mark it with @classmethod")
            return None
        if not isinstance(found, classmethod):
            return None
        method: Callable[[dict[str, Any]], Any] = getattr(cls, name)
        fn = found.__func__
        if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn):
            self.problems.append(
                f"{where} runs over all records off the host's loop: write it as a plain `def`"
            )
        parameters = list(inspect.signature(method).parameters.values())
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p for p in parameters if p.default is p.empty and p.kind not in rest]
        if not parameters or parameters[0].kind not in positional or len(needed) > 1:
            self.problems.append(
                f"{where} takes {inspect.signature(method)}, and is given one record: write "
                f"`def {name}(cls, {of}: dict[str, Any])`"
            )
        return method

    def _indexes(self, cls: type) -> tuple[Index, ...]:
        """What the model wants to be looked up by; a word of it is one of `sort`."""
        found: dict[Index, None] = {}
        for spelled in vars(cls).get("__aegis_index__", ()):
            try:
                terms = columns_of(shape_of(cls, "stored")).sort(spelled)
            except AegisError as error:
                self.problems.append(f"{cls.__name__}: index {spelled!r}: {error}")
                continue
            except (AttributeError, TypeError):
                terms = ()  # no text; or a field has no type, which is told of that field
            if not terms:
                self.problems.append(
                    f'{cls.__name__}: index {spelled!r} names no field, as in "status,-total"'
                )
            found[terms] = None
        return tuple(found)

    def _relation(self, cls: type, mark: Relation[Any]) -> RelationSpec:
        """What a mark says; the ids that it goes by must be in a field of `cls`."""
        where = f"{cls.__name__}.{mark.name}"
        target = mark.target if isinstance(mark.target, str) else mark.target.__name__
        if not isinstance(mark.target, str) and not self._is_own(mark.target):
            self.problems.append(
                f"{where} relates to the class {target}, which is of another component: "
                "name it as text, as in 'customers.Customer'"
            )
        found = None
        if mark.via is not None:
            try:
                found = place(cls, mark.via)
            except TypeError:
                found = None  # a field's type cannot be stored, which is told of that field
            if found is None:
                names = [one.name for one in msgspec.structs.fields(cls)]
                hint = closest(mark.via, names) or "declare it, as `str` or `list[str]`"
                self.problems.append(
                    f"{where} goes via {mark.via!r}, which is no field that holds ids: {hint}"
                )
            elif found.many is not mark.many:
                self.problems.append(
                    f"{where}: {mark.via!r} holds {'many ids' if found.many else 'one id'}, so it "
                    f"is `many={found.many}`"
                )
            elif mark.on_delete == "clear" and not clearable(cls, mark.via):
                self.problems.append(
                    f"{where}: on_delete='clear' needs {mark.via!r} to be able to be None"
                )
        mark.spec = RelationSpec(
            name=mark.name,
            target=target if "." in target else f"{self.source.name}.{target}",
            via=mark.via,
            by=mark.by,
            where=mark.where,
            many=mark.many,
            optional=mark.optional,
            view=mark.view,
            on_delete=mark.on_delete,
            doc=inspect.cleandoc(mark.__doc__ or ""),
            user=self.source.name,
        )
        return mark.spec

    def _rules(self, cls: type, indexes: tuple[Index, ...]) -> Rules | None:
        """What the markers of the model's fields say."""
        try:
            self.problems += rule_problems(cls, indexes)
            return rules_of(cls)
        except TypeError:
            return None  # a field has no type, which is told of that field

    def _schema(self, cls: type) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            schema, definitions = schema_of(shape_of(cls, "stored"))
            shape_of(cls, "network")
        except TypeError as error:
            self.problems.append(f"{_unfit(cls)}: a type that cannot be stored: {_said(error)}")
            return {}, {}
        try:
            check_of(cls)
        except TypeError as error:
            self.problems.append(f"{cls.__name__}: {error}")
        return schema, definitions

    def _port(self, model: str, port: Port[Any, Any, Any]) -> PortSpec:
        where = f"{model}.{port.name}"
        call = self._call(where, port.fn, skip_self=True)
        consumes = []
        for item in port.consumes:
            if isinstance(item, str):
                consumes.append(item)
            elif item.produces is None:
                self.problems.append(
                    f"{where} consumes port {item.name!r}, which produces no event: "
                    f"give it `produces=`"
                )
            else:
                consumes.append(item.produces)
        if port.produces is not None and not EVENT_NAME.match(port.produces):
            self.problems.append(f"{where} produces {port.produces!r}: use the form 'noun.verbed'")
        if consumes and call.arguments is not None:
            required = [f.name for f in msgspec.structs.fields(call.arguments) if f.required]
            if required:
                self.problems.append(
                    f"{where} is set off by an event, and no event fills {', '.join(required)}: "
                    "give a default, or take it from an `event: Event` parameter"
                )
        undo = None
        if port.undo_fn is not None:
            undo = self._call(f"{model}.{port.undo_fn.__name__}", port.undo_fn, skip_self=True)
        fallback = None
        if port.fallback_fn is not None:
            name = f"{model}.{port.fallback_fn.__name__}"
            fallback = self._call(name, port.fallback_fn, skip_self=True)
            self._takes_an_event(name, "a fallback", fallback)
        answer = None
        awaits = _awaits(port.fn)
        if port.answer_fn is not None:
            name = f"{model}.{port.answer_fn.__name__}"
            answer = self._call(name, port.answer_fn, skip_self=True)
            awaits |= _awaits(port.answer_fn)
            self._takes_an_event(name, "an answer", answer)
        elif awaits:
            self.problems.append(
                f"{where} waits for {', '.join(sorted(awaits))}, and nothing takes it: mark the "
                f"method that does with @{port.name}.answer"
            )
        if port.join and len(consumes) < 2:
            self.problems.append(f"{where} joins several events: name them all in `consumes`")
        return PortSpec(
            name=port.name,
            call=call,
            consumes=tuple(consumes),
            produces=port.produces,
            policies=port.policies,
            when=port.when,
            by=port.by,
            join=port.join,
            undoes=port.undoes,
            was=port.was,
            effect=port.effect,
            undo=undo,
            undo_policies=port.undo_policies,
            fallback=fallback,
            fallback_policies=port.fallback_policies,
            answer=answer,
            awaits=awaits,
            doc=inspect.cleandoc(port.__doc__ or ""),
        )

    def _takes_an_event(self, name: str, what: str, call: Call) -> None:
        """Note what a method wants beside an event and adapters, which is all that it can get."""
        if call.arguments is not None:
            extra = ", ".join(f.name for f in msgspec.structs.fields(call.arguments))
            self.problems.append(
                f"{name} takes {extra}: {what} may take an event, written `event: Event`, "
                "and adapters"
            )

    def _command(self, model: str, command: Command[Any, Any, Any]) -> CommandSpec:
        produces = command.produces or f"{noun(model)}.updated"
        if not EVENT_NAME.match(produces):
            self.problems.append(
                f"{model}.{command.name} produces {produces!r}: use the form 'noun.verbed'"
            )
        return CommandSpec(
            name=command.name,
            call=self._call(f"{model}.{command.name}", command.fn, skip_self=True),
            produces=produces,
            undo=command.undo,
            policies=command.policies,
            doc=inspect.cleandoc(command.__doc__ or ""),
        )

    def _listener(self, name: str, fn: Callable[..., Any]) -> ListenerSpec:
        call = self._call(name, fn, skip_self=False)
        self._takes_an_event(f"listener {name}", "it", call)
        said: Hearing = fn.__aegis_on__  # type: ignore[attr-defined]
        return ListenerSpec(
            name=name,
            call=call,
            patterns=said.patterns,
            policies=said.policies,
            when=said.when,
            subject=None if said.schedule is None else f"{self.source.name}.{name}",
            order=said.order,
            once=said.once,
            schedule=said.schedule,
            doc=inspect.cleandoc(fn.__doc__ or ""),
        )

    def _call(self, where: str, fn: Callable[..., Any], *, skip_self: bool) -> Call:
        hints = self._hints(where, fn)
        parameters = list(inspect.signature(fn).parameters.values())[1 if skip_self else 0 :]
        adapters: list[Slot] = []
        arguments: list[Any] = []
        event = None
        for parameter in parameters:
            hint = hints.get(parameter.name, Any)
            if isinstance(parameter.default, AdapterNeed):
                adapters += self._slot(where, parameter.name, hint)
            elif isinstance(parameter.default, Need):
                self.problems.append(
                    f"{where}({parameter.name}): {parameter.default!r} belongs to the __init__ of "
                    "an adapter; a port takes adapter()"
                )
            elif hint is Event:
                event = parameter.name
            elif parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                self.problems.append(f"{where}: *{parameter.name} cannot be filled: name arguments")
            elif parameter.default is parameter.empty:
                arguments.append((parameter.name, hint))
            else:
                arguments.append((parameter.name, hint, parameter.default))
        return Call(
            fn=fn,
            adapters=tuple(adapters),
            event=event,
            arguments=self._arguments(where, arguments) if arguments else None,
        )

    def _arguments(self, where: str, arguments: list[Any]) -> type[msgspec.Struct] | None:
        """The Struct of what a caller passes, None (and a problem) when JSON cannot hold it."""
        try:
            struct = msgspec.defstruct(
                f"{where.replace('.', '_')}_arguments",
                arguments,
                kw_only=True,
                frozen=True,
                forbid_unknown_fields=True,
                module=self.module.__name__,
            )
            schema_of(shape_of(struct, "network"))
            check_of(struct)
        except TypeError as error:
            self.problems.append(
                f"{where}: an argument has a type that cannot be sent: {_said(error)}"
            )
            return None
        return struct

    def _slot(self, where: str, parameter: str, hint: Any) -> Iterator[Slot]:
        if isinstance(hint, type) and is_protocol(hint):
            yield Slot(parameter=parameter, protocol=hint)
        else:
            self.problems.append(
                f"{where}({parameter}): its annotation must be a typing.Protocol that says what "
                "it needs"
            )

    def _hints(self, where: str, fn: Callable[..., Any]) -> dict[str, Any]:
        try:
            # A class from a file beside the component means the names of that file.
            names = getattr(inspect.unwrap(fn), "__globals__", vars(self.module))
            return typing.get_type_hints(fn, names, include_extras=True)
        except NameError as error:
            hint = closest(error.name or "", vars(self.module))
            self.problems.append(f"{where}: {error}" + (f": {hint}" if hint else ""))
            return {}

    def _part(self, cls: type) -> Part:
        protocols = _protocols(cls)
        for protocol in protocols:
            self.problems += misfits(cls, protocol)
        services: list[Slot] = []
        settings: list[Setting] = []
        init = inspect.getattr_static(cls, "__init__")
        if isinstance(init, FunctionType) and not _is_protocol_init(init):
            hints = self._hints(f"{cls.__name__}.__init__", init)
            for parameter in list(inspect.signature(init).parameters.values())[1:]:
                default, hint = parameter.default, hints.get(parameter.name, Any)
                where = f"{cls.__name__}.__init__"
                if isinstance(default, ServiceNeed | AdapterNeed):
                    services += self._slot(where, parameter.name, hint)
                elif isinstance(default, ConfigNeed):
                    settings.append(
                        Setting(
                            parameter=parameter.name,
                            key=default.key,
                            type=hint,
                            default=default.default,
                        )
                    )
                elif default is parameter.empty and parameter.kind not in (
                    parameter.VAR_KEYWORD,
                    parameter.VAR_POSITIONAL,
                ):
                    self.problems.append(
                        f"{where}({parameter.name}): the host cannot fill it: default it to "
                        "service(), config(...) or a value"
                    )
        return Part(
            name=cls.__name__,
            cls=cls,
            protocols=protocols,
            services=tuple(services),
            settings=tuple(settings),
        )


def _protocols(cls: type) -> tuple[type, ...]:
    return tuple(c for c in cls.__mro__ if c is not cls and is_protocol(c))


def _is_protocol_init(init: FunctionType) -> bool:
    """Whether `init` is the one that typing gives to protocols."""
    return init.__module__ == "typing"


def _said(error: TypeError) -> str:
    """Why a type does not fit, with what to do where JSON has nothing like it."""
    unknown = _CUSTOM.search(str(error))
    if unknown is None:
        return str(error)
    name = unknown[1].rsplit(".", 1)[-1]
    return (
        f"JSON has nothing like {name}: say how it is written, as in "
        f"Annotated[{name}, Serializer(str, {name})]"
    )


def _unfit(cls: type) -> str:
    """The field of a model whose type cannot be stored."""
    for item in msgspec.structs.fields(cls):
        try:
            one = msgspec.defstruct(cls.__name__, [(item.name, item.type)])
            msgspec.json.schema(shape_of(one, "stored"))
        except TypeError:
            return f"{cls.__name__}.{item.name}"
    return cls.__name__


def _input(
    name: str, fields: list[msgspec.structs.FieldInfo], *, required: bool
) -> type[msgspec.Struct]:
    """The Struct of what a caller sends: the author's fields without id, nothing unknown.

    With `required` the model's own defaults apply; without, every absent field is UNSET.
    """
    items: list[Any] = []
    for item in fields:
        if not required:
            items.append((item.name, item.type | msgspec.UnsetType, msgspec.UNSET))
        elif item.default is not msgspec.NODEFAULT:
            items.append((item.name, item.type, item.default))
        elif item.default_factory is not msgspec.NODEFAULT:
            items.append(
                (item.name, item.type, msgspec.field(default_factory=item.default_factory))
            )
        else:
            items.append((item.name, item.type))
    return msgspec.defstruct(name, items, kw_only=True, frozen=True, forbid_unknown_fields=True)


def _awaits(fn: Callable[..., Any]) -> frozenset[str]:
    """The events that a method may wait for: what was said of it, else what its code spells."""
    said: frozenset[str] | None = getattr(fn, "__aegis_awaits__", None)
    if said is not None:
        return said
    code = inspect.unwrap(fn).__code__
    if "waiting" not in code.co_names:
        return frozenset()
    return frozenset(c for c in code.co_consts if isinstance(c, str) and EVENT_NAME.match(c))
