"""The official sets of recordings: where they lie, what they may be used for, how they are packed.

Addresses and checksums are those of soundata 1.0.1 (`REMOTES` in its modules `urbansound8k` and
`esc50`); the layouts are those of the archives as their own READMEs describe them.
"""

import msgspec


class OfficialSet(msgspec.Struct, frozen=True, kw_only=True):
    """A set as its makers publish it."""

    title: str
    clips: int
    folds: int
    licence: str
    """A sentence."""
    cite: str
    url: str
    md5: str
    """Of the archive, hexadecimal."""
    archive: str
    """Its file name; .tar.gz or .zip."""
    audio: str
    """The folder of clips in it, to whose paths those of the manifest are relative."""
    metadata: str
    """The CSV in it that lists the clips."""
    path: str
    """Of a clip below `audio`, from a row of the CSV."""
    label: str
    fold: str
    recording: str
    """Columns of the CSV; the last is the number on Freesound."""
    kept: tuple[str, ...]
    """Files that belong to every copy: credits, licence."""


SETS = {
    "urbansound8k": OfficialSet(
        title="UrbanSound8K",
        clips=8732,
        folds=10,
        licence="CC BY-NC (3.0 by its README, 4.0 by its page on Zenodo): not for commercial use, "
        "nor is what is trained on it; FREESOUNDCREDITS.txt names who recorded each clip.",
        cite="J. Salamon, C. Jacoby, J. P. Bello: A dataset and taxonomy for urban sound research, "
        "ACM Multimedia 2014",
        url="https://zenodo.org/record/1203745/files/UrbanSound8K.tar.gz?download=1",
        md5="9aa69802bbf37fb986f71ec1483a196e",
        archive="UrbanSound8K.tar.gz",
        audio="UrbanSound8K/audio",
        metadata="UrbanSound8K/metadata/UrbanSound8K.csv",
        path="fold{fold}/{slice_file_name}",
        label="class",
        fold="fold",
        recording="fsID",
        kept=("UrbanSound8K/FREESOUNDCREDITS.txt", "UrbanSound8K/UrbanSound8K_README.txt"),
    ),
    "esc50": OfficialSet(
        title="ESC-50",
        clips=2000,
        folds=5,
        licence="CC BY-NC 3.0: not for commercial use, nor is what is trained on it (the ten "
        "classes of ESC-10: CC BY 3.0); LICENSE names who recorded each clip.",
        cite="K. J. Piczak: ESC: dataset for environmental sound classification, ACM Multimedia "
        "2015",
        url="https://github.com/karoldvl/ESC-50/archive/master.zip",
        md5="7771e4b9d86d0945acce719c7a59305a",
        archive="ESC-50-master.zip",
        audio="ESC-50-master/audio",
        metadata="ESC-50-master/meta/esc50.csv",
        path="{filename}",
        label="category",
        fold="fold",
        recording="src_file",
        kept=("ESC-50-master/LICENSE", "ESC-50-master/README.md"),
    ),
}
