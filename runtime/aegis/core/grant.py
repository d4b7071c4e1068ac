"""Who may reach what of another component: exported by its owner, asked for, and granted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import msgspec

from aegis.core.errors import GrantError, InvalidError
from aegis.core.event import PATTERN, matches
from aegis.core.manifest import NAME, Exports

Right = Literal["read", "write"]
Kind = Literal["models", "adapters", "datasources", "events"]

READ: frozenset[Right] = frozenset({"read"})
WRITE: frozenset[Right] = frozenset({"write"})
BOTH: frozenset[Right] = READ | WRITE

_CLASS = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")

# Who owns what a sandbox may be given: `host.clock`, `host.http=https://api.example.org`.
HOST = "host"
_CAPABILITY = re.compile(r"^[a-z]+(=[A-Za-z0-9.:/\[\]_-]+)?$")


class Grant(msgspec.Struct, frozen=True):
    """Something of component `owner`: a model, adapter or datasource by name, or an event glob.

    `rights` are what may be done with it. A model is read and written (created); an event is heard
    (read) and told in its owner's name (write); an adapter or a datasource needs both.
    """

    owner: str
    what: str
    rights: frozenset[Right] = BOTH

    @property
    def is_event(self) -> bool:
        """Whether it is about events: their names have a dot, or a star."""
        return self.owner != HOST and is_event(self.what)

    @property
    def name(self) -> str:
        """It without its rights: `orders.Order`, `orders:order.*`."""
        return f"{self.owner}{':' if self.is_event else '.'}{self.what}"

    def __str__(self) -> str:
        """As an operator writes it: `orders.Order:read`, `orders:order.*`, `host.clock`."""
        if self.owner == HOST:
            return self.name
        return f"{self.name}{spelled(self.what, self.rights)[len(self.what) :]}"

    def covers(self, owner: str, what: str, right: Right) -> bool:
        """Whether it says this right to `what`, which may be a glob itself."""
        return (
            self.owner == owner
            and right in self.rights
            and (matches(self.what, what) if self.is_event else self.what == what)
        )


def is_event(what: str) -> bool:
    """Whether a name in a grant is that of events."""
    return "." in what or "*" in what


def is_capability(what: str) -> bool:
    """Whether a name in a grant is written as one of what a host gives to a sandbox."""
    return _CAPABILITY.fullmatch(what) is not None


def spelled(what: str, rights: frozenset[Right]) -> str:
    """A name with its rights, where these are not the ones that go without saying."""
    usual = READ if is_event(what) else BOTH
    return what if rights == usual else f"{what}:{min(rights)}"


def read_thing(owner: str, text: str) -> Grant:
    """What a component exports or asks for: `Order`, `Order:read`, `order.*`, `order.paid:write`.

    Without a right a name means both, an event that it is heard. What is the host's has no rights:
    `clock`, `http=https://api.example.org`. Raises InvalidError.
    """
    if owner == HOST:
        if not is_capability(text):
            raise InvalidError(
                f"{text!r} is nothing that a host grants",
                hint="write clock, random, keys, wasi, or http=https://api.example.org",
            )
        return Grant(owner, text)
    what, colon, said = text.partition(":")
    fits = PATTERN.fullmatch(what) if is_event(what) else _CLASS.fullmatch(what)
    if not fits or (colon and said not in BOTH):
        raise InvalidError(
            f"{text!r} names nothing of a component",
            hint="write Order, Order:read, Order:write, or an event as order.*",
        )
    if colon:
        return Grant(owner, what, READ if said == "read" else WRITE)
    return Grant(owner, what, READ if is_event(what) else BOTH)


def read_grant(text: str) -> Grant:
    """What an operator grants: `orders.Order:read`, `orders:order.*`. Raises InvalidError."""
    found = re.fullmatch(r"([^.:]*)([.:])(.*)", text)
    hint = 'write "orders.Order", "orders.Order:read", events as "orders:order.*", or "host.clock"'
    if found is None or not NAME.fullmatch(found[1]):
        raise InvalidError(f"{text!r} names no component and what is granted of it", hint=hint)
    try:
        grant = read_thing(found[1], found[3])
    except InvalidError:
        raise InvalidError(f"{text!r} is no grant", hint=hint) from None
    if grant.is_event is not (found[2] == ":"):
        raise InvalidError(f"{text!r} is no grant", hint=hint)
    return grant


def read_asks(asked: Mapping[str, Iterable[str]]) -> tuple[Grant, ...]:
    """What a component asks of others. Raises InvalidError naming the first that is wrong."""
    found = []
    for owner, things in asked.items():
        if not NAME.match(owner):
            raise InvalidError(f"{owner!r} is no name of a component")
        found += [read_thing(owner, text) for text in things]
    return tuple(found)


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator said of one component while the host ran, as it is stored.

    What was `taken` is so until it is given again, although the configuration or a wider grant
    gives it, and although the component asks for nothing and so was free to reach all.
    """

    component: str
    given: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Grants:
    """All that was granted: `said` by the configuration, and what was `kept` of a running host."""

    said: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    kept: Mapping[str, Granted] = field(default_factory=lambda: MappingProxyType({}))

    def given(self, user: str) -> tuple[Grant, ...]:
        """What a component was given."""
        kept = self.kept.get(user)
        texts = (*self.said.get(user, ()), *(() if kept is None else kept.given))
        return tuple(read_grant(text) for text in dict.fromkeys(texts))

    def taken(self, user: str) -> tuple[Grant, ...]:
        """What was taken from it again."""
        kept = self.kept.get(user)
        return () if kept is None else tuple(read_grant(text) for text in kept.taken)

    def gives(self, user: str, owner: str, what: str, right: Right) -> bool:
        """Whether a component may do this with a thing of another, or with all of a glob."""
        given = any(one.covers(owner, what, right) for one in self.given(user))
        return given and not self.takes(user, owner, what, right)

    def takes(self, user: str, owner: str, what: str, right: Right) -> bool:
        """Whether this was taken from a component, whatever gives it."""
        return any(one.covers(owner, what, right) for one in self.taken(user))

    def giving(self, user: str, grants: Sequence[Grant]) -> Grants:
        """These grants and more; what they cover is taken no longer."""
        kept = self.kept.get(user, Granted(component=user))
        given = dict.fromkeys((*kept.given, *map(str, grants)))
        taken = _less(map(read_grant, kept.taken), grants)
        return self._keeping(Granted(component=user, given=tuple(given), taken=taken))

    def taking(self, user: str, grants: Sequence[Grant]) -> Grants:
        """These grants without some, wherever they were said."""
        kept = self.kept.get(user, Granted(component=user))
        given = _less(map(read_grant, kept.given), grants)
        taken = tuple(dict.fromkeys((*kept.taken, *map(str, grants))))
        return self._keeping(Granted(component=user, given=given, taken=taken))

    def _keeping(self, one: Granted) -> Grants:
        return replace(self, kept=MappingProxyType({**self.kept, one.component: one}))

    def changed(self, before: Grants) -> list[Granted]:
        """What is kept otherwise than before."""
        return [one for name, one in self.kept.items() if before.kept.get(name) != one]


