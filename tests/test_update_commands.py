"""What a person on the device types: status, rollback, confirm; and what install puts there."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.fleets import ROOT, edge_agent
from tests.updates import SLOWER, Device, packed

UNITS = "etc/systemd/system"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path).set_up()
    settings = {
        "repository": "https://updates.example",
        "device": "ear-1",
        "state_dir": str(device.releases.path),
        "runtime_dir": str(tmp_path / "run"),
    }
    (tmp_path / "etc" / "updates.json").write_bytes(msgspec.json.encode(settings))
    # systemctl, as far as these commands ask it.
    (tmp_path / "bin").mkdir()
    asked = tmp_path / "bin" / "systemctl"
    asked.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    asked.chmod(0o755)
    return device


def typed(device: Device, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", *arguments, "--settings", "etc/updates.json"],
        cwd=device.path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{device.path}/bin:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout, done.stderr


def restarts(device: Device) -> int:
    asked = device.path / "asked"
    return asked.read_text().count("restart") if asked.exists() else 0


def test_status_tells_what_is_in_force_and_whether_somebody_edited_it(device: Device) -> None:
    code, told, _ = typed(device, "config", "status")
    assert code == 0
    assert told.splitlines()[0] == "in force   release 41"
    assert "drift" not in told
    device.releases.config(41).write_text("{}")
    told = typed(device, "config", "status", "--json")[1]
    found = json.loads(told)
    assert (found["in_force"], found["state"], found["drift"]) == (41, "current", True)


def test_a_rollback_by_hand_is_final_for_that_release(device: Device) -> None:
    device.update(42, SLOWER)
    code, told, _ = typed(device, "config", "rollback")
    assert (code, told) == (0, "release 41 is in force\n")
    assert restarts(device) == 1
    assert device.releases.in_force() == 41
    state = device.update(42, SLOWER)
    assert (state.state, state.reason) == ("rolled_back", "release 42: taken back by hand")
    # Once more: the seed. And then there is nothing left.
    assert typed(device, "config", "rollback")[1] == "release 0 is in force\n"
    code, _, wrong = typed(device, "config", "rollback")
    assert code == 2
    assert "there is none before it" in wrong


def test_a_rollback_during_a_trial_is_done_by_the_update_at_work(device: Device) -> None:
    device.releases.stage(*packed(42, SLOWER), None)
    device.releases.write_state(
        device.state().entering("trial", device.clock, number=42, highest=42)
    )
    device.agent.restart()
    assert typed(device, "config", "rollback")[0] == 0
    state = device.trial.resume()
    assert (state.state, state.reason) == ("rolled_back", "release 42: taken back by hand")
    assert device.agent.starts[-2:] == [42, 41]


def test_confirm_keeps_what_is_undecided_and_says_where_nothing_is(device: Device) -> None:
    code, _, wrong = typed(device, "config", "confirm")
    assert code == 2
    assert "no release is on trial or undecided: release 41 is in force" in wrong
    device.agent.brokers.clear()
    assert device.update(42, SLOWER).state == "undecided"
    assert typed(device, "config", "confirm")[:2] == (0, "release 42 is in force\n")
    assert device.releases.in_force() == 42
    assert restarts(device) == 1


def test_settings_that_are_wrong_are_told_in_two_lines(device: Device) -> None:
    (device.path / "etc" / "updates.json").write_text('{"repository": "x", "device": "Ear_1"}')
    code, told, wrong = typed(device, "update")
    assert (code, told) == (2, "")
    assert len(wrong.splitlines()) == 2
    assert "etc/updates.json" in wrong


def test_install_puts_the_updater_there_only_where_updates_are_set_up(tmp_path: Path) -> None:
    names = ("earshot-update.service", "earshot-update.timer", "earshot-agent.service.d")
    link = tmp_path / UNITS / "timers.target.wants" / "earshot-update.timer"
    assert edge_agent("install", "--root", str(tmp_path), cwd=tmp_path).returncode == 0
    assert not any((tmp_path / UNITS / name).exists() for name in names)
    (tmp_path / "etc" / "earshot" / "updates.json").write_text("{}")
    assert edge_agent("install", "--root", str(tmp_path), cwd=tmp_path).returncode == 0
    assert all((tmp_path / UNITS / name).exists() for name in names)
    assert str(link.readlink()) == "/etc/systemd/system/earshot-update.timer"
    drop_in = (tmp_path / UNITS / names[2] / "60-updates.conf").read_text()
    assert "ExecStart=\n" in drop_in
    assert "/usr/local/bin" not in drop_in
    assert edge_agent("uninstall", "--root", str(tmp_path), cwd=tmp_path).returncode == 0
    assert not any((tmp_path / UNITS / name).exists() for name in names)
    assert not link.is_symlink()


def test_the_running_agent_loads_nothing_of_it() -> None:
    code = (
        "import sys; import edge_agent.cli, edge_agent.commands.run, edge_agent.commands.service;"
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('tuf', 'securesystemslib', 'cryptography', 'urllib3') "
        "or name.startswith(('edge_agent.updating', 'edge_agent.fleet'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"
