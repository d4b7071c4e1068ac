"""When a listener of times is due: every so many seconds, or as a cron line says."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from aegis.core.errors import InvalidError, closest

if TYPE_CHECKING:
    from cronsim import CronSim

# The event that says that a schedule's time has come; its subject is `component.listener`.
FIRED = "schedule.fired"

_FORM = "write minute hour day month weekday, as in '0 3 * * *' for 3 o'clock each day"


class Schedule(msgspec.Struct, frozen=True, dict=True):
    """Times without end: `every` so many seconds, else those that `cron` means in the zone `tz`.

    A cron line has five fields, or six with the seconds first.
    """

    every: float | None = None
    cron: str | None = None
    tz: str = "UTC"

    @classmethod
    def of(
        cls, *, every: float | None = None, cron: str | None = None, tz: str | None = None
    ) -> Schedule:
        """The schedule that an author wrote. Raises InvalidError with the likely fix."""
        if every is not None and cron is not None:
            raise InvalidError("on() takes every= or cron=, not both", hint="leave one of them out")
        if every is not None:
            if tz is not None:
                raise InvalidError("tz= belongs to cron=", hint="every= counts seconds, in no zone")
            if not (math.isfinite(every) and every >= 0.001):
                raise InvalidError(
                    f"every must be above 0 seconds, not {every}", hint="as in every=60"
                )
            return cls(every=float(every))
        if cron is None:
            raise InvalidError("tz= belongs to cron=", hint="give cron='0 3 * * *' too")
        # Both take time to import, and few components have such times.
        from zoneinfo import ZoneInfoNotFoundError, available_timezones

        from cronsim import CronSimError

        zone = "UTC" if tz is None else tz
        made = cls(cron=cron.strip(), tz=zone)
        try:
            _ = made._zone
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidError(
                f"there is no time zone {zone!r}",
                hint=closest(zone, available_timezones()) or "as in tz='Europe/Berlin'",
            ) from None
        try:
            made.next(datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise InvalidError(f"cron {cron!r} cannot be read: {error}", hint=_FORM) from None
        except StopIteration:
            raise InvalidError(f"cron {cron!r} means a time that never comes", hint=_FORM) from None
        return made

    @cached_property
    def _zone(self) -> tzinfo:
        if self.tz == "UTC":
            return UTC
        from zoneinfo import ZoneInfo

        return ZoneInfo(self.tz)

    def _times(self, since: datetime, *, reverse: bool = False) -> CronSim:
        from cronsim import CronSim

        return CronSim(self.cron or "", since.astimezone(self._zone), reverse=reverse)

    @property
    def text(self) -> str:
        """The schedule as people read it."""
        if self.every is not None:
            return f"every {self.every:g} s"
        return f"at {self.cron!r}, {self.tz}"

    def next(self, after: datetime) -> datetime:
        """The first time past `after`, which for `every` is itself a time of the schedule."""
        if self.every is not None:
            return after + timedelta(seconds=self.every)
        times = self._times(after)
        # In the hour that comes twice the library goes by the clock on the wall.
        return next(time for one in times if (time := one.astimezone(UTC)) > after)

    def latest(self, after: datetime, now: datetime) -> datetime | None:
        """The last time past `after` and not past `now`, None when there is none."""
        first = self.next(after)
        if first > now:
            return None
        if self.every is not None:
            period = timedelta(seconds=self.every)
            return after + period * ((now - after) // period)
        # Backwards, the library begins before the second that it is given.
        until = now.replace(microsecond=0) + timedelta(microseconds=1)
        times = self._times(until, reverse=True)
        last = next(times).astimezone(UTC)
        return last if first < last <= now else first
