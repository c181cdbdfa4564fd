"""The demo's street: a scene of known sounds, synthesised here and never trained on.

Each sound is made as its source makes it (an oscillator with a horn's spectrum, blows that ring, a
shock wave with a crack behind it), sent through a short reverberation and laid over traffic at
-40 dBFS. What the sounds are is judged by a stranger: the tests show them to YAMNet.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.clock import Clock
from edge_agent.records import Block, CaptureHealth, Samples

RATE = 48_000
LAP_S = 30.0
"""The scene's length; a longer demo plays it again, with new noise and slightly other pitches."""
REQUIRED: tuple[tuple[str, ...], ...] = (("siren",), ("car_horn",), ("jackhammer", "gun_shot"))
"""Of each group at least one sound has to be heard for the demo to succeed."""

_BLOCK_SAMPLES = RATE // 4
_BACKGROUND_DBFS = -40.0
_HUM_DBFS = -62.0
_JUDGED_S = 1.0
_NS = 1_000_000_000

_Signal: TypeAlias = npt.NDArray[np.float64]
_Gain: TypeAlias = Callable[[_Signal], npt.NDArray[np.floating]]


class SceneSound(msgspec.Struct, frozen=True, kw_only=True):
    """A sound of the scene; times in seconds from the scene's first sample."""

    label: str
    start_s: float
    end_s: float
    accepts: tuple[str, ...]
    """The labels of the street taxonomy that name this sound rightly."""


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the programme; `make` gives any amplitude, `peak_dbfs` is what is played."""

    label: str
    accepts: tuple[str, ...]
    start_s: float
    duration_s: float
    peak_dbfs: float
    make: Callable[[np.random.Generator, float], _Signal]


def sounds(seconds: float) -> tuple[SceneSound, ...]:
    """The sounds of so many seconds of the scene, its repetitions included.

    One of which less than a second was played does not count: no patch holds it.
    """
    found = []
    for lap in range(int(seconds // LAP_S) + 1):
        for part in _PROGRAMME:
            start_s = lap * LAP_S + part.start_s
            end_s = start_s + part.duration_s
            sound = SceneSound(label=part.label, start_s=start_s, end_s=end_s, accepts=part.accepts)
            found.append(sound)
    return tuple(sound for sound in found if sound.start_s + _JUDGED_S <= seconds)


def compose(seed: int, lap: int = 0) -> Samples:
    """One lap of the scene: (1440000,) at 48 kHz.

    Args:
        seed: Fixes noise, pitches and blows; not the onsets, which are the programme's.
        lap: Position of this lap in the demo, from 0.
    """
    rng = np.random.default_rng((seed, lap))
    mix = _background(rng)
    for part in _PROGRAMME:
        sound = part.make(rng, part.duration_s)
        sound *= 10 ** (part.peak_dbfs / 20) / np.abs(sound).max()
        begin = round(part.start_s * RATE)
        # The last tail is cut where the lap ends: it has died away by then.
        end = min(begin + len(sound), len(mix))
        mix[begin:end] += sound[: end - begin]
    return mix.astype(np.float32)


class SceneSource:
    """The scene as a microphone would give it: in real time, a quarter of a second a block.

    Args:
        name: The microphone's name in the configuration.
        clock: Paces and stamps the blocks.
        seed: As for `compose`.
        seconds: How much sound to play.
    """

    def __init__(self, name: str, clock: Clock, *, seed: int, seconds: float = LAP_S) -> None:
        self._name = name
        self._clock = clock
        self._seed = seed
        self._total = round(seconds * RATE)
        self._position = 0
        self._lap = compose(seed)
        self._began_ns: int | None = None
        self.start_ns = clock.utc_ns()
        """Time of the first sample, nanoseconds UTC; it is set anew by the first `read`."""

    @property
    def waits(self) -> bool:
        """Never: the scene's next block comes in its time."""
        return False

    @property
    def ended(self) -> bool:
        """Whether the last block was handed out."""
        return self._position >= self._total

    @property
    def pid(self) -> int | None:
        """None: this process reads it."""
        return None

    @property
    def played_s(self) -> float:
        """How much of the scene was handed out, seconds."""
        return self._position / RATE

    def read(self, timeout_s: float) -> Block | None:
        """The next block; None at the end, or when it is not due within the timeout."""
        if self.ended or not self._due(timeout_s):
            return None
        first = self._position
        offset = first % len(self._lap)
        if first and offset == 0:
            self._lap = compose(self._seed, first // len(self._lap))
        samples = self._lap[offset : offset + self._length()]
        self._position += len(samples)
        return Block(
            microphone=self._name,
            samples=samples,
            rate=RATE,
            bandwidth_hz=RATE / 2,
            first=first,
            start_ns=self.start_ns + first * _NS // RATE,
            synced=self._clock.synced(),
        )

    def close(self) -> None:
        """End the scene."""
        self._total = self._position

    def health(self) -> CaptureHealth:
        """Nothing is ever lost here."""
        return CaptureHealth(
            microphone=self._name, overflows=0, gaps_s=0.0, bad_samples=0, restarts=0
        )

    def _length(self) -> int:
        return min(_BLOCK_SAMPLES, self._total - self._position)

    def _due(self, timeout_s: float) -> bool:
        """Wait until a microphone would have captured the next block, at most `timeout_s`."""
        now_ns = self._clock.monotonic_ns()
        if self._began_ns is None:
            self._began_ns = now_ns
            self.start_ns = self._clock.utc_ns()
        end_s = (self._position + self._length()) / RATE
        wait_s = end_s - (now_ns - self._began_ns) / _NS
        if wait_s > 0:
            self._clock.wait(min(wait_s, timeout_s))
        return wait_s <= timeout_s


def _background(rng: np.random.Generator) -> _Signal:
    """Traffic far off, which swells and fades, over a transformer's faint hum."""
    t = _times(LAP_S)
    rush = _noise(rng, len(t), lambda f: (f > 20) / (1 + (f / 1500) ** 2) ** 2)
    phase_a, phase_b = rng.uniform(0, 2 * np.pi, 2)
    # Two slow waves that never meet in step: cars pass, but not by the clock.
    swell_db = 2.5 * np.sin(2 * np.pi * t / 11 + phase_a) + 1.5 * np.sin(
        2 * np.pi * t / 7 + phase_b
    )
    rush *= 10 ** (swell_db / 20)
    hum = _harmonics(2 * np.pi * 100 * t, (1.0, 0.5, 0.3, 0.15))
    return _at_rms(rush, _BACKGROUND_DBFS) + _at_rms(hum, _HUM_DBFS)


def _siren(rng: np.random.Generator, duration_s: float) -> _Signal:
    """A police car's wail of 4 s, then yelps, 600 to 1500 Hz; at last it turns a corner."""
    t = _times(duration_s)
    wail = np.sin(np.pi * np.clip(t / 4, 0, 1)) ** 0.7
    yelp = 0.5 - 0.5 * np.cos(2 * np.pi * 3.2 * (t - 4))
    pitch = 600 * rng.uniform(0.96, 1.04)
    frequency = pitch * (1500 / 600) ** np.where(t < 4, wail, yelp)
    tone = _harmonics(_phase(frequency), (1.0, 0.15, 0.1, 0.05))
    # A horn loudspeaker: nothing below 400 Hz, little above 3 kHz.
    tone = _filtered(tone, lambda f: (f / 400) ** 2 / (1 + (f / 400) ** 2))
    tone = _filtered(tone, lambda f: 1 / (1 + (f / 3000) ** 4) ** 0.5)
    return _reverberant(rng, tone * _gate(t, duration_s, 0.05, 1.5), 1.2, 0.7)


def _horn(rng: np.random.Generator, duration_s: float) -> _Signal:
    """Two discs a minor third apart, 420 and 500 Hz: a short blast and two longer ones."""
    t = _times(duration_s)
    tune = rng.uniform(0.97, 1.03)
    tone = sum((_disc(rng, t, note * tune) for note in (420.0, 500.0)), np.zeros_like(t))
    blasts = ((0.0, 0.45), (0.65, 0.8), (1.7, duration_s - 1.7))
    played = sum((_gate(t - at, last, 0.02, 0.04) for at, last in blasts), np.zeros_like(t))
    return _reverberant(rng, tone * played, 0.5, 0.25)


def _disc(rng: np.random.Generator, t: _Signal, note_hz: float) -> _Signal:
    """One horn: its disc strikes, so the harmonics reach far, strongest about 2.2 kHz."""
    order = np.arange(1, int(9000 / note_hz) + 1)
    amplitudes = 1 / (1 + ((order * note_hz - 2200) / 1200) ** 2) + 0.15
    unsteady = 1e-3 * np.cumsum(rng.standard_normal(len(t)))
    return _harmonics(2 * np.pi * note_hz * t + unsteady, amplitudes.tolist())


def _alarm(rng: np.random.Generator, duration_s: float) -> _Signal:
    """A quartz clock's alarm: four beeps, a pause, at a sixteenth of the crystal's 32768 Hz."""
    t = _times(duration_s)
    tone = _harmonics(2 * np.pi * 2048 * rng.uniform(0.97, 1.03) * t, (1.0, 0.6, 0.5, 0.4, 0.3))
    beeps = [_gate(t % 0.7 - at, 0.06, 0.004, 0.006) for at in (0.0, 0.125, 0.25, 0.375)]
    return _reverberant(rng, tone * sum(beeps, np.zeros_like(t)), 0.4, 0.15)


def _jackhammer(rng: np.random.Generator, duration_s: float) -> _Signal:
    """Blows on concrete, 14 a second, over the rush of compressed air."""
    mix = 0.1 * _noise(rng, round(duration_s * RATE), lambda f: 1 / (1 + (f / 500) ** 2))
    at_s = 0.0
    while at_s < duration_s - 0.12:
        begin = round(at_s * RATE)
        blow = rng.uniform(0.8, 1.1) * _blow(rng)
        mix[begin : begin + len(blow)] += blow
        at_s += rng.uniform(0.93, 1.07) / 14
    return _reverberant(rng, mix, 0.4, 0.15)


def _blow(rng: np.random.Generator) -> _Signal:
    """One stroke: a burst of noise, the chisel's ring, the ground's thud."""
    t = _times(0.12)
    burst = _noise(rng, len(t), lambda f: (f / 200) / (1 + (f / 200) ** 2) ** 0.5)
    burst = 3 * _filtered(burst, lambda f: 1 / (1 + (f / 3000) ** 2)) * np.exp(-t / 0.015)
    for mode_hz in (620, 1370, 2300, 3900):
        ring = np.sin(2 * np.pi * mode_hz * rng.uniform(0.98, 1.02) * t)
        burst += 0.3 * rng.uniform(0.5, 1.5) * ring * np.exp(-t / 0.02)
    return burst + 1.5 * np.sin(2 * np.pi * 90 * t) * np.exp(-t / 0.03)


def _shots(rng: np.random.Generator, duration_s: float) -> _Signal:
    """Shots at irregular distances, each with its own echo."""
    mix = np.zeros(round((duration_s + 1.5) * RATE))
    for at_s in _SHOTS_S:
        shot = rng.uniform(0.9, 1.0) * _shot(rng)
        begin = round(at_s * RATE)
        mix[begin : begin + len(shot)] += shot
    return mix


def _shot(rng: np.random.Generator) -> _Signal:
    """An N-wave of 2 ms, the muzzle's blast, a crack and its tail, driven into saturation."""
    t = _times(0.8)
    shock = np.where(t < 0.002, 1 - t / 0.001, 0.0)
    # Friedlander's form of a blast in the open, with a positive phase of 3 ms.
    blast = 1.5 * (1 - t / 0.003) * np.exp(-t / 0.003)
    crack = _noise(rng, len(t), lambda f: 1 / (1 + (f / 2000) ** 2) ** 0.5)
    tail = _noise(rng, len(t), lambda f: 1 / (1 + (f / 2000) ** 2) ** 0.5)
    mix = shock + blast + crack * np.exp(-t / 0.05) + 0.05 * tail * np.exp(-t / 0.15)
    # Recordings of shots are nearly always overloaded; YAMNet knows them no other way.
    return _reverberant(rng, np.tanh(2 * mix), 0.6, 0.2)


def _times(duration_s: float) -> _Signal:
    return np.arange(round(duration_s * RATE)) / RATE


def _phase(frequency_hz: _Signal) -> _Signal:
    phase: _Signal = 2 * np.pi * np.cumsum(frequency_hz) / RATE
    return phase


def _harmonics(phase: _Signal, amplitudes: Sequence[float]) -> _Signal:
    mix = np.zeros_like(phase)
    for order, amplitude in enumerate(amplitudes, start=1):
        mix += amplitude * np.sin(order * phase)
    return mix


def _gate(t: _Signal, duration_s: float, rise_s: float, fall_s: float) -> _Signal:
    """1 from 0 to `duration_s`, with straight flanks inside, and 0 elsewhere."""
    opened: _Signal = np.clip(np.minimum(t / rise_s, (duration_s - t) / fall_s), 0.0, 1.0)
    return opened


def _filtered(signal: _Signal, gain: _Gain) -> _Signal:
    frequencies_hz = np.asarray(np.fft.rfftfreq(len(signal), 1 / RATE), dtype=np.float64)
    spectrum = np.fft.rfft(signal) * gain(frequencies_hz)
    return np.fft.irfft(spectrum, len(signal))


def _noise(rng: np.random.Generator, length: int, gain: _Gain) -> _Signal:
    """Noise of this spectrum with an RMS of 1."""
    noise = _filtered(rng.standard_normal(length), gain)
    scaled: _Signal = noise / noise.std()
    return scaled


def _at_rms(signal: _Signal, level_dbfs: float) -> _Signal:
    scaled: _Signal = signal * 10 ** (level_dbfs / 20) / np.sqrt(np.mean(signal**2))
    return scaled


def _reverberant(rng: np.random.Generator, dry: _Signal, t60_s: float, wet: float) -> _Signal:
    """The sound, then its decay between the houses: a tail of noise with this energy (`wet`²)."""
    t = _times(t60_s)
    echo = _noise(rng, len(t), lambda f: 1 / (1 + (f / 3500) ** 2)) * 10 ** (-3 * t / t60_s)
    echo *= wet / np.sqrt(np.sum(echo**2))
    echo[0] += 1.0
    length = len(dry) + len(echo) - 1
    # A power of two: a prime length would take seconds.
    size = 1 << (length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(echo, size), size)[:length]


_SHOTS_S = (0.0, 0.7, 1.3)

# Shots keep away from what goes before: an impulsive label rests for some seconds after an event,
# a false one too, and blows that break off are false shots now and then.
_PROGRAMME = (
    _Part(
        label="siren",
        accepts=("siren",),
        start_s=2.5,
        duration_s=7.0,
        peak_dbfs=-6.0,
        make=_siren,
    ),
    _Part(
        label="car_horn",
        accepts=("car_horn",),
        start_s=12.0,
        duration_s=3.0,
        peak_dbfs=-6.0,
        make=_horn,
    ),
    _Part(
        label="gun_shot",
        accepts=("gun_shot",),
        start_s=17.2,
        duration_s=1.5,
        peak_dbfs=-3.0,
        make=_shots,
    ),
    _Part(
        label="alarm",
        accepts=("alarm",),
        start_s=20.5,
        duration_s=3.0,
        peak_dbfs=-9.0,
        make=_alarm,
    ),
    _Part(
        label="jackhammer",
        # A hammer drill and a jackhammer differ by their rate of blows, and the data sets' labels
        # for the two overlap.
        accepts=("jackhammer", "drilling"),
        start_s=25.0,
        duration_s=3.5,
        peak_dbfs=-6.0,
        make=_jackhammer,
    ),
)
