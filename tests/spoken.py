"""What a device says of itself, by the real encoder."""

from edge_agent.config import SiteConfig
from edge_agent.messages import About, Encoder
from edge_agent.payloads import MicrophoneInfo
from edge_agent.records import (
    Calibration,
    ClockHealth,
    Health,
    Message,
    MqttHealth,
    OutboxHealth,
    ReleaseState,
    Stamp,
    SystemHealth,
)
from tests.sample_records import SHA256


class Voice:
    """The encoder of one device.

    Args:
        site: Of its topics.
        device: Of its topics.
        model_sha256: Of the model that it runs.
    """

    def __init__(self, site: str, device: str, model_sha256: str = SHA256) -> None:
        self.encoder = Encoder(
            SiteConfig(site=site, device=device), "earshot", {}, "street", model_sha256, "0" * 16
        )

    def online(self, utc_ns: int) -> Message:
        return self.encoder.status(_stamp(utc_ns))

    def info(
        self,
        utc_ns: int,
        config_sha256: str,
        release: ReleaseState | None,
        calibrations: dict[str, Calibration | None] | None = None,
    ) -> Message:
        known = calibrations or {}
        about = About(
            config_sha256=config_sha256,
            labels=("siren",),
            microphones=tuple(
                MicrophoneInfo(name=name, device="default", rate=48000) for name in known
            ),
            indicators=("LAeq",),
            slow_indicators=(),
            periods_s=(1,),
            third_octaves=False,
            calibrations={name: one for name, one in known.items() if one is not None},
            hardware="board",
            os="Linux",
            python="3.11",
            started_ns=utc_ns,
            release=release,
        )
        return self.encoder.info(_stamp(utc_ns), about)

    def health(self, utc_ns: int, faults: tuple[str, ...] = (), *, synced: bool = True) -> Message:
        health = Health(
            made_ns=utc_ns,
            faults=faults,
            last_block_s=0.1,
            last_inference_s=0.1,
            last_ack_s=1.0,
            capture=(),
            outbox=OutboxHealth(rows=0, waiting={}, bytes=0, oldest_s=0, dropped={}, set_aside=0),
            mqtt=MqttHealth(version="5", connects=1, last_error=None, window=20, unheard=0),
            clock=ClockHealth(steps=0, last_step_s=None, last_step_age_s=None),
            system=SystemHealth(
                cpu_c=None, throttled=None, throttled_since_boot=None, undervoltage=None,
                undervoltage_since_boot=None, pss_mb=None, capture_pss_mb=None,
                mem_available_mb=None, disk_free_mb=None, disk_read_only=None,
            ),
            model_sha256=SHA256,
            config_sha256=SHA256,
        )  # fmt: skip
        (message,) = self.encoder.encode(health, _stamp(utc_ns, synced=synced))
        return message


def release(number: int, state: str = "current", reason: str = "", was: int = 1) -> ReleaseState:
    """What `info` tells of a release that is in force, or of one that is not."""
    in_force = number if state in ("current", "trial") else was
    return ReleaseState(
        number=number,
        state=state,  # type: ignore[arg-type] # what a test writes
        reason=reason,
        in_force=in_force,
        previous=None,
        since="2026-06-01T08:00:00Z",
    )


def _stamp(utc_ns: int, *, synced: bool = True) -> Stamp:
    return Stamp(utc_ns=utc_ns, synced=synced, up_ms=1000)
