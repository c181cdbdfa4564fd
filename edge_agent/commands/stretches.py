"""A stretch of reasons as one line for a person."""

from edge_agent.reasons import LabelReason, Reason
from edge_agent.written import rfc3339


class Stretch:
    """Reasons of one label or rule in a row, counted by what they were.

    Args:
        first: The first one; it is added like the others.
    """

    def __init__(self, first: Reason) -> None:
        self.first = self.last = self.best = first
        self.steps: dict[str, tuple[int, Reason]] = {}
        self.count = 0

    def add(self, reason: Reason) -> None:
        """One more; of each kind the one that came nearest is kept."""
        self.last = reason
        self.count += 1
        if _rank(reason) > _rank(self.best):
            self.best = reason
        count, nearest = self.steps.get(reason.step, (0, reason))
        nearest = reason if _nearness(reason) >= _nearness(nearest) else nearest
        self.steps[reason.step] = (count + 1, nearest)


def stretch_line(name: str, stretch: Stretch | None, now: Reason | None = None) -> str:
    """A stretch that is over; `now` is the start or the end that came of it."""
    reason = now or (stretch.last if stretch is not None else None)
    assert reason is not None, "a line tells of something"
    first_ns = stretch.first.at_ns if stretch is not None else reason.at_ns
    head = f"{_span(first_ns, reason.at_ns)}  {name}  "
    if reason.step == "started":
        return head + _started(reason)
    if reason.step == "ended":
        return (
            head
            + f"ended ({reason.end_reason}) after {seconds(reason.duration_s)}"
            + _open(stretch)
        )
    assert stretch is not None, "what is held back has its stretch"
    if set(stretch.steps) == {"goes_on"}:
        return head + "goes on" + _open(stretch)
    why = "; ".join(
        f"{_why(nearest)} ({_times(count, nearest)})" for count, nearest in stretch.steps.values()
    )
    return head + f"held back{_best(stretch.best, stretch)}: {why}"


def seconds(duration_s: float) -> str:
    """To the hundredth."""
    return f"{duration_s:.2f} s"


def _started(reason: Reason) -> str:
    if not isinstance(reason, LabelReason):
        what = ", ".join(reason.labels) or str(reason.indicator)
        text = f"FIRED: {what} {_number(reason)}, limit {reason.limit:g}"
        lasted = f", lasted {seconds(reason.duration_s)} of {reason.needed_s:g} s"
        return text + (lasted if reason.needed_s else "")
    if reason.m == 1:
        enough = f"one patch at or above {reason.on:.3g} is enough"
    else:
        enough = f"{reason.n} of {reason.m} patches at or above {reason.on:.3g}"
    text = f"STARTED, score {_number(reason)}: {enough}"
    if reason.min_duration_s:
        text += f", lasted {seconds(reason.duration_s)} of {reason.min_duration_s:g} s"
    return text


def _why(reason: Reason) -> str:
    """Which rule it was, with what was there and what is asked."""
    lasted = f"lasted {seconds(reason.duration_s)} of"
    if isinstance(reason, LabelReason):
        match reason.step:
            case "below_on":
                return f"below on {reason.on:.3g}"
            case "n_of_m":
                return f"{reason.counted} of the last {reason.m} patches, {reason.n} are needed"
            case "cooldown":
                return f"cooldown until {_clock(reason.cool_until_ns or 0)}"
            case "min_duration":
                return f"{lasted} {reason.min_duration_s:g} s"
            case "dropped":
                return f"given up ({reason.end_reason}), {lasted} {reason.min_duration_s:g} s"
            case _:
                return "already open"
    match reason.step:
        case "min_score":
            return f"score {_number(reason)} of {reason.limit:g}"
        case "below_limit":
            return f"not above {reason.limit:g}"
        case "min_duration" | "for_s":
            return f"{lasted} {reason.needed_s:g} s"
        case "dropped":
            return f"begins again ({reason.end_reason}), {lasted} {reason.needed_s:g} s"
        case _:
            return "already open"


def _best(reason: Reason, stretch: Stretch) -> str:
    if _value(reason) is None:
        return ""
    when = "" if stretch.count == 1 else f" at {_clock(reason.at_ns)}"
    return f", best {_number(reason)}{when}"


def _open(stretch: Stretch | None) -> str:
    if stretch is None or _value(stretch.best) is None:
        return ""
    return f", already open for {_times(stretch.count, stretch.best)}, best {_number(stretch.best)}"


def _times(count: int, reason: Reason) -> str:
    """How often it was judged."""
    is_level = not isinstance(reason, LabelReason) and reason.indicator is not None
    one, more = ("second", "seconds") if is_level else ("patch", "patches")
    return f"{count} {one if count == 1 else more}"


def _value(reason: Reason) -> float | None:
    return reason.score if isinstance(reason, LabelReason) else reason.value


def _rank(reason: Reason) -> float:
    value = _value(reason)
    return float("-inf") if value is None else value


def _nearness(reason: Reason) -> tuple[float, float]:
    """The one of a kind that lacked least."""
    counted = reason.counted or 0 if isinstance(reason, LabelReason) else 0
    return (max(counted, reason.duration_s), _rank(reason))


def _number(reason: Reason) -> str:
    value = _value(reason)
    if value is None:
        return "-"
    is_level = not isinstance(reason, LabelReason) and reason.indicator is not None
    return f"{value:.1f}" if is_level else f"{value:.2f}"


def _span(first_ns: int, last_ns: int) -> str:
    first, last = _clock(first_ns), _clock(last_ns)
    return first if first == last else f"{first} to {last}"


def _clock(utc_ns: int) -> str:
    """The time of day."""
    return rfc3339(utc_ns)[11:-1]
