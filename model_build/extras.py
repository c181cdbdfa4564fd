"""Whether the packages of an extra are there, asked before they are imported."""

import importlib.util

from edge_agent.errors import BuildError


def require(what: str, *packages: str) -> None:
    """Refuse `what` in a sentence if one of its packages is missing.

    Raises:
        BuildError: Says which, and how to install it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise BuildError(
                f"{package} is not installed: {what} needs it",
                hint='Install the extra `train`: pip install "earshot[train]".',
            )
