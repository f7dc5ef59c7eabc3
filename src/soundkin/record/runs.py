"""How far a scan is; and what the last one that embedded anything cost, for who asks what to expect of the next."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from soundkin.record.connection import Connection


@dataclass(frozen=True, slots=True)
class Run:
    """A scan that embedded something.

    Parameters
    ----------
    at : float
        When it ended, seconds since 1970.
    tracks, failed : int
        Files embedded, and files that failed.
    audio_seconds, elapsed, cpu_seconds : float
        Length of what was embedded; seconds that took, by the clock and of all cores together.
    memory : int
        Bytes at most, of this process and of its largest worker.
    workers : int
        How many of those there were.
    """

    at: float
    tracks: int
    failed: int
    audio_seconds: float
    elapsed: float
    cpu_seconds: float
    memory: int
    workers: int


class RunTables(Connection):
    """The part of a record that remembers scans; see `Record`."""

    def keep_run(self, run: Run) -> None:
        """Remember a scan in place of the one before; raise StoreError when the record cannot be written."""
        with self._change():
            self._db.execute(
                "INSERT INTO meta VALUES ('scan', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (json.dumps(asdict(run)),),
            )

    def say(self, how_far: dict[str, Any]) -> None:
        """Let other processes see `how_far` a scan is, see `writer_now`; that they cannot is no reason to stop."""
        self._db.say(how_far)

    def last_run(self) -> Run | None:
        """Return the last scan that embedded something; None when it was by a Soundkin that did not remember."""
        rows = self._rows("SELECT value FROM meta WHERE key = 'scan'")
        return Run(**json.loads(rows[0][0])) if rows else None
