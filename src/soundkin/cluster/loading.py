"""Parquet files of a run -> rows in the record: what is there already is passed over, so a second time adds nothing."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from soundkin import exchange
from soundkin.cluster.parts import PARTS, PartFile, arrow
from soundkin.cluster.places import SECOND, Place
from soundkin.embed import Embedded, Failure, FileState, Outcome, Same, Space, is_url
from soundkin.errors import InputError, NotFound
from soundkin.record import FileRow, Record
from soundkin.scan import absolute, printable

_NAMED = 5  # how many rows that were left out are named


@dataclass
class LoadReport:
    """What a load did.

    Parameters
    ----------
    files, rows : int
        Parquet files read, and rows in them.
    added, updated, copies, failed : int
        New tracks; tracks that got vectors, or another content; of the new ones those that are copies; new failures.
    known : int
        Rows that told nothing new.
    left_out : int
        Rows that could not be used.
    reasons : list of str
        The first few of them.
    spaces : list of str
        Ids of the spaces of the vectors.
    """

    files: int = 0
    rows: int = 0
    added: int = 0
    updated: int = 0
    copies: int = 0
    failed: int = 0
    known: int = 0
    left_out: int = 0
    reasons: list[str] = field(default_factory=list)
    spaces: list[str] = field(default_factory=list)

    def _leave_out(self, path: str, reason: str) -> None:
        self.left_out += 1
        if len(self.reasons) < _NAMED:
            self.reasons.append(f"{printable(path)}: {reason}")


def sources_of(paths: Sequence[str | os.PathLike[str]]) -> list[tuple[Place, str]]:
    """Find the Parquet files that are meant.

    Parameters
    ----------
    paths : sequence of path-like
        Files; or folders of results, here or in a bucket.

    Returns
    -------
    list of (Place, str)
        Where each is, and its name there; of a folder of results those of the latest run first.

    Raises
    ------
    InputError
        There is none.
    """
    out: list[tuple[Place, str]] = []
    for given in paths:
        path = os.fspath(given) if is_url(os.fspath(given)) else absolute(given)
        if path.endswith(".parquet") and (is_url(path) or os.path.isfile(path)):
            folder, _, name = path.rpartition("/")
            out.append((Place(folder or "/"), name))
            continue
        place = Place(path)
        names = [*reversed(place.names(PARTS) or place.names())]  # they begin with the time of the run
        if not names:
            raise InputError(
                f"no Parquet files in {printable(path)}: wanted the folder or the files that "
                "`soundkin index --engine ray --out FOLDER` wrote"
            )
        out += [(place, name) for name in names]
    return out


def load(
    record: Record,
    sources: Sequence[tuple[Place, str]],
    activate: Callable[[Space], bool],
    progress: Callable[[int, int], None] | None = None,
) -> LoadReport:
    """Fill a record with the results of runs.

    Parameters
    ----------
    record : Record
        Open for writing.
    sources : sequence of (Place, str)
        From `sources_of`.
    activate : callable
        Says of a space whether scans are to fill it from now on.
    progress : callable, optional
        Called with the number of files read and of all.

    Returns
    -------
    LoadReport
        What happened.

    Raises
    ------
    InputError
        A file is damaged, or something else. What came before it is in the record.
    """
    arrow()
    loading = _Loading(record, activate)
    for done, (place, name) in enumerate(sources, 1):
        with PartFile(place, name) as part, record.batch():
            loading.add_spaces(part.spaces)
            loading.report.files += 1
            loading.report.rows += part.rows
            for outcome in part.outcomes():
                loading.take(outcome)
        if progress:
            progress(done, len(sources))
    with record.batch():
        loading.take_failures()
        loading.take_copies()
    for place, name in sources if loading.orphans else ():
        with PartFile(place, name) as part, record.batch():
            for outcome in part.outcomes():
                loading.take_original(outcome)
    loading.leave_out_orphans()
    return loading.report


class _Loading:
    """One load: what the record has, kept up to date without asking it for every row."""

    def __init__(self, record: Record, activate: Callable[[Space], bool]) -> None:
        self.report = LoadReport()
        self._record, self._activate = record, activate
        self._files = record.files()
        self._failed = record.failed_files()
        self._lacking: dict[str, set[str]] = {}  # space -> paths without a vector in it
        self._copies: list[Same] = []
        self.orphans: dict[str, list[Same]] = defaultdict(list)  # by content, which no file of the record has
        self._adopted: set[str] = set()
        self._failures: list[Failure] = []
        self._latest: dict[str, FileState] = {}  # what is behind a URL: the latest results are read first

    def add_spaces(self, spaces: Sequence[Space]) -> None:
        for space in spaces:
            if space.id not in self._lacking:
                self._record.add_space(space, active=self._activate(space))
                self._lacking[space.id] = set(self._record.missing(space.id))
                self.report.spaces.append(space.id)

    def take(self, outcome: Outcome) -> None:
        if is_url(outcome.file.path):
            self._latest.setdefault(outcome.file.path, outcome.file)
        if isinstance(outcome, Embedded):
            self._put(outcome)
        elif isinstance(outcome, Failure):
            self._failures.append(outcome)
        else:
            self._copies.append(outcome)

    def _put(self, new: Embedded) -> bool:
        """Put what is not there; tell whether it was a new track."""
        report, file = self.report, new.file
        known = self._files.get(file.path)
        same = known is not None and known.content == new.content
        if known is not None and not same and not self._is_newer(file, known.mtime_ns):
            report._leave_out(file.path, "the library has another file at this path, which is no older")
            return False
        if same and not any(file.path in self._lacking[space] for space in new.vectors):
            assert known is not None
            self._seen_again(file, known)
            return False
        id_ = self._record.put(new)
        report.updated += known is not None
        report.added += known is None
        self._files[file.path] = FileRow(id_, file.size, file.mtime_ns, new.content)
        self._failed.pop(file.path, None)
        for space, paths in self._lacking.items():
            if space in new.vectors:
                paths.discard(file.path)
            elif not same:
                paths.add(file.path)
        return known is None

    def _is_newer(self, file: FileState, known_ns: int) -> bool:
        """Tell whether a file is later than the one that is known; by the run, where dates behind a URL do not say."""
        if not is_url(file.path):
            return file.mtime_ns > known_ns
        at, known_at = file.mtime_ns // SECOND, known_ns // SECOND
        return at > known_at or (at == known_at and file == self._latest[file.path])

    def _seen_again(self, file: FileState, known: FileRow) -> None:
        """Count a row about what is known; note the later date, so that the file is known by it, too."""
        if file.mtime_ns != known.mtime_ns and self._is_newer(file, known.mtime_ns):
            self._record.touch(file)
            self._files[file.path] = FileRow(known.track_id, file.size, file.mtime_ns, known.content)
        self.report.known += 1

    def take_failures(self) -> None:
        """Record what failed, now that it is known what did not."""
        for failure in self._failures:
            self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        file = failure.file
        known = self._files.get(file.path)
        state = file.size, file.mtime_ns
        later = known is not None and (
            (known.size, known.mtime_ns) == state or not self._is_newer(file, known.mtime_ns)
        )
        if later or self._failed.get(file.path) == state:
            self.report.known += 1
            return
        self._record.fail(failure)
        self._failed[file.path] = state
        self.report.failed += 1

    def take_copies(self) -> None:
        """Give copies what the record has of those whose bytes are the same."""
        by_content = defaultdict(list)
        for path, row in self._files.items():
            by_content[row.content].append((self._lacks(path), path, row.track_id))
        damage = {
            one.failure.file.path: one.failure.reason
            for one in self._record.failures()
            if self._copies and one.failure.kind == "damaged"
        }
        for copy in self._copies:
            path = copy.file.path
            known = self._files.get(path)
            originals = [one for one in by_content[copy.content] if one[1] != path]
            if known is not None and known.content == copy.content and not (originals and self._lacks(path)):
                self._seen_again(copy.file, known)
            elif originals:
                _, original, id_ = min(originals)
                self.report.copies += self._put(self._as(id_, copy.file, damage.get(original, "")))
            elif path in self._failed:  # as did that of which it is one
                self.report.known += 1
            else:
                self.orphans[copy.content].append(copy)

    def take_original(self, outcome: Outcome) -> None:
        """Give copies the vectors of a file that has since been replaced by another, so that the record has none."""
        if isinstance(outcome, Embedded) and outcome.content in self.orphans:
            self._adopted.add(outcome.content)
            for copy in self.orphans[outcome.content]:
                self.report.copies += self._put(replace(outcome, file=copy.file))

    def leave_out_orphans(self) -> None:
        """Report the copies of which no original was found."""
        for content in self.orphans.keys() - self._adopted:
            for copy in self.orphans[content]:
                self.report._leave_out(copy.file.path, "a copy of a file that is in none of these results")

    def _lacks(self, path: str) -> int:
        """Count the spaces in which a file has no vector yet."""
        return sum(path in paths for paths in self._lacking.values())

    def _as(self, id_: str, file: FileState, damage: str) -> Embedded:
        """Return a track of the record as if it had been embedded at another path."""
        record, spaces = self._record, list(self._vectors(id_))
        print_ = record.fingerprints([id_]).get(id_, b"")
        vectors = {space: record.vector(id_, space) for space in spaces}
        made = exchange.embedded(record.track(id_), file, vectors, print_)
        made.damage = damage
        for space in spaces:
            with contextlib.suppress(NotFound):  # imported vectors have none
                made.windows[space] = record.windows(id_, space)
        return made

    def _vectors(self, id_: str) -> Iterator[str]:
        for space in self._lacking:
            with contextlib.suppress(NotFound):
                self._record.vector(id_, space)
                yield space
