"""What a component in another language says of itself: its manifest and models, as data."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from aegis.core.errors import ComponentError, InvalidError, closest
from aegis.core.event import NAME as EVENT_NAME
from aegis.core.grant import HOST, Grant, is_capability, read_asks
from aegis.core.manifest import NAME, TAKEN, VERSION, Exports
from aegis.core.policy import Attempts
from aegis.core.port import Order
from aegis.core.relation import OnDelete

# The contract between host and guest, and its version: see wit/component.wit.
CONTRACT = "aegis:component"
CONTRACT_VERSION = "0.1.0"

# Things that one component may describe. Classes are made of them, which takes the host's time.
MOST = 1000

# What a host can grant to a guest beyond `host`, which each has, by the interface that it imports.
CAPABILITIES = ("clock", "random", "keys", "http")
WASI = "wasi"

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}\Z")
# What the host passes to a function by these names.
_GIVEN = ("self", "event", "record")
# What a model has by these names, whatever its author writes.
_OWN = ("id", "update", "migrate", "unmigrate")

# A type, in the words of JSON Schema; adapters/components/wasm/types.py has those that are known.
Schema = dict[str, Any]
# What must be so: each field has its value, or one of those in a list.
Condition = Mapping[str, Any]


class _Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a description; what nobody knows in it is refused."""


