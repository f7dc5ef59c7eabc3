"""What runs in the child process of an actor: looks at a file, then embeds it.

An actor of Ray is not the place to open files of unknown origin in: one that crashes its process would take the batch
with it, and Ray would try the whole batch again, for ever. So each actor has a child, as the scan of one machine has
(`soundkin.workers`), with the same time limit and the same limit of memory, and a file that kills or hangs the child
costs itself only.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from soundkin import embed
from soundkin.cluster.places import opened, temporary
from soundkin.embed import FileState, Listenings, Outcome, Task, content_hash, is_url
from soundkin.embed.embedder import Elsewhere, Heard, guarded
from soundkin.errors import DecodeError

_BLOCK = 1 << 20
# A stream may have no end; no track is larger.
_MOST_BYTES = 8 << 30
# A service that is overloaded for a moment is no reason to call a file unreadable.
_TRIES, _PAUSE_SECONDS = 3, 1.0


@dataclass(frozen=True)
class Look:
    """Fetch a file if it is not here, and say what its content is; whoever asks removes the copy."""

    file: FileState


class Child:
    """Looks at files, and does with them what a worker of the local scan does.

    Parameters
    ----------
    work : callable
        Embeds, or decodes, a file that is on this machine.
    folder : str
        For a copy of one that is not.
    """

    def __init__(self, work: Callable[[Task], Any], folder: str) -> None:
        self._work, self._folder = work, folder
        self._fetched: tuple[str, str] | None = None  # URL, and where its copy is

    def __call__(self, asked: Look | Task) -> Any:
        """Return the content hash of what is to be looked at, or the outcome of a task; a `Failure` for either."""
        if isinstance(asked, Look):
            return guarded(Task(asked.file), lambda: self._look(asked.file.path))
        if self._fetched is None or self._fetched[0] != asked.file.path:
            return self._work(asked)
        local = FileState(self._fetched[1], asked.file.size, asked.file.mtime_ns)
        outcome: Outcome | Heard | None = self._work(replace(asked, file=local))
        if isinstance(outcome, Heard):
            outcome.outcome.file = asked.file
        elif outcome is not None:
            outcome = replace(outcome, file=asked.file)
        return outcome

    def _look(self, path: str) -> str:
        self._fetched = None
        if not is_url(path):
            return content_hash(path)
        local = temporary(path, self._folder)
        self._fetched = path, local
        for tried in range(1, _TRIES + 1):
            try:
                return _fetch(path, local)
            except (DecodeError, FileNotFoundError, PermissionError):
                raise
            except Exception as error:  # each service has its own
                if tried == _TRIES:
                    reason = " ".join(str(error).split())[:200] or type(error).__name__
                    raise OSError(f"it cannot be fetched: {reason}") from error
                time.sleep(_PAUSE_SECONDS * tried)
        raise AssertionError("unreachable")


def _fetch(url: str, local: str) -> str:
    """Copy what is behind a URL; return its content hash."""
    system, name = opened(url)
    digest, size = hashlib.sha256(), 0
    with (
        system.open(name, "rb", block_size=_BLOCK, cache_type="readahead") as source,
        open(local, "wb") as copy,
    ):
        while block := source.read(_BLOCK):
            size += len(block)
            if size > _MOST_BYTES:
                raise DecodeError(f"larger than {_MOST_BYTES >> 30} GB: no track")
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()[:32]


def embedding(names: tuple[str, ...], listening: Listenings, device: str, folder: str) -> Child:
    """Make a child that embeds; see `embed.worker`."""
    return Child(embed.worker(names, listening, device), folder)


def hearing(names: tuple[str, ...], listening: Listenings, elsewhere: Elsewhere, folder: str) -> Child:
    """Make a child that decodes for encoders elsewhere; see `embed.ears`."""
    return Child(embed.ears(names, listening, elsewhere), folder)
