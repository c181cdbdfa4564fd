"""What Prometheus is told of a fleet, judged by its own tool."""

import re
import subprocess

import msgspec

from edge_agent.fleet.exposition import text
from edge_agent.fleet.standing import Standing
from tests.fleets import ROOT
from tests.real.broker import program

_RULES = ROOT / "firmware_configs" / "prometheus"
_NOW_S = 1_790_000_000.0
_WELL = Standing(
    device="market-01",
    site="example-city",
    ring="canary",
    wanted=2,
    reported=2,
    verdict="as wanted",
    why="",
    online=True,
    seen_s=12.5,
    certificate_days=800,
    faults=(),
    queued=3,
)
_BACK = msgspec.structs.replace(
    _WELL, device="market-02", ring=None, verdict="rolled back", faults=("disk_low", "dead:mic")
)
_UNKNOWN = Standing(
    device="depot-01",
    site="example-city",
    ring=None,
    wanted=None,
    reported=None,
    verdict="never heard",
    why="",
    online=None,
    seen_s=None,
    certificate_days=None,
    faults=(),
)


def promtool(*arguments: str, told: str = "") -> "subprocess.CompletedProcess[str]":
    command = [program("promtool"), *arguments]
    return subprocess.run(command, input=told, capture_output=True, text=True, check=False)


def samples(exposed: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in exposed.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_prometheus_finds_nothing_wrong_with_the_file() -> None:
    done = promtool("check", "metrics", told=text([_WELL, _BACK, _UNKNOWN], _NOW_S))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_each_figure_is_of_its_device_and_what_is_not_known_is_left_out() -> None:
    found = samples(text([_WELL, _BACK, _UNKNOWN], _NOW_S))
    well = '{device="market-01",site="example-city",ring="canary"}'
    back = '{device="market-02",site="example-city",ring=""}'
    assert found[f"earshot_device_as_wanted{well}"] == 1
    assert found[f"earshot_device_as_wanted{back}"] == 0
    assert found[f"earshot_device_rolled_back{back}"] == 1
    assert found[f"earshot_device_seen_timestamp_seconds{well}"] == _NOW_S - 12.5
    assert found[f"earshot_device_queued_messages{well}"] == 3
    assert found[f"earshot_device_faults{back}"] == 2
    ends = found[f"earshot_device_certificate_expiry_timestamp_seconds{well}"]
    assert ends == _NOW_S + 800 * 86400
    assert found["earshot_status_timestamp_seconds"] == _NOW_S
    unknown = {name.partition("{")[0] for name in found if "depot-01" in name}
    assert unknown == {
        "earshot_device_as_wanted",
        "earshot_device_faults",
        "earshot_device_rolled_back",
    }


def test_the_rules_fire_when_they_should_and_ask_for_what_is_there() -> None:
    done = promtool("test", "rules", str(_RULES / "earshot.rules.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    rules = (_RULES / "earshot.rules.yml").read_text()
    asked = set(re.findall(r"\bearshot_\w+", rules))
    assert asked <= {name.partition("{")[0] for name in samples(text([_WELL], _NOW_S))}
    # Each rule has been tried.
    tried = (_RULES / "earshot.rules.test.yml").read_text()
    for alert in re.findall(r"- alert: (\w+)", rules):
        assert re.search(rf"alertname: {alert}\n +exp_alerts:", tried), alert
