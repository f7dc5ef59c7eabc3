"""Files on disk -> rows in the record: only what is new, changed or moved is looked into.

`walk` lists audio files, `plan` compares them with what the record knows, `Scan` does the rest. The first two open no
file: size and modification time decide, and where they differ the worker compares contents before it decodes.
"""

import contextlib
import os
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from soundkin.audio import Listening, is_audio_name
from soundkin.embed import (
    Embedded,
    Failure,
    FileState,
    Listenings,
    Outcome,
    Task,
    cores,
    embed_files,
    is_gone,
    is_url,
)
from soundkin.errors import InputError
from soundkin.record import FileRow, Record
from soundkin.spaces import spaces_of

_SAY_SECONDS = 1.0


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
        Content hash -> paths, of tracks anywhere whose files are no longer there: what may have moved.
    recovered : list of FileState
        Files that failed for a while (a disk asleep, no permission) and are now as their tracks know them.
    """

    tasks: list[Task] = field(default_factory=list)
    unchanged: int = 0
    known_bad: int = 0
    gone: list[str] = field(default_factory=list)
    homeless: dict[str, list[str]] = field(default_factory=dict)
    recovered: list[FileState] = field(default_factory=list)


def roots_of(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Make paths absolute and check that they are there.

    Parameters
    ----------
    paths : iterable of path-like
        Files and folders; ``~`` is expanded.

    Returns
    -------
    list of str
        Absolute, in the same order.

    Raises
    ------
    InputError
        One of them is not.
    """
    given = list(paths)
    if not all(map(os.fspath, given)):  # as a path, nothing would be the current folder
        raise InputError("an empty path; wanted files or folders")
    roots = [absolute(path) for path in given]
    for root in roots:
        if is_url(root):
            raise InputError(
                f"{printable(root)} is a URL; wanted a file or folder: --engine ray indexes URLs"
            )
        if not os.path.exists(root):
            raise InputError(f"no such file or folder: {printable(root)}")
    return roots


def absolute(path: str | os.PathLike[str]) -> str:
    """Return the absolute form of a path, as the record has it.

    Parameters
    ----------
    path : path-like
        As a person writes it; ``~`` is expanded.

    Returns
    -------
    str
        Links are not followed; a URL stays as it is.
    """
    text = os.fspath(path)
    return text if is_url(text) else os.path.abspath(os.path.expanduser(text))


def is_below(path: str, roots: Sequence[str]) -> bool:
    """Tell whether a path is one of some files and folders, or inside of one.

    Parameters
    ----------
    path : str
        Absolute.
    roots : sequence of str
        Absolute.

    Returns
    -------
    bool
        By their names alone.
    """
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def holds_audio(folder: str) -> bool:
    """Tell whether there is an audio file anywhere below a folder.

    Parameters
    ----------
    folder : str
        Absolute.

    Returns
    -------
    bool
        False also when the folder is not there, or cannot be read.
    """
    return next(_audio_below(folder, Found()), None) is not None


def walk(roots: Sequence[str]) -> Found:
    """List the audio files below folders.

    Hidden files and folders are passed over (``._song.mp3`` is no song). Links are followed, each folder once, so a
    loop ends, and links last, so that a folder that can be reached in two ways is known by its own name. A root that
    is itself a file is taken whatever its name.

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
    found.failures = list({failure.file.path: failure for failure in found.failures}.values())
    return found


def plan(
    found: Found,
    roots: Sequence[str],
    files: Mapping[str, FileRow],
    failed: Mapping[str, tuple[int, int]],
    lacking: Mapping[str, Sequence[str]],
    again: Collection[str] = (),
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
        Path -> (size, mtime_ns) at the last failure; what is still like that is not tried again.
    lacking : mapping
        Path -> ids of the wanted spaces in which the track has no vector.
    again : collection of str
        Paths of tracks to embed once more though nothing has changed.

    Returns
    -------
    Plan
        The tasks stand in the order of `found`.
    """
    result = Plan()
    movable: dict[int, set[str]] = defaultdict(set)  # size -> contents whose file has gone
    for path, row in files.items():
        if path not in found.files and is_gone(path):
            if is_below(path, roots):
                result.gone.append(path)
            if path not in lacking:
                result.homeless.setdefault(row.content, []).append(path)
                movable[row.size].add(row.content)
    for path, state in found.files.items():
        known = files.get(path)
        moved = tuple(movable.get(state.size, ()))
        if failed.get(path) == (state.size, state.mtime_ns):
            result.known_bad += 1
        elif known is None:
            result.tasks.append(Task(state, moved))
        elif path in again:
            result.tasks.append(Task(state))
        elif path in lacking:
            changed = (known.size, known.mtime_ns) != (state.size, state.mtime_ns)
            result.tasks.append(Task(state, lacking=() if changed else tuple(lacking[path])))
        elif (known.size, known.mtime_ns) != (state.size, state.mtime_ns):
            result.tasks.append(Task(state, (known.content, *moved)))
        else:
            result.unchanged += 1
            if path in failed:
                result.recovered.append(state)
    return result


