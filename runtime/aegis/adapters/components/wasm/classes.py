"""Makes of a description the classes that a Python component would have, with a guest behind."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Protocol

import msgspec

from aegis.adapters.components.wasm.capabilities import Capabilities
from aegis.adapters.components.wasm.guest import Given, WasmGuest, denial
from aegis.adapters.components.wasm.types import Types
from aegis.core.component import ENCODER
from aegis.core.description import (
    DescribedListener,
    DescribedMethod,
    DescribedModel,
    DescribedPart,
    DescribedPort,
    Description,
    Schema,
)
from aegis.core.errors import AegisError, GuestError, InvalidError, NotFoundError, Refused, closest
from aegis.core.event import Event, event
from aegis.core.model import Model
from aegis.core.port import REQUIRED, Secret, adapter, command, config, on, port, service, waiting
from aegis.engine.context import WORK, emit
from aegis.engine.relation import relation

_PUBLIC = inspect.Parameter.POSITIONAL_OR_KEYWORD


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
        # Protocol and method, what each takes and gives.
        self._methods: dict[str, dict[str, tuple[msgspec.json.Decoder[Any], Any]]] = {}

    def make(self) -> ModuleType:
        """The module, which others find under its name."""
        names = vars(self.module)
        for name, methods in self._said.protocols.items():
            self._protocols[name] = names[name] = self._protocol(name, methods)
        for name, part in self._said.parts.items():
            if all(one in self._protocols for one in part.does):
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
        except InvalidError as error:
            self.problems.append(f"{where}: {error}")
        except (TypeError, ValueError) as error:
            self.problems.append(f"{where}: {error}")
        return None

    # What a module of Python would have

    def _protocol(self, name: str, methods: Mapping[str, DescribedMethod]) -> Any:
        body: dict[str, Any] = {}
        self._methods[name] = {}
        for method, said in methods.items():
            where = f"{name}.{method}"
            takes = self._types.struct(where, said.takes)
            gives = None if said.gives is None else self._types.of(f"{where} gives", said.gives)
            self._methods[name][method] = (msgspec.json.Decoder(takes), gives)

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
        made = self._types.of(where, {key: v for key, v in schema.items() if key != "private"})
        return (Secret if schema.get("private") else made), schema.get("default", REQUIRED)

    def _part_method(self, name: str, protocol: str, method: str) -> Callable[..., Any]:
        function = f"{name}.{method}"
        asked = getattr(self._protocols[protocol], method)
        signature = inspect.signature(asked)
        named = [one.replace(kind=_PUBLIC) for one in signature.parameters.values()]
        signature = signature.replace(parameters=named)  # whoever calls it may do so by place
        _, gives = self._methods[protocol][method]

        async def call(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(self_, *args, **kwargs)
            bound.apply_defaults()
            arguments = dict(list(bound.arguments.items())[1:])
            text = await self._call(
                function, {"arguments": arguments}, self_.aegis_uses, settings=self_.aegis_settings
            )
            if gives is None:
                return None
            try:
                return msgspec.json.decode(text or "null", type=gives)
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
        for field, made, default in self._types.fields(name, said.fields):
            body["__annotations__"][field] = made
            if default is not msgspec.NODEFAULT:
                body[field] = default
        for one, link in said.relations.items():
            options: dict[str, Any] = {"via": link.via, "by": link.by, "many": link.many}
            options = {key: value for key, value in options.items() if value is not None}
            if not options.keys() & {"via", "by"}:
                raise InvalidError(f"relation {one!r} goes via a field here, or by a field there")
            body[one] = relation(link.to, on_delete=link.on_delete, **options)
        patch: list[msgspec.json.Decoder[Any]] = []
        for one, step in said.ports.items():
            body[one] = self._port(name, one, step, said, patch)
            for mark, method in self._marked(name, one, step, patch):
                body[method.__name__] = mark(body[one])(method)
        for one, verb in said.commands.items():
            function = f"{name}.{one}"
            method = self._method(function, patch, verb.uses, verb.arguments, has_event=False)
            method.__doc__ = verb.doc
            body[one] = command(
                produces=verb.produces, undo=verb.undo, timeout=verb.timeout, breaker=verb.breaker
            )(method)
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
        fields = [(f.name, f.type | msgspec.UnsetType, msgspec.UNSET) for f in _fields(made)]
        change = msgspec.defstruct(
            f"{name}Change",
            fields,
            kw_only=True,
            forbid_unknown_fields=True,
            module=self.module.__name__,
        )
        patch.append(msgspec.json.Decoder(change))
        return made

    def _port(
        self,
        model: str,
        name: str,
        said: DescribedPort,
        of: DescribedModel,
        patch: Sequence[msgspec.json.Decoder[Any]],
    ) -> Any:
        function = f"{model}.{name}"
        method = self._method(function, patch, said.uses, said.arguments)
        method.__doc__ = said.doc
        method.__aegis_awaits__ = frozenset()
        if said.answer is not None:
            method.__aegis_awaits__ = frozenset(said.answer.events)
        policies = said.policies
        return port(
            consumes=said.consumes,
            produces=said.produces,
            when=self._condition(function, said.when, of) if said.when else None,
            by=said.by,
            join=said.join,
            undo=said.undoes,
            was=said.was,
            effect=said.effect,
            **msgspec.structs.asdict(policies),
        )(method)

    def _condition(
        self, where: str, said: Mapping[str, Any], of: DescribedModel
    ) -> Callable[[Any], bool]:
        """Whether all the fields have their values."""
        wanted: dict[str, Any] = {}
        for field, value in said.items():
            if field in of.fields:
                made = self._types.of(f"{where} when {field}", of.fields[field])
                try:
                    wanted[field] = msgspec.convert(value, made)
                except msgspec.ValidationError as error:
                    self.problems.append(f"{where}: when {field!r} cannot be so: {error}")

        def holds(record: Any) -> bool:
            return all(getattr(record, field) == value for field, value in wanted.items())

        return holds

    def _marked(
        self, model: str, name: str, said: DescribedPort, patch: Sequence[msgspec.json.Decoder[Any]]
    ) -> Any:
        """The methods that a port has besides itself, each with what marks it."""
        function = f"{model}.{name}"
        if said.undo is not None:
            policies = msgspec.structs.asdict(said.undo.policies)
            del policies["breaker"]
            method = self._method(f"{function}.undo", patch, said.undo.uses, {})
            yield (lambda p, policies=policies: p.undo(**policies)), method
        if said.fallback is not None:
            timeout = said.fallback.timeout
            method = self._method(f"{function}.fallback", patch, said.fallback.uses, {})
            yield (lambda p, timeout=timeout: p.fallback(timeout=timeout)), method
        if said.answer is not None:
            method = self._method(f"{function}.answer", patch, said.answer.uses, {})
            method.__aegis_awaits__ = frozenset(said.answer.events)
            yield (lambda p: p.answer), method

    def _method(
        self,
        function: str,
        patch: Sequence[msgspec.json.Decoder[Any]],
        uses: Mapping[str, str],
        arguments: Mapping[str, Schema],
        *,
        has_event: bool = True,
    ) -> Any:
        """A method of a model: the record and what else is known go in, its change comes out."""
        names = tuple(arguments)

        async def method(record: Any, /, **given: Any) -> Any:
            said: dict[str, Any] = {"record": record}
            if given.get("event") is not None:
                said["event"] = given["event"]
            if names:
                said["arguments"] = {name: given[name] for name in names}
            adapters = {use: given[use] for use in uses}
            text = await self._call(function, said, adapters, record=record, protocols=uses)
            return self._changed(function, record, text, patch[0])

        parameters = [*self._parameters(function, arguments)]
        if has_event:
            parameters.append(("event", Event, None))
        for use, protocol in uses.items():
            parameters.append((use, self._protocols.get(protocol, Any), adapter()))
        return self._signed(method, function.replace(".", "_"), parameters, None)

    def _changed(
        self, function: str, record: Any, text: str, patch: msgspec.json.Decoder[Any]
    ) -> Any:
        """What a port or command returns in Python. Raises GuestError for what is no change."""
        if not text or text in {"null", "{}"}:
            return None
        try:
            said = msgspec.json.decode(text, type=_Change)
            changes: dict[str, Any] = {}
            if bytes(said.record) not in {b"", b"null"}:
                found = patch.decode(said.record)
                changes = {
                    name: value
                    for name, value in msgspec.structs.asdict(found).items()
                    if value is not msgspec.UNSET
                }
        except msgspec.DecodeError as error:
            raise GuestError(
                f"{self._guest.label} {function} gave what is no change: {error}",
                hint='give {"record": {...}} with the fields that change',
            ) from None
        after = record.update(**changes) if changes else None
        if said.wait is None:
            return after
        wait = said.wait
        return waiting(*wait.events, by=wait.by, deadline=wait.deadline, record=after)

    def _migration(self, model: str) -> Any:
        def migrate(cls: type, old: dict[str, Any]) -> Any:
            text, failed = self._guest.call_now("migrate", model, msgspec.json.encode(old).decode())
            if failed:
                raise GuestError(f"{self._guest.label} migrate: {text}")
            said = msgspec.json.decode(text)
            if isinstance(said, dict):
                said.setdefault("id", old.get("id", ""))
            return msgspec.convert(said, cls)

        return classmethod(migrate)

    def _unmigration(self, model: str) -> Any:
        def unmigrate(_cls: type, new: dict[str, Any]) -> Any:
            function, text = f"{model}.unmigrate", ENCODER.encode({"record": new}).decode()
            found, failed = self._guest.call_now("invoke", function, text)
            if failed:
                raise GuestError(f"{self._guest.label} {function}: {found}")
            return msgspec.json.decode(found)

        return classmethod(unmigrate)

    def _listener(self, name: str, said: DescribedListener) -> Any:
        async def hear(**given: Any) -> None:
            adapters = {use: given[use] for use in said.uses}
            await self._call(name, {"event": given["event"]}, adapters, protocols=said.uses)

        parameters: list[tuple[str, Any, Any]] = [("event", Event, inspect.Parameter.empty)]
        for use, protocol in said.uses.items():
            parameters.append((use, self._protocols.get(protocol, Any), adapter()))
        method = self._signed(hear, name, parameters, None, is_method=False)
        method.__doc__ = said.doc
        return on(
            *said.on,
            order=said.order,
            once=said.once,
            every=said.every,
            cron=said.cron,
            tz=said.tz,
            **msgspec.structs.asdict(said.policies),
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
            if default is msgspec.NODEFAULT:
                parameters.append((name, made, inspect.Parameter.empty))
            else:  # what a Struct would make anew each time, no call changes
                parameters.append((name, made, msgspec.convert(schemas[name]["default"], made)))
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

        async def serve(what: str, arguments: tuple[Any, ...]) -> str:
            if what == "host.call":
                try:
                    return await self._reached(function, record, adapters, protocols, *arguments)
                except Refused as no:  # as the guest says it, so that it may pass it on
                    raise AegisError(_refused(no)) from no
            return await self._capabilities.answer(what, arguments, step=is_step)

        is_step = settings is None  # and no adapter, which a replay does not run
        at_once = self._capabilities.at_once(work, step=is_step, inline=self._guest.is_inline)
        given = await self._guest.call(function, text, serve, settings, at_once)
        if given.failed:
            raise self._failure(function, given)
        for name, subject, data in given.emitted:
            emit(name, subject, **_data(function, name, data))
        return given.text

    def _failure(self, function: str, given: Given) -> Exception:
        """What to raise of what the guest called an error."""
        text = given.text
        if text.startswith("{"):
            try:
                said = msgspec.json.decode(text, type=_Refusal)
            except msgspec.DecodeError:
                pass
            else:
                told = said.emit
                kept = None if told is None else event(told.name, told.subject, **told.data)
                return Refused(said.refused, emit=kept)
        detail = f"{self._guest.label} {function}: {text or 'it failed, and says nothing'}"
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
            return _encoded(target, await link.create(**_decoded(target, text or "{}", _OBJECT)))
        said = _decoded(target, text or "{}", _RELATING)
        if verb == "count":
            return _encoded(target, await link.count(**said.where))
        if verb:
            raise NotFoundError(f"{target!r} is not there", hint=f"{name}, {name}.create or .count")
        if getattr(type(record), name).many:
            return _encoded(target, await link(sort=said.sort, limit=said.limit, **said.where))
        return _encoded(target, await link())


_OBJECT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(dict[str, Any])
_RELATING: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Relating)


def _fields(cls: Any) -> Sequence[msgspec.structs.FieldInfo]:
    return [item for item in msgspec.structs.fields(cls) if item.name != "id"]


def _shown(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


def _refused(no: Refused) -> str:
    """What ends a step for good, as a guest says it."""
    kept = None if no.emit is None else _Emit(no.emit.type, no.emit.subject, no.emit.data)
    return ENCODER.encode(_Refusal(no.detail, kept)).decode()


def _decoded(target: str, text: str, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidError(f"{target!r} was called with what does not fit: {error}") from None


def _encoded(target: str, answer: Any) -> str:
    try:
        return ENCODER.encode(answer).decode()
    except TypeError as error:
        raise InvalidError(f"{target!r} answered what JSON cannot hold: {error}") from None


def _data(function: str, name: str, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise GuestError(
            f"{function} emits {name!r} with data that is no object: {error}"
        ) from None
