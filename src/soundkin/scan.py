"""Files on disk against the record: what is new, changed, moved, gone.

`walk` lists audio files, `plan` compares them with what the record knows and says what has to be embedded. Neither opens
an audio file: size and modification time decide, and where they differ the worker compares contents before it decodes.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from soundkin.audio import is_audio_name
from soundkin.embed import Failure, FileState, Task
from soundkin.errors import InputError
from soundkin.record import FileRow


@dataclass
class Found:
    """What a walk met.

    Parameters
    ----------
    files : dict
        Path -> state, in the order met.
    failures : list of Failure
        What is there but cannot be opened.
    """

    files: dict[str, FileState] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


@dataclass
class Plan:
    """What a scan has to do.

    Parameters
    ----------
    tasks : list of Task
        Files to look into.
    unchanged : int
        Files that are as they were.
    known_bad : int
        Files that failed before and have not changed since.
    gone : list of str
        Paths of tracks below the scanned roots whose files are no longer there.
    homeless : dict
        Content hash -> path, of tracks anywhere whose files are no longer there: what may have moved.
    """

    tasks: list[Task] = field(default_factory=list)
    unchanged: int = 0
    known_bad: int = 0
    gone: list[str] = field(default_factory=list)
    homeless: dict[str, str] = field(default_factory=dict)


def roots_of(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Make paths absolute and check that they are there.

    Raises
    ------
    InputError
        One of them is not.
    """
    roots = [os.path.abspath(os.fspath(path)) for path in paths]
    for root in roots:
        if not os.path.exists(root):
            raise InputError(f"no such file or folder: {printable(root)}")
    return roots


def walk(roots: Sequence[str]) -> Found:
    """List the audio files below folders.

    Hidden files and folders are passed over (``._song.mp3`` is no song); links are followed, each folder once, so a loop
    ends. A root that is itself a file is taken whatever its name.

    Parameters
    ----------
    roots : sequence of str
        From `roots_of`.

    Returns
    -------
    Found
        In alphabetical order within each folder.
    """
    found = Found()
    for root in roots:
        if os.path.isdir(root):
            for path in _audio_below(root, found):
                _meet(path, found)
        else:
            _meet(root, found)
    return found


def plan(
    found: Found,
    roots: Sequence[str],
    files: Mapping[str, FileRow],
    failed: Mapping[str, tuple[int, int]],
    lacking: Collection[str],
    retry: bool = False,
) -> Plan:
    """Compare what is on disk with what the record knows.

    Parameters
    ----------
    found : Found
        From `walk`.
    roots : sequence of str
        What was walked.
    files : mapping
        Path -> row, of every track in the record.
    failed : mapping
        Path -> (size, mtime_ns) at the last failure.
    lacking : collection of str
        Paths of tracks without a vector in one of the wanted spaces.
    retry : bool
        Look again into files that failed and have not changed.

    Returns
    -------
    Plan
        The tasks stand in the order of `found`.
    """
    result = Plan()
    movable: dict[int, list[str]] = defaultdict(list)  # size -> contents whose file has gone
    for path, row in files.items():
        if path not in found.files and not os.path.lexists(path):
            if _below(path, roots):
                result.gone.append(path)
            if path not in lacking:
                result.homeless[row.content] = path
                movable[row.size].append(row.content)
    for path, state in found.files.items():
        known = files.get(path)
        if failed.get(path) == (state.size, state.mtime_ns) and not retry:
            result.known_bad += 1
        elif known is None:
            result.tasks.append(Task(state, tuple(movable.get(state.size, ()))))
        elif path in lacking:
            result.tasks.append(Task(state))
        elif (known.size, known.mtime_ns) != (state.size, state.mtime_ns):
            result.tasks.append(Task(state, (known.content,)))
        else:
            result.unchanged += 1
    return result


def printable(path: str) -> str:
    """Make a path fit for a terminal: bytes that are no text and control characters are escaped."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _audio_below(root: str, found: Found) -> Iterator[str]:
    waiting, visited = [root], set()
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            found.failures.append(_unreadable(folder, error))
            continue
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        folders = [entry.path for entry in visible if _is_folder(entry)]
        yield from (e.path for e in visible if is_audio_name(e.name) and not _is_folder(e))
        waiting.extend(reversed(folders))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _meet(path: str, found: Found) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        found.failures.append(_unreadable(path, error))
        return
    state = FileState(path, status.st_size, status.st_mtime_ns)
    if stat.S_ISREG(status.st_mode):
        found.files[path] = state
    else:
        found.failures.append(Failure(state, "decode", "not a regular file"))


def _unreadable(path: str, error: OSError) -> Failure:
    kind = "vanished" if isinstance(error, FileNotFoundError) else "unreadable"
    return Failure(FileState(path, 0, 0), kind, error.strerror or str(error))


def _below(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
