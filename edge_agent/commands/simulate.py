"""`edge-agent fleet simulate`: many devices before a broker, and whether all of it arrives."""

import json
import logging
import sys
from contextlib import ExitStack
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.config import MqttConfig
from edge_agent.errors import ConfigError
from edge_agent.fleet.localbroker import LocalBroker
from edge_agent.fleet.simulate import Outcome, Simulation, Wishes

_KEPT_UP: Final = 0.9


def simulate(wishes: Wishes, broker: str | None, clock: Clock, *, as_json: bool) -> int:
    """Play a fleet, and print what became of what it sent.

    Args:
        wishes: What is played.
        broker: HOST:PORT of one that lets everybody in; None: a mosquitto of our own.
        clock: The machine's.
        as_json: All figures as JSON, nothing else.

    Returns:
        The exit code: 1 when something did not arrive.

    Raises:
        EarshotError: The broker is not there, or cannot be killed by us.
    """
    # A thousand devices would say the same of one kill.
    logging.getLogger("edge_agent.mqtt").setLevel(logging.ERROR)
    with ExitStack() as stack:
        own: LocalBroker | None = None
        if broker is None:
            own = stack.enter_context(LocalBroker(clock))
            mqtt = MqttConfig(host=own.host, port=own.port)
        else:
            if wishes.kills:
                raise ConfigError(
                    f"{broker}: is not ours to kill",
                    hint="--kills works with the mosquitto that is started without --broker.",
                )
            mqtt = _address(broker)

        def tell(sentence: str) -> None:
            print(sentence, file=sys.stderr if as_json else sys.stdout, flush=True)

        outcome = Simulation(wishes, mqtt, clock, own, tell).run()
    if as_json:
        print(json.dumps(msgspec.to_builtins(outcome)))
    else:
        _print(outcome)
    return 0 if outcome.counts["all"].missing == 0 else 1


def _address(broker: str) -> MqttConfig:
    host, colon, port = broker.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{broker}: is no broker", hint="Write HOST:PORT, like 10.0.0.5:1883.")
    return MqttConfig(host=host, port=int(port))


def _print(outcome: Outcome) -> None:
    for kind, counts in outcome.counts.items():
        print(
            f"{kind:6} sent {counts.sent:>8}  arrived {counts.arrived:>8}  "
            f"again {counts.twice:>6}  missing {counts.missing:>6}"
        )
    total = outcome.counts["all"]
    rate = total.sent / outcome.wishes.seconds
    late = outcome.late_s
    asked = outcome.wishes.devices * outcome.wishes.seconds / outcome.wishes.every_s
    share = outcome.counts["level"].sent / asked
    if share < _KEPT_UP:
        print(f"this machine kept up with {100 * share:.0f} % of the readings that were asked for")
    print(f"{outcome.wishes.devices} devices, {rate:.0f} messages/s, {outcome.seconds:.0f} s")
    print(f"late   half {late['p50']:.2f} s, 99 % {late['p99']:.2f} s, all {late['max']:.2f} s")
    print(f"here   {outcome.own_cpu_s:.1f} s of CPU, {outcome.own_mb:.0f} MB")
    if outcome.broker_cpu_s is not None and outcome.broker_mb is not None:
        print(f"broker {outcome.broker_cpu_s:.1f} s of CPU, {outcome.broker_mb:.0f} MB")
    if total.missing:
        print(
            f"missing: {outcome.waiting} still wait on their devices, {outcome.unheard} went to a "
            "broker that knew no subscriber; the others were acknowledged and lost by the broker"
        )
        for name in outcome.missing:
            print(f"  {name}")
    if total.unknown:
        print(f"{total.unknown} arrived that were not sent here: other devices are at this broker")
