"""What a search of settings found."""

import msgspec

from model_build.results import Figures
from model_build.settingsfile import Chosen
from model_build.spaces import Space
from model_build.study import How, Tried


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found."""

    task_title: str
    against_rest: str | None
    model: str
    model_title: str
    rows: str
    how: How
    study: str
    space: Space
    inner: int
    held_out: str
    tried: tuple[Tried, ...]
    own: Tried
    """The model's own settings, judged by the same inner folds."""
    best: Tried
    """`own`, if nothing that was tried is better."""
    importance: dict[str, float]
    own_held_out: Figures
    best_held_out: Figures
    command: str

    @property
    def chosen(self) -> Chosen:
        """As the file that training reads."""
        return Chosen(
            model=self.model,
            rows=self.rows,
            settings=self.best.settings,
            found=f"{self.task_title}: macro F1 {100 * (self.best.score or 0):.1f} % over "
            f"{self.inner} inner folds ({self.own.score or 0:.1%} with its own settings), "
            f"{self.best_held_out.macro_f1:.1%} on {self.held_out}, which chose nothing "
            f"({self.own_held_out.macro_f1:.1%}); {len(self.tried)} tried, {self.how}",
        )
