"""Writing a history down in a record: what is new of it, as often as it was read."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from soundkin.errors import InputError
from soundkin.plays.matching import Matcher
from soundkin.plays.rows import Played, Refused, Row
from soundkin.record import Record
from soundkin.record.feedback import DEFAULT_PROFILE, Feedback, clean_name

MOST_PLAYS = 1000
"""So many plays or skips of one track by one person are counted where a history says only how many."""
_AT_ONCE = 20_000
_DISTINCT = 100_000  # tracks that were not found and are told apart
_NAMED = 50  # and those that are listed with what they may be
_CACHED = 200_000


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A track of a history that the library does not have.

    Parameters
    ----------
    artist, title : str
        As the history has them; the title is a path or an id where there is none.
    rows : int
        How many rows are about it.
    nearest : tuple of str
        What the library has that is called most like it.
    """

    artist: str
    title: str
    rows: int
    nearest: tuple[str, ...]


@dataclass
class PlaysReport:
    """What became of a history.

    Parameters
    ----------
    rows : int
        Rows read: those that are matched, unmatched, and refused.
    matched : dict of str to int
        Rows whose track was found, by how: see `matching.WAYS`.
    unmatched, tracks_unmatched : int
        Rows of tracks that are not in the library, and how many tracks.
    refused : dict of str to int
        Rows that cannot be used, by the reason.
    new : int
        Marks that were written down; a count of plays is as many.
    known : int
        Marks that had been before.
    profiles : int
        Whose they are.
    not_found : list of Unmatched
        The tracks that are not in the library, the most played first; the first 50.
    """

    rows: int = 0
    matched: dict[str, int] = field(default_factory=dict)
    unmatched: int = 0
    tracks_unmatched: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    new: int = 0
    known: int = 0
    profiles: int = 0
    not_found: list[Unmatched] = field(default_factory=list)


def take(
    record: Record,
    matcher: Matcher,
    rows: Iterable[Row],
    profile: str | None = None,
    unknown_at: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> PlaysReport:
    """Write down what is new in a history.

    Parameters
    ----------
    record : Record
        Open to note.
    matcher : Matcher
        Of its tracks.
    rows : iterable of Played or Refused
        The history; it is not held in memory.
    profile : str, optional
        Whose it is; default as the history says, and where it does not, the default profile.
    unknown_at : float
        When counts without a time are said to have been, seconds since 1970.
    progress : callable, optional
        Called with the number of rows, now and then.

    Returns
    -------
    PlaysReport
        The same rows a second time are all known.

    Raises
    ------
    InputError
        The profile has an unusable name.
    StoreError
        The record cannot be written.
    """
    work = _Taking(record, matcher, clean_name(profile) if profile is not None else None)
    for row in rows:
        work.add(row)
        if progress and work.report.rows % 1000 == 0:
            progress(work.report.rows)
    return work.finish(unknown_at)


class _Taking:
    """The state of `take`: rows that wait to be written, and counts to the end, when single plays are known."""

    def __init__(self, record: Record, matcher: Matcher, profile: str | None) -> None:
        self.report = PlaysReport()
        self._record, self._matcher, self._profile = record, matcher, profile
        self._waiting: list[tuple[str, Feedback]] = []
        self._counts: dict[tuple[str, str, str], tuple[int, float | None]] = {}
        self._lost, self._matched, self._refused = Counter[tuple[str, str]](), Counter[str](), Counter[str]()
        self._found: dict[tuple[object, ...], tuple[str, str]] = {}
        self._names: dict[str, str] = {}

    def add(self, row: Row) -> None:
        self.report.rows += 1
        if isinstance(row, Refused):
            self._refused[row.reason] += 1
            return
        name = self._name(row.user)
        if not name:
            self._refused["of a user whose name cannot be used"] += 1
            return
        id_, way = self._find(row)
        if not id_:
            self.report.unmatched += 1
            what = (row.artist, row.title or next(iter(row.paths), "") or row.recording_mbid or row.track)
            if what in self._lost or len(self._lost) < _DISTINCT:
                self._lost[what] += 1
            return
        self._matched[way] += 1
        if row.count is None and row.at is not None:
            self._waiting.append((name, Feedback(id_, row.kind, row.at)))
            if len(self._waiting) >= _AT_ONCE:
                self._write()
        else:
            n, last = self._counts.get((name, id_, row.kind), (0, None))
            times = [at for at in (last, row.at) if at is not None]
            times_in_all = min(MOST_PLAYS, n + (row.count or 1))
            self._counts[name, id_, row.kind] = times_in_all, max(times, default=None)

    def finish(self, unknown_at: float) -> PlaysReport:
        self._write()
        counts = [
            (name, Feedback(id_, kind, unknown_at if at is None else at), n)
            for (name, id_, kind), (n, at) in self._counts.items()
        ]
        for begin in range(0, len(counts), _AT_ONCE):
            some = counts[begin : begin + _AT_ONCE]
            new = self._record.add_counts(some)
            self.report.new += new
            self.report.known += sum(n for *_, n in some) - new
        report = self.report
        report.matched, report.refused = dict(self._matched.most_common()), dict(self._refused.most_common())
        report.tracks_unmatched = len(self._lost)
        report.profiles = len(set(self._names.values()) - {""})
        order = sorted(self._lost.items(), key=lambda lost: (-lost[1], lost[0]))
        report.not_found = [
            Unmatched(artist, title, n, self._matcher.nearest(artist, title))
            for (artist, title), n in order[:_NAMED]
        ]
        return report

    def _write(self) -> None:
        new = self._record.add_events(self._waiting)
        self.report.new += new
        self.report.known += len(self._waiting) - new
        self._waiting = []

    def _name(self, user: str) -> str:
        if self._profile is not None:
            user = self._profile
        if user not in self._names:
            try:
                self._names[user] = clean_name(user) if user else DEFAULT_PROFILE
            except InputError:
                self._names[user] = ""
        return self._names[user]

    def _find(self, row: Played) -> tuple[str, str]:
        key = row.track, row.recording_mbid, row.isrc, row.artist, row.title, row.album, row.paths
        if key not in self._found:
            if len(self._found) >= _CACHED:
                self._found.clear()
            self._found[key] = self._matcher.find(row)
        return self._found[key]
