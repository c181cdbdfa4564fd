"""What options may hold, and what is said of what they may not."""

import math
from contextlib import suppress
from datetime import UTC, date, datetime

import click

_YEARS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
"""What a time of a recording may be: nanoseconds in 64 bits end in 2262."""


class StartTime(click.ParamType[int]):
    """An instant with its time zone, as nanoseconds UTC."""

    name = "TIME"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """As click asks for it."""
        if isinstance(value, int):
            return value
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write it like 2026-06-01T08:00:00Z", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} has no time zone; add Z for UTC, or +02:00", param, ctx)
        if not _YEARS[0] <= instant < _YEARS[1]:
            self.fail(f"{value!r} is not in the years 1970 to 2199", param, ctx)
        # timestamp() is a float: exact to the microsecond, which is all that the format holds.
        return round(instant.timestamp() * 1_000_000) * 1000


class Moment(click.ParamType[date | datetime]):
    """A local date, or an instant with its time zone."""

    name = "TIME"

    def convert(
        self, value: str | date, param: click.Parameter | None, ctx: click.Context | None
    ) -> date | datetime:
        """As click asks for it."""
        if isinstance(value, date):
            return value
        with suppress(ValueError):
            return self._in_range(date.fromisoformat(value), value, param, ctx)
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is no time; write 2026-06-01, or 2026-06-01T08:00:00Z", param, ctx
            )
        if instant.tzinfo is None:
            self.fail(f"{value!r} has no time zone; add Z for UTC, or +02:00", param, ctx)
        self._in_range(instant.date(), value, param, ctx)
        return instant

    def _in_range(
        self, day: date, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        if not _YEARS[0].year <= day.year < _YEARS[1].year:
            self.fail(f"{value!r} is not in the years 1970 to 2199", param, ctx)
        return day


class Number(click.FloatRange):
    """A quantity; click's range takes NaN, which is neither below nor above it."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """As click asks for it."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


class Date(click.ParamType[str]):
    """A day, as YYYY-MM-DD."""

    name = "DATE"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As click asks for it."""
        try:
            day = date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date; write it like 2026-06-01", param, ctx)
        return day.isoformat()