def printable(path: str) -> str:
    """Make a path fit for a terminal: bytes that are no text and control characters are escaped."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass
class Progress:
    """How far a scan is.

    Parameters
    ----------
    total, done, failed : int
        Files to look into, looked into, and of those the ones that failed.
    audio_seconds : float
        Length of the tracks embedded so far.
    elapsed : float
        Seconds since embedding began.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    audio_seconds: float = 0.0
    elapsed: float = 0.0


@dataclass
class ScanReport:
    """What a scan did.

    Parameters
    ----------
    found : int
        Audio files on disk.
    added, updated, moved, touched : int
        New tracks; tracks embedded again; tracks found at another path; files with a new date and the same content.
    unchanged, known_bad : int
        Files not looked into: as they were; failed before and not changed since.
    failed, damaged : int
        Files that failed in this scan; files embedded in it for what can be heard of them.
    gone, removed : int
        Tracks whose file is no longer there; of those, the ones removed because of `prune`.
    audio_seconds, elapsed : float
        Length of what was embedded; seconds the whole scan took.
    devices : dict
        Encoder -> where it ran, and what ran it: "cpu, onnxruntime float32"; of those that had something to do.
    """

    found: int = 0
    added: int = 0
    updated: int = 0
    moved: int = 0
    touched: int = 0
    unchanged: int = 0
    known_bad: int = 0
    failed: int = 0
    damaged: int = 0
    gone: int = 0
    removed: int = 0
    audio_seconds: float = 0.0
    elapsed: float = 0.0
    devices: dict[str, str] = field(default_factory=dict)


class PruneRefused(InputError):
    """`prune` would forget everything below a root; the scan has done all the rest.

    Parameters
    ----------
    message : str
        One line.
    report : ScanReport
        What the scan did.
    """

    def __init__(self, message: str, report: ScanReport) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class ScanOptions:
    """How to scan.

    Parameters
    ----------
    encoders : tuple of str
        Names or folders, besides those the library has; a new library takes the default when none is given.
    listening : Listening or None
        None keeps what the library has; an encoder that is new hears as it does best, and so does a newer version of
        one that heard what was the default then. `DEFAULT_LISTENING` is that best for every encoder.
    jobs : int or None
        Worker processes; None for one per core.
    nice : bool
        Give way to other programs.
    retry : bool
        Look again into files that failed or are damaged.
    prune : bool
        Forget tracks whose files are gone.
    device : str
        Where encoders run: "auto", "cpu", "cuda", ...; those of ours always run on the CPU.
    fingerprints : bool
        Hear those tracks again that have no fingerprint.
    """

    encoders: tuple[str, ...] = ()
    listening: Listening | None = None
    jobs: int | None = None
    nice: bool = True
    retry: bool = False
    prune: bool = False
    device: str = "auto"
    fingerprints: bool = False


