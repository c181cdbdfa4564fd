"""The command of `model-build` that shows what models reached; see `cli` for exit codes."""

from pathlib import Path

import click

from edge_agent.errors import BuildError
from model_build.extras import require


@click.command()
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path(".cache"),
    show_default=True,
    help="Where `compare` and `preset` left their results.",
)
@click.option(
    "--street",
    "curves",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Curves of a street model, by `certify --curves`; may be given more than once.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="EARSHOT_DATA",
    show_envvar=True,
    help="The folder of recordings, for spectrograms of errors. Default: none are drawn.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
def report(cache: Path, curves: tuple[Path, ...], data: Path | None, out: Path) -> None:
    """Write one page about everything that was compared: figures, curves, confusions, errors.

    \b
    model-build report --data ../shared/data --out report.html
    """
    require("report", "scipy", "matplotlib")
    from model_build import operating, report_page, results

    found = results.found(cache)
    street = [operating.read(path) for path in curves]
    if not found and not street:
        raise BuildError(
            f"{cache / results.FOLDER}: holds no results",
            hint="Run `model-build compare` or `preset` first, with the same --cache.",
        )
    report_page.write(found, street, data, out)
    print(f"{out}: {len(found)} results, {len(street)} street models")
