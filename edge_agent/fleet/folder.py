"""A fleet's folder as it stands on disk: its own settings, its layers, its inventory.

A layer has the shape of a configuration. Beside that it may say what it is `about`; a site also
has `vars` for references and the `bounds` of its positions, a microphone what it `offers`.
"""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edge_agent import configfile, configtree
from edge_agent.config import Config
from edge_agent.configtree import Branch, Place, Problem, is_null
from edge_agent.errors import ConfigError
from edge_agent.fleet import inventory, rolloutplan, sbom
from edge_agent.fleet.inventory import Inventory
from edge_agent.settings import Settings

Kind: TypeAlias = Literal["base", "hardware", "microphones", "sites", "groups", "devices"]
KINDS: Final[tuple[Kind, ...]] = (
    "base", "hardware", "microphones", "sites", "groups", "devices",
)  # fmt: skip
"""From the lowest layer to the highest; the inventory's row comes last."""
FLEET_FILE: Final = "fleet.yaml"
_STEM = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

KeyPath = Annotated[
    str,
    Meta(description="a setting, like mqtt.tls", pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$(?!\n)"),
]
Owner = Annotated[
    str,
    Meta(
        description="the highest layer that may set it: base, hardware, microphones, sites, groups "
        "or devices, or one file of them, like groups/policy",
        pattern=r"^(base|(hardware|microphones|sites|groups|devices)"
        r"(/[a-z0-9][a-z0-9_-]{0,62})?)$(?!\n)",
    ),
]
VarName = Annotated[
    str, Meta(description="up to 64 of a-z, 0-9 and _", pattern=r"^[a-z][a-z0-9_]{0,63}$(?!\n)")
]
Var: TypeAlias = bool | int | float | str
Host = Annotated[str, Meta(min_length=1)]


Word = Annotated[str, Meta(min_length=1)]
Command = Annotated[tuple[Word, ...], Meta(min_length=1)]
Account = Annotated[
    str,
    Meta(
        description="a-z, 0-9, _ and -, as Linux takes it", pattern=r"^[a-z][a-z0-9_-]{0,30}$(?!\n)"
    ),
]
PublicKey = Annotated[
    str,
    Meta(
        description="a line of a .pub file of ssh-keygen",
        pattern=r"^(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( [ -~]*)?$(?!\n)",
    ),
]
Package = Annotated[str, Meta(description="of Debian", pattern=r"^[a-z0-9][a-z0-9+.-]+$(?!\n)")]


class SecretsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The programs that open and close `secrets/`; both work in the fleet's folder."""

    decrypt: Command = ("age", "--decrypt", "--identity", "~/.config/age/keys.txt")
    """Is given the file as its last argument, and prints the secret."""
    encrypt: Command = ("age", "--armor", "--recipients-file", "recipients.txt")
    """Reads the secret from its standard input, and prints what is kept."""
    suffix: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,16}$(?!\n)")] = "age"
    """Of the files' names."""


class FlashConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a card gets beside the device's own files."""

    agent: Annotated[str, Meta(min_length=1, pattern=r"^[!-~]+( [!-~]+)*$(?!\n)")] | None = (
        "earshot"
    )
    """What pip installs at the first start; None: the image has it in /opt/earshot already."""
    packages: tuple[Package, ...] = ("python3-venv", "libportaudio2")
    """Of the distribution, before that."""
    user: Account = "engineer"
    """The account of those who log in, by key alone."""
    ssh_keys: tuple[PublicKey, ...] = ()
    """Empty: nobody can log in."""


class UpdatesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a card's device looks for what is published."""

    repository: Annotated[
        str,
        Meta(
            description="an address, or a folder of the device",
            pattern=r"^(https?://[!-~]+|/[ -~]*)$(?!\n)",
        ),
    ]
    root: Annotated[str, Meta(min_length=1)] = "updates-root.json"
    """The repository's `metadata/1.root.json`; a relative path begins in the fleet's folder."""


class FleetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`fleet.yaml`: what holds for the folder as a whole."""

    about: str | None = None
    release: Annotated[int, Meta(ge=1)] = 1
    """The number under which what is rendered now is delivered; it only rises."""
    locked: dict[KeyPath, Owner] = msgspec.field(default_factory=dict)
    """Settings that no layer above their owner may set."""
    vars: dict[VarName, Var] = msgspec.field(default_factory=dict)
    allow_plaintext: tuple[Host, ...] = ()
    """Brokers on other machines that may be spoken to without TLS."""
    secrets: SecretsConfig = SecretsConfig()
    flash: FlashConfig = FlashConfig()
    updates: UpdatesConfig | None = None
    """None: a card's device takes no updates."""
    sbom: Annotated[str, Meta(min_length=1)] | None = None
    """The agent's bill of materials, CycloneDX as JSON; a relative path begins in the folder."""


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a site's devices stand, in degrees."""

    south: Annotated[float, Meta(ge=-90, le=90)]
    north: Annotated[float, Meta(ge=-90, le=90)]
    west: Annotated[float, Meta(ge=-180, le=180)]
    east: Annotated[float, Meta(ge=-180, le=180)]

    def __post_init__(self) -> None:
        """Refuse a box that holds nothing."""
        if self.south > self.north or self.west > self.east:
            raise ValueError("`south` is at most `north`, and `west` at most `east`")

    def hold(self, latitude: float, longitude: float) -> bool:
        """Whether a position is inside."""
        return self.south <= latitude <= self.north and self.west <= longitude <= self.east


class Offers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a kind of microphone can do, by its data sheet."""

    rates: tuple[Annotated[int, Meta(ge=8000, le=192000)], ...] = ()
    """Hz; empty: not known."""
    channels: Annotated[int, Meta(ge=1, le=32)] | None = None


class Wifi(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The wireless network of a site; its passphrase is a secret, `wifi/<site>`."""

    ssid: Annotated[str, Meta(min_length=1, max_length=32)]
    country: Annotated[
        str, Meta(description="two capital letters, like DE", pattern=r"^[A-Z]{2}$(?!\n)")
    ]
    """Whose rules of the radio hold."""


class Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a layer says beside its settings."""

    about: str | None = None
    vars: dict[VarName, Var] = msgspec.field(default_factory=dict)
    bounds: Bounds | None = None
    offers: Offers | None = None
    wifi: Wifi | None = None


NOTES: Final[dict[Kind, tuple[str, ...]]] = {
    "base": ("about",),
    "hardware": ("about",),
    "microphones": ("about", "offers"),
    "sites": ("about", "vars", "bounds", "wifi"),
    "groups": ("about",),
    "devices": ("about",),
}


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A file of settings."""

    kind: Kind
    name: str
    file: str
    """Relative to the folder."""
    root: Branch | None
    """Typed; None where the file could not be read at all."""
    notes: Notes = Notes()
    problems: tuple[Problem, ...]


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """All that stands there, and what was refused of it."""

    path: Path
    settings: FleetFile
    settings_tree: Branch | None
    layers: dict[tuple[Kind, str], Layer]
    inventory: Inventory
    problems: tuple[Problem, ...]
    """Of `fleet.yaml`, and of files that are no layers."""


def find(start: Path) -> Path:
    """The nearest folder with a `fleet.yaml`, upwards from a folder.

    Raises:
        ConfigError: There is none.
    """
    for folder in (start, *start.resolve().parents):
        if (folder / FLEET_FILE).is_file():
            return folder
    raise ConfigError(
        f"{start}: neither here nor above is a {FLEET_FILE}",
        hint="Name the fleet's folder with --dir, or make one: edge-agent fleet init DIR.",
    )