def _less(grants: Iterable[Grant], gone: Sequence[Grant]) -> tuple[str, ...]:
    """What is left of grants, as text, when the rights of others are taken off them."""
    left = []
    for one in grants:
        rights = one.rights - {
            right
            for other in gone
            for right in one.rights
            if other.covers(one.owner, one.what, right)
        }
        if rights:
            left.append(str(msgspec.structs.replace(one, rights=rights)))
    return tuple(left)


@dataclass(frozen=True, kw_only=True)
class Party:
    """What a component exports and asks for; None where it leaves that open: everything.

    `needs` is what its sandbox asks of the host.
    """

    exports: Exports | None = None
    asks: tuple[Grant, ...] | None = None
    needs: tuple[Grant, ...] = ()

    def exporting(self, owner: str) -> tuple[Grant, ...]:
        """What it exports, as what may be reached of it."""
        if self.exports is None:
            return ()
        names = (*self.exports.models, *self.exports.adapters, *self.exports.datasources)
        return tuple(read_thing(owner, text) for text in (*names, *self.exports.events))

    def exported(self, owner: str, kind: Kind, what: str, right: Right) -> bool:
        """Whether it lets others do this."""
        if self.exports is None:
            return True
        texts: tuple[str, ...] = getattr(self.exports, kind)
        return any(read_thing(owner, text).covers(owner, what, right) for text in texts)


class AccessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What one component exports, asks for and was granted, as texts; None is everything."""

    component: str
    exports: tuple[str, ...] | None
    asked: tuple[str, ...] | None
    granted: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Use:
    """A thing of another component that code goes by: `where`, and what it needs of it."""

    where: str
    owner: str
    kind: Kind
    what: str
    rights: tuple[Right, ...] = ("read",)


@dataclass(frozen=True, kw_only=True, eq=False)
class Access:
    """Who reaches what, for one registry; each question is answered from a table once it is known.

    `owners` are the live components. `users` are the loaded code by its label, and live components
    by name. `told` has for each event of a model the components that produce it.
    """

    owners: Mapping[str, Party] = field(default_factory=dict)
    users: Mapping[str, Party] = field(default_factory=dict)
    grants: Grants = field(default_factory=Grants)
    told: Mapping[str, frozenset[str]] = field(default_factory=dict)
    _known: dict[tuple[str, str, Kind, str, Right], bool] = field(default_factory=dict)

    @property
    def is_closed(self) -> bool:
        """Whether any component says what it exports or asks, or lost a right: else all is open."""
        if any(one.taken for one in self.grants.kept.values()):
            return True
        return any(one.exports is not None for one in self.owners.values()) or any(
            one.asks is not None for one in self.users.values()
        )

    def may(self, user: str, owner: str, kind: Kind, what: str, right: Right) -> bool:
        """Whether code, by its label or component, may do this with a thing of a component."""
        key = (user, owner, kind, what, right)
        known = self._known.get(key)
        if known is None:
            known = self.missing(*key) is None
            if len(self._known) < 65_536:  # the names of events may be anything
                self._known[key] = known
        return known

    def missing(
        self, user: str, owner: str, kind: Kind, what: str, right: Right
    ) -> tuple[str, str] | None:
        """Why something may not be done, and the likely fix; None when it may."""
        component = user.partition("@")[0]
        if component == owner:
            return None
        theirs, ours = self.owners.get(owner, Party()), self.users.get(user, Party())
        thing = Grant(owner, what, BOTH if kind in {"adapters", "datasources"} else _RIGHTS[right])
        if not theirs.exported(owner, kind, what, right):
            said = spelled(what, thing.rights)
            return (
                f"{owner} does not export {said}",
                f'say exports.{kind} = ["{said}"] in its aegis.toml, or __exports__ in its cell',
            )
        if self.grants.takes(component, owner, what, right):
            return (
                "that right was taken from it",
                f'host.grant("{component}", "{thing}")',
            )
        if ours.asks is None:
            return None
        if not any(one.covers(owner, what, right) for one in ours.asks):
            said = spelled(what, thing.rights)
            return (
                f"{component} does not ask for {said} of {owner}",
                f'say grants.{owner} = ["{said}"] in its aegis.toml, or __grants__ in its cell',
            )
        if not self.grants.gives(component, owner, what, right):
            return (
                f"nobody granted {component} to {_DOING[kind][right]} {thing.name}",
                f'host.grant("{component}", "{thing}")',
            )
        return None

    def check(self, user: str, owner: str, kind: Kind, what: str, right: Right) -> None:
        """Raise GrantError, naming both components, unless something may be done."""
        if not self.may(user, owner, kind, what, right):
            raise self.refusal(user, owner, kind, what, right)

    def refusal(self, user: str, owner: str, kind: Kind, what: str, right: Right) -> GrantError:
        """What to raise of something that may not be done."""
        component = user.partition("@")[0]
        reason, hint = self.missing(user, owner, kind, what, right) or ("", None)
        return GrantError(
            f"{component} may not {_DOING[kind][right]} {what} of {owner}: {reason}",
            hint=hint,
            component=component,
            owner=owner,
            right=right,
        )

    def hears(self, user: str, owner: str | None, type: str) -> bool:
        """Whether code hears an event of a component; everybody hears one from outside."""
        return owner is None or self.may(user, owner, "events", type, "read")

    def telling(self, user: str, type: str) -> GrantError | None:
        """What to raise when code would tell an event that is another component's to tell."""
        owners = self.told.get(type, frozenset())
        if not owners or user.partition("@")[0] in owners:
            return None
        for owner in sorted(owners):
            if not self.may(user, owner, "events", type, "write"):
                return self.refusal(user, owner, "events", type, "write")
        return None

    def unmet(self, user: str) -> Iterator[tuple[Grant, str]]:
        """What live code of a component asks for and nobody granted, with how to do so."""
        party = self.users.get(user, Party())
        for one in (*(party.asks or ()), *party.needs):
            rights = frozenset(
                right
                for right in one.rights
                if not self.grants.gives(user, one.owner, one.what, right)
            )
            if rights:
                lacking = msgspec.structs.replace(one, rights=rights)
                yield lacking, f'host.grant("{user}", "{lacking}")'

    def status(self, component: str) -> AccessStatus:
        """What a live component exports, asks for and was granted."""
        party = self.owners.get(component, Party())
        exports = None
        if party.exports is not None:
            things = party.exporting(component)
            exports = tuple(sorted({spelled(one.what, one.rights) for one in things}))
        taken = self.grants.taken(component)
        return AccessStatus(
            component=component,
            exports=exports,
            asked=None
            if party.asks is None and not party.needs
            else tuple(sorted({str(one) for one in (*(party.asks or ()), *party.needs)})),
            granted=_less(self.grants.given(component), taken),
        )


_RIGHTS: Mapping[Right, frozenset[Right]] = {"read": READ, "write": WRITE}

# How a right is called, in "may not ... of orders".
_DOING: Mapping[Kind, Mapping[Right, str]] = {
    "models": {"read": "read", "write": "write"},
    "adapters": {"read": "use", "write": "use"},
    "datasources": {"read": "use", "write": "use"},
    "events": {"read": "hear", "write": "tell"},
}
