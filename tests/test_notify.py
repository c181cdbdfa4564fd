"""What systemd is told, on a simulated clock and on a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import SimulatedClock
from edge_agent.health import names_microphone, worst_first
from edge_agent.notify import Service, Supervisor, Watchdog, take_supervisor

PATIENCE_S = 30.0
PARTS = ("microphone", "worker", "outbox")
NS = 1_000_000_000

steps = st.lists(
    st.tuples(st.floats(0, 20), st.sets(st.sampled_from(PARTS))), min_size=1, max_size=60
)


@given(steps)
def test_between_two_feeds_everything_moved_and_a_third_of_the_patience_passed(
    steps: list[tuple[float, set[str]]],
) -> None:
    watchdog = Watchdog(PATIENCE_S, PARTS, 0)
    now_ns = fed_ns = 0
    moved: set[str] = set()
    for wait_s, parts in steps:
        now_ns += round(wait_s * NS)
        moved |= parts
        for part in parts:
            watchdog.moved(part)
        expected = moved == set(PARTS) and now_ns - fed_ns >= PATIENCE_S / 3 * NS
        assert watchdog.due(now_ns) == expected
        if expected:
            fed_ns, moved = now_ns, set()


@pytest.mark.parametrize("still", PARTS)
def test_one_part_that_stands_still_starves_it_however_much_the_others_move(still: str) -> None:
    watchdog = Watchdog(PATIENCE_S, PARTS, 0)
    for now_s in range(600):
        for part in set(PARTS) - {still}:
            watchdog.moved(part)
        assert not watchdog.due(now_s * NS)
    watchdog.moved(still)
    assert watchdog.due(600 * NS)


def test_what_came_to_its_end_is_not_waited_for() -> None:
    watchdog = Watchdog(PATIENCE_S, PARTS, 0)
    watchdog.gone("microphone")
    for count in range(1, 4):
        watchdog.moved("worker")
        watchdog.moved("outbox")
        assert watchdog.due(count * 10 * NS)


def test_without_a_watchdog_it_is_never_due() -> None:
    watchdog = Watchdog(None, (), 0)
    assert not watchdog.due(10**18)


class Listener:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def lines(self) -> list[str]:
        found: list[str] = []
        while True:
            try:
                found += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@earshot-{os.getpid()}"


@pytest.fixture
def listener(address: str) -> Iterator[Listener]:
    listener = Listener(address)
    yield listener
    listener.close()


def service(address: str, *microphones: str) -> tuple[Service, SimulatedClock]:
    clock = SimulatedClock()
    supervisor = Supervisor(address=address, patience_s=PATIENCE_S)
    return Service(clock, microphones, supervisor), clock


def test_the_first_block_makes_it_ready_and_the_worst_fault_is_its_status(
    address: str, listener: Listener
) -> None:
    told, _ = service(address, "mic")
    told.kept_house((), microphone_faulty=False)
    assert listener.lines() == ["STATUS=listening"]
    told.heard("mic")
    told.heard("mic")
    assert listener.lines() == ["READY=1"]
    for _ in range(2):
        faults = worst_first(["clock_unsynced", "mqtt_away", "no_blocks:mic"])
        told.kept_house(faults, microphone_faulty=names_microphone(faults))
    assert listener.lines() == ["STATUS=no_blocks:mic, and 2 more"]
    told.kept_house(["mqtt_away"], microphone_faulty=False)
    told.stopping()
    told.stopping()
    assert listener.lines() == ["STATUS=mqtt_away", "STOPPING=1"]


def test_a_missing_microphone_makes_it_ready_too(address: str, listener: Listener) -> None:
    told, _ = service(address, "mic")
    told.kept_house(["clock_unsynced"], microphone_faulty=names_microphone(["clock_unsynced"]))
    assert "READY=1" not in listener.lines()
    told.kept_house(["no_blocks:mic"], microphone_faulty=names_microphone(["no_blocks:mic"]))
    assert "READY=1" in listener.lines()


def test_a_microphone_that_is_waited_for_does_not_starve_the_watchdog(
    address: str, listener: Listener
) -> None:
    told, clock = service(address, "near", "far")
    fed_at = []
    for second in range(1, 61):
        clock.wait(1)
        told.heard("near")
        told.waits("far")
        told.kept_house((), microphone_faulty=False)
        told.turned()
        if "WATCHDOG=1" in listener.lines():
            fed_at.append(second)
    assert fed_at == [10, 20, 30, 40, 50, 60]


def test_one_microphone_that_nobody_watches_over_does(address: str, listener: Listener) -> None:
    told, clock = service(address, "near", "far")
    for _ in range(60):
        clock.wait(1)
        told.heard("near")
        told.kept_house((), microphone_faulty=False)
        told.turned()
    assert "WATCHDOG=1" not in listener.lines()
    told.ended("far")
    told.turned()
    assert "WATCHDOG=1" in listener.lines()


def test_what_could_not_be_sent_is_sent_later(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    told, _ = service(address, "mic")
    told.heard("mic")
    listener = Listener(address)
    told.heard("mic")
    assert listener.lines() == ["READY=1"]
    listener.close()


def test_nobody_else_finds_the_supervisor_in_the_environment() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/usr/bin",
    }
    assert take_supervisor(environment) == Supervisor(
        address="/run/systemd/notify", patience_s=30.0
    )
    assert environment == {"PATH": "/usr/bin"}
    assert take_supervisor(environment) == Supervisor()


@pytest.mark.parametrize(
    "variables",
    [
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
    ],
    ids=["another process'", "none", "no number"],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(variables: dict[str, str]) -> None:
    assert take_supervisor(variables).patience_s is None
