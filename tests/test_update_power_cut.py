"""A cut of power at every write of an update: what was begun is finished or taken back.

The writer is a process of its own, killed by the kernel before its n-th change of the disk, for
each n. What it had not synced by then is lost: such files are left empty, as ext4 leaves them.
"""

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edge_agent.updating.releases import CURRENT
from tests.updates import GOOD, SLOWER, START_NS, TOY, WRONG_BROKER, Device

_CHANGES = ("os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
OLD = {**GOOD, "outbox": {"max_mb": 16}}


def cut(folder: Path, write: int, work: Callable[[], object]) -> bool:
    """Do the work in a process that is killed before its n-th change of the disk.

    Returns:
        Whether it was killed; False: it had fewer changes to make, and is done.
    """
    child = os.fork()
    if child == 0:
        code = 3
        try:
            _cut_before(folder, write)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 # the child must not go on as a second pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _cut_before(folder: Path, write: int) -> None:
    left = [write]
    synced: set[int] = {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
    written: set[str] = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    os.fsync = noted  # type: ignore[assignment]

    def changes(event: str, args: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if not isinstance(flags, int) or not flags & _WRITES or not isinstance(path, str):
                return
            written.add(path)
        elif event not in _CHANGES:
            return
        left[0] -= 1
        if left[0] > 0:
            return
        left[0] = 1 << 30  # what follows are our own changes
        for found in folder.rglob("*"):
            if found.is_file() and not found.is_symlink() and found.stat().st_ino not in synced:
                os.truncate(found, 0)
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(changes)


def rebooted(folder: Path, boot: str) -> Device:
    """The device after power came back, an hour later: the service starts by itself."""
    device = Device(folder, boot=boot, utc_ns=START_NS + 3_600_000_000_000)
    device.boot()
    assert device.agent.beat() is not None, device.state()
    return device


def whole(device: Device, settings: Mapping[str, object]) -> None:
    """What the service reads is one of the two, and nothing else lies about."""
    assert device.in_force() in (OLD, settings)
    target = device.releases.path / CURRENT
    assert target.resolve().parent == device.releases.path / "releases"
    assert (target / "models" / "toy" / "model.tflite").read_bytes() == TOY
    assert device.calibration.read_text() == "measured here"


@pytest.mark.parametrize("settings", [SLOWER, WRONG_BROKER], ids=["good", "wrong_broker"])
def test_an_update_that_is_cut_anywhere_is_finished_or_taken_back(
    tmp_path: Path, settings: Mapping[str, object]
) -> None:
    base = Device(tmp_path / "base")
    base.path.mkdir()
    base.set_up()
    outcomes = set()
    write = 0
    while True:
        write += 1
        folder = tmp_path / "cut"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base.path, folder, symlinks=True)
        killed = cut(folder, write, lambda at=folder: _updated(at, settings))  # type: ignore[misc]
        if not killed:
            break
        device = rebooted(folder, "boot-2")
        whole(device, settings)
        # And once more, somewhere on the way back.
        cut(folder, 1 + write % 9, lambda at=device: at.update(42, settings))  # type: ignore[misc]
        device = rebooted(folder, "boot-3")
        state = device.update(42, settings)
        assert state.state in ("current", "rolled_back"), (write, state)
        whole(device, settings)
        assert device.in_force() == (settings if state.state == "current" else OLD), write
        assert not list(device.releases.path.glob("**/.*.new"))[1:], "leftovers pile up"
        outcomes.add(state.state)
    assert write > 20
    assert outcomes == ({"current", "rolled_back"} if settings is SLOWER else {"rolled_back"})


def _updated(folder: Path, settings: Mapping[str, object]) -> None:
    device = Device(folder, boot="boot-1", utc_ns=START_NS)
    device.agent.restart()
    device.clock.wait(20)
    device.update(42, settings)


def test_a_first_start_that_is_cut_anywhere_takes_the_seed_the_next_time(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "etc").mkdir(parents=True)
    (base / "state").mkdir()
    (base / "etc" / "agent.json").write_text('{"mqtt": {"host": "mq.example"}}')
    (base / "etc" / "release.json").write_text("{}")
    write = 0
    while True:
        write += 1
        folder = tmp_path / "cut"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        if not cut(folder, write, Device(folder).boot):
            break
        device = rebooted(folder, "boot-2")
        assert device.agent.starts == [0]
        assert device.in_force() == {"mqtt": {"host": "mq.example"}}
    assert write > 8
