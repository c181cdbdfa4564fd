"""When a certificate ends, read from the file itself.

RFC 5280, 4.1: a certificate is a sequence whose first part is a sequence of a version (tagged 0),
a serial number, the algorithm, the issuer and the validity; that is a sequence of two times, UTC.
Nothing is verified here: whoever is shown the certificate does that.
"""

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_CENTURY: Final = {0x17: "20", 0x18: ""}
"""What a UTCTime lacks, and a GeneralizedTime has: RFC 5280, 4.1.2.5. Those of the last century
ended then."""


def ends_ns(path: Path) -> int | None:
    """UTC of its last second; None where the file is no certificate, or cannot be read."""
    try:
        pem = path.read_text(encoding="ascii")
        start = pem.index(ssl.PEM_HEADER)
        end = pem.index(ssl.PEM_FOOTER, start) + len(ssl.PEM_FOOTER)
        return _not_after(ssl.PEM_cert_to_DER_cert(pem[start:end]))
    except (OSError, ValueError, LookupError):
        return None


def _not_after(der: bytes) -> int:
    (_, certificate), *_ = _parts(der)
    (_, signed), *_ = _parts(certificate)
    fields = [part for part in _parts(signed) if part[0] != _VERSION]
    kind, validity = fields[3]
    if kind != _SEQUENCE:
        raise ValueError("no validity where it belongs")
    kind, time = list(_parts(validity))[1]
    text = f"{_CENTURY[kind]}{time.decode('ascii')}"
    ends = datetime.fromisoformat(f"{text[:8]}T{text[8:]}")
    if ends.tzinfo is None:
        raise ValueError("a time without its Z")
    return round(ends.timestamp()) * 1_000_000_000


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value in a row, by X.690, 8.1."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length >= 0x80:
            wide = length & 0x7F
            length, at = int.from_bytes(data[at : at + wide], "big"), at + wide
        if at + length > len(data):
            raise ValueError("cut short")
        yield tag, data[at : at + length]
        at += length
