"""What the host knows of a component: models, ports, adapters and listeners, as values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType, ModuleType
from typing import Any, Literal

import msgspec

from aegis.core.column import Columns, columns_of
from aegis.core.constraint import Check, check_of
from aegis.core.errors import CorruptError, InvalidError
from aegis.core.event import Event, matches
from aegis.core.grant import Grant
from aegis.core.guest import Guest
from aegis.core.manifest import Exports, Manifest
from aegis.core.policy import UNSAID, Policies
from aegis.core.port import Order
from aegis.core.query import Index
from aegis.core.record import UNREADABLE, Record, damaged
from aegis.core.relation import RelationSpec
from aegis.core.rule import Rules
from aegis.core.schedule import Schedule
from aegis.core.sealing import Sealing
from aegis.core.serializer import Decoder, Form, decoder_of, form_of, schema_of, shape_of
from aegis.core.signature import Signed

# Every loaded component is a module of its own below this name.
MODULES = "aegis_components."

# What a component is written in, as far as the host tells it apart.
Language = Literal["python", "wasm"]

# One encoder for everything stored or sent: Decimal as text, so that no amount loses a digit.
ENCODER = msgspec.json.Encoder(decimal_format="string")


def noun(model: str) -> str:
    """A model's name as event names spell it: `OrderLine` is `order_line`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", model).lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """A wheel that one revision imports and nobody else: known by the SHA-256 of its bytes."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a component's text came from. `origin` is shown to people (`cell 4`, an address).

    `imports` are the files beside it that it imports, and those that they import: the text of
    each by its path from the component's folder (`pricing.py`, `rates/__init__.py`). `file` is what
    tracebacks and a debugger of this process call the text, if not the host's own name for it.
    `manifest` is what it said of itself, None of a cell or a file that says nothing; `resolved` is
    what its address was when it was fetched. `libraries` are what it imports of others. `signed`
    says who signed it, None where nobody had to. `binary` is the code of one in WebAssembly, whose
    text is that of a .wat, if it was written so. What `is_local` may leave open what others reach
    of it and what it reaches; what is from elsewhere exports and reaches only what is said.
    """

    name: str
    version: str
    text: str
    origin: str
    digest: str
    imports: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    manifest: Manifest | None = None
    resolved: str = ""
    libraries: tuple[Library, ...] = ()
    signed: Signed | None = None
    is_local: bool = True
    binary: bytes = b""

    @classmethod
    def of(
        cls,
        name: str,
        version: str,
        text: str,
        *,
        origin: str = "",
        imports: Mapping[str, str] | None = None,
        file: str = "",
        manifest: Manifest | None = None,
        resolved: str = "",
        libraries: tuple[Library, ...] = (),
        is_local: bool = True,
        binary: bytes = b"",
    ) -> Source:
        """A source with the digest of all its code, and of what it offers to and asks of others."""
        files = dict(sorted((imports or {}).items()))
        code = "\0".join((name, version, text, *(part for file in files.items() for part in file)))
        if manifest is not None:
            said = (manifest.exports, manifest.grants, manifest.dependencies)
            code += "\0" + msgspec.json.encode(said, order="deterministic").decode()
        code = "\0".join((code, *(library.sha256 for library in libraries)))
        if binary:
            code += f"\0wasm {hashlib.sha256(binary).hexdigest()}"
        if not is_local:
            code += "\0from elsewhere"
        return cls(
            name=name,
            version=version,
            text=text,
            origin=origin,
            digest=hashlib.sha256(code.encode()).hexdigest(),
            imports=files,
            file=file,
            manifest=manifest,
            resolved=resolved,
            libraries=libraries,
            is_local=is_local,
            binary=binary,
        )

    @property
    def is_wasm(self) -> bool:
        """Whether it is code in WebAssembly, and not Python."""
        return bool(self.binary)

    @property
    def language(self) -> Language:
        """What the host runs it as, whatever it was compiled from."""
        return "wasm" if self.is_wasm else "python"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Slot:
    """A parameter that takes an adapter or a service: its name and the Protocol it must do."""

    parameter: str
    protocol: type


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setting:
    """A parameter that takes a value of the configuration: key, type and default."""

    parameter: str
    key: str
    type: Any
    default: Any


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """A class that does one or more Protocols: an adapter or a service, and what it needs."""

    name: str
    cls: type
    protocols: tuple[type, ...]
    services: tuple[Slot, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """How a marked function is called: what it takes and whether it may suspend.

    `adapters` are filled by the host, `event` names the parameter that takes the causing event,
    `arguments` is the Struct of what a caller passes (None when nothing).
    """

    fn: Callable[..., Any]
    adapters: tuple[Slot, ...] = ()
    event: str | None = None
    arguments: type[msgspec.Struct] | None = None

    @cached_property
    def decoder(self) -> Decoder | None:
        """Decodes and checks the JSON body of a call."""
        return None if self.arguments is None else decoder_of(self.arguments, "network")

    @cached_property
    def check(self) -> Check | None:
        """Checks the bounds of decoded arguments."""
        return None if self.arguments is None else check_of(self.arguments)


@dataclass(frozen=True, kw_only=True, eq=False)
class PortSpec:
    """A port of a model. `consumes` are event names and globs, ports already resolved to theirs.

    `awaits` are the names of events that its code spells in calls of `waiting`. `policies` are what
    the author said of its attempts, and those of its undo and its fallback: `over` the registry's
    defaults.
    """

    name: str
    call: Call
    consumes: tuple[str, ...] = ()
    produces: str | None = None
    policies: Policies = UNSAID
    when: Callable[[Any], bool] | None = None
    by: str | None = None
    join: bool = False
    undoes: bool = False
    was: tuple[str, ...] = ()
    effect: bool = True
    undo: Call | None = None
    undo_policies: Policies = UNSAID
    fallback: Call | None = None
    fallback_policies: Policies = UNSAID
    answer: Call | None = None
    awaits: frozenset[str] = frozenset()
    doc: str = ""

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """What the host may call for it: itself, what undoes it, stands in, takes its answer."""
        calls = (self.call, self.undo, self.fallback, self.answer)
        return tuple(call for call in calls if call is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class CommandSpec:
    """A command of a model; `produces` is the event of its change."""

    name: str
    call: Call
    produces: str
    undo: bool = False
    policies: Policies = UNSAID
    doc: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ListenerSpec:
    """A durable listener that belongs to no model.

    It hears the events that `patterns` mean, of those the ones about `subject` if it names one and
    for which `when` is true. One with a `schedule` hears the firings of that.
    """

    name: str
    call: Call
    patterns: tuple[str, ...]
    policies: Policies = UNSAID
    when: Callable[[Event], bool] | None = None
    subject: str | None = None
    order: Order = "subject"
    once: bool = False
    schedule: Schedule | None = None
    doc: str = ""

    def pattern(self, type: str, subject: str | None) -> str | None:
        """By which of its patterns it hears such an event, None when it does not."""
        if self.subject is not None and subject != self.subject:
            return None
        return next((pattern for pattern in self.patterns if matches(pattern, type)), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelSpec:
    """What the host knows of a model, whatever it was written in.

    `key` (`orders.Order`) names its records for ever; `schema` is the JSON Schema of a record as it
    is stored. `migrate` makes its value of a record that older code stored, as plain JSON;
    `unmigrate` makes such a record of one of its own.
    `store` is the datasource that its author wants it kept in, None for the host's own store,
    `cache` how many records stay in memory apart from those of others, if it says so.
    """

    component: str
    name: str
    endpoint: str | None
    cls: type
    schema: Mapping[str, Any]
    definitions: Mapping[str, Any]
    ports: Mapping[str, PortSpec]
    commands: Mapping[str, CommandSpec]
    create: type[msgspec.Struct]
    patch: type[msgspec.Struct]
    relations: Mapping[str, RelationSpec] = field(default_factory=lambda: MappingProxyType({}))
    last_wins: bool = False
    indexes: tuple[Index, ...] = ()
    rules: Rules | None = None
    sealing: Sealing | None = None
    migrate: Callable[[dict[str, Any]], Any] | None = None
    unmigrate: Callable[[dict[str, Any]], Any] | None = None
    store: str | None = None
    cache: int | None = None
    doc: str = ""

    @cached_property
    def key(self) -> str:
        """`component.Model`."""
        return f"{self.component}.{self.name}"

    @cached_property
    def noun(self) -> str:
        """The model's name as event names spell it."""
        return noun(self.name)

    @cached_property
    def created(self) -> str:
        """The event of a new record."""
        return f"{self.noun}.created"

    @cached_property
    def updated(self) -> str:
        """The event of a change that no port or command named."""
        return f"{self.noun}.updated"

    @cached_property
    def deleted(self) -> str:
        """The event of a record's end."""
        return f"{self.noun}.deleted"

    @cached_property
    def imported(self) -> str:
        """The event of a record that came from another host, new or in the place of one here."""
        return f"{self.noun}.imported"

    @cached_property
    def migrated(self) -> str:
        """The event of a record that got the form of other code."""
        return f"{self.noun}.migrated"

    @cached_property
    def compensated(self) -> str:
        """The event that follows a flow whose undo is complete."""
        return f"{self.noun}.compensated"

    @cached_property
    def compensation_failed(self) -> str:
        """The event that follows a flow whose undo stopped."""
        return f"{self.noun}.compensation_failed"

    @cached_property
    def events(self) -> frozenset[str]:
        """The names of the events that its records, ports and commands are known to have."""
        return frozenset(
            {
                self.created,
                self.updated,
                self.deleted,
                self.imported,
                self.migrated,
                self.compensated,
                self.compensation_failed,
                *(port.produces for port in self.ports.values() if port.produces is not None),
                *(command.produces for command in self.commands.values()),
            }
        )

    def document(self) -> dict[str, Any]:
        """What stored records fit: schema, definitions, and which fields have rules of storage."""
        known = {"schema": self.schema, "definitions": self.definitions}
        rules = None if self.rules is None else self.rules.document()
        return {**known, "rules": rules} if rules else known

    def port(self, name: str) -> PortSpec | None:
        """The port that is called `name`, or was."""
        found = self.ports.get(name)
        if found is None:
            found = next((port for port in self.ports.values() if name in port.was), None)
        return found

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the author's fields, id first."""
        return tuple(item.encode_name for item in msgspec.structs.fields(self.cls))

    @cached_property
    def points(self) -> tuple[RelationSpec, ...]:
        """The relations whose ids are in a field of its own."""
        return tuple(one for one in self.relations.values() if one.via is not None)

    @cached_property
    def columns(self) -> Columns:
        """What component code can ask of its records."""
        columns = columns_of(self.shape, {} if self.form is None else self.form.asked)
        if self.rules is None or not self.rules.sealed:
            return columns
        return columns.sealing(
            self.rules.sealed, None if self.sealing is None else self.sealing.token
        )

    @cached_property
    def public_columns(self) -> Columns:
        """What callers can ask of its records."""
        return self.columns if self.rules is None else self.columns.without(self.rules.private)

    @cached_property
    def form(self) -> Form | None:
        """How its values are stored, None where no serializer has a say."""
        return form_of(self.cls, "stored")

    @cached_property
    def shape(self) -> type:
        """The class that has the types of what is stored."""
        return self.cls if self.form is None else self.form.twin

    @cached_property
    def outer_schema(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """`schema` and `definitions` of a record as callers see it."""
        if self.form is None or not self.form.apart:
            return self.schema, self.definitions
        return schema_of(shape_of(self.cls, "network"))

    @cached_property
    def encode(self) -> Callable[[Any], bytes]:
        """Makes the document of a value. Raises TypeError, msgspec.ValidationError."""
        return ENCODER.encode if self.form is None else self.form.encode

    @cached_property
    def decoder(self) -> Decoder:
        """Decodes a stored record; fields of newer code are passed over."""
        return msgspec.json.Decoder(self.cls) if self.form is None else self.form

    def plain(self, changed: dict[str, Any]) -> dict[str, Any]:
        """The author's values of some fields as they are stored, and events tell of them."""
        plain = changed if self.form is None else self.form.plain(changed)
        told: dict[str, Any] = msgspec.to_builtins(plain)
        return told

    def stored(self, record: Record) -> Any:
        """A stored record as a value of `shape`. Raises CorruptError when it does not decode."""
        if self.form is None:
            return self.value(record)
        try:
            return self.form.reader.decode(self.opened(record))
        except UNREADABLE as error:
            raise damaged(record, error) from error

    def value(self, record: Record) -> Any:
        """The author's value of a stored record. Raises CorruptError when it does not decode."""
        try:
            return self.decoder.decode(self.opened(record))
        except UNREADABLE as error:
            raise damaged(record, error) from error

    def opened(self, record: Record) -> bytes:
        """The document of a stored record in the clear. Raises SealError, CorruptError."""
        return record.doc if self.sealing is None else self.sealing.opened(record.id, record.doc)

    def shown(self, record: Record, names: tuple[str, ...] | None = None) -> bytes:
        """A record as JSON that leaves the host: whole with `_meta`, or only `names` of it.

        What is private does not.
        """
        shown = record
        if self.sealing is not None:
            doc = self.sealing.shown(record.id, record.doc)
            shown = msgspec.structs.replace(record, doc=doc)
        if self.form is not None and self.form.apart:
            shown = self._outward(record, shown, self.form.apart)
        return shown.representation() if names is None else shown.only(names)

    def _outward(self, record: Record, shown: Record, apart: tuple[str, ...]) -> Record:
        """What is shown of a record, the fields `apart` as callers see them."""
        value = self.value(record)
        fields: dict[str, Any] = msgspec.json.decode(shown.doc, type=dict[str, msgspec.Raw])
        outer = {name: getattr(value, name) for name in apart if name in fields}
        network = self._network
        try:
            fields |= outer if network is None else network.plain(outer)
            doc = ENCODER.encode(fields)
        except (msgspec.ValidationError, TypeError) as error:
            raise CorruptError(f"the stored {record.model} {record.id!r}: {error}") from error
        return msgspec.structs.replace(shown, doc=doc)

    @cached_property
    def _network(self) -> Form | None:
        return form_of(self.cls, "network")

    def said(self, error: Exception) -> str:
        """What msgspec says of data that does not fit, but not what a sealed field would hold."""
        return str(error) if self.rules is None else self.rules.unsaid(str(error))

    def invalid(self, error: Exception, *, hint: str | None = None) -> InvalidError:
        """What to raise of data that does not fit."""
        return InvalidError(f"{self.name}: {self.said(error)}", hint=hint)

    def told(self, changed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of changed fields those that an event tells, and those that are sealed beside it."""
        hidden = {} if self.rules is None else self.rules.sealed
        told = {name: value for name, value in changed.items() if name not in hidden}
        return told, {name: value for name, value in changed.items() if name in hidden}

    def whole(self, event: Event, beside: bytes | None) -> Event:
        """An event of a record's change with what is sealed beside it. Raises SealError."""
        changed = event.data.get("changed")
        if self.sealing is None or beside is None or not isinstance(changed, dict):
            return event
        fields = {**changed, **self.sealing.whole(event.id, beside)}
        return msgspec.structs.replace(event, data={**event.data, "changed": fields})

    @cached_property
    def check(self) -> Check | None:
        """Checks the bounds of a record's value."""
        return check_of(self.cls)

    @cached_property
    def create_decoder(self) -> Decoder:
        """Decodes what a caller sends to create a record; unknown fields are errors."""
        return decoder_of(self.create, "network")

    @cached_property
    def patch_decoder(self) -> Decoder:
        """Decodes what a caller sends to change a record; absent fields are UNSET."""
        return decoder_of(self.patch, "network")


@dataclass(frozen=True, kw_only=True, eq=False)
class Revision:
    """One loaded code of a component: what was surveyed in its module, and where that came from.

    `names` are the public classes and functions it defines, `emits` the event names that its code
    spells. `exports` is what others may reach, `asks` what it wants to reach of them; None is
    everything. `needs` is what its sandbox asks of the host, `settings` the configuration that all
    of it reads, and `guest` the sandbox, None for Python.
    """

    source: Source
    models: tuple[ModelSpec, ...]
    parts: tuple[Part, ...] = ()
    listeners: tuple[ListenerSpec, ...] = ()
    names: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    emits: frozenset[str] = frozenset()
    exports: Exports | None = None
    asks: tuple[Grant, ...] | None = None
    needs: tuple[Grant, ...] = ()
    settings: tuple[Setting, ...] = ()
    guest: Guest | None = None
    module: ModuleType | None = None

    @property
    def name(self) -> str:
        """The component's name."""
        return self.source.name

    @property
    def version(self) -> str:
        """The author's version number."""
        return self.source.version

    @property
    def digest(self) -> str:
        """SHA-256 of name, version, text and imported files, hex."""
        return self.source.digest

    @cached_property
    def label(self) -> str:
        """`orders@1.2.0+3fa9c1d2`, as events and messages name it."""
        return f"{self.name}@{self.version}+{self.digest[:8]}"

    @cached_property
    def is_outbound(self) -> bool:
        """Whether all its code may call partners, and not only what adapters do."""
        return any(one.what.startswith("http=") for one in self.needs)

    @cached_property
    def by_name(self) -> Mapping[str, ModelSpec]:
        """The models by class name."""
        return MappingProxyType({spec.name: spec for spec in self.models})

    @cached_property
    def schemas(self) -> Mapping[str, bytes]:
        """The JSON Schema of each model's records, by model key, as canonical JSON."""
        return MappingProxyType(
            {
                spec.key: msgspec.json.encode(spec.document(), order="deterministic")
                for spec in self.models
            }
        )