def read(path: Path) -> Folder:
    """A fleet's folder.

    Raises:
        ConfigError: A file that is there cannot be read, or the inventory is missing.
    """
    settings, tree, problems = _settings(path)
    layers: dict[tuple[Kind, str], Layer] = {}
    base = path / "base.yaml"
    if base.is_file():
        layers["base", "base"] = _layer(path, "base", "base", base)
    else:
        problems.append(
            Problem(
                place=Place("base.yaml"),
                key="",
                found="is missing",
                hint="Copy it from the sample that `edge-agent fleet init` makes.",
            )
        )
    for kind in KINDS[1:]:
        for file in sorted((path / kind).glob("*")):
            if _is_layer(path, file, problems):
                layers[kind, file.stem] = _layer(path, kind, file.stem, file)
    if (path / rolloutplan.FOLDER / rolloutplan.FILE).is_file():
        problems += rolloutplan.parsed(path)[1]
    data = configfile.read_bytes(path / inventory.FILE)
    return Folder(
        path=path,
        settings=settings,
        settings_tree=tree,
        layers=layers,
        inventory=inventory.read(data),
        problems=tuple(problems),
    )


def _settings(path: Path) -> tuple[FleetFile, Branch | None, list[Problem]]:
    file = path / FLEET_FILE
    tree = configtree.read(file, configfile.read_bytes(file), FLEET_FILE)
    problems = list(tree.problems)
    if tree.root is None or is_null(tree.root):
        return FleetFile(), None, problems
    reader = Settings()
    typed = reader.typed(tree.root, FleetFile)
    built = None if typed is None else reader.built(typed, FleetFile)
    problems += reader.problems
    settings = built if isinstance(built, FleetFile) else FleetFile()
    if settings.sbom is not None and isinstance(typed, Branch):
        said = sbom.problem(path / settings.sbom)
        if said is not None:
            place = typed.entries["sbom"].place
            problems.append(Problem(place=place, key="sbom", found=said, hint=sbom.HINT))
    return settings, typed if isinstance(typed, Branch) else None, problems


def _is_layer(path: Path, file: Path, problems: list[Problem]) -> bool:
    """Whether a file is read; one that looks like a layer and is none is a finding."""
    if file.suffix in (".md", ".txt") or file.name.startswith(".") or file.name.endswith("~"):
        return False
    if file.suffix == ".yaml" and _STEM.fullmatch(file.stem) and file.is_file():
        return True
    problems.append(
        Problem(
            place=Place(file.relative_to(path).as_posix()),
            key="",
            found="is no layer",
            hint="Layers are files named like harbour.yaml: a-z, 0-9, - and _; notes end in .md.",
        )
    )
    return False


def _layer(path: Path, kind: Kind, name: str, file: Path) -> Layer:
    shown = file.relative_to(path).as_posix()
    tree = configtree.read(file, configfile.read_bytes(file), shown)
    problems = list(tree.problems)
    root: Branch | None = None
    notes = Notes()
    if tree.root is None or is_null(tree.root):
        if not problems:
            root = Branch(place=Place(shown), entries={}, keys={})
    else:
        reader = Settings(layer=True)
        settings, beside = _parted(tree.root, kind)
        if beside is not None:
            plain_reader = Settings()
            typed_notes = plain_reader.typed(beside, Notes)
            built = None if typed_notes is None else plain_reader.built(typed_notes, Notes)
            notes = built if isinstance(built, Notes) else notes
            problems += plain_reader.problems
        typed = reader.typed(settings, Config)
        root = typed if isinstance(typed, Branch) else None
        problems += reader.problems
    return Layer(kind=kind, name=name, file=shown, root=root, notes=notes, problems=tuple(problems))


def _parted(root: configtree.Node, kind: Kind) -> tuple[configtree.Node, configtree.Node | None]:
    """The settings of a layer, and what it says beside them."""
    if not isinstance(root, Branch):
        return root, None
    beside = {key for key in root.entries if key in NOTES[kind]}
    if not beside:
        return root, None

    def only(names: set[str]) -> Branch:
        return msgspec.structs.replace(
            root,
            entries={key: entry for key, entry in root.entries.items() if key in names},
            keys={key: place for key, place in root.keys.items() if key in names},
        )

    return only(set(root.entries) - beside), only(beside)
