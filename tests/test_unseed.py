"""`unseed` on a system in a folder and on a real FAT file system: what goes, and what stays."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent import seedfiles
from tests import cards
from tests.fleets import ROOT, edge_agent
from tests.real.broker import program
from tests.sealed import found_in

KEY = b"MIGHAgEAMBMGByqGSM49planted"
PASSPHRASE = b"planted passphrase"
SEED = {
    "user-data": b"#cloud-config\n" + b"# padding\n" * 1000 + KEY + b"\n",
    "network-config": b"{password: " + PASSPHRASE + b"}\n",
    "meta-data": b'{"instance-id": "earshot-market-01-1"}\n',
}
COPIES = (
    "var/lib/cloud/instances/earshot-market-01-1/user-data.txt",
    "var/lib/cloud/instances/earshot-market-01-1/user-data.txt.i",
    "var/lib/cloud/instances/earshot-market-01-1/cloud-config.txt",
    "var/lib/cloud/instances/earshot-market-01-1/obj.pkl",
    "run/cloud-init/instance-data-sensitive.json",
    "run/cloud-init/combined-cloud-config.json",
)
KEPT = {
    "etc/earshot/credentials/mqtt-key": KEY,
    "etc/netplan/50-cloud-init.yaml": PASSPHRASE,
    "var/lib/cloud/instances/earshot-market-01-1/sem/config_runcmd": b"done",
    "etc/systemd/system/earshot-agent.service.d/50-credentials.conf": b"[Service]\n",
}


def seeded(root: Path) -> Path:
    """A system that was started from a seed."""
    gone = dict.fromkeys(COPIES, KEY + PASSPHRASE)
    seeds = (seedfiles.SEEDED, seedfiles.SETUP_UNIT, seedfiles.SETUP_AGENT, seedfiles.PACKAGES)
    gone |= {path.lstrip("/"): b"" for path in (*seeds, seedfiles.REQUIREMENTS)}
    boot = {
        f"boot/firmware/{name}": content for name, content in (SEED | {"config.txt": b"x"}).items()
    }
    for path, content in (gone | boot | KEPT).items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return root


def unseed(root: Path, *arguments: str, code: int = 0) -> str:
    done = edge_agent("unseed", "--root", str(root), *arguments, cwd=ROOT)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return done.stdout if code == 0 else done.stderr


def files(root: Path) -> set[str]:
    return {one.relative_to(root).as_posix() for one in root.rglob("*") if one.is_file()}


def test_secrets_stay_where_the_device_needs_them_alone(tmp_path: Path) -> None:
    root = seeded(tmp_path / "root")
    unseed(root)
    assert found_in(root, KEY) == ["etc/earshot/credentials/mqtt-key"]
    assert found_in(root, PASSPHRASE) == ["etc/netplan/50-cloud-init.yaml"]
    assert files(root) == {*KEPT, *(f"boot/firmware/{name}" for name in (*SEED, "config.txt"))}
    assert (root / "boot/firmware/meta-data").read_bytes() == SEED["meta-data"]
    assert (root / "boot/firmware/config.txt").read_bytes() == b"x"
    assert not (root / seedfiles.SETUP.lstrip("/")).exists()
    assert unseed(root) == "nothing to clear: there is no seed\n"


def test_cloud_init_takes_what_is_left_for_a_seed_that_asks_for_nothing(tmp_path: Path) -> None:
    root = seeded(tmp_path / "root")
    unseed(root)
    boot = root / "boot/firmware"
    judge = [program("cloud-init"), "schema", "--config-file", str(boot / "user-data")]
    told = subprocess.run(judge, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    # Were its network taken up again, cloud-init would leave alone what is there.
    asked = (
        "import sys; from cloudinit import net, util; "
        "print(net.is_disabled_cfg(util.load_yaml(open(sys.argv[1]).read())))"
    )
    command = ["/usr/bin/python3", "-c", asked, str(boot / "network-config")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


def test_a_dry_run_names_all_and_changes_nothing(tmp_path: Path) -> None:
    root = seeded(tmp_path / "root")
    before = {name: (root / name).read_bytes() for name in files(root)}
    dry = unseed(root, "--dry-run")
    assert {name: (root / name).read_bytes() for name in files(root)} == before
    assert dry.replace("would be ", "") == unseed(root)


def test_what_was_cut_off_is_done_again(tmp_path: Path) -> None:
    """The drop-in that calls it goes last, whatever stopped it before."""
    root = seeded(tmp_path / "root")
    blocked = root / "var/lib/cloud/instances/earshot-market-01-1/obj.pkl"
    blocked.unlink()
    blocked.mkdir()
    told = unseed(root, code=2)
    assert "obj.pkl" in told
    assert (root / seedfiles.SEEDED.lstrip("/")).exists()
    blocked.rmdir()
    unseed(root)
    assert not (root / seedfiles.SEEDED.lstrip("/")).exists()
    assert found_in(root, KEY) == ["etc/earshot/credentials/mqtt-key"]


@contextmanager
def mounted(partition: Path, folder: Path) -> Iterator[Path]:
    """A FAT file system as a user of this machine may see it: by the kernel, else by FUSE."""
    if os.geteuid():
        pytest.skip("not run: only root may mount a file system")
    folder.mkdir()
    loop = ["mount", "-o", "loop", str(partition), str(folder)]
    if subprocess.run(loop, capture_output=True, check=False).returncode:
        fuse = shutil.which("fusefat")
        command = [fuse or "false", "-o", "rw+", str(partition), str(folder)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode:
            pytest.skip(f"not run: this machine mounts no FAT: {told.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_no_byte_of_a_secret_is_left_on_a_real_fat_file_system(tmp_path: Path) -> None:
    partition = cards.partition(tmp_path / "boot.fat", cards.TRIXIE | SEED)
    root = seeded(tmp_path / "root")
    raw = partition.read_bytes()
    assert KEY in raw
    assert PASSPHRASE in raw
    with mounted(partition, tmp_path / "again") as boot:
        unseed(root, "--boot", str(boot))
    # Not in its files, nor in any block besides; and nothing else was touched.
    after = partition.read_bytes()
    assert KEY not in after
    assert PASSPHRASE not in after
    assert len(after) == len(raw)
    left = subprocess.run(
        [program("mcopy"), "-n", "-i", str(partition), "::meta-data", "-"],
        capture_output=True,
        check=True,
    ).stdout
    assert left == SEED["meta-data"]
    checked = [program("fsck.vfat"), "-n", str(partition)]
    assert subprocess.run(checked, capture_output=True, check=False).returncode == 0


def test_over_a_longer_file_zeros_reach_the_disk_before_its_blocks_are_let_go(
    tmp_path: Path,
) -> None:
    place, log = tmp_path / "user-data", tmp_path / "calls"
    place.write_bytes(SEED["user-data"])
    before, size = place.stat().st_ino, len(SEED["user-data"])
    code = (
        "import sys; from pathlib import Path; from edge_agent import seedfiles; "
        "seedfiles.overwrite(Path(sys.argv[1]), b'new')"
    )
    trace = [program("strace"), "-o", str(log), "-s", "8", "-e", "trace=write,fsync,ftruncate"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*trace, sys.executable, "-c", code, str(place)], check=True, env=environment)
    calls = [" ".join(line.split()) for line in log.read_text().splitlines() if "(" in line]
    zeros = r"\0" * 8
    assert calls == [
        f'write(3, "{zeros}"..., {size}) = {size}',
        "fsync(3) = 0",
        'write(3, "new", 3) = 3',
        "fsync(3) = 0",
        "ftruncate(3, 3) = 0",
        "fsync(3) = 0",
    ]
    assert (place.read_bytes(), place.stat().st_ino) == (b"new", before)
