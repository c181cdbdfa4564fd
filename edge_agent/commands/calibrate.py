"""`edge-agent calibrate`: from a calibrator's tone, or what is known, to `calibration.json`."""

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edge_agent import __version__, calibrationfile, configfile, responsefile
from edge_agent.acoustics.calibration import (
    SETTLE_S,
    TONE_S,
    Doubt,
    Tone,
    doubt_of,
    doubt_of_change,
    measured,
    offset_of,
)
from edge_agent.calibrationfile import Entry, device_of
from edge_agent.capture.open import Source, open_source
from edge_agent.clock import Clock
from edge_agent.config import MicrophoneConfig
from edge_agent.configfile import LoadedConfig
from edge_agent.errors import (
    AudioError,
    CalibrationError,
    ConfigError,
    DeviceBusyError,
    DeviceError,
)
from edge_agent.records import Block, Samples

_PATIENCE_S = 15.0
"""For a device to start, beyond the sound itself."""
_STOP = "Stop the service first: sudo systemctl stop earshot-agent"
_RESTART = "It holds from the next start: sudo systemctl restart earshot-agent"


class Calibrator(msgspec.Struct, frozen=True, kw_only=True):
    """What is pressed on the microphone."""

    level_db: float
    """dB SPL."""
    frequency_hz: float


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """An offset that was found elsewhere."""

    offset_db: float
    source: Literal["laboratory", "datasheet"]


