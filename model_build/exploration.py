"""What looking at sets of recordings found: the records of `explore`, for its page and pictures."""

import msgspec

from model_build.datasets import Clip, Skip
from model_build.duplicates import LEAST_S, Pair
from model_build.features import SILENT_DBFS
from model_build.manifestcheck import Missing


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A clip that was read to its end."""

    clip: Clip
    seconds: float
    rate: int
    """Hz, its own."""
    peak_dbfs: float
    rms_dbfs: float
    sound_sha256: str
    """Of rate and samples: the same sound in another container has the same."""

    @property
    def too_short_to_compare(self) -> bool:
        """Nearly the same sound cannot be told of it; the very same can."""
        return self.seconds < LEAST_S

    @property
    def near_silent(self) -> bool:
        """Too quiet for anything to be learnt from it."""
        return self.rms_dbfs < SILENT_DBFS


class ClassCount(msgspec.Struct, frozen=True, kw_only=True):
    """A class as the manifests have it, before anything is drawn or read."""

    label: str
    clips: int
    recordings: int
    """That the clips were cut from."""
    folds: dict[str, int]
    """Clips by fold; those without one are under an empty name."""


class Exploration(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; clips are named by their index among `clips`."""

    manifests: tuple[str, ...]
    rows: int
    """Of the manifests."""
    classes: tuple[ClassCount, ...]
    """The largest first."""
    per_class: int | None
    """At most so many clips of each class were drawn; None: all."""
    not_drawn: int
    clips: tuple[Examined, ...]
    unreadable: tuple[Skip, ...]
    missing: tuple[Missing, ...]
    problems: tuple[Skip, ...]
    """Of rows, and of features that are no number."""
    exact: tuple[tuple[int, ...], ...]
    """Clips with the same samples."""
    near: tuple[Pair, ...]
    """Pairs that are nearly the same sound; those of `exact` are not among them."""
    columns: tuple[str, ...]
    correlation: tuple[tuple[float | None, ...], ...]
    """Spearman's, between the columns' means over a clip; None where a column never changes."""
