"""A queue without an end, which follows what is said of its tracks as they come."""

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Space
from soundkin.errors import InputError
from soundkin.filters import Filter
from soundkin.index import Index
from soundkin.recommend.closeness import Closeness
from soundkin.recommend.copies import likely_copies
from soundkin.recommend.hits import Hit, Query
from soundkin.recommend.neighbours import hit_of, is_copy_of, tracks_of, vectors_of
from soundkin.recommend.pieces import are_versions, piece_of
from soundkin.recommend.tastes import SKIP_WEIGHT
from soundkin.recommend.variety import Variety, pick
from soundkin.record import Record, Track

Array = NDArray[np.float32]

_NEAR = 40  # candidates for each sound that it follows
_LIKED, _AVOIDED = (
    5,
    12,
)  # so many of the latest likes are followed, and of what was disliked or skipped avoided
_LAST = 0.5  # how much the track just heard counts beside those that are liked
_HEARD = 200  # tracks that it remembers; in a smaller library the oldest come again
_WANDER = 0.15  # how much a seed changes how well a track fits

Note = Callable[[str, Track], None]


class Radio(Iterator[Hit]):
    """Plays what is near the tracks it began with, those liked since, and the one just heard.

    Iterate over it; tell it what is said of a track with `like`, `dislike` and `skip`. It ends only when no other track
    passes its filter.

    Parameters
    ----------
    record, index : Record, Index
        Of the library; the index up to date with the record.
    space : Space
        Where to look.
    home : sequence of Query
        Where it begins; one or more.
    usual : Closeness
        Of the space.
    avoided : sequence of (Query, float)
        What to keep away from, and how much, 0 to 1.
    where : Filter, optional
        Only tracks that pass.
    rules : Variety, optional
        How it may not repeat itself; default `Variety()`.
    seed : int
        Another one, another order.
    note : callable, optional
        Called with "play", "like", "dislike" or "skip", and the track.
    unwanted : collection of int
        Tracks that never come, by their numbers in the index; what is to be kept away from never does.

    Raises
    ------
    InputError
        There is nothing to begin with.
    """

    def __init__(
        self,
        record: Record,
        index: Index,
        space: Space,
        home: Sequence[Query],
        usual: Closeness,
        avoided: Sequence[tuple[Query, float]] = (),
        where: Filter | None = None,
        rules: Variety | None = None,
        seed: int = 0,
        note: Note | None = None,
        unwanted: Collection[int] = (),
    ) -> None:
        if not home:
            raise InputError(
                "a radio wants something to begin with: give a track, or a profile that likes some"
            )
        self._record, self._index, self._space, self._usual = record, index, space, usual
        self._home, self._where, self._rules, self._note = list(home), where, rules or Variety(), note
        self._liked, self._avoided, self._left = list[Query](), list(avoided), list[tuple[Query, float]]()
        self._known: dict[int, Query] = {}  # tracks by their numbers in the index, read once
        self._near: dict[bytes, list[int]] = {}  # what was found near each sound that is followed
        self._heard = list[int]()
        self._dice = np.random.default_rng(seed)
        own = [int(query.like.id, 16) for query in self._home if query.like is not None and query.like.id]
        self._begun = set(own)
        own = [int(q.like.id, 16) for q, _ in avoided if q.like is not None and q.like.id]
        self._unwanted = {*own, *unwanted}

    def __iter__(self) -> "Radio":
        return self

    def __next__(self) -> Hit:
        follow = self._followed()
        found = self._pick(follow)
        while found is None and self._heard:  # all of a small library was heard: the oldest come again
            del self._heard[: max(1, len(self._heard) // 2)]
            self._near.clear()
            found = self._pick(follow)
        if found is None:
            raise StopIteration
        number, speaker = found
        self._heard = [*self._heard, number][-_HEARD:]
        chosen, by = self._known[number], follow[speaker][0]
        assert chosen.like is not None
        self._tell("play", chosen.like)
        cosine = float(chosen.vector @ by.vector)
        return hit_of(
            self._record,
            self._space,
            chosen.like,
            cosine,
            by,
            self._usual,
            follows=by.like is not None,
            moments=(),
        )

    def resume(
        self,
        heard: Sequence[str],
        liked: Sequence[str] = (),
        disliked: Sequence[str] = (),
        skipped: Sequence[str] = (),
    ) -> None:
        """Go on where another radio like this one stopped; nobody is told of what was said to that one.

        Parameters
        ----------
        heard : sequence of str
            Ids of what it played, oldest first.
        liked, disliked, skipped : sequence of str
            Ids of what was said of tracks, oldest first. Those that are no longer in the library are passed over.
        """
        numbers = [[int(id_, 16) for id_ in ids] for ids in (heard, liked, disliked, skipped)]
        self._read(list(dict.fromkeys(number for part in numbers for number in part)))
        played, likes, dislikes, skips = ([n for n in part if n in self._known] for part in numbers)
        self._heard = played[-_HEARD:]
        if heard:  # or the next track would be chosen with the dice of the first
            self._dice = np.random.default_rng([len(heard), *self._dice.integers(2**31, size=2).tolist()])
        for number in dislikes:
            self._avoid(self._known[number], 1.0)
        for number in skips:
            self._avoid(self._known[number], SKIP_WEIGHT)
        self._liked = [self._known[n] for n in likes if n not in {*dislikes, *skips}][-_LIKED:]

    def like(self, hit: Hit | None = None) -> None:
        """Follow a track from now on; by default the one just played."""
        query = self._said("like", hit)
        self._liked = [*(q for q in self._liked if q is not query), query][-_LIKED:]

    def dislike(self, hit: Hit | None = None) -> None:
        """Keep away from what sounds like a track, and never play it again; by default the one just played."""
        self._avoid(self._said("dislike", hit), 1.0)

    def skip(self, hit: Hit | None = None) -> None:
        """Keep a little away from what sounds like a track; by default the one just played."""
        self._avoid(self._said("skip", hit), SKIP_WEIGHT)

    # ---- inside

    def _said(self, what: str, hit: Hit | None) -> Query:
        if hit is None and not self._heard:
            raise InputError(f"nothing was played yet: there is nothing to {what}")
        number = self._heard[-1] if hit is None else int(hit.id, 16)
        self._read([number])
        if number not in self._known:
            raise InputError(f"the track {hit.id if hit else number} is not in the library any more")
        query = self._known[number]
        assert query.like is not None
        self._tell(what, query.like)
        return query

    def _avoid(self, query: Query, weight: float) -> None:
        assert query.like is not None
        self._liked = [q for q in self._liked if q is not query]
        self._left = [*(pair for pair in self._left if pair[0] is not query), (query, weight)][-_AVOIDED:]
        if weight == 1.0:
            self._unwanted.add(int(query.like.id, 16))

    def _tell(self, what: str, track: Track) -> None:
        if self._note is not None:
            self._note(what, track)

    def _followed(self) -> list[tuple[Query, float]]:
        """Return what the next track should be near, with weights."""
        follow = [(query, 1.0) for query in [*self._home, *self._liked]]
        last = self._known.get(self._heard[-1]) if self._heard else None
        if last is not None and all(last is not query for query, _ in [*follow, *self._left]):
            follow.append((last, _LAST))
        return follow

    def _pick(self, follow: Sequence[tuple[Query, float]]) -> tuple[int, int] | None:
        """Choose among what is near; what turns out to be a copy is looked past."""
        while numbers := self._candidates(follow):
            found = self._choose(numbers, follow)
            if found is not None:
                return found
        return None

    def _candidates(self, follow: Sequence[tuple[Query, float]]) -> list[int]:
        """Find tracks near each sound that were not heard yet."""
        heard = {*self._heard, *self._begun, *self._unwanted}
        found = dict[int, None]()
        for query, _ in follow:
            key = query.vector.tobytes()
            left = [number for number in self._near.get(key, ()) if number not in heard]
            if len(left) < _NEAR // 2:  # enough is left for a good choice, or it is looked for again
                near = self._index.search(self._space.id, query.vector, _NEAR, self._where, heard)
                left = self._near[key] = [number for number, _ in near]
            found.update(dict.fromkeys(left))
        self._near = {query.vector.tobytes(): self._near[query.vector.tobytes()] for query, _ in follow}
        numbers = sorted(found)
        self._read(numbers)
        return [number for number in numbers if number in self._known]

    def _read(self, numbers: Sequence[int]) -> None:
        new = [number for number in numbers if number not in self._known]
        if new:
            tracks = tracks_of(self._record, new)
            there = sorted(tracks)
            vectors = vectors_of(self._record, self._space, there) if there else ()
            self._known |= {n: Query(v, tracks[n]) for n, v in zip(there, vectors, strict=True)}

    def _choose(self, numbers: list[int], follow: Sequence[tuple[Query, float]]) -> tuple[int, int] | None:
        """Pick the next: its number, and the place in `follow` of what speaks most for it; None when all are copies."""
        before = [n for n in self._heard if n in self._known][-self._rules.window :]
        rows = [self._known[n] for n in (*before, *numbers)]
        vectors = np.stack([row.vector for row in rows])
        tracks = [row.like for row in rows if row.like is not None]
        speaks = self._evidence(vectors, follow)
        scores = speaks.sum(axis=1)
        if avoided := [*self._avoided, *self._left]:
            against = self._evidence(vectors, avoided).max(axis=1)
            scores = scores * np.maximum(1 - np.square(against / np.maximum(speaks.max(axis=1), 1e-9)), 1e-6)
        scores = scores * np.exp(_WANDER * self._dice.standard_normal(len(scores)))
        artists, albums = [t.artist for t in tracks], [t.album for t in tracks]
        struck = list(range(len(before)))
        while place := pick(scores, vectors, artists, albums, 1, self._rules, None, struck):
            number = int(tracks[place[0]].id, 16)
            if not self._was_heard(self._known[number]):
                return number, int(speaks[place[0]].argmax())
            self._begun.add(number)
            struck = [place[0], *struck]  # first, as if it had been heard before all the others
        return None

    def _was_heard(self, query: Query) -> bool:
        """Tell whether a track is a recording it began with, or also a version of what it played or is disliked."""
        heard = [*self._home, *(self._known[number] for number in self._heard if number in self._known)]
        heard += [other for other, weight in self._avoided if weight == 1.0]
        assert query.like is not None
        cosines = np.stack([other.vector for other in heard]) @ query.vector
        likely = likely_copies([query.like], [other.like for other in heard], cosines[None])[0]
        piece, played = (
            piece_of(query.like),
            slice(len(self._home), None),
        )  # what it began with may come in another version
        if any(
            other.like and are_versions(piece, piece_of(other.like), float(cosine))
            for other, cosine in zip(heard[played], cosines[played], strict=True)
        ):
            return True
        return any(
            is_copy_of(self._record, self._space, heard[place], query.like, float(cosines[place]))
            for place in np.flatnonzero(likely)
        )

    def _evidence(self, vectors: Array, others: Sequence[tuple[Query, float]]) -> NDArray[np.float64]:
        """Weigh what speaks for each vector being like each of the others, float64 (n, m)."""
        sounds = np.stack([query.vector for query, _ in others])
        known = np.array([query.is_known for query, _ in others])
        return self._usual.evidence(vectors, sounds, known) * np.array([weight for _, weight in others])
