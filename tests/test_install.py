"""The service put in place in a folder that stands for a system, judged by systemd's own tools."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import configfile, resources
from edge_agent.commands.install import hidden, refuse_32_bit
from edge_agent.config import Config
from edge_agent.errors import InstallError

UNITS = "etc/systemd/system"
UNIT = f"{UNITS}/earshot-agent.service"
LINK = f"{UNITS}/multi-user.target.wants/earshot-agent.service"
DROP_IN = f"{UNIT}.d/50-credentials.conf"
PASSWORD = "etc/earshot/credentials/mqtt-password"
CONFIG = "etc/earshot/agent.yaml"
PUT = [CONFIG, UNIT, LINK, "etc/sysusers.d/earshot.conf", "etc/tmpfiles.d/earshot.conf"]
SAMPLE = resources.root() / "firmware_configs" / "agent.yaml"
MOST_EXPOSED = 17
"""Tenths, as systemd-analyze takes it."""


def agent(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def files(root: Path) -> dict[str, str]:
    """Every file and link below it, with what it holds."""
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else path.read_text(encoding="utf-8")
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def put(root: Path, path: str, text: str) -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def judge(*command: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is missing: apt-get install systemd")
    return subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.arm
def test_it_is_put_in_place_enabled_and_the_second_time_nothing_changes(tmp_path: Path) -> None:
    told = agent("install", "--root", str(tmp_path))
    assert sorted(files(tmp_path)) == sorted(PUT)
    for path in PUT:
        assert f": {tmp_path / path}\n" in told.stdout
    # systemd reads the link in that system, not here.
    assert files(tmp_path)[LINK] == "/etc/systemd/system/earshot-agent.service"
    before = files(tmp_path)
    stamps = {path: (tmp_path / path).lstat().st_mtime_ns for path in PUT}
    again = agent("install", "--root", str(tmp_path))
    assert again.stdout == "nothing to change: the service is in place\n"
    assert files(tmp_path) == before
    assert {path: (tmp_path / path).lstat().st_mtime_ns for path in PUT} == stamps


@pytest.mark.arm
def test_the_unit_starts_the_agent_that_installed_it(tmp_path: Path) -> None:
    agent("install", "--root", str(tmp_path))
    started = Path(sys.executable).parent / "edge-agent"
    line = f"ExecStart={started} run --config /etc/earshot/agent.yaml\n"
    assert line in files(tmp_path)[UNIT]


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    dry = agent("install", "--root", str(tmp_path), "--dry-run")
    assert files(tmp_path) == {}
    wet = agent("install", "--root", str(tmp_path))
    assert dry.stdout.replace("would be ", "") == wet.stdout
    before = files(tmp_path)
    dry = agent("uninstall", "--root", str(tmp_path), "--dry-run")
    assert files(tmp_path) == before
    wet = agent("uninstall", "--root", str(tmp_path))
    assert dry.stdout.replace("would be ", "") == wet.stdout


@pytest.mark.arm
def test_uninstall_leaves_what_is_the_users(tmp_path: Path) -> None:
    put(tmp_path, PASSWORD, "secret")
    agent("install", "--root", str(tmp_path))
    theirs = {
        "etc/earshot/agent.yaml": "site: {device: ear-1}\n",
        PASSWORD: "secret",
        "var/lib/earshot/outbox.db": "what waits",
        f"{UNIT}.d/override.conf": "[Service]\nMemoryMax=300M\n",
        f"{UNITS}/multi-user.target.wants/other.service": "theirs",
    }
    for path, text in theirs.items():
        put(tmp_path, path, text)
    told = agent("uninstall", "--root", str(tmp_path))
    assert files(tmp_path) == theirs
    assert "kept, if they are there: /etc/earshot, /var/lib/earshot" in told.stdout
    assert "nothing to remove" in agent("uninstall", "--root", str(tmp_path)).stdout


def test_an_edited_file_is_left_alone(tmp_path: Path) -> None:
    agent("install", "--root", str(tmp_path))
    edited = files(tmp_path)[UNIT].replace("MemoryMax=200M", "MemoryMax=300M")
    (tmp_path / UNIT).write_text(edited)
    told = agent("install", "--root", str(tmp_path))
    assert f"left alone, as somebody made or edited it: {tmp_path / UNIT}" in told.stdout
    assert (tmp_path / UNIT).read_text() == edited
    agent("uninstall", "--root", str(tmp_path))
    assert (tmp_path / UNIT).read_text() == edited


def test_what_an_older_release_put_there_is_replaced(tmp_path: Path) -> None:
    # The credentials' file, under another name, is signed as an older unit would be.
    put(tmp_path, PASSWORD, "secret")
    agent("install", "--root", str(tmp_path))
    wanted = files(tmp_path)
    (tmp_path / UNIT).write_text(wanted[DROP_IN])
    told = agent("install", "--root", str(tmp_path))
    assert f"replaced: {tmp_path / UNIT}" in told.stdout
    assert files(tmp_path) == wanted


def test_a_unit_that_was_masked_stays_masked(tmp_path: Path) -> None:
    (tmp_path / UNITS).mkdir(parents=True)
    (tmp_path / UNIT).symlink_to("/dev/null")
    agent("install", "--root", str(tmp_path))
    agent("uninstall", "--root", str(tmp_path))
    assert files(tmp_path)[UNIT] == "/dev/null"


def test_the_password_is_handed_over_only_while_there_is_one(tmp_path: Path) -> None:
    agent("install", "--root", str(tmp_path))
    assert "LoadCredential=" not in files(tmp_path)[UNIT]
    password = put(tmp_path, PASSWORD, "secret")
    agent("install", "--root", str(tmp_path))
    line = "LoadCredential=mqtt-password:/etc/earshot/credentials/mqtt-password\n"
    assert line in files(tmp_path)[DROP_IN]
    password.unlink()
    # systemd would refuse to start the service over it.
    agent("install", "--root", str(tmp_path))
    assert DROP_IN not in files(tmp_path)


@pytest.mark.arm
def test_a_configuration_of_ones_own_is_checked_and_never_overwrites(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    own = put(tmp_path, "own.yaml", "site: {device: ear-1}\n")
    wrong = put(tmp_path, "wrong.yaml", "mqtt: {port: 0}\n")
    refused = agent("install", "--root", str(root), "--config", str(wrong), code=2)
    assert "mqtt.port: found 0" in refused.stderr
    assert files(root) == {}
    agent("install", "--root", str(root), "--config", str(own))
    assert files(root)[CONFIG] == "site: {device: ear-1}\n"
    again = agent("install", "--root", str(root), "--config", str(own))
    assert again.stdout == "nothing to change: the service is in place\n"
    other = put(tmp_path, "other.yaml", "site: {device: ear-2}\n")
    refused = agent("install", "--root", str(root), "--config", str(other), code=2)
    assert refused.stderr.splitlines()[-2:] == [
        f"edge-agent: {root / CONFIG}: is there already, and is not {other}",
        "  Edit it there, or move it away first; it is never overwritten.",
    ]
    assert files(root)[CONFIG] == "site: {device: ear-1}\n"


def test_the_sample_is_all_defaults_and_every_line_of_it_can_be_used(tmp_path: Path) -> None:
    assert configfile.load(SAMPLE).config == Config()
    # Prose stands behind "# ", a setting right behind "#", with its indentation.
    settings = [
        line.removeprefix("#")
        for line in SAMPLE.read_text().splitlines()
        if not re.match(r"# \S", line)
    ]
    used = put(tmp_path, "agent.yaml", "\n".join(settings))
    config = configfile.load(used).config
    assert (config.site.device, config.mqtt.host) == ("ear-0042", "broker.example.org")
    assert set(config.alerts) == {"emergency", "loud"}


def test_no_such_root_is_told_in_two_lines(tmp_path: Path) -> None:
    for command in ("install", "uninstall"):
        refused = agent(command, "--root", str(tmp_path / "none"), code=2)
        assert refused.stderr == (
            f"edge-agent: --root {tmp_path / 'none'}: there is no such folder\n"
            "  Mount or make the system there first.\n"
        )


def test_what_cannot_be_written_is_told_in_two_lines(tmp_path: Path) -> None:
    # Root may write everywhere, but not below a file.
    put(tmp_path, "etc/systemd", "a file")
    refused = agent("install", "--root", str(tmp_path), code=2)
    wrong, hint = refused.stderr.splitlines()[-2:]
    assert wrong == f"edge-agent: {tmp_path / UNITS}: Not a directory"
    assert hint.startswith("  Make it writable, or run this as root")


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_this_systems_own_files_are_roots(command: str) -> None:
    # Once it runs, as the interpreter may be where nobody else can read it.
    code = (
        "import os, sysconfig, edge_agent.commands.install, edge_agent.cli\n"
        "sysconfig.get_paths()\n"
        "if not os.geteuid(): os.setuid(65534)\n"
        "edge_agent.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    wrong, hint = done.stderr.splitlines()
    assert wrong == f"edge-agent: {command} changes /etc and asks systemd, which only root may"
    assert hint.startswith("  sudo ")


@pytest.mark.parametrize("machine", ["armv7l", "armv6l"])
def test_32_bit_boards_are_refused_with_the_reason(machine: str) -> None:
    with pytest.raises(InstallError, match=f"32-bit \\({machine}\\): numpy, ai-edge-litert"):
        refuse_32_bit(machine, sixty_four=False)


def test_a_32_bit_system_on_a_64_bit_kernel_is_found_out_too() -> None:
    with pytest.raises(InstallError, match=r"32-bit \(aarch64\)"):
        refuse_32_bit("aarch64", sixty_four=False)
    refuse_32_bit("aarch64", sixty_four=True)


def test_an_agent_that_the_service_would_not_see_is_named() -> None:
    seen = Path("/opt/earshot/bin/edge-agent")
    assert hidden([seen, Path("/usr/bin/python3.11")]) is None
    home = Path("/home/pi/.local/share/uv/python3.11")
    assert hidden([seen, home]) == home


def test_systemd_finds_no_fault_in_the_installed_unit(tmp_path: Path) -> None:
    put(tmp_path, PASSWORD, "secret")
    agent("install", "--root", str(tmp_path))
    judged = judge("systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT))
    assert (judged.returncode, judged.stderr) == (0, "")
    spoilt = put(tmp_path, "spoilt/earshot-agent.service", (tmp_path / UNIT).read_text())
    spoilt.write_text(spoilt.read_text().replace("Restart=always", "Restart=sometimes"))
    judged = judge("systemd-analyze", "verify", "--man=no", str(spoilt))
    assert "sometimes" in judged.stderr


def test_the_service_is_exposed_no_more_than_promised(tmp_path: Path) -> None:
    agent("install", "--root", str(tmp_path))
    command = ("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}")
    judged = judge(*command, str(tmp_path / UNIT))
    assert judged.returncode == 0, judged.stdout
    text = (tmp_path / UNIT).read_text().replace("CapabilityBoundingSet=\n", "")
    opened = put(tmp_path, "opened/earshot-agent.service", text)
    assert judge(*command, str(opened)).returncode == 1


def test_the_account_and_the_folders_are_made_as_the_unit_expects(tmp_path: Path) -> None:
    agent("install", "--root", str(tmp_path))
    root = f"--root={tmp_path}"
    made = judge("systemd-sysusers", root, "--dry-run", "earshot.conf")
    assert made.returncode == 0, made.stderr
    assert "Creating user 'earshot' (Earshot agent)" in made.stderr
    if os.geteuid():
        pytest.skip("not run: only root can make the account and its folders")
    made = judge("systemd-sysusers", root, "earshot.conf")
    assert made.returncode == 0, made.stderr
    accounts = (tmp_path / "etc/passwd").read_text()
    assert ":Earshot agent:/var/lib/earshot:" in accounts
    members = next(
        line for line in (tmp_path / "etc/group").read_text().splitlines() if line[:6] == "audio:"
    )
    assert members.endswith(":earshot")
    made = judge("systemd-tmpfiles", root, "--create", "earshot.conf")
    assert made.returncode == 0, made.stderr
    user = int(accounts.split("earshot:x:")[1].split(":")[0])
    folders = {"etc/earshot/credentials": 0, "var/lib/earshot": user}
    for path, owner in (folders | {"var/lib/earshot/set-aside": user}).items():
        found = (tmp_path / path).stat()
        assert (found.st_mode & 0o777, found.st_uid) == (0o700, owner)
