"""What `install` puts in place on a device that takes updates, and `uninstall` takes away."""

from collections.abc import Callable
from pathlib import Path

from edge_agent import resources
from edge_agent.commands.tree import Tree

SETTINGS_PATH = "/etc/earshot/updates.json"
_UNITS = "/etc/systemd/system"
TIMER = "earshot-update.timer"
SERVICE_PATH = f"{_UNITS}/earshot-update.service"
TIMER_PATH = f"{_UNITS}/{TIMER}"
LINK = f"{_UNITS}/timers.target.wants/{TIMER}"
DROP_IN_PATH = f"{_UNITS}/earshot-agent.service.d/60-updates.conf"


def put(tree: Tree, filled_in: Callable[[str], str]) -> None:
    """The updater, its timer, and the agent's drop-in; without `updates.json`, none of them.

    Args:
        tree: The system's files.
        filled_in: Puts the agent's path into a shipped file.
    """
    if not tree.at(SETTINGS_PATH).exists():
        remove(tree)
        return
    tree.put(SERVICE_PATH, filled_in(_shipped("earshot-update.service")))
    tree.put(TIMER_PATH, _shipped(TIMER))
    tree.put(DROP_IN_PATH, filled_in(_shipped("updates.conf")))
    tree.link(LINK, TIMER_PATH)


def remove(tree: Tree) -> None:
    """Take them away; the releases stay."""
    tree.unlink(LINK, TIMER_PATH)
    for path in (DROP_IN_PATH, TIMER_PATH, SERVICE_PATH):
        tree.remove(path)
    tree.remove_folder(str(Path(LINK).parent))


def _shipped(name: str) -> str:
    return (resources.root() / "systemd" / name).read_text(encoding="utf-8")
