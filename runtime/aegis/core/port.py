"""What an author marks: ports, commands, listeners, and what their parameters need.

The decorators only mark. A marked method stays a plain method outside a host, so a unit test
calls `await order.authorize(Sandbox())` without any of the framework.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    get_args,
    overload,
)

import msgspec

from aegis.core.errors import AegisError, InvalidError
from aegis.core.event import NAME, PATTERN, Event
from aegis.core.policy import LONGEST, Attempts, Policies, RetryIf
from aegis.core.schedule import FIRED, Schedule

M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

# What a listener's failed event does to later ones of its subject: hold them, or nothing.
Order = Literal["subject", "none"]


class _Method(Generic[M, P, R]):
    """A marked method: read from an instance it is the plain bound method."""

    def __init__(self, fn: Callable[Concatenate[M, P], R]) -> None:
        self.fn = fn
        self.name = fn.__name__
        self.__doc__ = fn.__doc__
        self.__name__ = fn.__name__
        self.__module__ = fn.__module__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: M, owner: type) -> Callable[P, R]: ...
    def __get__(self, instance: M | None, owner: type) -> Self | Callable[P, R]:
        return self if instance is None else self.fn.__get__(instance, owner)


class Port(_Method[M, P, R]):
    """A named step of a model.

    `port.undo` marks the method that takes it back, `port.fallback` the one that stands in for it.
    """

    def __init__(
        self,
        fn: Callable[Concatenate[M, P], R],
        *,
        consumes: tuple[str | Port[Any, Any, Any], ...] = (),
        produces: str | None = None,
        when: Callable[[Any], bool] | None = None,
        by: str | None = None,
        join: bool = False,
        undo: bool = False,
        was: tuple[str, ...] = (),
        effect: bool = True,
        policies: Policies | None = None,
    ) -> None:
        super().__init__(fn)
        self.consumes = consumes
        self.produces = produces
        self.when = when
        self.by = by
        self.join = join
        self.undoes = undo
        self.was = was
        self.effect = effect
        self.policies = policies or Policies()
        self.undo_fn: Callable[..., Any] | None = None
        self.undo_policies = Policies()
        self.answer_fn: Callable[..., Any] | None = None
        self.fallback_fn: Callable[..., Any] | None = None
        self.fallback_policies = Policies()

    @overload
    def undo(self, fn: F, /) -> F: ...
    @overload
    def undo(self, /, **policy: Unpack[Attempts]) -> Callable[[F], F]: ...
    def undo(self, fn: F | None = None, /, **policy: Unpack[Attempts]) -> F | Callable[[F], F]:
        """Mark the method that undoes this port; it may run although the port never answered.

        `policy` says how it is attempted, as in `port`; the breakers are those of the port.
        """
        policies = Policies(**policy)

        def mark(fn: F) -> F:
            if self.undo_fn is not None:
                raise InvalidError(f"port {self.name!r} already has an undo")
            self.undo_fn = fn
            self.undo_policies = policies
            return fn

        return mark if fn is None else mark(fn)

    @overload
    def fallback(self, fn: F, /) -> F: ...
    @overload
    def fallback(self, /, *, timeout: float | None = None) -> Callable[[F], F]: ...
    def fallback(
        self, fn: F | None = None, /, *, timeout: float | None = None
    ) -> F | Callable[[F], F]:
        """Mark the method that stands in for this port when its partner is out of order.

        It runs, once and within `timeout` seconds, when the attempts are used up, when `retry_if`
        lets no further one follow, and at once, in place of waiting, when a breaker of the port is
        open; not after a `Refused`, which is an answer. It takes an event and adapters, and what it
        returns ends the step as the port's own result would. The port's undo takes back both: it
        runs for the step although nobody knows whether the partner has acted, too. When the
        fallback raises, the step has failed.
        """
        policies = Policies(timeout=timeout)

        def mark(fn: F) -> F:
            if self.fallback_fn is not None:
                raise InvalidError(f"port {self.name!r} already has a fallback")
            self.fallback_fn = fn
            self.fallback_policies = policies
            return fn

        return mark if fn is None else mark(fn)

    def answer(self, fn: F, /) -> F:
        """Mark the method that takes the event which this port's `waiting(...)` waited for."""
        if self.answer_fn is not None:
            raise InvalidError(f"port {self.name!r} already has an answer")
        self.answer_fn = fn
        return fn


class Command(_Method[M, P, R]):
    """A named change of a record that the API offers; with `undo` it also undoes the open flow."""

    def __init__(
        self,
        fn: Callable[Concatenate[M, P], R],
        *,
        produces: str | None,
        undo: bool,
        policies: Policies,
    ) -> None:
        super().__init__(fn)
        self.produces = produces
        self.undo = undo
        self.policies = policies


