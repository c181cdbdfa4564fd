"""A rule of a level: it waits for an indicator to stay above a limit for a time."""

from edge_agent.alert import UPDATE_NS, OpenAlert, alert_of, ended_alert, updated
from edge_agent.config import AlertConfig
from edge_agent.reasons import AlertReason, AlertStep, Observe
from edge_agent.records import Alert, EndReason, LevelReading, NewId

_SECOND_NS = 1_000_000_000


class LevelRule:
    """The state of a rule of a level.

    Args:
        name: Of the rule.
        settings: As configured.
        offset_db: Of the microphone's calibration, or None.
        observe: Hears what the rule still lacks, each second.
    """

    def __init__(
        self,
        name: str,
        settings: AlertConfig,
        offset_db: float | None,
        observe: Observe | None = None,
    ) -> None:
        self._observe = observe
        self.name = name
        self.settings = settings
        self.open: OpenAlert | None = None
        self._offset_db = offset_db
        self.indicator: str | None = str(settings.indicator)
        if settings.above_dbfs is not None:
            self.indicator = f"{settings.indicator}_dbfs"
            self.limit = settings.above_dbfs
        else:
            self.limit = settings.above_db or 0.0
        self._for_ns = (settings.for_s or 1) * _SECOND_NS
        self._above_since_ns: int | None = None
        self._highest = 0.0
        self._below_since_ns: int | None = None
        self._next_ns: int | None = None

    def feed(self, reading: LevelReading, new_id: NewId) -> list[Alert]:
        """What one closed second means to this rule."""
        end_ns = reading.start_ns + reading.period_s * _SECOND_NS
        missed = self._next_ns is not None and reading.start_ns != self._next_ns
        told: list[Alert] = []
        if missed:
            if self.open is None and self._above_since_ns is not None:
                self._say("dropped", None, self._next_ns or reading.start_ns, "gap")
            self._above_since_ns = None
            if self._below_since_ns is None:
                self._below_since_ns = self._next_ns
            told = self._unheard(reading)
        self._next_ns = end_ns
        return [*told, *self._heard(reading, end_ns, new_id, missed=missed)]

    def _unheard(self, reading: LevelReading) -> list[Alert]:
        """Seconds that nobody heard count as quiet, also when a loud one follows them."""
        since_ns = self._below_since_ns
        if self.open is None or since_ns is None or reading.start_ns - since_ns < self._for_ns:
            return []
        self._say("ended", None, reading.start_ns, "gap")
        return [ended_alert(self, reading.made_ns, "gap")]

    def _heard(
        self, reading: LevelReading, end_ns: int, new_id: NewId, *, missed: bool
    ) -> list[Alert]:
        level = self._level(reading)
        if level is None or level <= self.limit:
            return self._below(reading, level, end_ns, "gap" if missed else "quiet")
        self._highest = level if self._above_since_ns is None else max(self._highest, level)
        if self._above_since_ns is None:
            self._above_since_ns = reading.start_ns
        if self.open is None:
            return self._start(reading, level, end_ns, self._above_since_ns, new_id)
        self._below_since_ns = None
        self.open.last_ns = end_ns
        self.open.value = max(self.open.value, level)
        self._say("goes_on", level, end_ns)
        if reading.made_ns - self.open.told_ns >= UPDATE_NS:
            return [updated(self, self.open, reading.made_ns)]
        return []

    def _start(
        self, reading: LevelReading, level: float, end_ns: int, since_ns: int, new_id: NewId
    ) -> list[Alert]:
        if end_ns - since_ns < self._for_ns:
            self._say("for_s", level, end_ns)
            return []
        self._below_since_ns = None
        self.open = OpenAlert(
            id=new_id(since_ns),
            microphone=reading.microphone,
            start_ns=since_ns,
            last_ns=end_ns,
            synced=reading.synced,
            told_ns=reading.made_ns,
            value=self._highest,
        )
        self._say("started", level, end_ns)
        return [alert_of(self, self.open, reading.made_ns, "start")]

    def end(self, reason: EndReason, at_ns: int) -> list[Alert]:
        """End what is open."""
        if self.open is None:
            return []
        self.open.last_ns = max(self.open.last_ns, at_ns)
        self._say("ended", None, at_ns, reason)
        return [ended_alert(self, at_ns, reason)]

    def _below(
        self, reading: LevelReading, level: float | None, end_ns: int, reason: EndReason
    ) -> list[Alert]:
        self._above_since_ns = None
        if self._below_since_ns is None:
            self._below_since_ns = reading.start_ns
        if self.open is None:
            self._say("no_level" if level is None else "below_limit", level, end_ns)
            return []
        if end_ns - self._below_since_ns < self._for_ns:
            self._say("goes_on", level, end_ns)
            return []
        self._say("ended", level, end_ns, reason)
        return [ended_alert(self, reading.made_ns, reason)]

    def _level(self, reading: LevelReading) -> float | None:
        """The reading in the unit of the limit."""
        indicator = self.settings.indicator
        if self._offset_db is None:
            return reading.values.get(f"{indicator}_dbfs")
        level_db = reading.values.get(str(indicator))
        if level_db is None or self.settings.above_db is not None:
            return level_db
        return level_db - self._offset_db

    def _say(
        self, step: AlertStep, level: float | None, at_ns: int, end_reason: EndReason | None = None
    ) -> None:
        if self._observe is None:
            return
        if self.open is not None:
            lasted_ns = self.open.last_ns - self.open.start_ns
        else:
            lasted_ns = 0 if self._above_since_ns is None else at_ns - self._above_since_ns
        self._observe(
            AlertReason(
                rule=self.name,
                at_ns=at_ns,
                step=step,
                value=level,
                limit=self.limit,
                indicator=self.indicator,
                labels=(),
                duration_s=lasted_ns / 1e9,
                needed_s=self._for_ns / 1e9,
                end_reason=end_reason,
            )
        )
