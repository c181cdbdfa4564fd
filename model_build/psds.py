"""Polyphonic sound detection score over all thresholds; the only door to sed_scores_eval.

PSDS (Bilen et al. 2020, exact by Ebbers et al. 2022) is the area under effective recall over false
alarms an hour, with every threshold of the scores and without the agent's rules: it judges the
scores, not the settings. Parameters are those of DCASE's scenario 2, which asks what is there and
not exactly when; nothing is subtracted for recalls that differ between labels.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from model_build.detection import Heard, table


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as found, and how false alarms weigh."""

    dtc: float = 0.1
    """Share of a detection that must lie in true events of its label."""
    gtc: float = 0.1
    """Share of a true event that such detections must cover."""
    cttc: float = 0.3
    """Share of a false detection in another label's event that makes it a cross-trigger."""
    alpha_ct: float = 0.5
    """Weight of cross-triggers beside other false alarms."""
    alpha_st: float = 0.0
    """Weight of the deviation over labels, subtracted from the mean recall."""
    max_false_per_hour: float = 100.0


PARAMETERS: Final = Parameters()


def psds(heard: Sequence[Heard], labels: Sequence[str]) -> tuple[float, dict[str, float]]:
    """PSDS over all labels, 0 to 1, and of each label alone.

    Args:
        heard: Street scenes.
        labels: In the order of the scores.
    """
    package = sed_scores_eval()
    scores = {}
    for scene in heard:
        values, borders = table(scene)
        scores[scene.name] = package.base_modules.scores.create_score_dataframe(
            values.astype(float), borders, list(labels)
        )
    value, by_label, *_ = package.intersection_based.psds(
        scores=scores,
        ground_truth={
            scene.name: [(event.onset_s, event.offset_s, event.label) for event in scene.truth]
            for scene in heard
        },
        audio_durations={scene.name: scene.seconds for scene in heard},
        dtc_threshold=PARAMETERS.dtc,
        gtc_threshold=PARAMETERS.gtc,
        cttc_threshold=PARAMETERS.cttc,
        alpha_ct=PARAMETERS.alpha_ct,
        alpha_st=PARAMETERS.alpha_st,
        max_efpr=PARAMETERS.max_false_per_hour,
    )
    return float(value), {label: float(by_label[label]) for label in labels}


def sed_scores_eval() -> types.ModuleType:
    """The package, without what it does not need.

    It asks sed_eval for one function, `bipartite_match`. sed_eval would load dcase_util for it,
    which needs librosa, and pkg_resources, which setuptools 82 no longer has. So sed_eval's own
    file with that function is loaded, and its packages are not run.
    """
    if "sed_scores_eval" not in sys.modules:
        found = importlib.util.find_spec("sed_eval")
        assert found is not None, "sed_scores_eval requires sed_eval"
        root = (found.submodule_search_locations or [""])[0]
        hollow = {
            "sed_eval": _hollow("sed_eval", Path(root)),
            "sed_eval.util": _hollow("sed_eval.util", Path(root, "util")),
        }
        loaded = {name: sys.modules[name] for name in _names() if name in sys.modules}
        sys.modules.update(hollow)
        try:
            matching = importlib.import_module("sed_eval.util.event_matching")
            vars(hollow["sed_eval.util"])["bipartite_match"] = matching.bipartite_match
            importlib.import_module("sed_scores_eval")
        finally:
            # Whoever has or wants all of sed_eval gets it.
            for name in _names():
                del sys.modules[name]
            sys.modules.update(loaded)
    return sys.modules["sed_scores_eval"]


def _names() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "sed_eval"]


def _hollow(name: str, folder: Path) -> types.ModuleType:
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    return package
