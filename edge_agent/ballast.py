"""Room that is held back for the hour when the disk is full.

On a full disk a database with a write-ahead log can do nothing at all: deleting rows needs room,
too. So a file of a mebibyte stands beside it and is given up when the disk refuses.
"""

import os
import shutil
from pathlib import Path

BALLAST_BYTES = 2**20
ROOM_BYTES = 2**20
"""What has to be free beyond the ballast before it is made anew; it would else come and go."""


class Ballast:
    """The file that holds the room.

    Args:
        path: Where it stands; on the disk of the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.held = self._is_whole()

    def make(self) -> bool:
        """Hold the room back, if there is enough; returns whether it is held."""
        if not self.held:
            try:
                free = shutil.disk_usage(self._path.parent).free
                if free >= BALLAST_BYTES + ROOM_BYTES:
                    self._write()
            except OSError:
                self._remove()
            self.held = self._is_whole()
        return self.held

    def give_up(self) -> bool:
        """Let go of the room; returns whether there was any."""
        was_held, self.held = self.held, False
        return self._remove() and was_held

    def _write(self) -> None:
        # Real bytes that do not compress: a hole, or zeros on some disks, would hold nothing.
        with self._path.open("wb") as file:
            file.write(os.urandom(BALLAST_BYTES))
            file.flush()
            os.fsync(file.fileno())

    def _remove(self) -> bool:
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _is_whole(self) -> bool:
        try:
            return self._path.stat().st_size == BALLAST_BYTES
        except OSError:
            return False