class Remarks(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator adds."""

    date: str | None = None
    """YYYY-MM-DD; None: today."""
    operator: str | None = None
    note: str | None = None


def calibrate(
    config_path: Path,
    microphone: str | None,
    by: Calibrator | Known,
    remarks: Remarks,
    clock: Clock,
    *,
    force: bool = False,
    dry_run: bool = False,
) -> int:
    """Calibrate a microphone; the exit code.

    Args:
        config_path: The device's configuration.
        microphone: Its name; None: the only one.
        by: What the offset follows from.
        remarks: What the operator adds.
        clock: Stamps the sound and the calibration.
        force: Take an offset that is far from the last one, too.
        dry_run: Write nothing.

    Raises:
        CalibrationError: The tone or the offset is in doubt.
        EarshotError: Configuration, microphone or state folder cannot be used.
    """
    loaded = configfile.load(config_path)
    name, settings = _microphone(loaded, microphone)
    folder = loaded.path.parent / loaded.config.state_dir
    # Before anybody holds a calibrator for nothing.
    last = calibrationfile.read(folder).get(name)
    if last is not None and not last.fits(settings):
        last = None
    entry = _entry(settings, remarks, clock, by)
    if isinstance(by, Calibrator):
        offset_db = _heard_offset(name, settings, loaded, by, clock)
        entry = msgspec.structs.replace(entry, offset_db=offset_db)
    if last is not None:
        doubt = doubt_of_change(entry.offset_db, last.offset_db, last.date)
        if doubt is not None and not force:
            raise _refusal(name, doubt)
        drift_db = round(entry.offset_db - last.offset_db, 2)
        entry = msgspec.structs.replace(entry, drift_db=drift_db)
    print(_in_words(name, entry, last))
    if dry_run:
        print("Nothing was written.")
        return 0
    path = calibrationfile.put(folder, name, entry)
    print(f"Written to {path}.\n{_RESTART}")
    return 0


def _microphone(loaded: LoadedConfig, name: str | None) -> tuple[str, MicrophoneConfig]:
    microphones = loaded.config.microphones
    names = ", ".join(microphones)
    if name is None:
        if len(microphones) > 1:
            raise ConfigError(
                f"{loaded.path}: there are {len(microphones)} microphones",
                hint=f"Say which with --microphone: {names}.",
            )
        name = next(iter(microphones))
    if name not in microphones:
        raise ConfigError(
            f"{loaded.path}: there is no microphone {name!r}", hint=f"There is {names}."
        )
    return name, microphones[name]


def _entry(
    settings: MicrophoneConfig, remarks: Remarks, clock: Clock, by: Calibrator | Known
) -> Entry:
    """All that is known before anything is heard."""
    entry = Entry(
        offset_db=0.0,
        date=remarks.date or _today(clock),
        source="calibrator",
        device=device_of(settings),
        channel=settings.channel,
        rate=settings.rate,
        operator=remarks.operator,
        note=remarks.note,
        agent=__version__,
    )
    match by:
        case Calibrator(level_db=level_db, frequency_hz=frequency_hz):
            return msgspec.structs.replace(entry, level_db=level_db, frequency_hz=frequency_hz)
        case Known(offset_db=offset_db, source=source):
            return msgspec.structs.replace(entry, offset_db=_rounded(offset_db), source=source)


def _today(clock: Clock) -> str:
    today = datetime.fromtimestamp(clock.utc_ns() / 1e9, UTC).date().isoformat()
    if not clock.synced():
        print(f"The clock may be wrong: if it is not {today}, give --date.", file=sys.stderr)
    return today


def _heard_offset(
    name: str, settings: MicrophoneConfig, loaded: LoadedConfig, by: Calibrator, clock: Clock
) -> float:
    """The offset by a tone that is on the microphone now."""
    correction_db = 0.0
    if settings.response is not None:
        response = responsefile.load(loaded.path.parent / settings.response)
        correction_db = float(response.correction_db(np.array([by.frequency_hz]))[0])
    try:
        with closing(open_source(name, settings, clock, loaded.path.parent)) as source:
            samples, rate = _sound(name, source, by.frequency_hz, clock)
    except DeviceBusyError as error:
        raise DeviceBusyError(error.message, hint=_STOP) from error
    tone = measured(samples, rate)
    print(_measured_in_words(name, tone))
    doubt = doubt_of(tone, by.frequency_hz)
    if doubt is not None:
        raise _refusal(name, doubt)
    return _rounded(offset_of(tone, by.level_db, correction_db))


def _sound(name: str, source: Source, frequency_hz: float, clock: Clock) -> tuple[Samples, int]:
    """`TONE_S` of sound without a hole, after `SETTLE_S`; and its rate."""
    print(
        f"{name}: listening for {SETTLE_S + TONE_S:g} s; leave the calibrator as it is",
        file=sys.stderr,
    )
    end_ns = clock.monotonic_ns() + round((_PATIENCE_S + SETTLE_S + TONE_S) * 1e9)
    kept: list[Samples] = []
    samples, wanted, rate = 0, 1, 1
    while samples < wanted:
        block = source.read(0.5)
        if block is None:
            _see_why(name, source, samples / rate, late=clock.monotonic_ns() > end_ns)
            continue
        if not kept:
            rate, wanted = block.rate, round((SETTLE_S + TONE_S) * block.rate)
            _refuse_beyond(block, frequency_hz)
        elif block.missed:
            raise CalibrationError(
                f"microphone {name}: {block.missed} samples of sound were lost meanwhile",
                hint="Look at cable and load, and do it again.",
            )
        kept.append(block.samples)
        samples += len(block.samples)
    return np.concatenate(kept)[round(SETTLE_S * rate) : wanted], rate


def _see_why(name: str, source: Source, heard_s: float, *, late: bool) -> None:
    """There is no block: go on waiting, or say why not."""
    if source.ended:
        raise AudioError(
            f"microphone {name}: the sound ended after {heard_s:.1f} s",
            hint=f"It takes {SETTLE_S + TONE_S:g} s.",
        )
    if late:
        raise DeviceError(
            f"microphone {name}: gave {heard_s:.1f} s of sound and then no more",
            hint="Look at cable and power; `edge-agent doctor` tells more.",
        )


def _refuse_beyond(block: Block, frequency_hz: float) -> None:
    if frequency_hz >= block.bandwidth_hz:
        raise CalibrationError(
            f"microphone {block.microphone}: hears nothing above {block.bandwidth_hz:g} Hz",
            hint="Take a calibrator of a lower frequency, or a higher `rate`.",
        )


def _refusal(name: str, doubt: Doubt) -> CalibrationError:
    return CalibrationError(f"microphone {name}: {doubt.message}", hint=doubt.hint)


def _measured_in_words(name: str, tone: Tone) -> str:
    return (
        f"{name}: {tone.frequency_hz:.1f} Hz at {tone.level_dbfs:.2f} dBFS; "
        f"varied by {tone.spread_db:.2f} dB, drifted by {tone.drift_db:+.2f} dB, "
        f"other sound {tone.purity_db:.0f} dB below"
    )


def _in_words(name: str, entry: Entry, last: Entry | None) -> str:
    words = f"{name}: offset {entry.offset_db:.2f} dB ({entry.source}, {entry.date})"
    if last is None or entry.drift_db is None:
        return f"{words}, the first for this device"
    return f"{words}, {entry.drift_db:+.2f} dB from that of {last.date}"


def _rounded(offset_db: float) -> float:
    # `+ 0.0` turns -0.0 into 0.0.
    return round(offset_db, 2) + 0.0
