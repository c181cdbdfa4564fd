"""What no schema says: settings that contradict each other, the model, or the hardware.

Each rule looks at one device and yields what it found under the key of a setting; `checking` finds
the place. No rule names the device, so that what many devices share is told once.
"""

from collections.abc import Iterator

import msgspec

from edge_agent import labels
from edge_agent.config import AlertConfig, Config
from edge_agent.fleet import credentials
from edge_agent.fleet.folder import Offers
from edge_agent.fleet.models import Model
from edge_agent.loopback import is_loopback
from edge_agent.settings import near


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule found."""

    key: str
    found: str
    hint: str
    severe: bool = True
    """An error; else a warning."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A device as the rules see it."""

    config: Config
    model: Model | None
    """None: it could not be read, which is told elsewhere."""
    offers: Offers | None
    plaintext: tuple[str, ...]
    """Brokers that may be spoken to without TLS."""
    calibrated: bool
    """The inventory has a laboratory's calibration."""


def broken(subject: Subject) -> Iterator[Broken]:
    """All that is wrong with a device."""
    config = subject.config
    if subject.model is not None:
        yield from _labels(config, subject.model)
    if subject.offers is not None:
        yield from _microphones(config, subject.offers)
    yield from _transport(config, subject.plaintext)
    yield from _credentials(config)
    for name, rule in config.alerts.items():
        yield from _alert(name, rule, config, subject)
    for label, override in config.events.labels.items():
        longest_s = config.events.max_duration_s
        if override.min_duration_s is not None and override.min_duration_s > longest_s:
            yield Broken(
                key=f"events.labels.{label}.min_duration_s",
                found=f"{override.min_duration_s:g} s is longer than any event may last",
                hint=f"events.max_duration_s ends events after {longest_s:g} s.",
            )
        if override.cooldown_s is not None and override.cooldown_s > longest_s:
            yield Broken(
                key=f"events.labels.{label}.cooldown_s",
                found=f"{override.cooldown_s:g} s of silence follow an event of at most "
                f"{longest_s:g} s",
                hint="A shorter cooldown hides less; events.max_duration_s ends events.",
                severe=False,
            )


def _labels(config: Config, model: Model) -> Iterator[Broken]:
    if not config.events.labels and not config.alerts:
        return
    for problem in labels.problems(config, model.labels, model.name):
        assert problem.key is not None, "each names its setting"
        yield Broken(key=problem.key, found=problem.message.partition(": ")[2], hint=problem.hint)


def _microphones(config: Config, offers: Offers) -> Iterator[Broken]:
    for name, microphone in config.microphones.items():
        if microphone.kind != "device":
            continue
        if offers.rates and microphone.rate not in offers.rates:
            yield Broken(
                key=f"microphones.{name}.rate",
                found=f"the microphone has no {microphone.rate} Hz",
                hint=f"It offers {', '.join(str(rate) for rate in offers.rates)} Hz.",
            )
        if offers.channels is not None and microphone.channels > offers.channels:
            yield Broken(
                key=f"microphones.{name}.channels",
                found=f"the microphone has no {microphone.channels} channels",
                hint=f"It offers {offers.channels}.",
            )


def _transport(config: Config, plaintext: tuple[str, ...]) -> Iterator[Broken]:
    host = config.mqtt.host
    if config.mqtt.tls is None and not is_loopback(host) and host not in plaintext:
        yield Broken(
            key="mqtt.host",
            found=f"{host} is spoken to without TLS",
            hint="Set `mqtt: {port: 8883, tls: {}}`, or name the host in allow_plaintext of "
            "fleet.yaml if everybody on the way may read along.",
        )


def _credentials(config: Config) -> Iterator[Broken]:
    for key, name in credentials.named(config):
        if name not in credentials.KNOWN:
            likely = near(name, list(credentials.KNOWN))
            yield Broken(
                key=key,
                found=f"{name} is no credential of the service",
                hint=f"Did you mean {likely[0]}?"
                if likely
                else f"Known: {', '.join(credentials.KNOWN)}.",
            )


def _alert(name: str, rule: AlertConfig, config: Config, subject: Subject) -> Iterator[Broken]:
    if rule.above_db is not None and not subject.calibrated:
        yield Broken(
            key=f"alerts.{name}.above_db",
            found="the rule rests until the microphone is calibrated",
            hint="Fill lab_offset_db and lab_date, calibrate on the device, or use above_dbfs.",
            severe=False,
        )
    if rule.min_duration_s is None or rule.labels is None:
        return
    key = f"alerts.{name}.min_duration_s"
    longest_s = config.events.max_duration_s
    if rule.min_duration_s > longest_s:
        yield Broken(
            key=key,
            found=f"{rule.min_duration_s:g} s is longer than any event may last",
            hint=f"events.max_duration_s ends events after {longest_s:g} s.",
        )
    elif subject.model is not None and rule.min_duration_s > 0:
        model = subject.model
        rules = labels.event_rules(model.labels, config.events)
        shortest_s = min(
            (
                max((one.n - 1) * model.hop_s, one.min_duration_s)
                for one in rules
                if one.label in rule.labels
            ),
            default=0.0,
        )
        if rule.min_duration_s < shortest_s:
            yield Broken(
                key=key,
                found=f"{rule.min_duration_s:g} s asks for nothing: an event of these labels "
                f"lasts {shortest_s:g} s before it is told",
                hint="Leave it out, or write a longer time.",
                severe=False,
            )
