"""Ears at all brokers of a fleet, as a reader of its own identity."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from edge_agent.clock import Clock
from edge_agent.commands.office import config_of
from edge_agent.config import MqttConfig
from edge_agent.fleet import broker as brokers
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.identity import Authority, Subject
from edge_agent.fleet.inventory import Device
from edge_agent.fleet.listening import Address, Listener, Reader
from edge_agent.fleet.secrets import Secrets


@contextmanager
def listening(
    fleet: Fleet,
    devices: Sequence[Device],
    name: str,
    clock: Clock,
    also: Iterable[tuple[str, MqttConfig]] = (),
) -> Iterator[list[Listener]]:
    """Listen where devices talk, for as long as the context lasts.

    Args:
        fleet: Without errors.
        devices: Whose brokers.
        name: Of the reader; its certificate is shown where devices show theirs.
        clock: Stamps what comes in.
        also: Where devices still talk, by what was published for them before.

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
            listeners.append(stack.enter_context(listener))
        yield listeners


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
