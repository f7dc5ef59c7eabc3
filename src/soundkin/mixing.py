"""What a library does with journeys, mixes, clusters and duplicates: `Library` inherits it.

Here questions are read, profiles and filters resolved; the choosing is done in `recommend`.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from soundkin import recommend
from soundkin.asking import Asked, Filters
from soundkin.embed import Space
from soundkin.errors import InputError, NotFound
from soundkin.filters import And, Filter, HasId
from soundkin.noting import Noting
from soundkin.recommend import Hit, Query, Seeds, Variety
from soundkin.recommend.clusters import Cluster, describe, group
from soundkin.recommend.journeys import Journey, travel
from soundkin.recommend.mixes import cut, mood
from soundkin.recommend.neighbours import hit_of, tracks_of
from soundkin.recommend.radio import Radio
from soundkin.recommend.versions import Group, duplicates
from soundkin.record import Track

MIX_TRACKS = 25
_MIX_POOL = 2  # times as many tracks are recommended as are wanted, for a seed to choose from
_WANDER = 0.25
_HOMES = 12  # of the tracks that a radio is asked to begin with it follows so many


class Mixing(Noting):
    """Paths, radios, mixes, clusters and duplicates of a library."""

    def path(
        self,
        start: Asked,
        end: Asked,
        n: int = 12,
        filters: Filters = None,
        space: str | None = None,
        variety: Variety | None = None,
        seed: int | None = None,
        profile: str | None = None,
    ) -> Journey:
        """Go from one track to another, every step small.

        Parameters
        ----------
        start, end : str, path-like or Track
            Ids, files (in the library or not), words, or tracks.
        n : int
            How many tracks, with both ends.
        filters : str, sequence of str, or Filter, optional
            As in `similar`, for what lies between.
        space : str, optional
            A space id or the name of an encoder.
        variety : Variety, optional
            How artists and albums may not repeat themselves; default `Variety()`.
        seed : int, optional
            Another one, another path; by default the smoothest.
        profile : str, optional
            Who asks, for filters like ``liked``.

        Returns
        -------
        Journey
            n tracks, or fewer when no more pass or lie near the way.

        Raises
        ------
        NotFound, Ambiguous
            A query names nothing, or several tracks.
        InputError
            Both ends are the same recording, n is out of its range, or a filter is unusable.
        """
        chosen = self.space(space)
        where = self._filter(filters, profile)
        a, b = self._query(start, chosen), self._query(end, chosen)
        return travel(
            self._reader(),
            self._current_index(),
            chosen,
            a,
            b,
            n,
            self.closeness(chosen),
            where,
            variety,
            seed,
        )

    def radio(
        self,
        query: Asked | Iterable[Asked] | None = None,
        profile: str | None = None,
        filters: Filters = None,
        space: str | None = None,
        variety: Variety | None = None,
        seed: int = 0,
        remember: bool = True,
    ) -> Radio:
        """Play on and on from a track, following what is said of what comes.

        Parameters
        ----------
        query : str, path-like or Track, or an iterable of them, optional
            Where it begins; default what the profile likes.
        profile : str, optional
            Who listens: what they dislike and skip is kept away from, and what they say and hear is remembered.
        filters : str, sequence of str, or Filter, optional
            As in `similar`.
        space : str, optional
            A space id or the name of an encoder.
        variety : Variety, optional
            How it may not repeat itself; default `Variety()`.
        seed : int
            Another one, another order.
        remember : bool
            False leaves the profile as it is.

        Returns
        -------
        Radio
            An iterator of `Hit` with methods `like`, `dislike` and `skip`.

        Raises
        ------
        NotFound, Ambiguous
            A query names nothing, or several tracks; there is no such profile.
        InputError
            There is nothing to begin with, or a filter is unusable.
        """
        chosen = self.space(space)
        asked = [query] if isinstance(query, str | os.PathLike | Track) else list(query or ())
        if not asked and profile is None:
            raise InputError("a radio wants something to begin with: a track, or a profile that likes some")
        where = self._filter(filters, profile)
        seeds = self._seeds(asked, (), profile, chosen)
        seeds, far = (
            recommend.nearest_dislikes(self._reader(), self._current_index(), chosen, seeds),
            seeds.far,
        )
        home = _some(seeds.likes[: len(asked)], _HOMES, seed) if asked else _some(seeds.likes, 3, seed)
        weights = seeds.weights or (1.0,) * len(seeds.dislikes)
        avoided = list(zip(seeds.dislikes, weights, strict=True))
        note: Callable[[str, Track], None] | None = None
        if profile is not None and remember:
            who = profile

            def note(what: str, track: Track) -> None:
                self.feedback(what, [track], who)

        return Radio(
            self._reader(), self._current_index(), chosen, home, self.closeness(chosen), avoided, where, variety,
            seed, note, far,
        )  # fmt: skip

    def mix(
        self,
        likes: Iterable[Asked] = (),
        profile: str | None = None,
        moods: Sequence[str] = (),
        cluster: int | None = None,
        n: int | None = None,
        length: float | None = None,
        filters: Filters = None,
        space: str | None = None,
        variety: Variety | None = None,
        seed: int | None = None,
    ) -> list[Hit]:
        """Make a playlist: of what somebody likes, what is like some tracks, of a mood, or of a cluster.

        Parameters
        ----------
        likes : iterable of str, path-like or Track
            What it should be like.
        profile : str, optional
            Whose likes and dislikes count.
        moods : sequence of str
            Keys of `recommend.mixes.MOODS`; all must fit.
        cluster : int, optional
            Number of one of `clusters`; only tracks of it.
        n : int, optional
            How many tracks; default 25, or as many as fill the length.
        length : float, optional
            Seconds to fill.
        filters : str, sequence of str, or Filter, optional
            As in `similar`.
        space : str, optional
            A space id or the name of an encoder.
        variety : Variety, optional
            How it may not repeat itself; default `Variety()`.
        seed : int, optional
            Another one, another mix.

        Returns
        -------
        list of Hit
            In the order to hear them.

        Raises
        ------
        NotFound, Ambiguous
            A like names nothing, or several tracks; there is no such profile.
        InputError
            There is nothing to make it of, an unknown mood or cluster, or an unusable filter, number or length.
        """
        likes = list(likes)
        if not (likes or profile is not None or moods or cluster is not None or filters):
            raise InputError(
                "nothing to make a mix of: give tracks it should be like, a profile, a mood or a cluster"
            )
        if (n is not None and n < 1) or (length is not None and not 0 < length < 1e7):
            raise InputError(
                f"a mix of {n if length is None else length} came; wanted a number or length above 0"
            )
        chosen, record = self.space(space), self._reader()
        parts = [self._filter(filters, profile), mood(moods, record.numbers, record.distinct("key"))]
        if cluster is not None:
            parts.append(self._is_in_cluster(cluster, chosen))
        wanted = [part for part in parts if part is not None]
        where = And(tuple(wanted)) if len(wanted) > 1 else wanted[0] if wanted else None
        count = n or (MIX_TRACKS if length is None else self._count_for(length))
        first = list[Hit]()
        if likes or profile is not None:
            seeds = self._seeds(likes, (), profile, chosen)
        else:
            seeds, first = self._anything(chosen, where, seed)
            if not first:
                return []
        hits = recommend.recommend(
            record, self._current_index(), chosen, seeds, _MIX_POOL * count, self.closeness(chosen), where=where,
            rules=variety,
        )  # fmt: skip
        hits = [*first, *self._shuffled(hits, chosen, seed, variety)]
        return hits[:count] if length is None else cut(hits, lambda hit: hit.duration, length)[: n or None]

    def why_nothing(
        self,
        filters: str | Sequence[str] = (),
        profile: str | None = None,
        query: Asked | None = None,
        likes: Iterable[Asked] = (),
        dislikes: Iterable[Asked] = (),
        moods: Sequence[str] = (),
        cluster: int | None = None,
        space: str | None = None,
    ) -> str:
        """Say which condition of a question leaves nothing.

        Parameters
        ----------
        filters, profile, query, likes, dislikes, moods, cluster, space
            As they were given to `similar` (that has a query), `recommend` or `mix`, whose answer was empty.

        Returns
        -------
        str
            One line that suggests what to leave out.
        """
        chosen, record = self.space(space), self._reader()
        conditions = dict[str, Filter]()
        for text in [filters] if isinstance(filters, str) else filters:
            one = self._filter([text], profile)
            conditions |= {repr(text): one} if one is not None else {}
        for word in moods:
            one = mood([word], record.numbers, record.distinct("key"))
            conditions |= {f"mood {word!r}": one} if one is not None else {}
        if cluster is not None:
            conditions[f"cluster {cluster}"] = self._is_in_cluster(cluster, chosen)
        known = [
            self._number(asked) for asked in (*likes, *dislikes, *([query] if query is not None else []))
        ]
        numbers = {number for number in known if number is not None}
        if query is None and profile is not None:
            taste = recommend.taste_of(record.opinions(profile), time.time())
            numbers.update(int(id_, 16) for id_ in (*taste.likes, *taste.dislikes, *taste.skips))
        return recommend.why_nothing(self._current_index(), chosen, conditions, numbers)

    def clusters(self, space: str | None = None, count: int | None = None, seed: int = 0) -> list[Cluster]:
        """Put the tracks that sound alike together.

        Parameters
        ----------
        space : str, optional
            A space id or the name of an encoder.
        count : int, optional
            How many; default about sqrt(n / 2), and 40 at most.
        seed : int
            Where it begins. `mix` knows the clusters of seed 0 and no count.

        Returns
        -------
        list of Cluster
            The largest first; the same every time while the library stays as it is. Their rows are those of `vectors`.

        Raises
        ------
        InputError
            The library has fewer than two tracks for each cluster that is asked for.
        """
        record = self._reader()
        ids, vectors = record.vectors(self.space(space).id)
        if not ids:
            return []
        tracks = {track.id: track for track in record.tracks(ids)}
        there = [row for row, name in enumerate(ids) if name in tracks]  # one may have gone while we looked
        vectors = vectors if len(there) == len(ids) else vectors[there]
        return describe([tracks[ids[row]] for row in there], vectors, group(vectors, count, seed))

    def duplicates(self, space: str | None = None) -> list[Group]:
        """Find what the library has more than once, with evidence; nothing is changed.

        Parameters
        ----------
        space : str, optional
            A space id or the name of an encoder.

        Returns
        -------
        list of Group
            The same recording first, then likely other versions of a piece.
        """
        return duplicates(self._reader(), self.space(space).id)

    def without_fingerprint(self) -> int:
        """Count the tracks that have no fingerprint, so that `duplicates` misses copies of them that were cut."""
        return len(self._reader().without_fingerprint())

    # ---- inside

    def _is_in_cluster(self, number: int, space: Space) -> Filter:
        revision = self._reader().revision
        seen, members = self._members.get(space.id, (-1, []))
        if seen != revision:
            members = [
                frozenset(int(t.id, 16) for t in cluster.tracks) for cluster in self.clusters(space.id)
            ]
            self._members[space.id] = revision, members
        if not 1 <= number <= len(members):
            raise InputError(f"cluster {number}: there are {len(members)}; see `soundkin clusters`")
        return HasId(members[number - 1])

    def _number(self, asked: Asked) -> int | None:
        """Return the number that an index has for a track; None for what is not in the library."""
        try:
            return int((asked if isinstance(asked, Track) else self.find(asked)).id or "", 16)
        except (NotFound, ValueError):
            return None

    def _count_for(self, length: float) -> int:
        """Return how many tracks surely fill a length: half as many again as usual ones would."""
        usual = self._reader().numbers("duration")
        return int(
            np.clip(1.5 * length / max(float(np.median(usual)) if len(usual) else 200.0, 10.0) + 5, 5, 2000)
        )

    def _anything(self, space: Space, where: Filter | None, seed: int | None) -> tuple[Seeds, list[Hit]]:
        """Begin with any track that passes, for nobody said what it should be like."""
        anywhere = np.random.default_rng(seed or 0).normal(size=space.dims)
        found = self._current_index().search(space.id, anywhere, 1, where)
        tracks = tracks_of(self._reader(), [number for number, _ in found])
        for track in tracks.values():
            query = self._query(track, space)
            usual = self.closeness(space)
            first = hit_of(self._reader(), space, track, 1.0, Query(query.vector), usual, moments=())
            return Seeds((query,)), [first]
        return Seeds(()), []

    def _shuffled(self, hits: list[Hit], space: Space, seed: int | None, rules: Variety | None) -> list[Hit]:
        """Choose again with a little luck; without a seed the order stays as it is."""
        if seed is None or not hits:
            return hits
        fit = -np.arange(len(hits)) / len(hits) + _WANDER * np.random.default_rng(seed).standard_normal(
            len(hits)
        )
        vectors = self._reader().vectors_of([hit.id for hit in hits], space.id)
        places = recommend.pick(
            fit, vectors, [h.artist for h in hits], [h.album for h in hits], len(hits), rules or Variety()
        )
        return [hits[place] for place in places]


def _some(likes: tuple[Query, ...], most: int, seed: int) -> tuple[Query, ...]:
    """Choose a few of many likes to begin with."""
    rows = np.random.default_rng(seed).permutation(len(likes))[:most]
    return tuple(likes[row] for row in sorted(rows.tolist()))
