"""Fleets whose secrets are really encrypted, with an age key that lives as long as the test."""

import subprocess
from pathlib import Path

from tests.fleets import edge_agent, sample
from tests.real.broker import program

SSH_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExampleExam me@office"
)
PASSPHRASE = "planted wifi passphrase"


def sealed(path: Path) -> Path:
    """The sample folder with a key of age, which `tests.fleets.edge_agent` finds in its home."""
    sample(path)
    with_key(path)
    fleet = path / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("ssh_keys: []", f"ssh_keys: ['{SSH_KEY}']"))
    return path


def with_key(path: Path) -> None:
    """A key of age in the home that is this folder, and the public half in `recipients.txt`."""
    keys = path / ".config" / "age" / "keys.txt"
    keys.parent.mkdir(parents=True)
    keygen = program("age-keygen")
    subprocess.run([keygen, "-o", str(keys)], check=True, capture_output=True)
    public = subprocess.run([keygen, "-y", str(keys)], check=True, capture_output=True)
    (path / "recipients.txt").write_bytes(public.stdout)


def sealed_secret(path: Path, name: str, secret: bytes) -> None:
    """A secret as an engineer adds it, by age itself."""
    out = path / "secrets" / f"{name}.age"
    out.parent.mkdir(parents=True, exist_ok=True)
    seal = [program("age"), "--armor", "--recipients-file", str(path / "recipients.txt")]
    subprocess.run([*seal, "--output", str(out)], input=secret, check=True, capture_output=True)


def issued(path: Path, *arguments: str) -> Path:
    """With an authority, and certificates for all devices and these others."""
    for command in (("init",), ("issue",), *([("issue", *arguments)] if arguments else [])):
        done = edge_agent("fleet", "identity", *command, cwd=path)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return path


def opened(path: Path, name: str) -> bytes:
    """A secret, by age itself."""
    keys = path / ".config" / "age" / "keys.txt"
    command = [program("age"), "--decrypt", "--identity", str(keys)]
    return subprocess.run(
        [*command, str(path / "secrets" / f"{name}.age")], check=True, capture_output=True
    ).stdout


def found_in(path: Path, secret: bytes) -> list[str]:
    """The files below a folder that hold these bytes."""
    return sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and secret in file.read_bytes()
    )
