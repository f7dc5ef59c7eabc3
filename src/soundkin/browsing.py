"""What a library lists: pages of tracks, counts of values, words as they are typed. `Library` inherits it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from soundkin.asking import Asking, Filters
from soundkin.errors import InputError
from soundkin.filters import And, Filter, Match, counted, folded, parse, where_of
from soundkin.record import Track
from soundkin.record.feedback import DEFAULT_PROFILE

FACETS = ("genre", "decade", "tempo", "energy", "key", "format", "feedback", "artist", "album")
"""What values can be counted of."""
_ENERGIES = (
    ("calm", "energy<0.33"),
    ("medium", "energy>=0.33 and energy<0.66"),
    ("energetic", "energy>=0.66"),
)
# So many ways to write a name are put together where names are searched for.
_SPELLINGS = 5
_PLAIN = re.compile(r"\w[\w ]*\w|\w")
_JOINS = re.compile(r"\b(and|or|not)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Facet:
    """A value that tracks have.

    Parameters
    ----------
    value : str
        For people.
    count : int
        How many of the tracks asked about have it.
    filter : str
        The filter that finds them.
    """

    value: str
    count: int
    filter: str


class Browsing(Asking):
    """Lists and counts of a library."""

    def page(
        self,
        filters: Filters = None,
        order: str = "artist",
        descending: bool = False,
        offset: int = 0,
        limit: int = 50,
        profile: str | None = None,
    ) -> tuple[int, list[Track]]:
        """List tracks, some at a time.

        Parameters
        ----------
        filters : str, sequence of str, or Filter, optional
            As in `Library.similar`.
        order : str
            One of `record.listing.ORDERS`.
        descending : bool
            The other way round.
        offset, limit : int
            So many are passed over, and so many come at most.
        profile : str, optional
            Who asks, for filters like ``liked``.

        Returns
        -------
        total : int
            How many pass the filters.
        tracks : list of Track
            In their order.

        Raises
        ------
        InputError
            A filter is unusable, or there is no such order.
        """
        where = where_of(self._filter(filters, profile))
        return self._reader().page(where, order, descending, offset, limit)

    def facets(
        self, fields: Iterable[str], filters: Filters = None, limit: int = 30, profile: str | None = None
    ) -> dict[str, list[Facet]]:
        """Count what values tracks have.

        Parameters
        ----------
        fields : iterable of str
            Of `FACETS`.
        filters : str, sequence of str, or Filter, optional
            Only tracks that pass.
        limit : int
            At most so many values of a field.
        profile : str, optional
            Who asks, also for the counts of "feedback".

        Returns
        -------
        dict of str to list of Facet
            The most frequent value first; decades, tempi and energies in their order.

        Raises
        ------
        InputError
            A filter is unusable, or there is no such field.
        """
        wanted = list(fields)
        for field in wanted:
            if field not in FACETS:
                raise InputError(f"no values are counted of {field!r}: use one of {', '.join(FACETS)}")
        where = self._filter(filters, profile)
        return {field: self._facet(field, where, limit, profile) for field in wanted}

    def search(self, words: str, limit: int = 20) -> list[Track]:
        """Return the tracks that words match as they are typed, the best first; see `Record.search`."""
        return self._reader().search(words, limit)

    def names_like(self, field: str, words: str, limit: int = 5) -> list[Facet]:
        """Return the artists or albums (`field`) that `words` match as they are typed, at most `limit`."""
        return _merged(field, self._reader().names_like(field, words, _SPELLINGS * limit))[:limit]

    def tracks_of(self, ids: Sequence[str]) -> list[Track]:
        """Return the tracks with these `ids`, in their order; those that are not there are left out."""
        return list(self._reader().tracks(ids))

    def verdicts(self, profile: str = DEFAULT_PROFILE) -> dict[str, str]:
        """Return the ids of all that a profile likes or dislikes, with "like" or "dislike"."""
        record = self._reader()
        likes, dislikes = (
            dict.fromkeys(record.tracks_that_are(f"{what}d", profile), what) for what in _VERDICTS
        )
        return likes | dislikes

    def played(self, profile: str = DEFAULT_PROFILE) -> set[str]:
        """Return the ids of all that a profile has played."""
        return set(self._reader().tracks_that_are("played", profile))

    @property
    def revision(self) -> int:
        """Number of the latest change of a track."""
        return self._reader().revision

    def _facet(self, field: str, where: Filter | None, limit: int, profile: str | None) -> list[Facet]:
        record, among = self._reader(), where_of(where)
        if field == "feedback":
            flags = {
                flag: self._filter([flag], profile)
                for flag in ("liked", "disliked", "played", "never-played")
            }
            counts = {
                flag: record.count(where_of(_both(where, its)))
                for flag, its in flags.items()
                if its is not None
            }
            return [Facet(flag, n, flag) for flag, n in counts.items() if n]
        values = record.count_values(field, among)
        if field == "decade":
            return [Facet(f"{y}s", n, f"year={y}..{y + 9}") for y, n in sorted(values)][:limit]
        if field == "tempo":
            return [Facet(f"{b}-{b + 19}", n, f"bpm>={b} and bpm<{b + 20}") for b, n in sorted(values)][
                :limit
            ]
        if field == "energy":
            return [Facet(_ENERGIES[i][0], n, _ENERGIES[i][1]) for i, n in sorted(values)]
        return _merged(field, values)[:limit]


def filter_of(library: Browsing, filters: Filters, profile: str = DEFAULT_PROFILE) -> Filter | None:
    """Return what filters say as one, which every question takes in their place.

    Parameters
    ----------
    library : Browsing
        Whose tracks are meant.
    filters : str, sequence of str, or Filter, optional
        As in `Library.similar`.
    profile : str
        Whose ``liked`` and ``never-played`` tracks are meant.

    Returns
    -------
    Filter or None
        None when everything passes.

    Raises
    ------
    InputError
        A filter is unusable.
    NotFound
        There is no such profile.
    """
    return library._filter(filters, profile)


_VERDICTS = ("like", "dislike")


def _both(a: Filter | None, b: Filter) -> Filter:
    return b if a is None else And((a, b))


def _merged(field: str, values: Iterable[tuple[Any, int]]) -> list[Facet]:
    """Put spellings that differ in case together, as filters do; the most frequent one is shown."""
    counts = counted({str(value): n for value, n in values})
    order = sorted(counts, key=lambda name: (-counts[name], folded(name)))
    return [Facet(name, counts[name], text) for name in order if (text := filter_for(field, name))]


def filter_for(field: str, value: str) -> str:
    """Write the filter that asks for a value.

    Parameters
    ----------
    field : str
        A text field of `filters.FIELDS`.
    value : str
        Any value that a track has.

    Returns
    -------
    str
        What `filters.parse` reads; empty where the language cannot say it.
    """
    if _PLAIN.fullmatch(value) and not _JOINS.search(value):
        return f"{field}={value}"
    text = f'{field}="{value}"'
    if '"' not in value and value.strip():
        return text
    bare = f"{field}={value}"
    try:
        return bare if parse([bare], lambda _: [value]) == Match(field, (value,)) else ""
    except InputError:
        return ""
