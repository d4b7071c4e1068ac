"""How a port is attempted: its timeout, its retries with the pauses between them, its breaker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import msgspec

from aegis.core.breaker import Breaking
from aegis.core.errors import ConfigError, InvalidError, closest

# What says of an exception whether another attempt may help: a function, or the types that say so.
RetryIf = Callable[[Exception], bool] | type[Exception] | tuple[type[Exception], ...]


# Seconds: what is longer is a slip of the pen, and times beyond all calendars cannot be stored.
LONGEST = 366 * 86400.0
STEEPEST = 1000.0


class Attempts(TypedDict, total=False):
    """What an author may say of attempts: see `port`."""

    timeout: float | None
    retries: int | None
    backoff: float | None
    factor: float | None
    backoff_most: float | None
    jitter: float | None
    retry_if: RetryIf | None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`timeout` (seconds) cancels an attempt; `retries` more follow while `retry_if` lets them.

    The first pause is `backoff` seconds, each further one `factor` times as long, up to
    `backoff_most` (or `backoff`, if that is more). Chance takes up to the share `jitter` off each,
    so that those who failed together do not come back together. `breaker` has the numbers of the
    circuit breaker of each partner, None when there is none.
    """

    timeout: float = 30.0
    retries: int = 3
    backoff: float = 1.0
    factor: float = 2.0
    backoff_most: float = 60.0
    jitter: float = 0.1
    retry_if: RetryIf | None = None
    breaker: Breaking | None = Breaking()

    def __post_init__(self) -> None:
        _check(self)

    def pause(self, attempts: int, dice: Callable[[], float]) -> float | None:
        """Seconds to wait after `attempts` failed ones before the next, or None when exhausted.

        `dice` gives a random number from 0 up to 1.
        """
        if attempts > self.retries:
            return None
        most = max(self.backoff, self.backoff_most)
        try:
            pause = min(self.backoff * self.factor ** (attempts - 1), most)
        except OverflowError:
            pause = most if self.backoff else 0.0
        return pause * (1 - self.jitter * dice())

    def may_retry(self, error: Exception) -> bool:
        """Whether another attempt may help after `error`. Raises what an author's function does."""
        if self.retry_if is None:
            return True
        if isinstance(self.retry_if, type | tuple):
            return isinstance(error, self.retry_if)
        return bool(self.retry_if(error))


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """What the author said of how it is attempted; None leaves it to the configuration."""

    timeout: float | None = None
    retries: int | None = None
    backoff: float | None = None
    factor: float | None = None
    backoff_most: float | None = None
    jitter: float | None = None
    retry_if: RetryIf | None = None
    breaker: bool | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check(self)
        if self.breaker is not None:
            Breaking.of(said=self.breaker)

    def over(self, usual: Policy) -> Policy:
        """What was said over what is `usual`."""
        said = {
            name: value
            for name in Attempts.__annotations__
            if (value := getattr(self, name)) is not None
        }
        if self.breaker is not None:
            said["breaker"] = Breaking.of(said=self.breaker, usual=usual.breaker)
        return msgspec.structs.replace(usual, **said) if said else usual


def _check(said: Policy | Policies) -> None:
    """Raise InvalidError for what makes no sense; None is left to the configuration."""
    if said.timeout is not None and not 0 < said.timeout <= LONGEST:
        raise InvalidError(f"timeout must be above 0 seconds, a year at most, not {said.timeout}")
    if said.retries is not None and said.retries < 0:
        raise InvalidError(f"retries must be 0 or more, not {said.retries}")
    if said.backoff is not None and not 0 <= said.backoff <= LONGEST:
        raise InvalidError(f"backoff must be 0 seconds to a year, not {said.backoff}")
    if said.factor is not None and not 1 <= said.factor <= STEEPEST:
        raise InvalidError(f"factor must be 1 to {STEEPEST:g}, not {said.factor}")
    if said.backoff_most is not None and not 0 < said.backoff_most <= LONGEST:
        raise InvalidError(
            f"backoff_most must be above 0 seconds, a year at most, not {said.backoff_most}"
        )
    if said.jitter is not None and not 0 <= said.jitter <= 1:
        raise InvalidError(f"jitter is a share of the pause, 0 to 1, not {said.jitter}")
    if said.retry_if is not None and not _judges(said.retry_if):
        raise InvalidError(
            f"retry_if must be a function of the exception, not {said.retry_if!r}",
            hint="or a type of exceptions, or a tuple of such",
        )


def _judges(said: Any) -> bool:
    if isinstance(said, type | tuple):
        kinds = said if isinstance(said, tuple) else (said,)
        return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)
    return callable(said)


UNSAID = Policies()

# --- the configuration ----------------------------------------------------------------------------

TABLE = "ports"

# The keys of table `[ports]`, with their types.
KEYS: Mapping[str, Any] = {
    "timeout": float,
    "retries": int,
    "backoff": float,
    "factor": float,
    "backoff_most": float,
    "jitter": float,
    "breaker": bool | dict[str, Any],
    **{f"breaker.{field.name}": field.type for field in msgspec.structs.fields(Breaking)},
}


def usual(said: Mapping[str, Any], base: Policy) -> Policy:
    """`base` with what the configuration says, by KEYS: for ports that say nothing themselves.

    A number of the breaker by its own key goes before the same one in `breaker`. Values may be
    text, as the environment has them. Raises ConfigError naming the key at fault.
    """
    plain: dict[str, Any] = {}
    for key, value in said.items():
        try:
            plain[key] = msgspec.convert(value, KEYS[key], strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{TABLE}.{key}: {error}") from error
    breaker = plain.pop("breaker", None)
    numbers = dict(breaker) if isinstance(breaker, dict) else {}
    for key in [key for key in plain if "." in key]:
        numbers[key.partition(".")[2]] = plain.pop(key)
    try:
        if breaker is False:
            plain["breaker"] = None
        elif breaker or numbers:
            plain["breaker"] = Breaking.of(said=numbers, usual=base.breaker)
        return msgspec.structs.replace(base, **plain)
    except InvalidError as error:
        raise ConfigError(f"{TABLE}: {error}") from error


def spelled(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` of a configuration with each of its `ports` by a dotted key of its own.

    `{"ports.breaker": {"pause": 2}}` becomes `{"ports.breaker": True, "ports.breaker.pause": 2}`,
    so that numbers set one after the other add up. Raises ConfigError for a key that is none.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key == TABLE and isinstance(value, Mapping):
            found |= spelled({f"{TABLE}.{name}": inner for name, inner in value.items()})
        elif key == TABLE or key.startswith(f"{TABLE}."):
            name = key.partition(".")[2]
            if name not in KEYS:
                raise ConfigError(f"{key} is no setting of ports", hint=closest(name, KEYS))
            if isinstance(value, Mapping):
                found[key] = True
                found |= spelled({f"{key}.{inner}": number for inner, number in value.items()})
            else:
                found[key] = value
        else:
            found[key] = value
    return found
