"""Makes of a description the classes that a Python component would have, with a guest behind."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Annotated, Any, Protocol
from weakref import WeakKeyDictionary

import msgspec

from aegis.adapters.components.reaching import EXPORTS, GRANTS
from aegis.adapters.components.wasm.capabilities import Capabilities
from aegis.adapters.components.wasm.condition import Conditions
from aegis.adapters.components.wasm.guest import Given, WasmGuest, denial
from aegis.adapters.components.wasm.types import CONDITIONS, Types
from aegis.core.component import ENCODER
from aegis.core.constraint import check_of
from aegis.core.description import (
    DescribedCommand,
    DescribedListener,
    DescribedMethod,
    DescribedModel,
    DescribedPart,
    DescribedPort,
    DescribedRelation,
    Description,
    Schema,
)
from aegis.core.errors import (
    AegisError,
    FrozenError,
    GrantError,
    GuestError,
    InvalidError,
    NotFoundError,
    PortTimeoutError,
    RecordingError,
    Refused,
    clipped,
    closest,
)
from aegis.core.event import NAME, Emission, Event, event
from aegis.core.model import Model
from aegis.core.port import REQUIRED, Secret, adapter, command, config, on, port, service, waiting
from aegis.core.rule import Rules, frozen_when, required_when, rules_of
from aegis.engine.context import WORK, emit
from aegis.engine.relation import Relation, relation

_PUBLIC = inspect.Parameter.POSITIONAL_OR_KEYWORD
NOTHING: Mapping[str, Any] = types.MappingProxyType({})
# The marks of a field whose condition is said as data.
_MARKS = dict(zip(CONDITIONS, (frozen_when, required_when), strict=True))


class _Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a port gives whose partner answers later; see `waiting`."""

    events: tuple[str, ...]
    by: str | None = None
    deadline: float = 3600.0


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a port or a command gives."""

    record: msgspec.Raw = msgspec.Raw()
    wait: _Wait | None = None


class _Emit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    subject: str | None = None
    data: dict[str, Any] = {}


class _Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error that ends a step for good."""

    refused: str
    emit: _Emit | None = None


