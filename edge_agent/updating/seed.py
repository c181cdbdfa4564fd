"""The configuration that a device was set up with becomes release 0, which is kept for good."""

from pathlib import Path

import msgspec

from edge_agent import configfile
from edge_agent.config import Config
from edge_agent.errors import ConfigError, UpdateError
from edge_agent.updating import durable
from edge_agent.updating.releases import CONFIG, RELEASE, SEED, Releases


def adopt(releases: Releases, seeds: tuple[Path, ...]) -> None:
    """Copy the first configuration that is there, with the release.json beside it.

    Args:
        releases: Where to.
        seeds: Where it may stand.

    Raises:
        UpdateError: There is none, it is refused, or the disk refuses.
    """
    seed = next((path for path in seeds if path.is_file()), None)
    if seed is None:
        raise UpdateError(
            f"there is no configuration: neither {' nor '.join(map(str, seeds))}",
            hint="Write one there: `edge-agent install` gives a sample.",
        )
    try:
        loaded = configfile.load(seed)
    except ConfigError as error:
        raise UpdateError(error.message, hint=error.hint) from error
    _refuse_neighbours(loaded.config, seed)
    data = (
        seed.read_bytes()
        if seed.suffix == ".json"
        else msgspec.json.format(msgspec.json.encode(loaded.config, order="sorted"), indent=2)
        + b"\n"
    )
    place = releases.folder(SEED)
    try:
        place.mkdir(parents=True, exist_ok=True)
        durable.write(place / CONFIG, data)
        said = seed.with_name(RELEASE)
        if said.is_file():
            durable.write(place / RELEASE, said.read_bytes())
        durable.sync_folder(place.parent)
        durable.sync_folder(releases.path)
    except OSError as error:
        raise durable.refused(place, error) from error
    if releases.release(SEED) is not None and not releases.whole(SEED):
        # The file beside it speaks of another configuration: this one was edited since.
        (place / RELEASE).unlink(missing_ok=True)


def _refuse_neighbours(config: Config, seed: Path) -> None:
    """A file that is named by its place beside the configuration would not be found any more."""
    tls = config.mqtt.tls
    named = [config.mqtt.password_file]
    named += [] if tls is None else [tls.ca, tls.certificate, tls.key]
    for microphone in config.microphones.values():
        named += [microphone.response, microphone.path]
    for text in named:
        if text is not None and not Path(text).is_absolute() and (seed.parent / text).exists():
            raise UpdateError(
                f"{seed}: names {text}, a file beside it, which a release would not find",
                hint=f"Write {seed.parent / text}.",
            )
