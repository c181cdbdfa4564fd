"""The report as one HTML page: it needs no network, no script, and prints on paper."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, tzinfo
from html import escape

from edge_agent.acoustics.days import PERIODS
from edge_agent.commands import report_plots as plots
from edge_agent.commands.report_data import Interval, Part, Report
from edge_agent.config import SiteConfig

_STYLE = """
body{font:15px/1.45 sans-serif;color:#222;max-width:960px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:.1em}h2{font-size:1.15em;margin:1.8em 0 .4em}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2em .5em;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}td{white-space:nowrap}.note{color:#555;font-size:.9em}
.warn{background:#fff3cd;border-left:4px solid #d39e00;padding:.4em .8em;margin:.6em 0}
"""


def page(report: Report, site: SiteConfig, zone: tzinfo) -> str:
    """The whole page.

    Args:
        report: What it says.
        site: Whose it is.
        zone: Of all times on the page.
    """
    sections = [_head(report, site, zone)]
    sections += [f'<p class="warn">{escape(text)}</p>' for text in warnings(report)]
    if report.hours:
        sections += [_summary(report), *_levels(report, zone)]
    sections += ["<h2>What was heard</h2>", _events(report), _limits()]
    title = escape(f"Sound levels of {site.device}, {site.site}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _levels(report: Report, zone: tzinfo) -> list[str]:
    return [
        f"<h2>Days, {report.unit}</h2>",
        _days(report),
        "<h2>Level over time</h2>",
        _timeline(report, zone),
        "<h2>Mean level by weekday and hour</h2>",
        plots.heat_map(report.week),
        f'<p class="note">LAeq, {report.unit}; white where nothing was heard.</p>',
        "<h2>What LAeq is made of</h2>",
        _sources(report),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of plain texts."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def level(value: float | None) -> str:
    """To a tenth, or a dash."""
    return "-" if value is None else f"{value:.1f}"


def _head(report: Report, site: SiteConfig, zone: tzinfo) -> str:
    place = ""
    if site.latitude is not None and site.longitude is not None:
        place = f", {site.latitude:.5f}, {site.longitude:.5f}"
    return (
        f"<h1>Sound levels: {escape(site.device)}</h1>"
        f"<p>Site {escape(site.site)}{place}, microphone {escape(report.microphone)}.<br>"
        f"From {_time(report.from_s, zone)} to {_time(report.to_s, zone)} "
        f"({escape(str(zone))}).</p>"
    )


def warnings(report: Report) -> list[str]:
    """What a reader has to know before the figures, a sentence each."""
    found = []
    if not report.hours:
        found.append("Nothing was measured within this time.")
    if report.unit == "dBFS" and report.hours:
        found.append(
            "This microphone is not calibrated: levels are in dB below a full-scale sine, and say "
            "nothing of the sound pressure."
        )
    if len(report.calibrations) > 1:
        found.append("The calibration changed within this report.")
    for count, why in (
        (report.unsynced, "for the clock was not synchronised"),
        (report.uncalibrated, "without the calibration that others have"),
        (report.damaged, "as unreadable"),
    ):
        if count:
            found.append(f"{_minutes(count)} left out {why}.")
    if report.whole.overload_s:
        found.append(
            f"In {_seconds(report.whole.overload_s)} something was too loud for the microphone: "
            "true levels there are higher."
        )
    if report.whole.under_range_s:
        found.append(
            f"In {_seconds(report.whole.under_range_s)} it was so quiet that the microphone's own "
            "noise counts: true levels there are lower."
        )
    if report.whole.silent_s:
        found.append(
            f"For {_seconds(round(report.whole.silent_s))} all samples were equal, as of a dead "
            "microphone: that time has no level and does not count as heard."
        )
    return found


def _summary(report: Report) -> str:
    rows = [(name, f"{value:.1f} {report.unit}") for name, value in report.whole.levels.items()]
    rows.append(("Lden", "-" if report.lden is None else f"{report.lden:.1f} {report.unit}"))
    rows.append(("heard", _share(report.whole)))
    if len(report.days) < report.dates:
        rows.append(("measured on", f"{len(report.days)} of {report.dates} dates"))
    rows += [
        ("calibration", f"{one.offset_db:+.2f} dB, {one.source}, {one.date}")
        for one in report.calibrations
    ]
    return table(("over the whole time", ""), rows)


def _timeline(report: Report, zone: tzinfo) -> str:
    every_s = report.course_period_s
    levels = {one.start_s: one.levels.get("LAeq") for one in report.course}
    points = [
        plots.Point(start_s + every_s / 2, levels.get(start_s))
        for start_s in range(report.from_s, report.to_s, every_s)
    ]
    spans = [
        plots.Span(event.start_ns / 1e9, event.start_ns / 1e9 + event.duration_s, event.label)
        for event in report.events
    ]
    note = f"LAeq of {_period(every_s)}, {report.unit}. The line breaks where nothing was heard."
    return (
        plots.timeline(points, spans, report.from_s, report.to_s, zone)
        + f'<p class="note">{escape(note)}</p>'
    )


def _sources(report: Report) -> str:
    found = report.whole.shares
    if found is None:
        return "<p>Nothing was attributed.</p>"
    rows = [
        plots.Bar(
            one.label,
            one.share,
            f"{100 * one.share:.1f} %, alone {level(one.level)} {report.unit}",
        )
        for one in found.sources
    ]
    rows.append(plots.Bar("unlabelled", found.unlabelled, f"{100 * found.unlabelled:.1f} %"))
    rows.append(plots.Bar("background", found.background, f"{100 * found.background:.1f} %"))
    return plots.bars(rows) + (
        '<p class="note">Shares of the A-weighted energy that arrived while a label was heard. One '
        "microphone cannot part sounds that come together: overlap is split by scores, what is "
        "missed is unlabelled, what is told falsely counts for its label. Road traffic as such is "
        "not among the labels. docs/attribution.md has the definition and its limits.</p>"
    )


def _events(report: Report) -> str:
    if not report.events:
        return "<p>No event.</p>"
    by_label = defaultdict(list)
    for event in report.events:
        by_label[event.label].append(event)
    rows = [
        (
            label,
            str(len(events)),
            f"{sum(event.duration_s for event in events):.0f} s",
            f"{max(event.score_max for event in events):.2f}",
        )
        for label, events in sorted(by_label.items(), key=lambda item: -len(item[1]))
    ]
    return table(("label", "events", "together", "best score"), rows)


def _days(report: Report) -> str:
    shown = ("LAeq", "L10", "L50", "L90", "LAFmax")
    rows = [
        (
            f"{day.date:%a %Y-%m-%d}",
            *map(_part, (day.periods[period] for period in PERIODS)),
            level(day.lden),
            _part(day.night_after),
            *(level(day.measured.levels.get(name)) for name in shown),
            f"{day.measured.heard_s / 3600:.2f} of {day.measured.period_s / 3600:.0f} h",
        )
        for day in report.days
    ]
    head = ("date", "Lday", "Levening", "Lnight", "Lden", "night after", *shown, "heard")
    without = [day for day in report.days if day.reason is not None]
    rule = report.hours_of_day
    added = ", ".join(f"{penalty_db:g}" for penalty_db in rule.penalties_db)
    note = (
        f'<p class="note">Day from {rule.day} h, evening from {rule.evening} h, night from '
        f"{rule.night} h of local time; Lden adds {added} dB to them. Lnight is that of the date's "
        "own hours, in two pieces; night after: the whole one that begins in its evening.</p>"
    )
    parts = [one for day in report.days for one in (*day.periods.values(), day.night_after)]
    if any(_part(one).endswith("*") for one in parts):
        note += '<p class="note">* Less than 95 % of it was heard within this report.</p>'
    if without:
        days = ", ".join(f"{day.date} ({str(day.reason).partition(':')[2]})" for day in without)
        note += f'<p class="note">No Lden where too little of a period was heard: {days}.</p>'
    return table(head, rows) + note


def _part(part: Part) -> str:
    return level(part.level) + ("*" if part.level is not None and not part.complete else "")


def _limits() -> str:
    return (
        '<p class="note">Not corrected: reflections of a façade, residual sound, wind and rain. '
        "Nothing here is a type-approved measurement; what the digital part holds, and what a "
        "microphone and its case add, is said in docs/levels.md. No audio was stored.</p>"
    )


def _minutes(count: int) -> str:
    return "1 minute was" if count == 1 else f"{count} minutes were"


def _time(at_s: float, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at_s, tz=zone):%Y-%m-%d %H:%M}"


def _seconds(count: int) -> str:
    return "1 second" if count == 1 else f"{count} seconds"


def _period(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"


def _share(interval: Interval) -> str:
    return f"{100 * interval.heard_s / interval.period_s:.1f} % of the time"