class _Relating(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which related records a guest wants."""

    where: dict[str, Any] = {}
    sort: str | None = None
    limit: int = 100


class _Reader:
    """Reads JSON as a described type, whose bounds it keeps. Raises msgspec.DecodeError."""

    def __init__(self, made: Any) -> None:
        self._decoder = msgspec.json.Decoder(made)
        self._check = check_of(made)

    def decode(self, text: str) -> Any:
        """The value that a text is."""
        value = self._decoder.decode(text)
        if self._check is not None:
            try:
                self._check(value)
            except InvalidError as error:
                raise msgspec.ValidationError(error.detail) from None
        return value


class _Patch:
    """Reads the fields that a call of a guest changes, of one model."""

    def __init__(self, model: type[msgspec.Struct], module: str) -> None:
        fields: list[Any] = [
            (item.name, item.type | msgspec.UnsetType, msgspec.UNSET)
            for item in msgspec.structs.fields(model)
        ]
        change = msgspec.defstruct(
            f"{model.__name__}Change",
            fields,
            kw_only=True,
            forbid_unknown_fields=True,
            module=module,
        )
        self._decoder = msgspec.json.Decoder(change)
        self._rules: Rules | None = rules_of(model)

    def of(self, record: Any, text: msgspec.Raw) -> dict[str, Any]:
        """What changes of a record. Raises ValueError, without a value of a sealed field."""
        try:
            found = self._decoder.decode(text)
        except msgspec.ValidationError as error:
            said = str(error) if self._rules is None else self._rules.unsaid(str(error))
            raise ValueError(said) from None
        changes = {
            name: value
            for name, value in msgspec.structs.asdict(found).items()
            if value is not msgspec.UNSET
        }
        if changes.pop("id", record.id) != record.id:
            raise ValueError("a record keeps its id")
        return changes


class Classes:
    """The module of one revision: models, protocols, parts and listeners, made of a description.

    What is wrong with the description goes to `problems`.
    """

    def __init__(self, said: Description, guest: WasmGuest, name: str) -> None:
        self.problems: list[str] = []
        self.module = ModuleType(name, said.doc)
        self._said = said
        self._guest = guest
        self._capabilities = Capabilities(said.name, guest.outbound)
        self._types = Types(name, self.problems)
        self._protocols: dict[str, Any] = {}
        # Protocol and method: what each takes and gives.
        self._methods: dict[str, dict[str, tuple[_Reader, _Reader | None]]] = {}
        self._patches: dict[str, _Patch] = {}

    def make(self) -> ModuleType:
        """The module, which others find under its name."""
        names = vars(self.module)
        if self._said.exports is not None:
            names[EXPORTS] = self._said.exports
        if self._said.grants:
            names[GRANTS] = self._said.grants
        for name, methods in self._said.protocols.items():
            self._protocols[name] = names[name] = self._protocol(name, methods)
        for name, part in self._said.parts.items():
            names[name] = self._part(name, part)
        for name, model in self._said.models.items():
            names[name] = self._attempt(name, partial(self._model, name, model))
        for name, listener in self._said.listeners.items():
            names[name] = self._attempt(name, partial(self._listener, name, listener))
        sys.modules[self.module.__name__] = self.module
        return self.module

    def _attempt(self, where: str, make: Callable[[], Any]) -> Any:
        """What `make` makes, None (and a problem) where an author could not write it either."""
        try:
            return make()
        except (InvalidError, TypeError, ValueError) as error:
            self.problems.append(f"{where}: {error}")
        return None

    # What a module of Python would have

    def _protocol(self, name: str, methods: Mapping[str, DescribedMethod]) -> Any:
        body: dict[str, Any] = {}
        self._methods[name] = {}
        for method, said in methods.items():
            where = f"{name}.{method}"
            takes = self._types.struct(where, said.takes)
            gives, reader = None, None
            if said.gives is not None:
                gives = self._types.of(f"{where} gives", said.gives)
                reader = _Reader(gives)
            self._methods[name][method] = (_Reader(takes), reader)

            async def asked(_self: Any, *_args: Any, **_kwargs: Any) -> Any: ...

            # A guest calls by name: who does this may take them in an order of his own.
            parameters = self._parameters(where, said.takes)
            body[method] = self._signed(asked, where, parameters, gives, by_name=True)
        return self._class(name, (Protocol,), body)

    def _part(self, name: str, said: DescribedPart) -> Any:
        body: dict[str, Any] = {"__doc__": said.doc or None}
        for protocol in said.does:
            for method in self._said.protocols[protocol]:
                body[method] = self._part_method(name, protocol, method)
        keys: dict[str, str] = {}
        parameters = []
        for use, protocol in said.uses.items():
            parameters.append((use, self._protocols.get(protocol, Any), service()))
        for n, (key, schema) in enumerate(said.config.items()):
            keys[f"config_{n}"] = key
            made, default = self._setting(f"{name} config {key}", schema)
            parameters.append((f"config_{n}", made, config(key, default)))

        def __init__(self: Any, **given: Any) -> None:  # noqa: N807 -- it becomes the class's
            self.aegis_uses = {use: given[use] for use in said.uses}
            self.aegis_settings = {key: _shown(given[n]) for n, key in keys.items()}

        body["__init__"] = self._signed(__init__, f"{name}.__init__", parameters, None)
        return self._class(name, tuple(self._protocols[one] for one in said.does), body)

    def _setting(self, where: str, schema: Schema) -> tuple[Any, Any]:
        """Type and default of a configuration value; what is private is a Secret."""
        is_secret = schema.get("private") is True
        if is_secret:
            schema = {key: value for key, value in schema.items() if key != "private"}
            if schema.get("type") != "string":
                self.problems.append(f"{where}: what is private is a string")
        made, _ = self._types.field(where, schema)
        # A default is converted as any value of the configuration is.
        return Secret if is_secret else made, schema.get("default", REQUIRED)

    def _part_method(self, name: str, protocol: str, method: str) -> Callable[..., Any]:
        function = f"{name}.{method}"
        asked = getattr(self._protocols[protocol], method)
        signature = inspect.signature(asked)
        named = [one.replace(kind=_PUBLIC) for one in signature.parameters.values()]
        signature = signature.replace(parameters=named)  # whoever calls it may do so by place
        parameters = list(signature.parameters.items())[1:]
        _, gives = self._methods[protocol][method]

        async def call(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            given = signature.bind(self_, *args, **kwargs).arguments
            arguments = {
                name: given[name] if name in given else _filled(parameter.default)
                for name, parameter in parameters
            }
            text = await self._call(
                function, {"arguments": arguments}, self_.aegis_uses, settings=self_.aegis_settings
            )
            if gives is None:
                return None
            try:
                return gives.decode(text or "null")
            except msgspec.DecodeError as error:
                raise GuestError(
                    f"{self._guest.label} {function} gave what does not fit: {error}"
                ) from None

        call.__signature__ = signature  # type: ignore[attr-defined]  # inspect reads it
        call.__annotations__ = dict(asked.__annotations__)
        call.__name__, call.__qualname__ = method, function
        call.__module__ = self.module.__name__
        return call

    def _model(self, name: str, said: DescribedModel) -> Any:
        body: dict[str, Any] = {"__annotations__": {}, "__doc__": said.doc or None}
        conditions = Conditions(said.fields, self.problems)
        for field, schema in said.fields.items():
            where = f"{name}.{field}"
            made, default = self._types.field(where, schema, ruled=True)
            for word, mark in _MARKS.items():
                if word in schema:
                    test = conditions.holds(f"{where} {word}", schema[word])
                    made = Annotated[made, mark(test)]
            body["__annotations__"][field] = made
            if default is not msgspec.NODEFAULT:
                body[field] = default
        for one, link in said.relations.items():
            body[one] = self._attempt(f"{name}.{one}", partial(self._relation, name, one, link))
        for one, step in said.ports.items():
            body[one] = self._attempt(
                f"{name}.{one}", partial(self._port, name, one, step, conditions)
            )
        for one, verb in said.commands.items():
            body[one] = self._attempt(f"{name}.{one}", partial(self._command, name, one, verb))
        if said.migrate:
            body["migrate"] = self._migration(name)
        if said.unmigrate:
            body["unmigrate"] = self._unmigration(name)
        options = {
            "endpoint": said.endpoint,
            "concurrency": said.concurrency,
            "index": said.indexes,
            "store": said.store,
            "cache": said.cache,
        }
        made = self._class(name, (Model,), body, options)
        self._patches[name] = _Patch(made, self.module.__name__)
        return made

    def _relation(self, model: str, name: str, said: DescribedRelation) -> Any:
        options: dict[str, Any] = {"via": said.via, "by": said.by, "many": said.many}
        options = {key: value for key, value in options.items() if value is not None}
        view: tuple[Any, ...] = ()
        if said.fields:
            fields: list[Any] = [(field, Any) for field in ("id", *said.fields) if field != "id"]
            items: list[Any] = [("id", str), *fields]
            view = (msgspec.defstruct(f"{model}_{name}", items, module=self.module.__name__),)
        link: Any = relation
        made = link(said.to, *view, on_delete=said.on_delete, **options)
        made.__doc__ = said.doc
        return made

    def _command(self, model: str, name: str, said: DescribedCommand) -> Any:
        method = self._method(model, name, said.uses, said.arguments, has_event=False)
        method.__doc__ = said.doc
        return command(
            produces=said.produces, undo=said.undo, timeout=said.timeout, breaker=said.breaker
        )(method)

    def _port(self, model: str, name: str, said: DescribedPort, conditions: Conditions) -> Any:
        where = f"{model}.{name}"
        awaits = frozenset[str]() if said.answer is None else frozenset(said.answer.events)
        method = self._method(model, name, said.uses, said.arguments, awaits=awaits)
        method.__doc__ = said.doc
        made: Any = port(
            consumes=said.consumes,
            produces=said.produces,
            when=conditions.holds(f"{where} when", said.when) if said.when else None,
            by=said.by,
            join=said.join,
            undo=said.undoes,
            was=said.was,
            effect=said.effect,
            breaker=said.breaker,
            **said.attempts,
        )(method)
        # `__set_name__` comes when the class is made, and the marks want to name the port.
        made.name = name
        if said.undo is not None:
            made.undo(**said.undo.attempts)(self._method(model, f"{name}.undo", said.undo.uses))
        if said.fallback is not None:
            made.fallback(timeout=said.fallback.timeout)(
                self._method(model, f"{name}.fallback", said.fallback.uses)
            )
        if said.answer is not None:
            made.answer(self._method(model, f"{name}.answer", said.answer.uses, awaits=awaits))
        return made

    def _method(
        self,
        model: str,
        name: str,
        uses: Mapping[str, str],
        arguments: Mapping[str, Schema] = NOTHING,
        *,
        has_event: bool = True,
        awaits: frozenset[str] = frozenset(),
    ) -> Any:
        """A method of a model: the record and what else is known go in, its change comes out.

        `awaits` are the events that it may wait for.
        """
        function, names = f"{model}.{name}", tuple(arguments)

        async def called(record: Any, /, **given: Any) -> Any:
            said: dict[str, Any] = {"record": record}
            if given.get("event") is not None:
                said["event"] = given["event"]
            if names:
                said["arguments"] = {name: given[name] for name in names}
            adapters = {use: given[use] for use in uses}
            text = await self._call(function, said, adapters, record=record, protocols=uses)
            return self._changed(function, record, text, self._patches[model], awaits)

        parameters = [*self._parameters(function, arguments)]
        if has_event:
            parameters.append(("event", Event, None))
        for use, protocol in uses.items():
            parameters.append((use, self._protocols.get(protocol, Any), adapter()))
        method = self._signed(called, function, parameters, None)
        method.__name__ = name
        method.__aegis_awaits__ = awaits
        return method

    def _changed(
        self, function: str, record: Any, text: str, patch: _Patch, awaits: Collection[str]
    ) -> Any:
        """What a port or command returns in Python. Raises GuestError for what is no change."""
        if not text or text in {"null", "{}"}:
            return None
        try:
            said = msgspec.json.decode(text, type=_Change)
            has_record = bytes(said.record) not in {b"", b"null"}
            changes = patch.of(record, said.record) if has_record else {}
            after = record.update(**changes) if changes else None
            if said.wait is None:
                return after
            wait = said.wait
            for name in wait.events:
                if name not in awaits:
                    hint = closest(name, awaits) or f"there are {', '.join(awaits) or 'none'}"
                    raise ValueError(f"it waits for {name!r}, which no answer names: {hint}")
            return waiting(*wait.events, by=wait.by, deadline=wait.deadline, record=after)
        except (ValueError, InvalidError) as error:
            raise GuestError(
                f"{self._guest.label} {function} gave what is no change: {error}",
                hint='give {"record": {...}} with the fields that change',
            ) from None

    def _migration(self, model: str) -> Any:
        def migrate(cls: type[msgspec.Struct], old: dict[str, Any]) -> Any:
            text, failed = self._guest.call_now("migrate", model, msgspec.json.encode(old).decode())
            said = self._form("migrate", text, failed=failed)
            known = {item.name for item in msgspec.structs.fields(cls)}
            for name in said:
                if name not in known:
                    hint = closest(name, known) or "leave it out"
                    raise GuestError(f"migrate gave {name!r}, which is no field: {hint}")
            said.setdefault("id", old.get("id", ""))
            try:
                return msgspec.convert(said, cls)
            except msgspec.ValidationError as error:
                rules = rules_of(cls)
                what = str(error) if rules is None else rules.unsaid(str(error))
                raise GuestError(f"migrate gave what is no {model}: {what}") from None

        return classmethod(migrate)

    def _unmigration(self, model: str) -> Any:
        def unmigrate(_: type[Model], new: dict[str, Any]) -> Any:
            function, text = f"{model}.unmigrate", ENCODER.encode({"record": new}).decode()
            found, failed = self._guest.call_now("invoke", function, text)
            return self._form("unmigrate", found, failed=failed)

        return classmethod(unmigrate)

    def _form(self, what: str, text: str, *, failed: bool) -> dict[str, Any]:
        """The record that a guest made of another. Raises GuestError."""
        if failed:
            raise GuestError(clipped(f"{what}: {text or 'it failed, and says nothing'}"))
        try:
            return _OBJECT.decode(text)
        except msgspec.DecodeError:
            raise GuestError(f"{what} gave what is no record", hint="give a JSON object") from None

    def _listener(self, name: str, said: DescribedListener) -> Any:
        async def hear(**given: Any) -> None:
            adapters = {use: given[use] for use in said.uses}
            await self._call(name, {"event": given["event"]}, adapters, protocols=said.uses)

        def meant(event: Event) -> bool:
            return all(
                name in event.data
                and (event.data[name] == value or _is_among(event.data[name], value))
                for name, value in said.when.items()
            )

        parameters: list[tuple[str, Any, Any]] = [("event", Event, inspect.Parameter.empty)]
        for use, protocol in said.uses.items():
            parameters.append((use, self._protocols.get(protocol, Any), adapter()))
        method = self._signed(hear, name, parameters, None, is_method=False)
        method.__doc__ = said.doc
        return on(
            *said.on,
            when=meant if said.when else None,
            order=said.order,
            once=said.once,
            every=said.every,
            cron=said.cron,
            tz=said.tz,
            breaker=said.breaker,
            **said.attempts,
        )(method)

    # What they are made of

    def _class(
        self, name: str, bases: tuple[Any, ...], body: dict[str, Any], options: Any = None
    ) -> Any:
        body = {**body, "__module__": self.module.__name__}
        return types.new_class(name, bases, options or {}, lambda namespace: namespace.update(body))

    def _parameters(self, where: str, schemas: Mapping[str, Schema]) -> list[tuple[str, Any, Any]]:
        parameters = []
        for name, made, default in self._types.fields(where, schemas):
            needed = default is msgspec.NODEFAULT
            parameters.append((name, made, inspect.Parameter.empty if needed else default))
        # A signature wants those without a default first.
        return sorted(parameters, key=lambda one: one[2] is not inspect.Parameter.empty)

    def _signed(
        self,
        fn: Any,
        name: str,
        parameters: Sequence[tuple[str, Any, Any]],
        gives: Any,
        *,
        is_method: bool = True,
        by_name: bool = False,
    ) -> Any:
        """`fn` as if it had been written with these parameters."""
        mine = [inspect.Parameter("self", _PUBLIC)] if is_method else []
        kind = inspect.Parameter.KEYWORD_ONLY if by_name or not is_method else _PUBLIC
        mine += [
            inspect.Parameter(n, kind, default=default, annotation=made)
            for n, made, default in parameters
        ]
        fn.__signature__ = inspect.Signature(mine, return_annotation=gives)
        fn.__annotations__ = {n: made for n, made, _ in parameters} | {"return": gives}
        fn.__name__ = name.rpartition(".")[2]
        fn.__qualname__ = name
        fn.__module__ = self.module.__name__
        return fn

    # A call of the guest

    async def _call(
        self,
        function: str,
        said: dict[str, Any],
        adapters: Mapping[str, Any],
        *,
        record: Any = None,
        protocols: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> str:
        """What the guest gives. Raises Refused, GuestError."""
        work = WORK.get()
        if work is not None and work.key:
            said["key"] = work.key
        try:
            text = ENCODER.encode(said).decode()
        except TypeError as error:
            raise InvalidError(f"{function} cannot be called with this: {error}") from None
        if protocols is None:  # those of a part are by what it says itself
            protocols = self._said.parts[function.partition(".")[0]].uses

        raised: dict[str, Exception] = {}

        async def serve(what: str, arguments: tuple[Any, ...]) -> str:
            if what != "host.call":
                return await self._capabilities.answer(what, arguments, step=is_step)
            try:
                return await self._reached(function, record, adapters, protocols, *arguments)
            except (GrantError, PortTimeoutError, RecordingError):
                raise  # which the guest's sandbox knows
            except Exception as error:
                # The guest gets it as a text. When it passes that on, it is this error again.
                told = _told(error)
                if isinstance(error, Refused | FrozenError):
                    raised[told] = error
                raise AegisError(told) from error

        is_step = settings is None  # and no adapter, which a replay does not run
        at_once = self._capabilities.at_once(work, step=is_step, inline=self._guest.is_inline)
        given = await self._guest.call(function, text, serve, settings, at_once)
        if given.failed:
            raise raised.get(given.text) or self._failure(function, given)
        for name, subject, data in given.emitted:
            if not NAME.fullmatch(name):
                raise GuestError(
                    f"{self._guest.label} {function} emits {name!r}, which is no event name",
                    hint="use the form 'noun.verbed'",
                )
            emit(name, subject, **self._data(function, name, data))
        return given.text

    def _data(self, function: str, name: str, text: str) -> dict[str, Any]:
        try:
            return _OBJECT.decode(text or "{}")
        except msgspec.DecodeError as error:
            raise GuestError(
                f"{self._guest.label} {function} emits {name!r} with data that is no object: "
                f"{error}"
            ) from None

    def _failure(self, function: str, given: Given) -> Exception:
        """What to raise of what the guest called an error."""
        text = given.text
        if text.startswith("{") and '"refused"' in text:
            try:
                said = msgspec.json.decode(text, type=_Refusal)
                told = said.emit
                kept = None if told is None else event(told.name, told.subject, **told.data)
                return Refused(clipped(said.refused), emit=kept)
            except (msgspec.DecodeError, InvalidError) as error:
                text = f"{error}, in {text}"
        said_of_it = clipped(text) or "it failed, and says nothing"
        detail = f"{self._guest.label} {function}: {said_of_it}"
        return GuestError(detail) if given.denied is None else denial(given.denied, detail)

    async def _reached(
        self,
        function: str,
        record: Any,
        adapters: Mapping[str, Any],
        protocols: Mapping[str, str],
        target: str,
        text: str,
    ) -> str:
        """What an adapter or a relation answers to a guest, as JSON."""
        name, _, method = target.partition(".")
        if name in adapters:
            known = self._methods[protocols[name]]
            if method not in known:
                hint = closest(method, known) or f"there are {', '.join(known)}"
                raise NotFoundError(f"{target!r} is no method of {protocols[name]}: {hint}")
            takes = _decoded(target, text or "{}", known[method][0])
            given = {f: getattr(takes, f) for f in takes.__struct_fields__}
            answer = getattr(adapters[name], method)(**given)
            if isinstance(answer, Awaitable):
                answer = await answer
            return _encoded(target, answer)
        link = getattr(type(record), name, None) if record is not None else None
        if link is None or not hasattr(link, "link"):
            names = [*adapters, *self._relations(record)]
            hint = closest(name, names) or f"it reaches {', '.join(names) or 'nothing'}"
            raise NotFoundError(f"{function} cannot reach {target!r}: {hint}")
        return await self._related(record, name, method, target, text)

    def _relations(self, record: Any) -> Sequence[str]:
        model = None if record is None else self._said.models.get(type(record).__name__)
        return () if model is None else tuple(model.relations)

    async def _related(self, record: Any, name: str, verb: str, target: str, text: str) -> str:
        """What a relation of the record under way gives."""
        link: Any = getattr(record, name)
        if verb == "create":
            made = await link.create(**_decoded(target, text or "{}", _OBJECT))
            return _encoded(target, self._seen(record, name, made))
        said = _decoded(target, text or "{}", _RELATING)
        if verb == "count":
            return _encoded(target, await link.count(**said.where))
        if verb:
            raise NotFoundError(f"{target!r} is not there", hint=f"{name}, {name}.create or .count")
        if not getattr(type(record), name).many:
            return _encoded(target, self._seen(record, name, await link()))
        found = await link(sort=said.sort, limit=said.limit, **said.where)
        return _encoded(target, [self._seen(record, name, one) for one in found])

    def _seen(self, record: Any, name: str, found: Any) -> Any:
        """A related record as a guest gets it: what is private of others only where it says so."""
        said: Relation[Any] = getattr(type(record), name)
        if found is None or said.view is not None or said.spec is None or not said.spec.crosses:
            return found
        hidden = _private(type(found))
        if not hidden:
            return found
        fields = msgspec.structs.asdict(found)
        return {field: value for field, value in fields.items() if field not in hidden}


_OBJECT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_RELATING: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Relating)


_hidden: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()


def _private(cls: type) -> frozenset[str]:
    """The fields of a model that never leave the host."""
    found = _hidden.get(cls)
    if found is None:
        rules = rules_of(cls)
        found = _hidden[cls] = frozenset() if rules is None else rules.private
    return found


def _shown(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


def _decoded(target: str, text: str, decoder: _Reader | msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidError(f"{target!r} was called with what does not fit: {error}") from None


def _encoded(target: str, answer: Any) -> str:
    try:
        return ENCODER.encode(answer).decode()
    except TypeError as error:
        raise InvalidError(f"{target!r} answered what JSON cannot hold: {error}") from None


def _told(error: Exception) -> str:
    """An error as a guest gets it; a refusal so that passing it on refuses."""
    if not isinstance(error, AegisError):
        return f"{type(error).__name__}: {error}"
    if not isinstance(error, Refused):
        return error.detail if error.hint is None else f"{error.detail}: {error.hint}"
    said: dict[str, Any] = {"refused": error.detail}
    if isinstance(error.emit, Emission):
        data = error.emit.data
        said["emit"] = {"name": error.emit.type, "subject": error.emit.subject, "data": data}
    return ENCODER.encode(said).decode()


def _is_among(value: Any, values: Any) -> bool:
    return isinstance(values, list) and value in values


def _filled(default: Any) -> Any:
    """The default of a parameter; what a Struct makes anew each time is made anew here, too."""
    factory = getattr(default, "default_factory", msgspec.NODEFAULT)
    return default if factory is msgspec.NODEFAULT else factory()
