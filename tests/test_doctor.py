"""The doctor on folders that stand for a system, and where a check fails or hangs."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_agent import configfile
from edge_agent.commands import doctor_host, doctor_service
from edge_agent.commands.doctor import Check, examined
from edge_agent.commands.finding import Account, Finding, fault, myself, ok
from edge_agent.configfile import LoadedConfig
from edge_agent.errors import BundleError
from tests.bundled import copied
from tests.test_install import DROP_IN, LINK, PASSWORD, UNIT, agent, put

STRANGER = Account(name="stranger", uid=54321, groups=frozenset([54321]))
CHECKS = {
    "configuration", "system", "clock", "disk", "state folder", "audio group", "service", "model",
    "calibration", "microphone", "broker",
}  # fmt: skip


def loaded(folder: Path, text: str) -> LoadedConfig:
    return configfile.load(put(folder, "agent.yaml", text))


def doctored(*arguments: str, code: int) -> list[Finding]:
    """Findings by the command itself."""
    told = json.loads(agent("doctor", "--json", *arguments, code=code).stdout)
    assert told["ok"] == (code == 0)
    found = [Finding(**{"todo": None, **check}) for check in told["checks"]]
    assert told["faults"] == sum(finding.status == "fault" for finding in found)
    assert told["warnings"] == sum(finding.status == "warning" for finding in found)
    for finding in found:
        assert (finding.todo is None) == (finding.status == "ok"), finding
    return found


def of(findings: list[Finding], check: str) -> Finding:
    (finding,) = (finding for finding in findings if finding.check == check)
    return finding


def test_with_everything_broken_each_check_says_so_and_none_stops_another(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "model.tflite").write_bytes(b"cut short")
    put(tmp_path, "state", "no folder")
    config = put(
        tmp_path,
        "agent.yaml",
        "model: {path: street}\nstate_dir: state\n"
        "microphones: {mic: {kind: file, path: nowhere.wav}}\n"
        "mqtt: {host: no-such-host.invalid}\nsite: {device: ear-1}\n",
    )
    found = doctored("--config", str(config), code=1)
    assert {finding.check for finding in found} == CHECKS
    faults = {finding.check for finding in found if finding.status == "fault"}
    assert faults == {"state folder", "model", "microphone", "broker"}
    assert "model.tflite: sha256 is" in of(found, "model").found
    assert "no-such-host.invalid: the name is not known" in of(found, "broker").found
    assert "nowhere.wav" in of(found, "microphone").found
    told = agent("doctor", "--config", str(config), code=1)
    assert f"\nfaults: 4, warnings: {len([f for f in found if f.status == 'warning'])}\n" in (
        told.stdout
    )
    for finding in found:
        assert f"{finding.status:<8}  {finding.check}" in told.stdout


@pytest.mark.parametrize("text", ["site: {device: Ear}\n", "a: [", "\0"])
@pytest.mark.arm
def test_a_configuration_that_is_refused_is_a_fault_and_the_rest_goes_on(
    tmp_path: Path, text: str
) -> None:
    config = put(tmp_path, "agent.yaml", text)
    found = doctored("--config", str(config), code=1)
    assert {finding.check for finding in found} == CHECKS
    assert of(found, "configuration").status == "fault"
    assert str(config) in of(found, "configuration").found
    assert of(found, "model").status == "ok"
    assert of(found, "model").found.endswith("for 960 false alarms a day, not proven by 1.36 h")
    assert of(found, "broker").status == of(found, "microphone").status == "warning"


@pytest.mark.arm
def test_without_a_configuration_nothing_is_at_fault(tmp_path: Path) -> None:
    if Path("/etc/earshot").exists():
        pytest.skip("not run: this machine has a configuration of its own")
    found = doctored(code=0)
    assert of(found, "configuration").status == "warning"
    assert "sudo edge-agent install" in (of(found, "configuration").todo or "")


def test_labels_that_the_model_lacks_are_a_fault_of_it(tmp_path: Path) -> None:
    config = put(tmp_path, "agent.yaml", "alerts: {a: {labels: [unicorn]}}\nstate_dir: .\n")
    found = of(doctored("--config", str(config), code=1), "model")
    assert (
        "agent.yaml:1:14: alerts.a.labels: the model street has no label 'unicorn'" in found.found
    )


def test_a_check_that_hangs_or_fails_does_not_stop_the_next() -> None:
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait(20)
        return []

    def fail() -> list[Finding]:
        raise ZeroDivisionError("by our mistake")

    def miss() -> list[Finding]:
        raise ModuleNotFoundError("No module named 'soxr'")

    def refuse() -> list[Finding]:
        raise BundleError("it is damaged", hint="Copy it again.")

    checks = [
        Check(name=run.__name__, limit_s=0.5, run=run, if_slow="Wait.")
        for run in (hang, fail, miss, refuse)
    ]
    last = Check(name="last", limit_s=5, run=lambda: [ok("last", "fine")], if_slow="")
    found = list(examined([*checks, last]))
    never.set()
    assert [finding.check for finding in found] == ["hang", "fail", "miss", "refuse", "last"]
    assert [finding.status for finding in found] == ["fault"] * 4 + ["ok"]
    assert found[0] == fault("hang", "took longer than 0.5 s", "Wait.")
    assert "ZeroDivisionError: by our mistake" in found[1].found
    assert found[2].found == "a part of the agent cannot be loaded: No module named 'soxr'"
    assert "Install the agent again" in (found[2].todo or "")
    assert found[3] == fault("refuse", "it is damaged", "Copy it again.")


def test_a_state_folder_of_somebody_else_is_named_with_its_owner(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    given = loaded(tmp_path, "state_dir: state\n")
    assert of(doctor_host.disk(given, myself()), "state folder").status == "ok"
    if os.geteuid():
        pytest.skip("not run: only root can give a folder away")
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o001)
    wrong = of(doctor_host.disk(given, STRANGER), "state folder")
    assert wrong.status == "fault"
    assert wrong.found == f"{state} belongs to root, and stranger may not write there"
    assert wrong.todo == f"sudo chown -R stranger: {state} && sudo chmod 700 {state}"
    os.chown(state, STRANGER.uid, STRANGER.uid)
    assert of(doctor_host.disk(given, STRANGER), "state folder").status == "ok"
    # As it is after somebody ran the agent as root.
    (state / "outbox.db").touch()
    wrong = of(doctor_host.disk(given, STRANGER), "state folder")
    assert wrong.found == f"{state / 'outbox.db'} belongs to root, not to stranger"


def test_a_state_folder_that_is_nobodys_business_is_a_warning(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("not run: only root can give a folder away")
    # As /var/lib/earshot is to an ordinary user.
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o005)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, STRANGER.uid, STRANGER.uid)
    loaded(tmp_path, "state_dir: state\n").path.chmod(0o644)
    code = (
        "import os, pathlib\n"
        "from edge_agent import configfile\n"
        "from edge_agent.commands import doctor_host\n"
        "from edge_agent.commands.finding import Account\n"
        f"other = Account(name='other', uid={STRANGER.uid}, groups=frozenset())\n"
        f"given = configfile.load(pathlib.Path({str(tmp_path / 'agent.yaml')!r}))\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(doctor_host.disk(given, other)[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert f"status='warning', found='you may not look into {state}'" in done.stdout, done.stderr


def test_a_state_folder_that_takes_no_writes_is_a_fault(tmp_path: Path) -> None:
    given = loaded(tmp_path, "state_dir: /proc/self\n")
    found = of(doctor_host.disk(given, myself()), "state folder")
    assert found.status == "fault"


def test_room_is_judged_by_what_the_outbox_may_take(tmp_path: Path) -> None:
    given = loaded(tmp_path, "state_dir: .\noutbox: {max_mb: 10000}\n")
    free_mb = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize / 1e6
    found = of(doctor_host.disk(given, myself()), "disk")
    assert found.status == ("ok" if free_mb > 10050 else "warning")
    full = Path("/sys")
    given = loaded(tmp_path, f"state_dir: {full}\n")
    assert of(doctor_host.disk(given, myself()), "disk").status == "fault"


def test_a_password_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    password = put(tmp_path, "password", "secret\n")
    password.chmod(0o644)
    given = loaded(tmp_path, "mqtt: {username: ear, password_file: password}\n")
    (found,) = (f for f in doctor_host.permissions(given, myself()) if f.check == "permissions")
    assert found.status == "warning"
    assert found.todo == f"sudo chmod 600 {password}"
    password.chmod(0o600)
    (found,) = (f for f in doctor_host.permissions(given, myself()) if f.check == "permissions")
    assert (found.status, found.todo) == ("ok", None)
    password.unlink()
    (found,) = (f for f in doctor_host.permissions(given, myself()) if f.check == "permissions")
    assert found.found == f"mqtt.password_file: there is no {password}"
    assert found.status == "fault"


def test_a_file_that_the_account_may_not_read_is_a_fault(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o001)
    key = put(tmp_path, "ear.key", "key")
    key.chmod(0o600)
    put(tmp_path, "ear.pem", "certificate").chmod(0o644)
    given = loaded(tmp_path, "mqtt: {tls: {certificate: ear.pem, key: ear.key}}\n")
    given.path.chmod(0o600)
    found = [f for f in doctor_host.permissions(given, STRANGER) if f.check == "permissions"]
    assert [(f.status, f.found) for f in found] == [
        ("fault", f"stranger may not read {given.path}"),
        ("fault", f"mqtt.tls.key: stranger may not read {key}"),
    ]


def test_who_is_not_in_the_group_audio_is_warned_where_there_is_a_sound_card(
    tmp_path: Path,
) -> None:
    given = loaded(tmp_path, "microphones: {mic: {kind: device}}\n")
    found = of(doctor_host.permissions(given, STRANGER), "audio group")
    assert (found.status, found.found) == (
        "warning",
        "stranger is not in the group audio, to which sound cards belong",
    )
    given = loaded(tmp_path, "microphones: {mic: {kind: stdin}}\n")
    assert of(doctor_host.permissions(given, STRANGER), "audio group").status == "ok"


def test_an_installed_service_is_well_and_one_that_is_not_is_told(tmp_path: Path) -> None:
    (absent,) = doctor_service.service(tmp_path)
    assert (absent.status, absent.todo) == ("warning", "sudo edge-agent install")
    agent("install", "--root", str(tmp_path))
    program = put(tmp_path, str(Path(sys.executable).parent / "edge-agent").lstrip("/"), "")
    (well,) = doctor_service.service(tmp_path)
    assert (well.status, well.found) == (
        "ok",
        "installed and enabled; systemd does not run this system",
    )
    program.unlink()
    (gone,) = doctor_service.service(tmp_path)
    assert gone.status == "fault"
    assert gone.found.endswith(f"starts /{program.relative_to(tmp_path)}, which is not there")


def test_what_was_done_to_the_service_by_hand_is_told(tmp_path: Path) -> None:
    agent("install", "--root", str(tmp_path))
    put(tmp_path, str(Path(sys.executable).parent / "edge-agent").lstrip("/"), "")
    unit, link = tmp_path / UNIT, tmp_path / LINK
    unit.write_text(unit.read_text() + "# by hand\n")
    link.unlink()
    edited, disabled = doctor_service.service(tmp_path)
    assert (edited.status, disabled.status) == ("warning", "warning")
    assert edited.found == f"edited by hand, so that no upgrade renews it: {unit}"
    assert disabled.todo == "sudo systemctl enable earshot-agent"
    unit.unlink()
    unit.symlink_to("/dev/null")
    (masked,) = doctor_service.service(tmp_path)
    assert masked.found == f"{unit} is masked: it never starts"


def test_a_password_and_the_line_that_hands_it_over_belong_together(tmp_path: Path) -> None:
    put(tmp_path, str(Path(sys.executable).parent / "edge-agent").lstrip("/"), "")
    agent("install", "--root", str(tmp_path))
    password = put(tmp_path, PASSWORD, "secret")
    (unheard,) = doctor_service.service(tmp_path)
    assert unheard.status == "fault"
    assert unheard.found == f"the service is not given {password}"
    agent("install", "--root", str(tmp_path))
    assert (tmp_path / DROP_IN).exists()
    assert [finding.status for finding in doctor_service.service(tmp_path)] == ["ok"]
    password.unlink()
    (missing,) = doctor_service.service(tmp_path)
    assert "without which the service cannot start" in missing.found


@pytest.mark.parametrize(
    ("shown", "status", "found"),
    [
        (
            "ActiveState=active\nSubState=running\nStatusText=listening\nNeedDaemonReload=no\n",
            "ok",
            "runs; it says: listening",
        ),
        (
            "ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nNRestarts=7\n",
            "fault",
            "it ends again and again (exit-code, 7 restarts)",
        ),
        ("ActiveState=inactive\nSubState=dead\n", "warning", "it does not run (inactive)"),
        (
            "ActiveState=active\nSubState=running\nNeedDaemonReload=yes\n",
            "warning",
            "systemd has not read the unit since it changed",
        ),
        ("", "warning", "it does not run (unknown)"),
    ],
)
def test_systemds_word_is_told(shown: str, status: str, found: str) -> None:
    judged = doctor_service.judged(shown)
    assert (judged.status, judged.found) == (status, found)


def test_an_ordinary_user_gets_the_whole_report(tmp_path: Path) -> None:
    # Once all is loaded, as the interpreter may be where nobody else can read it.
    code = (
        "import os\n"
        "import edge_agent.commands.doctor, edge_agent.cli\n"
        "from edge_agent.commands import doctor_broker, doctor_host, doctor_service, doctor_sound\n"
        "from edge_agent import bundle, resources\n"
        "from edge_agent.classifier import Classifier\n"
        "Classifier(bundle.load(resources.root() / 'models' / 'street'))\n"
        "if not os.geteuid():\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "edge_agent.cli.main()"
    )
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    config = put(tmp_path, "secret/agent.yaml", "")
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    assert {check["check"] for check in told["checks"]} >= CHECKS - {"microphone", "broker"}
    if os.geteuid() == 0:
        assert done.returncode == 1
        assert told["checks"][0]["status"] == "fault"
        assert str(config) in told["checks"][0]["found"]
