"""What `explore` found as one page."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from model_build import duplicates
from model_build.datasets import Skip
from model_build.duplicates import LEAST_S, NEAR
from model_build.exploration import Examined, Exploration
from model_build.features import SILENT_DBFS
from model_build.pages import folded, good, note, page, picture, shortened, table, warning
from model_build.plots import exploration as plots
from model_build.plots.sheet import svg
from model_build.spectrogram import ABOUT, STEP_S, Spectrograms

_EXAMPLES = 3
_STRONG = 0.95
_UNEVEN = 3.0


def write(found: Exploration, root: Path, path: Path) -> None:
    """Write the page; example clips are read again from `root`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made(found, root), encoding="utf-8")


def made(found: Exploration, root: Path) -> str:
    """The page."""
    title = f"What {', '.join(found.manifests)} hold{'s' if len(found.manifests) == 1 else ''}"
    sections = [
        f"<h1>{title}</h1>",
        _head(found),
        *_findings(found),
        "<h2>Classes</h2>",
        picture(svg(plots.classes(found)), "clips of each class"),
        _folds(found),
        "<h2>Durations</h2>",
        picture(svg(plots.durations(found)), "lengths of each class"),
        "<h2>Levels</h2>",
        picture(svg(plots.levels(found)), "how loud clips are"),
        _silent(found),
        "<h2>The same sound twice</h2>",
        *_duplicates(found),
        "<h2>Rows and files that cannot be used as they are</h2>",
        *_unusable(found),
        "<h2>Features against each other</h2>",
        *_correlation(found),
        "<h2>Examples of each class</h2>",
        note(f"{ABOUT} Clips are those of the class whose loudness is in the middle."),
        *_examples(found, root),
    ]
    return page(title, sections)


def across(found: Exploration) -> list[tuple[Examined, Examined, float, str]]:
    """Pairs of the same sound that stand where they must not, and in which way, worst first."""
    pairs = [(one, other, 1.0) for one, other in _exact_pairs(found)]
    pairs += [(pair.one, pair.other, pair.agreement) for pair in found.near]
    told = [
        (found.clips[one], found.clips[other], agreement, apart)
        for one, other, agreement in pairs
        if (apart := _apart(found.clips[one], found.clips[other]))
    ]
    return sorted(told, key=lambda pair: (-pair[2], pair[0].clip.path))


def _apart(one: Examined, other: Examined) -> str:
    """In what two clips differ that are the same sound; empty where nothing is wrong with it."""
    differs = []
    if one.clip.label != other.clip.label:
        differs.append("label")
    if one.clip.fold != other.clip.fold and one.clip.origin == other.clip.origin:
        differs.append("fold")
    if one.clip.group != other.clip.group:
        differs.append("recording")
    return ", ".join(differs)


def _exact_pairs(found: Exploration) -> Iterator[tuple[int, int]]:
    for group in found.exact:
        for other in group[1:]:
            yield group[0], other


def _head(found: Exploration) -> str:
    hours = sum(one.seconds for one in found.clips) / 3600
    labels = len({one.clip.label for one in found.clips})
    drawn = ""
    if found.per_class is not None:
        drawn = (
            f" This is a draw of at most {found.per_class} clips of each class: "
            f"{found.not_drawn} others were not looked at."
        )
    return (
        f"<p>{found.rows} rows, {len(found.clips)} clips of {labels} classes read to their end, "
        f"{hours:.2f} h of sound.{drawn}</p>"
    )


def _findings(found: Exploration) -> list[str]:
    """What to look at first."""
    told = []
    if found.unreadable:
        told.append(f"Clips that cannot be read: {len(found.unreadable)}.")
    if found.problems:
        told.append(f"Rows or features with something wrong: {len(found.problems)}.")
    copies = sum(len(group) - 1 for group in found.exact)
    if copies:
        told.append(f"Clips that have the very samples of another one: {copies}.")
    pairs = across(found)
    if pairs:
        told.append(
            f"Pairs of the same sound that differ in label, fold or recording: {len(pairs)}. What "
            "is learnt from one is judged by the other."
        )
    silent = sum(one.near_silent for one in found.clips)
    if silent:
        told.append(f"Nearly silent clips (below {SILENT_DBFS:.0f} dBFS RMS): {silent}.")
    most, least = found.classes[0], found.classes[-1]
    if most.clips >= _UNEVEN * least.clips:
        told.append(
            f"Classes are uneven: {most.clips} clips of {most.label}, {least.clips} of "
            f"{least.label}. Weigh them, and read macro figures."
        )
    if not told:
        return [good("Nothing stands out: all clips can be read, and none is there twice.")]
    return [warning(text) for text in told]


