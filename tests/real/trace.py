"""What a program and its children wrote, sent and opened for writing, as the kernel saw it."""

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

_WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg"}
_OPENS = {"open", "openat", "openat2", "creat"}
# Ways past the buffers that a trace shows; the agent has no use for any of them.
_UNSEEN = {
    "sendfile", "splice", "tee", "vmsplice", "copy_file_range", "process_vm_writev",
    "io_uring_setup", "memfd_create", "shmget",
}  # fmt: skip
_OTHERS = {"connect", "execve", "listen", "mmap"}
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_CALL = re.compile(r"^(\w+)\((.*)$")
_DATA = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_PORT = re.compile(r"127\.0\.0\.1:(\d+)")
_FD = re.compile(r"(\d+)<((?:[^<>]|<[^<>]*>|->)*)>")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One system call."""

    thread: str
    name: str
    text: str
    """Its arguments and result, readable."""
    target: str
    """What the first descriptor leads to: a path, `TCP:[...]`, `pipe:[...]`."""
    data: tuple[bytes, ...]
    """Its strings."""


def command(folder: Path) -> list[str]:
    """What to put before a command, so that `calls` can tell what it did."""
    names = ",".join(sorted(_WRITES | _OPENS | _UNSEEN | _OTHERS))
    # A file for each thread, so that no call is torn; whole buffers, in hexadecimal.
    options = ["-ff", "-qq", "-yy", "-xx", "-s", "4000000", "-o", str(folder / "trace")]
    try:
        tried = subprocess.run(
            ["strace", "-qq", "true"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.fail("strace is missing: apt-get install strace")
    if tried.returncode:
        pytest.skip(f"no process may be traced here: {tried.stderr.strip()}")
    return ["strace", *options, "-e", f"trace={names}"]


def calls(folder: Path) -> list[Call]:
    """All that was traced, in order within each thread."""
    return [
        call
        for path in sorted(folder.glob("trace.*"))
        for line in path.read_text().splitlines()
        if (call := _parsed(path.suffix, line)) is not None
    ]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a traced program may do."""

    file: Callable[[str], bool]
    """Whether this path may be opened for writing and written to."""
    port: int
    """Of the broker on loopback, the only address that may be connected to."""


def offences(found: Iterable[Call], rules: Rules) -> list[str]:
    """The calls that break the rules."""
    found = list(found)
    # paho wakes its own thread through a connection to itself, a byte at a time.
    # The kernel may show a socket by its own end alone: then by the connection that it made.
    to_broker = {
        call.target for call in found if call.name == "connect" and _port(call) == str(rules.port)
    }
    own = {port for call in found if call.name == "listen" for port in _PORT.findall(call.target)}
    return [
        f"{call.name}({call.text[:300]}" for call in found if _wrong(call, rules, own, to_broker)
    ]


def written(found: Iterable[Call]) -> dict[str, bytes]:
    """All bytes that went out, by where they went."""
    parts: dict[str, list[bytes]] = {}
    for call in found:
        if call.name in _WRITES:
            parts.setdefault(call.target, []).extend(call.data)
    return {target: b"".join(data) for target, data in parts.items()}


def _wrong(call: Call, rules: Rules, own: set[str], to_broker: set[str]) -> bool:
    if call.name in _UNSEEN:
        return True
    if call.name in _OPENS:
        writing = call.name == "creat" or re.search("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call.text)
        path = call.data[0].decode(errors="replace")
        # PortAudio looks for a hundred sound devices that are not there.
        looked_for = path.startswith("/dev/") and "= -1 ENOENT" in call.text
        return bool(writing) and not looked_for and not rules.file(path)
    if call.name == "mmap":
        shared = "PROT_WRITE" in call.text and "MAP_SHARED" in call.text
        return shared and "MAP_ANONYMOUS" not in call.text and not rules.file(call.target)
    if call.name == "connect" and "AF_UNIX" not in call.text:
        return _port(call) not in {str(rules.port), *own}
    return call.name in _WRITES and not _may_write(call, rules, own, to_broker)


def _may_write(call: Call, rules: Rules, own: set[str], to_broker: set[str]) -> bool:
    if call.target.startswith(("pipe:", "UNIX")) or rules.file(call.target):
        return True
    wakes = bool(own & set(_PORT.findall(call.target))) and sum(map(len, call.data)) == 1
    broker = call.target.endswith(f"->127.0.0.1:{rules.port}]") or call.target in to_broker
    return wakes or broker


def _port(call: Call) -> str | None:
    """Where on loopback it connects to; None: elsewhere."""
    at = re.search(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("127\.0\.0\.1"\)', call.text)
    return None if at is None else at[1]


def _parsed(suffix: str, line: str) -> Call | None:
    match = _CALL.match(line)
    if match is None:
        return None
    name, arguments = match.groups()
    strings = _DATA.findall(arguments)
    assert not any(cut for _, cut in strings), "a buffer is longer than what is traced"
    text = _HEX.sub(lambda one: _bytes(one[0]).decode(errors="replace"), arguments)
    leads = _FD.search(text if name not in _WRITES else _HEX.sub(_path, arguments.split('"')[0]))
    return Call(
        thread=suffix[1:],
        name=name,
        text=text,
        target="" if leads is None else leads[2],
        data=tuple(_bytes(one) for one, _ in strings),
    )


def _path(found: re.Match[str]) -> str:
    return _bytes(found[0]).decode(errors="replace")


def _bytes(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal.replace("\\x", ""))
