"""Reason codes of MQTT 5.0, section 2.4, by what an agent does about them; 3.1.1 has no others."""

from typing import Final

UNSUPPORTED_VERSION: Final = 0x84
REFUSED: Final = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C})
TAKEN_OVER: Final = 0x8E
BEYOND: Final = frozenset({UNSUPPORTED_VERSION, 0x9B})
"""What the broker cannot do: this version, or any QoS."""
OTHER_SERVER: Final = frozenset({0x9C, 0x9D})
NO_SUBSCRIBERS: Final = 0x10
NOT_AUTHORIZED: Final = 0x87
BUSY: Final = frozenset({0x97, 0x80})
ID_IN_USE: Final = 0x91
TOO_LARGE: Final = 0x95
RECEIVE_MAXIMUM: Final = 0x93
RATE_TOO_HIGH: Final = 0x96
