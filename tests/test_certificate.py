"""When certificates end: what openssl wrote and says of them is what is read."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import certificate
from tests.real.broker import program

P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def made(folder: Path, days: int, *kind: str) -> Path:
    folder.mkdir(exist_ok=True)
    out = folder / "device.crt"
    openssl = [program("openssl"), "req", "-x509", "-nodes", "-newkey", *kind]
    subprocess.run(
        [*openssl, "-keyout", str(folder / "k"), "-out", str(out), "-subj", "/CN=ear-1",
         "-days", str(days)],
        check=True, capture_output=True,
    )  # fmt: skip
    return out


def told(path: Path) -> int:
    command = [program("openssl"), "x509", "-in", str(path), "-noout", "-enddate"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ends = datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    return round(ends.timestamp()) * 1_000_000_000


@pytest.mark.parametrize("days", [1, 29, 825, 12_000])  # the last one after 2050
@pytest.mark.parametrize("kind", [P256, ("rsa:2048",)])
def test_it_ends_when_openssl_says(tmp_path: Path, days: int, kind: tuple[str, ...]) -> None:
    path = made(tmp_path, days, *kind)
    assert certificate.ends_ns(path) == told(path)


def test_the_first_of_a_chain_counts_whatever_stands_before_it(tmp_path: Path) -> None:
    path, above = made(tmp_path, 40, *P256), made(tmp_path / "above", 400, *P256)
    wanted = told(path)
    path.write_text(f"Of ear-1\n{path.read_text()}{above.read_text()}")
    assert certificate.ends_ns(path) == wanted


@given(data=st.binary(max_size=200))
def test_what_is_no_certificate_has_no_end(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.crt"
    path.write_bytes(data)
    assert certificate.ends_ns(path) is None
    assert certificate.ends_ns(path.with_name("nowhere")) is None


def test_a_damaged_one_has_an_end_or_none_and_no_traceback(tmp_path: Path) -> None:
    path = made(tmp_path, 40, *P256)
    text = path.read_text()
    for at, letter in enumerate(text):
        path.write_text(f"{text[:at]}{'B' if letter == 'A' else 'A'}{text[at + 1 :]}")
        found = certificate.ends_ns(path)
        assert found is None or isinstance(found, int)
