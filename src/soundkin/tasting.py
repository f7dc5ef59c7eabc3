"""What a library does with plays and taste: `Library` inherits it.

Here histories are opened and models kept; how rows are matched stands in `plays`.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from soundkin import plays
from soundkin.record import Record


class Tasting(ABC):
    """Plays and taste of a library."""

    folder: Path

    @abstractmethod
    def _reader(self) -> Record: ...

    def import_plays(
        self,
        path: str | os.PathLike[str],
        profile: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> plays.PlaysReport:
        """Take in a history of another program: plays, skips, likes and dislikes of tracks that are here.

        Parameters
        ----------
        path : path-like
            A file in one of `plays.FORMATS`, of any size.
        profile : str, optional
            Whose it is, made when there is none; default as the history says, and where it does not, the default one.
        progress : callable, optional
            Called with the number of rows read, now and then.

        Returns
        -------
        PlaysReport
            What became of the rows. A second time nothing is new.

        Raises
        ------
        InputError
            The file cannot be read, is of no such format, or the profile has an unusable name.
        StoreError
            The disk is full, or the folder cannot be written.
        """
        rows = plays.read(path)
        matcher = plays.Matcher(self._reader().tracks())
        with Record.open_to_note(self.folder) as writable:
            return plays.take(writable, matcher, rows, profile, _written(path), progress)


def _written(path: str | os.PathLike[str]) -> float:
    """Return when a file was written; what it says without a time had been by then."""
    try:
        return Path(path).expanduser().stat().st_mtime
    except OSError:  # reading it says why
        return 0.0