class _Tried(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How something is attempted, as `port` says in Python; what is left out the host decides."""

    timeout: float | None = None
    retries: int | None = None
    backoff: float | None = None
    factor: float | None = None
    backoff_most: float | None = None
    jitter: float | None = None

    @property
    def attempts(self) -> Attempts:
        """What was said of attempts, as `port` takes it."""
        return {
            "timeout": self.timeout,
            "retries": self.retries,
            "backoff": self.backoff,
            "factor": self.factor,
            "backoff_most": self.backoff_most,
            "jitter": self.jitter,
        }


class _Attempted(_Tried, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same of what has circuit breakers of its own, one for each adapter that it uses."""

    breaker: bool | Mapping[str, int | float] | None = None


class DescribedUndo(_Tried, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What takes a port back: the guest is called as `Model.port.undo`."""

    uses: Mapping[str, str] = {}


class DescribedFallback(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in for a port: the guest is called as `Model.port.fallback`."""

    timeout: float | None = None
    uses: Mapping[str, str] = {}


class DescribedAnswer(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What takes the event that a port waits for: the guest is called as `Model.port.answer`.

    `events` are the names of those that it may wait for.
    """

    events: tuple[str, ...]
    uses: Mapping[str, str] = {}


class DescribedPort(_Attempted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port: the guest is called as `Model.port`. `when` is a condition on the record.

    `uses` names the protocols of the adapters that it calls, by the name that it calls them by.
    """

    consumes: tuple[str, ...] = ()
    produces: str | None = None
    when: Condition = {}
    by: str | None = None
    join: bool = False
    undoes: bool = False
    was: tuple[str, ...] = ()
    effect: bool = True
    arguments: Mapping[str, Schema] = {}
    uses: Mapping[str, str] = {}
    undo: DescribedUndo | None = None
    fallback: DescribedFallback | None = None
    answer: DescribedAnswer | None = None
    doc: str = ""


class DescribedCommand(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command: the guest is called as `Model.command`."""

    produces: str | None = None
    undo: bool = False
    timeout: float | None = None
    breaker: bool | Mapping[str, int | float] | None = None
    arguments: Mapping[str, Schema] = {}
    uses: Mapping[str, str] = {}
    doc: str = ""


class DescribedRelation(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A relation, by a field here (`via`) or there (`by`); see `relation` in Python.

    `fields` are what the guest gets to see of those records. Without them it is all of one of its
    own component, and of another's all that is not private.
    """

    to: str
    via: str | None = None
    by: str | None = None
    many: bool | None = None
    on_delete: OnDelete | None = None
    fields: tuple[str, ...] = ()
    doc: str = ""


class DescribedModel(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model. `fields` are its fields without `id`, by name.

    With `migrate` the guest's export of that name makes records of what older code stored, with
    `unmigrate` the guest is called as `Model.unmigrate` for the way back.
    """

    fields: Mapping[str, Schema]
    endpoint: str | None = None
    concurrency: Literal["etag", "last-wins"] = "etag"
    indexes: tuple[str, ...] = ()
    store: str | None = None
    cache: int | None = None
    relations: Mapping[str, DescribedRelation] = {}
    ports: Mapping[str, DescribedPort] = {}
    commands: Mapping[str, DescribedCommand] = {}
    migrate: bool = False
    unmigrate: bool = False
    doc: str = ""


class DescribedMethod(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method of a protocol: what it takes by name, and what it gives (nothing when left out)."""

    takes: Mapping[str, Schema] = {}
    gives: Schema | None = None


class DescribedPart(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An adapter or a service: the guest is called as `Part.method`.

    `does` names its protocols, `uses` those of the services it calls, `config` its configuration.
    """

    does: tuple[str, ...]
    uses: Mapping[str, str] = {}
    config: Mapping[str, Schema] = {}
    doc: str = ""


class DescribedListener(_Attempted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A listener of events (`on`) or of times: the guest is called by its name.

    `when` is a condition on the data of an event.
    """

    on: tuple[str, ...] = ()
    when: Condition = {}
    order: Order = "subject"
    once: bool = False
    every: float | None = None
    cron: str | None = None
    tz: str | None = None
    uses: Mapping[str, str] = {}
    doc: str = ""


class DescribedLimits(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the guest needs: seconds of computing, bytes of memory and of one answer, and fuel.

    Each is at most what the host gives. What is left out is what the host gives; fuel is not
    counted unless it is said here.
    """

    seconds: float | None = None
    memory: int | None = None
    output: int | None = None
    fuel: int | None = None


class Description(_Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that `describe()` gives.

    `protocols` are what adapters do, methods by name. `emits` are the events that its code emits.
    `http` are the origins that it calls. `inline` asks for the host's own thread: it is granted to
    signed components that call nobody. `fresh` wants a new instance for every call.
    """

    name: str
    version: str
    doc: str = ""
    models: Mapping[str, DescribedModel] = {}
    protocols: Mapping[str, Mapping[str, DescribedMethod]] = {}
    adapters: Mapping[str, DescribedPart] = {}
    services: Mapping[str, DescribedPart] = {}
    listeners: Mapping[str, DescribedListener] = {}
    emits: tuple[str, ...] = ()
    exports: Exports | None = None
    grants: Mapping[str, tuple[str, ...]] = {}
    http: tuple[str, ...] = ()
    limits: DescribedLimits = DescribedLimits()
    inline: bool = False
    fresh: bool = False

    @property
    def parts(self) -> Mapping[str, DescribedPart]:
        """Its adapters and services, which differ in nothing but who calls them."""
        return {**self.adapters, **self.services}

    @property
    def size(self) -> int:
        """How many things it describes: each becomes a class, a field or a function of the host."""
        size = len(self.parts) + len(self.listeners) + len(self.emits) + len(self.http)
        for methods in self.protocols.values():
            size += 1 + len(methods) + sum(len(method.takes) for method in methods.values())
        for part in self.parts.values():
            size += len(part.config) + len(part.uses)
        for model in self.models.values():
            verbs: list[DescribedPort | DescribedCommand] = [*model.ports.values()]
            verbs += model.commands.values()
            size += 1 + len(model.fields) + len(model.relations) + len(model.indexes)
            size += sum(1 + len(verb.arguments) + len(verb.uses) for verb in verbs)
        return size

    @property
    def calls(self) -> bool:
        """Whether its code may call something that the host answers later."""
        uses = [part.uses for part in self.parts.values()]
        uses += [listener.uses for listener in self.listeners.values()]
        for model in self.models.values():
            if model.relations:
                return True
            uses += [command.uses for command in model.commands.values()]
            for port in model.ports.values():
                uses.append(port.uses)
                marked = (port.undo, port.fallback, port.answer)
                uses += [one.uses for one in marked if one is not None]
        return any(uses)


def needs_of(imported: frozenset[str], description: Description) -> tuple[Grant, ...]:
    """What of the host a guest needs, by the capabilities it imports and the origins it calls."""
    names = sorted(imported - {"http"})
    if "http" in imported:
        names += [f"http={origin}" for origin in description.http]
    return read_asks({HOST: names})


def read_description(text: str, name: str) -> Description:
    """What a guest's `describe()` said. Raises ComponentError of `name` with all that is wrong."""
    try:
        said = msgspec.json.decode(text, type=Description)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ComponentError(name, [f"its describe() gives no description: {error}"]) from None
    except msgspec.DecodeError as error:
        raise ComponentError(
            name, [f"its describe() gives no JSON: {error}"], hint="it gives one JSON object"
        ) from None
    size = said.size
    if size > MOST:
        raise ComponentError(
            name,
            [f"it describes {size:,} things, and {MOST:,} are the most"],
            hint="make several components of it",
        )
    problems = list(_problems(said))
    if problems:
        raise ComponentError(name, problems)
    return said


def _problems(said: Description) -> Iterator[str]:
    yield from _labels(said)
    yield from _named(said)
    for name, methods in said.protocols.items():
        for method, signature in methods.items():
            yield from _words(f"{name}.{method}", (method, *signature.takes), _GIVEN[:1])
    for name, part in said.parts.items():
        yield from _uses(said, name, part.uses)
        if not part.does:
            yield f"{name} does nothing: name its protocols in does"
        for protocol in part.does:
            yield from _protocol(said, f"{name} does", protocol)
    for name, listener in said.listeners.items():
        yield from _uses(said, name, listener.uses)
    for name, model in said.models.items():
        yield from _of_model(said, name, model)
    yield from _events("emits", said.emits)
    yield from _asks(said)


def _asks(said: Description) -> Iterator[str]:
    for origin in said.http:
        if not is_origin(origin):
            yield f"http: {origin!r} is no origin: write it as https://api.example.org"
    if HOST in said.grants:
        yield f"grants names {HOST!r}: what it needs of the host is what it imports"
    try:
        read_asks(said.grants)
    except InvalidError as error:
        yield f"grants: {error}"


def _labels(said: Description) -> Iterator[str]:
    if not NAME.fullmatch(said.name):
        yield f"{said.name!r} is no name of a component: lower case letters, digits, - and _"
    elif said.name in TAKEN:
        yield f"the host itself calls things {said.name!r}: choose another name"
    if not VERSION.fullmatch(said.version):
        yield f"{said.version!r} is no version: write it as 1.2.0"


def _named(said: Description) -> Iterator[str]:
    named = {"model": said.models, "protocol": said.protocols, "adapter": said.adapters}
    named |= {"service": said.services, "listener": said.listeners}
    seen: dict[str, str] = {}
    for kind, things in named.items():
        for name in things:
            if not _is_word(name):
                yield f"{kind} {name!r}: {_NO_WORD}"
            elif name in seen:
                yield f"{kind} {name!r} is called like a {seen[name]}: rename one of them"
            seen[name] = kind


def is_origin(text: str) -> bool:
    """Whether a text is an origin of the web: a scheme, a host, and at most a port."""
    try:
        split = urlsplit(text)
        _ = split.port
    except ValueError:
        return False
    plain = text == f"{split.scheme}://{split.netloc}" and "@" not in split.netloc
    named = bool(split.hostname) and is_capability(f"http={text}")
    return plain and split.scheme in {"http", "https"} and named


def _of_model(said: Description, name: str, model: DescribedModel) -> Iterator[str]:
    names = (*model.fields, *model.relations, *model.ports, *model.commands)
    yield from _words(name, [one for one in names if one not in _OWN])
    for one in names:
        if one == "id":
            yield f"{name}.id: the host gives a record its id: leave it out"
        elif one in _OWN:
            yield f"{name}.{one}: the name is taken by every model: choose another"
    yield from _twice(name, model)
    for link_name, link in model.relations.items():
        if (link.via is None) is (link.by is None):
            yield (
                f"{name}.{link_name}: a relation goes via a field here, or by a field there: "
                "say one of both"
            )
        yield from _words(f"{name}.{link_name} fields", link.fields)
    for port_name, port in model.ports.items():
        yield from _of_port(said, f"{name}.{port_name}", port, model)
    for command_name, command in model.commands.items():
        where = f"{name}.{command_name}"
        yield from _words(where, command.arguments, (*_GIVEN, *command.uses))
        yield from _uses(said, where, command.uses, model)


def _twice(name: str, model: DescribedModel) -> Iterator[str]:
    taken: dict[str, str] = {}
    kinds = {"field": model.fields, "relation": model.relations, "port": model.ports}
    for kind, things in (kinds | {"command": model.commands}).items():
        for one in things:
            if one in taken:
                yield f"{name}.{one} is a {taken[one]} and a {kind}: rename one of them"
            taken[one] = kind


def _of_port(
    said: Description, where: str, port: DescribedPort, model: DescribedModel
) -> Iterator[str]:
    yield from _words(where, port.arguments, (*_GIVEN, *port.uses))
    if port.answer is not None:
        if not port.answer.events:
            yield f"{where}.answer: name the events that it may wait for"
        yield from _events(f"{where}.answer", port.answer.events)
    for marked in (port, port.undo, port.fallback, port.answer):
        if marked is not None:
            yield from _uses(said, where, marked.uses, model)


_NO_WORD = "a name is letters, digits and _, a letter first, and no word of Python"


def _is_word(name: str) -> bool:
    return _WORD.match(name) is not None and not keyword.iskeyword(name)


def _words(where: str, names: Iterable[str], taken: Iterable[str] = ()) -> Iterator[str]:
    for name in names:
        if not _is_word(name):
            yield f"{where}: {name!r}: {_NO_WORD}"
        elif name in taken:
            yield f"{where}: the host itself passes it {name!r}: rename yours"


def _events(where: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not EVENT_NAME.fullmatch(name):
            yield f"{where}: {name!r} is no event name: use the form 'noun.verbed'"


def _uses(
    said: Description, where: str, uses: Mapping[str, str], model: DescribedModel | None = None
) -> Iterator[str]:
    yield from _words(where, uses, _GIVEN)
    for name, protocol in uses.items():
        yield from _protocol(said, f"{where} uses {name!r} as", protocol)
        if model is not None and name in model.relations:
            yield f"{where} uses {name!r}, which is also a relation: rename one of them"


def _protocol(said: Description, where: str, name: str) -> Iterator[str]:
    if name not in said.protocols:
        hint = closest(name, said.protocols) or "say its methods in protocols"
        yield f"{where} {name}, which is no protocol of it: {hint}"
