"""`edge-agent fleet keys` and `fleet publish`: the office's side of signed delivery."""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import UpdateError

try:
    from edge_agent.fleet import parcels, repository, signing, targets
except ModuleNotFoundError as error:
    raise UpdateError(
        f"{error.name} is not installed", hint='Install the extra: pip install "earshot[ota]"'
    ) from error
from edge_agent.fleet import differing, folder, revision
from edge_agent.fleet.checking import check, first_error
from edge_agent.fleet.composing import Fleet
from edge_agent.fleet.differing import count
from edge_agent.fleet.inventory import selected
from edge_agent.fleet.rendering import Renderer
from edge_agent.fleet.repository import Repository


def init(path: Path | None, keys: Path, repo: Path, devices: int | None, clock: Clock) -> None:
    """Make four keys and an empty repository.

    Args:
        path: The fleet's folder.
        keys: For the keys.
        repo: For the repository.
        devices: How many there will be; None: as many as now.
        clock: Its time begins the lifetimes.

    Raises:
        UpdateError: The keys would lie where others read them, or something is there already.
    """
    fleet = _fleet(path)
    for open_folder in (fleet.folder.path, repo):
        if keys.resolve().is_relative_to(open_folder.resolve()):
            raise UpdateError(
                f"--keys {keys}: lies in {open_folder}, which others read",
                hint="Name a folder elsewhere, best on a stick that is kept in a safe.",
            )
    expected = len(fleet.devices) if devices is None else devices
    held = Repository(repo, repository.utc(clock.utc_ns()))
    if (repo / "metadata" / "timestamp.json").exists():
        raise UpdateError(f"{repo}: holds a repository", hint="Name another folder with --repo.")
    made = {role: signing.make(keys, role) for role in signing.ROLES}
    bits = targets.bits_for(expected)
    held.create(made["root"], made["targets"], made["release"], made["online"], bits)
    print(f"{repo}: an empty repository with {2**bits} bins, for about {40 * 2**bits} devices")
    print(f"{keys}: root.pem and targets.pem belong offline; publish needs release.pem, online.pem")
    print(f"each device trusts {repo}/metadata/1.root.json, as /etc/earshot/updates-root.json")


def rotate(role: signing.Role, keys: Path, repo: Path, clock: Clock) -> None:
    """Replace a key; devices follow by themselves, also those that were away for a while.

    Raises:
        UpdateError: A key that has to sign this is not there.
    """
    held = Repository(repo, repository.utc(clock.utc_ns()))
    old = held.key(role)
    online = None if role == "online" else signing.load(keys, "online", held.key("online"))
    above: dict[signing.Role, signing.Role] = {"release": "targets"}
    parent = above.get(role, "root")
    signer = signing.load(keys, parent, held.key(parent))
    aside = signing.retire(keys, role, old.keyid) if (keys / f"{role}.pem").exists() else None
    new = signing.make(keys, role)
    match role:
        case "root":
            assert online is not None
            held.rotate_root(signer, new, online)
        case "targets":
            assert online is not None
            held.rotate_targets(signer, old, new, online)
        case "release":
            assert online is not None
            held.rotate_release(signer, old, new, online)
        case "online":
            held.rotate_online(signer, old, new)
    print(
        f"{keys}: {role}.pem is new" + ("" if aside is None else f"; {aside.name} is the old one")
    )


def publish(
    path: Path | None,
    keys: Path,
    repo: Path,
    chosen: Sequence[str],
    clock: Clock,
    *,
    window_s: int,
    dry_run: bool,
) -> None:
    """Sign what the folder makes of the devices, and add what is new to the repository.

    Raises:
        ConfigError: The folder has errors; nothing was published.
        UpdateError: A key is missing, or content would change under a number that is out.
    """
    fleet = _fleet(path)
    report = check(fleet)
    differing.refuse_errors(first_error(report), str(fleet.folder.path), report.errors)
    held = Repository(repo, repository.utc(clock.utc_ns()))
    devices = selected(fleet.devices, chosen)
    renderer = Renderer(fleet, revision.source(fleet.folder.path, repo))
    found = parcels.targets(fleet, renderer, devices, window_s)
    number = fleet.folder.settings.release
    if dry_run:
        new = held.new(found)
        print(f"release {number} would be published for {count(_devices(new))}")
        return
    release = signing.load(keys, "release", held.key("release"))
    online = signing.load(keys, "online", held.key("online"))
    done = held.publish(found, release, online)
    same = len(devices) - _devices(done)
    print(f"release {number} published for {count(_devices(done))}; {same} unchanged")
    _warn(held)


def refresh(keys: Path, repo: Path, clock: Clock) -> None:
    """Sign anew what says that nothing is withheld, before it expires.

    Raises:
        UpdateError: The online key is missing.
    """
    held = Repository(repo, repository.utc(clock.utc_ns()))
    online = signing.load(keys, "online", held.key("online"))
    there = (keys / "release.pem").exists()
    release = signing.load(keys, "release", held.key("release")) if there else None
    held.refresh(online, release)
    print(f"{repo}: signed for another {repository.LIFE['timestamp'].days} days")
    _warn(held)


def _fleet(path: Path | None) -> Fleet:
    return Fleet(folder.read(folder.find(Path()) if path is None else path))


def _warn(held: Repository) -> None:
    needs = {
        "root": "fleet keys rotate root, with the root key",
        "targets": "fleet keys rotate targets, with the root key",
        "bins": "fleet publish --refresh, with the release key",
        "snapshot": "fleet publish --refresh",
    }
    for name, left in held.expiring():
        print(f"warning: {name} expires in {left.days} days: {needs[name]}")


def _devices(paths: Sequence[str]) -> int:
    return sum(path.startswith("devices/") for path in paths)