def port(
    *,
    consumes: str | Port[Any, Any, Any] | Sequence[str | Port[Any, Any, Any]] = (),
    produces: str | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    backoff: float | None = None,
    factor: float | None = None,
    backoff_most: float | None = None,
    jitter: float | None = None,
    retry_if: RetryIf | None = None,
    breaker: bool | Mapping[str, float] | None = None,
    when: Callable[[Any], bool] | None = None,
    by: str | None = None,
    join: bool = False,
    undo: bool = False,
    was: str | Sequence[str] = (),
    effect: bool = True,
) -> Callable[[Callable[Concatenate[M, P], R]], Port[M, P, R]]:
    """Mark a method of a Model as a port.

    `consumes`: the ports, event names or globs any of which sets it off; `produces`: the event
    that follows it. `when(record)` must be true before the step runs,
    until then it waits. `by` names the field of the event's data that holds the record's id. With
    `join` all of what it consumes must have come in a flow, not just any. With `undo` its commit
    undoes, newest step first, whatever flow of the record was open. `was` are earlier names of the
    port: steps that wait under one of them go on here.
    `effect=False` declares that its adapters change nothing outside.

    An attempt is cancelled after `timeout` seconds; up to `retries` more follow. The first pause is
    `backoff` seconds, each further one `factor` times as long, up to `backoff_most`; chance takes
    up to the share `jitter` off. `retry_if` says after which exceptions: a function of the
    exception, or types of them (`(ConnectionError, TimeoutError)`); after any other the step has
    failed at once. `breaker=False` goes on asking a partner that keeps failing;
    `breaker={"pause": 10}` changes numbers of its circuit breaker. What is left out comes from the
    configuration, as it is at each attempt.
    """
    several = (consumes,) if isinstance(consumes, str | Port) else tuple(consumes)
    for pattern in several:
        if isinstance(pattern, str) and not PATTERN.match(pattern):
            raise InvalidError(f"{pattern!r} is no event name", hint="use the form 'noun.verbed'")
    policies = Policies(
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        factor=factor,
        backoff_most=backoff_most,
        jitter=jitter,
        retry_if=retry_if,
        breaker=breaker,
    )

    def mark(fn: Callable[Concatenate[M, P], R]) -> Port[M, P, R]:
        return Port(
            fn,
            consumes=several,
            produces=produces,
            when=when,
            by=by,
            join=join,
            undo=undo,
            was=(was,) if isinstance(was, str) else tuple(was),
            effect=effect,
            policies=policies,
        )

    return mark


class Waiting(msgspec.Struct, frozen=True):
    """What a port returns whose partner answers later; `waiting(...)` makes it."""

    events: tuple[str, ...]
    by: str | None
    deadline: float
    record: Any = None


def waiting(
    *events: str, by: str | None = None, deadline: float = 3600.0, record: Any = None
) -> Waiting:
    """Let the step wait for a partner's answer: an event of one of these names.

    `by` names the field of the event's data that holds the record's id, else its subject does.
    `deadline` in seconds: when none has come by then the attempt has failed, and is retried as the
    port says. `record` is the record as it shall be stored meanwhile (`self.update(...)`). The
    method marked as the port's `answer` takes the event. Raises InvalidError.
    """
    if not events:
        raise InvalidError("waiting() needs the name of an event")
    for name in events:
        if not NAME.match(name):
            raise InvalidError(f"{name!r} is no event name", hint="use the form 'noun.verbed'")
    if not 0 < deadline <= LONGEST:
        raise InvalidError(f"deadline must be above 0 seconds, a year at most, not {deadline}")
    return Waiting(events, by, float(deadline), record)


@overload
def command(fn: Callable[Concatenate[M, P], R], /) -> Command[M, P, R]: ...
@overload
def command(
    *,
    produces: str | None = None,
    undo: bool = False,
    timeout: float | None = None,
    breaker: bool | Mapping[str, float] | None = None,
) -> Callable[[Callable[Concatenate[M, P], R]], Command[M, P, R]]: ...
def command(
    fn: Callable[Concatenate[M, P], R] | None = None,
    /,
    *,
    produces: str | None = None,
    undo: bool = False,
    timeout: float | None = None,
    breaker: bool | Mapping[str, float] | None = None,
) -> Command[M, P, R] | Callable[[Callable[Concatenate[M, P], R]], Command[M, P, R]]:
    """Mark a method of a Model as a command of its API.

    `produces` names the event of its change (default `<model>.updated`); `undo=True` makes it
    undo, newest step first, whatever flow of the record is open. `timeout` (seconds) and `breaker`
    as in `port`; a command is never retried.
    """
    policies = Policies(timeout=timeout, breaker=breaker)

    def mark(fn: Callable[Concatenate[M, P], R]) -> Command[M, P, R]:
        return Command(fn, produces=produces, undo=undo, policies=policies)

    return mark if fn is None else mark(fn)