def _folds(found: Exploration) -> str:
    folds = sorted({fold for one in found.classes for fold in one.folds}, key=_by_number)
    rows = [
        (
            one.label,
            str(one.clips),
            str(one.recordings),
            *(str(one.folds.get(fold, 0)) for fold in folds),
        )
        for one in found.classes
    ]
    titles = [f"fold {fold}" if fold else "no fold" for fold in folds]
    return folded(
        "recordings and folds of each class", table(("class", "clips", "recordings", *titles), rows)
    )


def _by_number(fold: str) -> int:
    return int(fold or -1)


def _silent(found: Exploration) -> str:
    silent = sorted((one for one in found.clips if one.near_silent), key=lambda one: one.rms_dbfs)
    if not silent:
        return note(f"No clip is below {SILENT_DBFS:.0f} dBFS RMS.")
    rows = [
        (one.clip.path, one.clip.label, f"{one.rms_dbfs:.1f}", f"{one.peak_dbfs:.1f}")
        for one in silent
    ]
    head = ("nearly silent", "class", "RMS, dBFS", "peak, dBFS")
    return shortened(head, rows, "nearly silent clips")


def _duplicates(found: Exploration) -> list[str]:
    pairs = across(found)
    near = len({index for pair in found.near for index in (pair.one, pair.other)})
    share = 100 * near / len(found.clips)
    parts = [
        note(
            f"Two clips are nearly the same where their log-mel levels go up and down together "
            f"(correlation of {NEAR:g} or more at some shift, over half of the shorter one): the "
            f"same sound at another level, cut elsewhere, or in another quality. {near} clips "
            f"({share:.1f} %) have such a twin. Split by clip at random, these stand on both sides."
        )
    ]
    if pairs:
        rows = [
            (one.clip.path, one.clip.label, other.clip.path, other.clip.label, f"{with_:.3f}", how)
            for one, other, with_, how in pairs
        ]
        head = ("clip", "class", "the same sound as", "class", "agreement", "differ in")
        parts.append(shortened(head, rows, "pairs that stand where they must not"))
    else:
        parts.append(good("No such pair differs in label, fold or recording."))
    short = sum(one.too_short_to_compare for one in found.clips)
    if short:
        text = f"Shorter than {LEAST_S:.2f} s, and compared sample by sample only: {short} clips."
        parts.append(note(text))
    if found.exact:
        lists = [(", ".join(found.clips[i].clip.path for i in group),) for group in found.exact]
        parts.append(shortened(("the same samples",), lists, "groups of the same samples"))
    groups = duplicates.groups([(pair.one, pair.other) for pair in found.near])
    if groups:
        lists = [(", ".join(found.clips[i].clip.path for i in group),) for group in groups]
        parts.append(
            folded(
                f"{len(groups)} groups of nearly the same sound",
                table(("clips that hang together by such pairs",), lists),
            )
        )
    return parts


def _unusable(found: Exploration) -> list[str]:
    parts = []
    if found.missing:
        rows = [(one.manifest, one.column, str(one.rows)) for one in found.missing]
        parts.append(table(("manifest", "column", "rows where it is empty"), rows))
    for skips, what in ((found.unreadable, "clips that cannot be read"), (found.problems, "rows")):
        if skips:
            parts.append(shortened(("clip", "what is wrong"), _skips(skips), what))
    return parts or [good("None.")]


def _skips(skips: Sequence[Skip]) -> list[tuple[str, str]]:
    return [(skip.path or "(no path)", skip.reason) for skip in skips]


def _correlation(found: Exploration) -> list[str]:
    strong = [
        (abs(value), found.columns[row], found.columns[column], value)
        for row, values in enumerate(found.correlation)
        for column, value in enumerate(values[:row])
        if value is not None and abs(value) >= _STRONG
    ]
    still = [
        name
        for name, values in zip(found.columns, found.correlation, strict=True)
        if all(value is None for value in values)
    ]
    parts = [
        note("Each feature's mean over a clip. What is dark says the same twice."),
        picture(svg(plots.correlation(found)), "rank correlation of features"),
    ]
    if still:
        parts.append(warning(f"Never changes from clip to clip: {', '.join(still)}."))
    if strong:
        rows = [(one, other, f"{value:+.3f}") for _, one, other, value in sorted(strong)[::-1]]
        parts.append(shortened(("feature", "says the same as", "correlation"), rows, "pairs"))
    else:
        parts.append(note(f"No two features correlate by {_STRONG:g} or more."))
    return parts


def _examples(found: Exploration, root: Path) -> Iterator[str]:
    shown_as = Spectrograms()
    for label in sorted({one.clip.label for one in found.clips}):
        of_label = [one for one in found.clips if one.clip.label == label]
        of_label.sort(key=lambda one: (one.rms_dbfs, one.clip.path))
        first = max(0, (len(of_label) - _EXAMPLES) // 2)
        shown = [
            (Path(one.clip.path).name, shown_as.levels(root / one.clip.path))
            for one in of_label[first : first + _EXAMPLES]
        ]
        drawn = plots.spectrograms(label, shown, STEP_S)
        yield picture(svg(drawn), f"spectrograms of {label}")
