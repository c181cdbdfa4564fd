"""Ears at all brokers of a fleet, as a reader of its own identity."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from edge_agent.clock import Clock
from edge_agent.commands.office import config_of
from edge_agent.config import MqttConfig
from edge_agent.errors import BrokerError
from edge_agent.fleet import broker as brokers
from edge_agent.fleet import reports
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.identity import Authority, Subject
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.listening import Address, Listener, Reader, wait_until_told
from edge_agent.fleet.reports import Reports
from edge_agent.fleet.secrets import Secrets


@contextmanager
def listening(
    fleet: Fleet,
    devices: Sequence[Device],
    name: str,
    clock: Clock,
    also: Iterable[tuple[str, MqttConfig]] = (),
    away: list[BrokerError] | None = None,
) -> Iterator[list[Listener]]:
    """Listen where devices talk, for as long as the context lasts.

    Args:
        fleet: Without errors.
        devices: Whose brokers.
        name: Of the reader; its certificate is shown where devices show theirs.
        clock: Stamps what comes in.
        also: Where devices still talk, by what was published for them before.
        away: Gets the brokers that cannot be reached, as long as one can; None: all have to be.

    Raises:
        ConfigError: The reader has no certificate.
        BrokerError: A broker cannot be reached.
    """
    configs = [(device.name, config_of(fleet, device).mqtt) for device in devices]
    configs += also
    reader: Reader | None = None
    with ExitStack() as stack:
        listeners: list[Listener] = []
        for one in brokers.brokers(configs):
            open_to_all = len(one.plain) == one.devices
            if not open_to_all and reader is None:
                reader = shown(fleet, Subject(kind="readers", name=name))
            address = Address(host=one.host, port=one.port, roots=one.roots)
            listener = Listener(address, None if open_to_all else reader, clock)
            try:
                listeners.append(stack.enter_context(listener))
            except BrokerError as error:
                if away is None:
                    raise
                away.append(error)
        if away and not listeners:
            raise away[0]
        yield listeners


def heard(
    fleet: Fleet,
    devices: Sequence[Device],
    name: str,
    clock: Clock,
    complete: Callable[[Reports], bool],
    wait_s: float,
    also: Iterable[tuple[str, MqttConfig]] = (),
    away: list[BrokerError] | None = None,
) -> Reports:
    """What the brokers keep of devices.

    Args:
        fleet: Without errors.
        devices: Who is asked about.
        name: Of the reader.
        clock: Of the waiting.
        complete: Nothing more is awaited.
        wait_s: At most so long.
        also: As for `listening`.
        away: As for `listening`.

    Raises:
        EarshotError: As `listening`, or a broker does not let us listen.
    """
    found: Reports = {}
    sites = {device.name: device.site for device in devices}
    with listening(fleet, devices, name, clock, also, away) as listeners:
        wait_until_told(
            listeners,
            clock,
            lambda one: reports.take(found, sites, one),
            lambda: complete(found),
            wait_s,
        )
    return found


def shown(fleet: Fleet, subject: Subject) -> Reader:
    """What somebody of the fleet shows a broker.

    Raises:
        EarshotError: There is no certificate, or its key cannot be read.
    """
    settings = fleet.folder.settings.secrets
    authority = Authority(fleet.folder.path, Secrets(fleet.folder.path, settings))
    certificate, key = authority.pair(subject)
    return Reader(
        name=subject.name,
        authority=authority.certificate.read_bytes(),
        certificate=certificate,
        key=key,
    )
