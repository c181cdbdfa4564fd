"""A card whose device takes updates: the seed carries where they are, and whom to believe."""

from pathlib import Path

import msgspec
import pytest
import yaml

from tests import cards
from tests.fleets import ROOT, edge_agent
from tests.sealed import issued, sealed


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Published once, into `repository` beside it."""
    path = issued(sealed(tmp_path / "fleet"))
    repository, keys = tmp_path / "repository", tmp_path / "keys"
    places = ("--repo", str(repository), "--keys", str(keys))
    for command in (("keys", "init"), ("publish",)):
        done = edge_agent("fleet", *command, *places, cwd=path)
        assert done.returncode == 0, done.stderr
    root = (repository / "metadata" / "1.root.json").read_bytes()
    (path / "updates-root.json").write_bytes(root)
    settings = path / "fleet.yaml"
    text = settings.read_text().replace("agent: earshot==0.1.0", "agent: earshot[ota]==0.1.0")
    assert "updates: null\n" in text
    settings.write_text(text.replace("updates: null", f"updates: {{repository: {repository}}}"))
    return path


def _put(seed: Path, root: Path) -> None:
    for entry in yaml.safe_load(seed.read_bytes())["write_files"]:
        place = root / entry["path"].lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(entry["content"], encoding="utf-8")


def test_a_seeded_device_finds_its_next_release(fleet: Path, tmp_path: Path) -> None:
    done = edge_agent("fleet", "flash", "market-01", "--out", str(tmp_path / "out"), cwd=fleet)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "root"
    _put(tmp_path / "out" / "market-01" / "user-data", root)
    earshot = root / "etc" / "earshot"
    # What the set-up unit calls; it starts the timer next.
    command = ("install", "--root", str(root), "--config", str(earshot / "agent.json"))
    assert edge_agent(*command, cwd=ROOT).returncode == 0
    units = root / "etc" / "systemd" / "system"
    assert (units / "timers.target.wants" / "earshot-update.timer").is_symlink()
    setup = (units / "earshot-setup.service").read_text()
    assert "\nExecStart=-systemctl start --no-block earshot-update.timer\n" in setup
    # The same settings with folders that a test may write to.
    settings = earshot / "updates.json"
    given = msgspec.json.decode(settings.read_bytes())
    assert given == {"repository": str(tmp_path / "repository"), "device": "market-01"}
    folders = {"state_dir": str(tmp_path / "var"), "runtime_dir": str(tmp_path / "run")}
    settings.write_bytes(msgspec.json.encode({**given, **folders}))
    # What it was set up with is kept for good, as release 0; it was the first one published.
    guard = edge_agent("config", "guard", "--settings", str(settings), cwd=ROOT)
    assert (guard.stdout, guard.stderr) == ("release 0, current\n", "")
    look = ("update", "--settings", str(settings), "--trust-clock", "--dry-run")
    assert edge_agent(*look, cwd=ROOT).stdout == "nothing new: release 1 is in force\n"
    for name, old, new in (
        ("fleet.yaml", "release: 1\n", "release: 2\n"),
        ("groups/uplink-lte.yaml", "window: 5", "window: 8"),
    ):
        text = (fleet / name).read_text()
        assert old in text
        (fleet / name).write_text(text.replace(old, new))
    places = ("--repo", str(tmp_path / "repository"), "--keys", str(tmp_path / "keys"))
    assert edge_agent("fleet", "publish", *places, cwd=fleet).returncode == 0
    assert edge_agent(*look, cwd=ROOT).stdout == "release 2 would be tried\n"


@pytest.mark.parametrize(
    ("root", "agent", "reason"),
    [
        (None, "earshot[ota]==0.1.0", "updates-root.json: No such file or directory"),
        (b"{}", "earshot[ota]==0.1.0", "updates-root.json is no root metadata: "),
        (b'{"signed": {"_type": "snapshot", "version": 1}}', "earshot[ota]==0.1.0", "no root meta"),
        (b"", "earshot==0.1.0", "fleet.yaml: flash.agent: earshot==0.1.0 cannot verify updates"),
    ],
    ids=["missing", "empty", "another role's", "agent without tuf"],
)
def test_a_device_that_could_not_verify_is_refused_before_a_card_is_touched(
    fleet: Path, tmp_path: Path, root: bytes | None, agent: str, reason: str
) -> None:
    place = fleet / "updates-root.json"
    if root is None:
        place.unlink()
    elif root:
        place.write_bytes(root)
    settings = fleet / "fleet.yaml"
    settings.write_text(settings.read_text().replace("earshot[ota]==0.1.0", agent))
    boot = cards.folder(tmp_path / "boot", cards.TRIXIE)
    done = edge_agent("fleet", "flash", "market-01", "--boot", str(boot), cwd=fleet)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert {one.name: one.read_bytes() for one in boot.iterdir()} == cards.TRIXIE
