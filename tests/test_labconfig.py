"""The laboratory's configurations: what is on, and what is refused where it stands."""

from pathlib import Path

import msgspec
import pytest

from edge_agent.errors import ConfigError
from model_build.labconfig import RECIPES, LabConfig, load

ROOT = Path(__file__).resolve().parent.parent


def _load(folder: Path, text: str) -> LabConfig:
    path = folder / "lab.yaml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_is_found_by_its_name(path: Path) -> None:
    assert load(Path(path.stem)) == load(path)


def test_what_is_named_is_on_and_all_else_is_off(tmp_path: Path) -> None:
    config = _load(tmp_path, "steps: {trim: {}, denoise: null}\nfeatures: {mel: {n_mels: 40}}\n")
    assert config.steps.trim is not None
    assert config.steps.trim.top_db == 40.0
    assert (config.steps.denoise, config.steps.normalise, config.steps.fit) == (None, None, None)
    assert config.features.mel is not None
    assert config.features.mel.n_mels == 40
    assert config.features.mfcc is None
    assert not config.features.rms


REFUSED = {
    "a slip": (
        "features:\n  mel: {n_mel: 40}\n",
        r"lab\.yaml:2:9: features\.mel\.n_mel: is not a setting",
        "Did you mean `n_mels`",
    ),
    "out of range": (
        "steps: {trim: {top_db: -3}}\nfeatures: {rms: true}\n",
        r"lab\.yaml:1:24: steps\.trim\.top_db: found -3",
        "above 0 up to 120",
    ),
    "nothing on": (
        "features: {rms: false}\n",
        r"lab\.yaml:1:11: features are all off",
        "docs/laboratory.md",
    ),
    "no features": ("steps: {trim: {}}\n", "`features` is missing", "Add it"),
    "empty": ("# nothing\n", "is empty", "Switch at least one feature on"),
    "a window beyond the FFT": (
        "grid:\n  win_length: 2048\nfeatures: {rms: true}\n",
        r"lab\.yaml:2:15: grid\.win_length 2048 exceeds n_fft 1024",
        "docs/laboratory.md",
    ),
    "a hop beyond the FFT": (
        "grid: {hop: 2000}\nfeatures: {rms: true}\n",
        r"grid\.hop 2000 exceeds n_fft 1024",
        "docs/laboratory.md",
    ),
    "bands above half the rate": (
        "features:\n  mfcc:\n    mel: {fmax: 9000}\n",
        r"lab\.yaml:3:10: features\.mfcc\.mel: fmin 50.0 and fmax 9000.0 Hz",
        "docs/laboratory.md",
    ),
    "more coefficients than bands": (
        "features: {mfcc: {n: 80}}\n",
        r"lab\.yaml:1:22: features\.mfcc\.n 80 exceeds its mel\.n_mels 64",
        "docs/laboratory.md",
    ),
    "a statistic twice": (
        "features: {rms: true}\nsummary: [mean, mean]\n",
        r"lab\.yaml:2:10: summary names a statistic twice",
        "docs/laboratory.md",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    text, message, hint = REFUSED[name]
    with pytest.raises(ConfigError, match=message) as refused:
        _load(tmp_path, text)
    assert hint in refused.value.hint


def test_a_name_that_is_no_file_tells_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file") as refused:
        load(tmp_path / "zoology")
    assert "classical, device, mel_patches, " in refused.value.hint


def _names(kind: type[msgspec.Struct]) -> set[str]:
    names: set[str] = set()
    for field in msgspec.structs.fields(kind):
        names.add(field.name)
        for arm in (field.type, *getattr(field.type, "__args__", ())):
            if isinstance(arm, type) and issubclass(arm, msgspec.Struct):
                names |= _names(arm)
    return names


def test_the_page_of_the_laboratory_names_every_setting_and_every_shipped_file() -> None:
    page = (ROOT / "docs" / "laboratory.md").read_text()
    names = _names(LabConfig)
    assert {"top_db", "n_mels", "tuning", "share", "frames", "seconds"} <= names
    assert {name for name in names if f"`{name}" not in page} == set()
    assert [path.stem for path in RECIPES.glob("*.yaml") if f"`{path.stem}`" not in page] == []
