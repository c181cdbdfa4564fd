"""Where devices stand, as Prometheus reads it from a file: its text exposition format 0.0.4."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from edge_agent.fleet.standing import Standing


class _Gauge(NamedTuple):
    name: str
    help: str
    value: Callable[[Standing, float], float | None]
    """At an instant, UTC in seconds; None: it is not known of this device."""


_DAY_S: Final = 86400
_GAUGES: Final = (
    _Gauge(
        "earshot_device_as_wanted",
        "1 where a device runs the wanted configuration and model.",
        lambda one, _: float(one.verdict == "as wanted"),
    ),
    _Gauge(
        "earshot_device_rolled_back",
        "1 where a device took its latest release back, or refused it.",
        lambda one, _: float(one.verdict in ("rolled back", "refused")),
    ),
    _Gauge(
        "earshot_device_online",
        "1 while the device's connection to its broker stands.",
        lambda one, _: None if one.online is None else float(one.online),
    ),
    _Gauge(
        "earshot_device_seen_timestamp_seconds",
        "Unix time of the last sign of life.",
        lambda one, now_s: None if one.seen_s is None else now_s - one.seen_s,
    ),
    _Gauge(
        "earshot_device_queued_messages",
        "What waits on the device for its broker.",
        lambda one, _: one.queued,
    ),
    _Gauge(
        "earshot_device_faults",
        "How many faults its health names.",
        lambda one, _: float(len(one.faults)),
    ),
    _Gauge(
        "earshot_device_certificate_expiry_timestamp_seconds",
        "Unix time at which the newest certificate issued to it ends, to the day.",
        lambda one, now_s: (
            None if one.certificate_days is None else now_s + one.certificate_days * _DAY_S
        ),
    ),
)


def text(standings: Sequence[Standing], now_s: float) -> str:
    """The file's whole text.

    Args:
        standings: One for each device.
        now_s: When they were asked for, Unix time.
    """
    lines: list[str] = []
    for gauge in _GAUGES:
        lines += [f"# HELP {gauge.name} {gauge.help}", f"# TYPE {gauge.name} gauge"]
        lines += _samples(gauge, standings, now_s)
    name = "earshot_status_timestamp_seconds"
    lines += [f"# HELP {name} Unix time of this file.", f"# TYPE {name} gauge"]
    lines.append(f"{name} {now_s:.3f}")
    return "".join(f"{line}\n" for line in lines)


def _samples(gauge: _Gauge, standings: Iterable[Standing], now_s: float) -> Iterator[str]:
    for one in standings:
        value = gauge.value(one, now_s)
        if value is not None:
            # Names of devices, sites and rings hold nothing that would have to be escaped.
            labels = f'device="{one.device}",site="{one.site}",ring="{one.ring or ""}"'
            yield f"{gauge.name}{{{labels}}} {value:.3f}"