class Scan:
    """One scan: from folders on disk to rows in the record.

    Parameters
    ----------
    record : Record
        Open for writing.
    names : sequence of str
        Names or folders of the encoders.
    listening : Listening, or mapping of str to Listening, optional
        As for `embed.Embedder`.
    options : ScanOptions
        The rest.
    progress : callable, optional
        Called with a `Progress` after every file.
    """

    def __init__(
        self,
        record: Record,
        names: Sequence[str],
        listening: Listenings,
        options: ScanOptions,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._record, self._names, self._listening = record, names, listening
        self._options, self._progress = options, progress
        self.report = ScanReport()
        self._moved: set[str] = set()  # paths that turned out to be elsewhere now
        self._said = float("-inf")  # when others were told last

    def run(self, roots: Sequence[str]) -> ScanReport:
        """Scan.

        Parameters
        ----------
        roots : sequence of str
            From `roots_of`.

        Returns
        -------
        ScanReport
            What happened.

        Raises
        ------
        PruneRefused
            `prune` would forget everything below a root. All else is done.
        StoreError
            The record cannot be written.
        """
        record, report = self._record, self.report
        lacking = self._prepare_spaces()
        found = walk(roots)
        failed = record.failed_files()
        # To look again into every file is to have never seen it fail.
        avoided = dict.fromkeys(failed, (-1, -1)) if self._options.retry else failed
        known = record.files()
        again = record.damaged_files() if self._options.retry else ()
        todo = plan(found, roots, known, avoided, lacking, again)
        report.found = len(found.files) + len(found.failures)
        report.unchanged, report.known_bad = todo.unchanged, todo.known_bad
        with record.batch():
            self._note_failures(found, failed)
            self._embed(todo, known)
            for file in todo.recovered:
                record.touch(file)
            settled = known.keys() | {failure.file.path for failure in found.failures}
            record.remove(paths=[p for p in failed.keys() - settled if is_below(p, roots) and _no_file(p)])
            self._forget_gone(found, todo, roots)
        return report

    def _prepare_spaces(self) -> dict[str, list[str]]:
        """Make the spaces of this scan the active ones; return path -> the spaces it lacks a vector in."""
        spaces = spaces_of(self._names, self._listening, self._options.device)
        for space in spaces:
            self._record.add_space(space)
        for space in self._record.active_spaces():
            if any(space.encoder == new.encoder and space.id != new.id for new in spaces):
                self._record.deactivate(space.id)
        lacking: dict[str, list[str]] = defaultdict(list)
        for space in spaces:
            for path in self._record.missing(space.id):
                lacking[path].append(space.id)
        if self._options.fingerprints:  # they come with any space
            for path in self._record.without_fingerprint():
                lacking[path] = lacking[path] or [spaces[0].id]
        return lacking

    def _note_failures(self, found: Found, failed: Mapping[str, tuple[int, int]]) -> None:
        for failure in found.failures:
            file = failure.file
            if failed.get(file.path) == (file.size, file.mtime_ns) and not self._options.retry:
                self.report.known_bad += 1
            else:
                self._record.fail(failure)
                self.report.failed += 1

    def _embed(self, todo: Plan, known: Mapping[str, FileRow]) -> None:
        begin = time.monotonic()
        at = Progress(total=len(todo.tasks))
        self._say(at)
        tasks = todo.tasks
        while tasks:
            again: list[Task] = []
            options = self._options
            jobs = min(options.jobs or cores(), len(tasks))
            outcomes = embed_files(tasks, self._names, self._listening, jobs, options.nice, options.device)
            with contextlib.closing(outcomes):
                for task, outcome in outcomes:
                    if not self._settle(task, outcome, todo, known.get(task.file.path)):
                        again.append(Task(task.file))
                        continue
                    at.done += 1
                    at.failed += isinstance(outcome, Failure)
                    at.audio_seconds = self.report.audio_seconds
                    at.elapsed = time.monotonic() - begin
                    self._say(at)
                    if self._progress:
                        self._progress(at)
            tasks = again
        self._record.say({})

    def _say(self, at: Progress) -> None:
        """Let those who share the record see how far this is, now and then."""
        if time.monotonic() - self._said >= _SAY_SECONDS:
            self._said = time.monotonic()
            self._record.say(asdict(at))

    def _settle(self, task: Task, outcome: Outcome, todo: Plan, known: FileRow | None) -> bool:
        """Write the outcome of one task into the record; False when it has to be embedded after all."""
        record, report = self._record, self.report
        if isinstance(outcome, Failure):
            record.fail(outcome)
            report.failed += 1
        elif isinstance(outcome, Embedded):
            record.put(outcome)
            report.devices |= outcome.ran
            report.audio_seconds += outcome.duration
            report.damaged += bool(outcome.damage)
            report.updated += known is not None
            report.added += known is None
        elif known is not None and outcome.content == known.content:
            record.touch(task.file)
            report.touched += 1
        elif old_paths := todo.homeless.get(outcome.content):
            old_path = old_paths.pop()
            record.move(old_path, task.file)
            report.moved += 1
            self._moved.add(old_path)
        else:  # one more copy of a file that moved: the first was the move, this one is a track of its own
            return False
        return True

    def _forget_gone(self, found: Found, todo: Plan, roots: Sequence[str]) -> None:
        lost = [path for path in todo.gone if path not in self._moved]
        self.report.gone = len(lost)
        if not (self._options.prune and lost):
            return
        for root in roots:  # an empty mount point looks just like a folder whose files are gone
            gone = sum(is_below(path, [root]) for path in lost)
            if gone and not any(is_below(path, [root]) for path in found.files):
                raise PruneRefused(
                    f"no audio below {printable(root)}, but the library knows {gone} tracks there: is the disk "
                    "mounted? nothing was removed; 'soundkin remove' does it if they are really gone",
                    self.report,
                )
        self.report.removed = self._record.remove(paths=lost)


def _audio_below(root: str, found: Found) -> Iterator[str]:
    waiting, links, visited = [root], list[str](), set()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
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
        folders = [entry for entry in visible if _is_folder(entry)]
        yield from (e.path for e in visible if is_audio_name(e.name) and not _is_folder(e))
        links.extend(entry.path for entry in folders if entry.is_symlink())
        waiting.extend(entry.path for entry in reversed(folders) if not entry.is_symlink())


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


def _no_file(path: str) -> bool:
    """Tell whether a path that failed is gone or a folder, which can be listed again."""
    return is_gone(path) or os.path.isdir(path)


def _unreadable(path: str, error: OSError) -> Failure:
    kind = "vanished" if isinstance(error, FileNotFoundError) else "unreadable"
    return Failure(FileState(path, 0, 0), kind, error.strerror or str(error))
