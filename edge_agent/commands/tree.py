"""A system's files as `install` leaves them: put there, found again, taken away.

Each file begins with a line that holds the hash of the rest. So what an earlier release put there
is told from what somebody changed by hand: the first is replaced and removed, the second left
alone.
"""

import hashlib
import os
from pathlib import Path

_SIGN = "# Put here by edge-agent install, {}: once edited, it is left alone.\n"
_HASH_DIGITS = 16


class Tree:
    """The files below a root; tells each change, and in a dry run makes none.

    Args:
        root: Of the system.
        dry_run: Only tell.
    """

    def __init__(self, root: Path, *, dry_run: bool) -> None:
        self.changed = 0
        self._root = root
        self._dry_run = dry_run

    def at(self, path: str) -> Path:
        """Where a path of that system is seen from here."""
        return self._root / path.lstrip("/")

    def put(self, path: str, text: str) -> None:
        """Write a file, signed; one that is not ours is left alone."""
        place, wanted = self.at(path), _signed(text)
        if not _exists(place):
            self._tell("written", place)
            self._write(place, wanted)
        elif not is_ours(place):
            self._left_alone(place)
        elif place.read_text(encoding="utf-8") != wanted:
            self._tell("replaced", place)
            self._write(place, wanted)

    def put_once(self, path: str, text: str) -> None:
        """Write a file that is the user's from then on."""
        place = self.at(path)
        if not _exists(place):
            self._tell("written", place)
            self._write(place, text)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link; anything else of that name is left alone."""
        place = self.at(path)
        if not _exists(place):
            self._tell("linked", place)
            if not self._dry_run:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(target)
        elif not is_link_to(place, target):
            self._left_alone(place)

    def remove(self, path: str) -> None:
        """Take away a file that `put` wrote."""
        place = self.at(path)
        if _exists(place) and not is_ours(place):
            self._left_alone(place)
        elif _exists(place):
            self._unlink(place)

    def unlink(self, path: str, target: str) -> None:
        """Take away a link that `link` made."""
        place = self.at(path)
        if is_link_to(place, target):
            self._unlink(place)

    def remove_folder(self, path: str) -> None:
        """Take away a folder that is empty now."""
        place = self.at(path)
        if place.is_dir() and not self._dry_run and not any(place.iterdir()):
            place.rmdir()

    def _tell(self, what: str, place: Path) -> None:
        self.changed += 1
        print(f"{'would be ' if self._dry_run else ''}{what}: {place}")

    def _left_alone(self, place: Path) -> None:
        print(f"left alone, as somebody made or edited it: {place}")

    def _write(self, place: Path, text: str) -> None:
        if self._dry_run:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        # A loss of power leaves the old file or the new one, never half of one.
        beside = place.with_name(f".{place.name}.new")
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.rename(place)

    def _unlink(self, place: Path) -> None:
        self._tell("removed", place)
        if not self._dry_run:
            place.unlink()


def _signed(text: str) -> str:
    return _SIGN.format(hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]) + text


def is_ours(place: Path) -> bool:
    """Whether a file stands as `put` wrote it."""
    # A unit that was masked is a link to /dev/null: somebody's decision.
    if place.is_symlink() or not place.is_file():
        return False
    text = place.read_text(encoding="utf-8", errors="replace")
    return text == _signed(text.partition("\n")[2])


def is_link_to(place: Path, target: str) -> bool:
    """Whether it is a link, and to that."""
    return place.is_symlink() and str(place.readlink()) == target


def _exists(place: Path) -> bool:
    """Also as a link to nothing."""
    return place.is_symlink() or place.exists()