class Hearing(msgspec.Struct, frozen=True, kw_only=True):
    """What `@on` said of a listener. Of one with a `schedule` the events are its own firings."""

    patterns: tuple[str, ...]
    when: Callable[[Event], bool] | None = None
    order: Order = "subject"
    once: bool = False
    schedule: Schedule | None = None
    policies: Policies = Policies()


def on(
    *patterns: str,
    when: Callable[[Event], bool] | None = None,
    order: Order = "subject",
    once: bool = False,
    every: float | None = None,
    cron: str | None = None,
    tz: str | None = None,
    breaker: bool | Mapping[str, float] | None = None,
    **attempts: Unpack[Attempts],
) -> Callable[[F], F]:
    """Mark a function of the component as a durable listener of the events named or globbed.

    Of those it hears the ones for which `when(event)` is true; one that raises has failed. An event
    that keeps failing is put on the failed list and holds later ones of its subject, unless
    `order="none"`. With `once` it hears one event in its life, which a new deploy does not begin
    anew. `every` (seconds) or `cron` (`"0 3 * * *"`, in the zone `tz`, else UTC) instead of events
    let it run at those times: it hears `schedule.fired`, whose data has the time as `at`. Times
    that were missed are made up for once. What else it takes is as of a port. Raises InvalidError.
    """
    for pattern in patterns:
        if not PATTERN.match(pattern):
            raise InvalidError(f"{pattern!r} is no event name", hint="use the form 'noun.verbed'")
    schedule = None
    if every is not None or cron is not None or tz is not None:
        schedule = Schedule.of(every=every, cron=cron, tz=tz)
        if patterns:
            raise InvalidError(
                f"on() takes event names or a schedule, not both: {patterns[0]!r} and "
                f"{schedule.text}",
                hint="write two listeners",
            )
    elif not patterns:
        raise InvalidError(
            "on() needs at least one event name", hint="or every=60, or cron='0 3 * * *'"
        )
    if order not in get_args(Order):
        raise InvalidError(f"order must be 'subject' or 'none', not {order!r}")
    hearing = Hearing(
        patterns=(FIRED,) if schedule is not None else patterns,
        when=when,
        order=order,
        once=once,
        schedule=schedule,
        policies=Policies(breaker=breaker, **attempts),
    )

    def mark(fn: F) -> F:
        fn.__aegis_on__ = hearing  # type: ignore[attr-defined]
        return fn

    return mark


def blocking(fn: Callable[P, R]) -> Callable[P, CoroutineType[Any, Any, R]]:
    """Mark a plain `def` of an adapter or service that blocks: it runs in a pool of threads."""

    @functools.wraps(fn)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(fn, *args, **kwargs)

    return run  # type: ignore[return-value]  # an async def makes one; mypy only says Coroutine


class Need:
    """The default of a parameter that the host fills in; unusable by itself."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AegisError(
            f"{self!r} was not filled in when {name!r} was asked of it",
            hint="outside a host pass the object yourself, inside one call host.run(...)",
        )


class AdapterNeed(Need):
    """`adapter()`: the object that does what the parameter's Protocol says."""

    def __repr__(self) -> str:
        return "adapter()"


class ServiceNeed(Need):
    """`service()`: the client library behind an adapter."""

    def __repr__(self) -> str:
        return "service()"


class ConfigNeed(Need):
    """`config("key")`: a value of the configuration."""

    def __init__(self, key: str, default: Any) -> None:
        self.key = key
        self.default = default

    def __repr__(self) -> str:
        return f"config({self.key!r})"


REQUIRED: Any = object()


def adapter() -> Any:
    """The default of a port's parameter that takes an adapter; its type names the Protocol."""
    return AdapterNeed()


def service() -> Any:
    """The default of an adapter's or service's `__init__` parameter that takes a service."""
    return ServiceNeed()


def config(key: str, default: Any = REQUIRED) -> Any:
    """The default of an `__init__` parameter that takes a value of the configuration.

    `key` is dotted (`payments.key` is `key` of table `[payments]` in aegis.toml, or the
    environment's `AEGIS_PAYMENTS_KEY`); without `default` a missing value refuses the component.
    """
    return ConfigNeed(key, default)


class Secret:
    """Text that never prints and is never stored; `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never stored")
