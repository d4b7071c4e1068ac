"""A unit of work: what one attempt, command, listener or API call changes, as one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import astuple

from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import ConflictError, closest
from aegis.core.event import Emission
from aegis.core.port import Waiting
from aegis.core.record import Record
from aegis.core.rule import Rules
from aegis.core.serializer import UNWRITABLE, Decoder, text_of, unwritable

if TYPE_CHECKING:
    from aegis.engine.reach import Reach

Key = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Change:
    """One record's change within a unit of work.

    `base` is the record as it was read (None: it is created), `before` and `after` the author's
    values (`after` None: it is deleted). `event` is the type of the event that tells of it; with
    `always` it is published although no field changed. `expected` is the caller's If-Match. `was`
    is the record on the host that it comes from: a new one keeps its revision and times.
    """

    spec: ModelSpec
    id: str
    base: Record | None
    before: Any
    after: Any
    event: str
    always: bool = False
    expected: int | None = None
    was: Record | None = None

    @property
    def key(self) -> Key:
        """What names the record: model key and id."""
        return (self.spec.key, self.id)

    def changed(self) -> dict[str, Any]:
        """The fields whose value differs, with the new one; all of them for a new record."""
        after = self.after
        if after is None:
            return {}
        if self.before is None:
            return {name: getattr(after, name) for name in self.spec.fields if name != "id"}
        values = zip(self.spec.fields, astuple(after), astuple(self.before), strict=True)
        return {name: new for name, new, old in values if new is not old and new != old}

    def rebased(self, current: Record | None) -> Any:
        """The value to store over `current`, which may be newer than `base`.

        Raises ConflictError when a field that this change sets was changed meanwhile.
        """
        if self.base is None or (current is not None and current.revision == self.base.revision):
            return self.after
        if current is None:
            raise ConflictError(f"{self.spec.name} {self.id} was deleted meanwhile")
        now = self.spec.value(current)
        ours = self.changed()
        for name in ours:
            if getattr(now, name) != getattr(self.before, name):
                raise ConflictError(
                    f"{self.spec.name} {self.id}: field {name!r} was changed meanwhile",
                    field=name,
                )
        return msgspec.structs.replace(now, **ours)

    def ruled(
        self, rules: Rules, current: Record | None, value: Any, changed: dict[str, Any]
    ) -> Any:
        """`value` as the rules of its model let it take the place of `current`.

        What they derive goes into `changed`. Raises FrozenError, InvalidError.
        """
        old = self.before
        if current is None or self.base is None or current.revision != self.base.revision:
            old = None if current is None else self.spec.value(current)
        elif old is None:  # an import says nothing of what was
            old = self.spec.value(current)
        value = rules.settled(old, value)
        for name in rules.derived:
            now = getattr(value, name)
            if self.before is None or now != getattr(old, name):
                changed[name] = now
            else:
                changed.pop(name, None)
        return value


@dataclass(slots=True, kw_only=True)
class Work:
    """What is under way: its changes and emissions so far, and where it came from.

    `key` is the idempotency key of the step, `cause` the event that led here, `flow` its flow and
    `step` the number of its step there,
    `label` the component revision whose code runs, `model` and `subject` the record it is about,
    `actor` the node of the graph that does it, `origin` what set it off (see Event). `pin` leads
    the output of the code to whoever set it off, until what it gives is called. `expired` says that
    its time is up. `calls` are those of adapters so far, where they are recorded. `waiting` is what
    a port returned whose partner answers later. `reach` is how its code follows relations.
    `keeping` is what components are to keep by key (component, key), `known` what they read there.
    """

    key: str
    label: str
    model: str | None = None
    subject: str | None = None
    cause: str | None = None
    flow: str | None = None
    step: int | None = None
    actor: str | None = None
    origin: str | None = None
    calls: list[tuple[str, str, Any, Any, str, Any]] | None = None
    pin: Callable[[], Callable[[], None]] | None = None
    expired: bool = False
    waiting: Waiting | None = None
    reach: Reach | None = None
    keeping: dict[Key, str | None] | None = None
    known: dict[Key, str | None] | None = None
    changes: dict[Key, Change] = field(default_factory=dict)
    emissions: list[Emission] = field(default_factory=list)

    def told(self) -> Iterator[tuple[str, str | None, str | None, Callable[[], dict[str, Any]]]]:
        """The events it will publish: type, model that it is about, subject, and what is in it."""
        for change in self.changes.values():
            yield change.event, change.spec.key, change.id, change.changed
        for emission in self.emissions:
            yield emission.type, self.model, emission.subject, partial(_data, emission)


def _data(said: Emission) -> dict[str, Any]:
    return said.data


def encode(
    spec: ModelSpec, value: Any, changed: Mapping[str, Any], keep: bytes | None = None
) -> tuple[bytes, Any]:
    """The stored JSON of `value` and what it decodes to, which is checked by that.

    `changed` are the fields that were set. `keep` is the document it replaces; fields of it that
    this code does not know stay. Raises InvalidError naming the field: `update()` checks nothing.
    """
    try:
        doc = spec.encode(value)
        again = spec.decoder.decode(doc)
        if spec.check is not None:
            spec.check(again)
        # Encoded anew: `update(total=5)` is stored as the Decimal that the field says, not as 5.
        # Text is text, and cannot have been anything else.
        if not all(
            type(new) is str and type(getattr(again, name)) is str for name, new in changed.items()
        ):
            doc = spec.encode(again)
    except msgspec.ValidationError as error:
        raise spec.invalid(error) from error
    except UNWRITABLE as error:
        raise spec.invalid(unwritable(msgspec.structs.asdict(value), error)) from error
    if keep is None:
        return doc, again
    fields = msgspec.json.decode(keep, type=dict[str, msgspec.Raw])
    unknown = fields.keys() - set(spec.fields)
    if not unknown:
        return doc, again
    fields = {name: fields[name] for name in fields if name in unknown}
    known = msgspec.json.decode(doc, type=dict[str, msgspec.Raw])
    return ENCODER.encode({**known, **fields}), again


def checked(spec: ModelSpec, decoder: Decoder, data: Mapping[str, Any]) -> Any:
    """`data` as the Struct that the API would make of it: the same checks, the same errors."""
    try:
        return decoder.decode(text_of(data, decoder))
    except msgspec.ValidationError as error:
        unknown = [name for name in data if name not in spec.fields]
        hint = closest(unknown[0], spec.fields) if unknown else None
        raise spec.invalid(error, hint=hint) from None
