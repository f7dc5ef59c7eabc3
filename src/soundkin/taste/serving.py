"""What a trained taste says to one person: candidates, a score beside that of sound, and reasons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Space
from soundkin.recommend import Hit
from soundkin.taste.candidates import Listener, features
from soundkin.taste.cold import DIMS
from soundkin.taste.fusing import Parts, fuse, share
from soundkin.taste.training import Trained

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPACE = Space("taste", "", "plays", 0.0, 0.0, "all", "factors", DIMS)
"""Of taste vectors; training again replaces them all."""
_MOST_NAMED = 500
_PARTS = ("sound", "taste", "tags")


class TasteOfOne:
    """What such people play, for one of them; see `recommend.second.Second`.

    Parameters
    ----------
    trained : Trained
        What the library has learned.
    played : mapping of int to float
        What the person has played and liked, by the numbers of an index, with weights.
    usual, usual_nearest : (float, float)
        Mean and deviation, among tracks drawn at random, of what speaks for them by sound, and of the nearest's part.
    name : callable
        Given the number of a track, what people call it.
    """

    def __init__(
        self,
        trained: Trained,
        played: Mapping[int, float],
        usual: tuple[float, float],
        usual_nearest: tuple[float, float],
        name: Callable[[int], str],
    ) -> None:
        self._trained, self._usual, self._usual_nearest, self._name = trained, usual, usual_nearest, name
        self._order = np.argsort(trained.numbers, kind="stable")
        self._sorted = trained.numbers[self._order]
        places = self._places(list(played))
        here = places >= 0
        self._items = places[here]
        self._weights = np.array(list(played.values()), np.float32)[here]
        taste = trained.taste
        silent = np.zeros(len(trained.numbers), np.float32)
        self._parts = taste.parts(silent, self._items, self._weights, trained.artists)
        self._listener = Listener.of(
            taste, self._parts.popularity, self._items, self._weights, trained.artists
        )
        self._told: dict[int, list[float]] = {}

    @property
    def is_silent(self) -> bool:
        """Whether taste has nothing to say to this person."""
        return not (self._parts.person and share(self._parts, self._trained.taste.weights).any())

    def candidates(self, n: int) -> frozenset[int]:
        """Name the n tracks that taste is for most; see `Second`."""
        if self.is_silent:
            return frozenset()
        said = fuse(self._parts, self._trained.taste.weights)
        said[self._items] = -np.inf
        count = min(n, _MOST_NAMED, len(said))
        best = np.argpartition(-said, count - 1)[:count]
        return frozenset(self._trained.numbers[best[np.isfinite(said[best])]].tolist())

    def fuse(self, numbers: Sequence[int], scores: Floats, nearest: Floats) -> Floats:
        """Weigh what sound says and what taste says; see `Second`."""
        weights = self._trained.taste.weights
        parts = self._of(numbers, _standing(scores, self._usual))
        both, w = fuse(parts, weights), share(parts, weights)
        ranker = self._trained.taste.ranker
        if ranker is not None and self._trained.taste.ranks:
            near = _standing(nearest, self._usual_nearest)
            both = ranker.scores(features(parts, both, near, self._vectors(numbers), self._listener))
        said = np.stack(
            [(1 - w) * parts.sound, w * parts.taste + parts.person * weights.popularity * parts.popularity,
             parts.person * weights.artist * parts.artist], axis=1,
        )  # fmt: skip
        for_it = np.maximum(said, 0)
        shares = 100 * for_it / np.maximum(for_it.sum(axis=1, keepdims=True), 1e-9)
        self._told = dict(zip(numbers, shares.tolist(), strict=True))
        forbidden = scores < 0
        fused = both - both.min() + 1e-3
        return np.where(forbidden, scores, fused).astype(np.float64)

    def explained(self, hit: Hit) -> Hit:
        """Say which part spoke for a hit, and what is played by those who play it; see `Second`."""
        number = int(hit.id, 16)
        shares = zip(_PARTS, self._told.get(number, ()), strict=False)
        spoke = sorted(((round(share), part) for part, share in shares if round(share)), reverse=True)
        told = [", ".join(f"{part} {share} %" for share, part in spoke)] if spoke else []
        place = int(self._places([number])[0])
        why = self._trained.taste.model.why(self._items, self._weights, place) if place >= 0 else -1
        if why >= 0:
            told.append(f"goes with {self._name(int(self._trained.numbers[self._items[why]]))}")
        return replace(hit, reasons=(*told, *hit.reasons))

    def _of(self, numbers: Sequence[int], sound: Array) -> Parts:
        """Return the parts of some tracks; those that came since the training are known by sound alone."""
        places = self._places(numbers)
        here, parts = places >= 0, self._parts
        taste, artist, popularity, trust = (
            np.where(here, values[places], np.float32(0))
            for values in (parts.taste, parts.artist, parts.popularity, parts.trust)
        )
        return Parts(sound, taste, artist, popularity, trust, parts.person)

    def _vectors(self, numbers: Sequence[int]) -> Array:
        """Return taste vectors of some tracks, 0 for those that came since the training."""
        places = self._places(numbers)
        return np.where(places[:, None] >= 0, self._trained.taste.guess.vectors[places], np.float32(0))

    def _places(self, numbers: Sequence[int]) -> Ints:
        """Return where tracks stand in what was learned, -1 for those that were not there."""
        wanted = np.array(numbers, np.uint64)
        if not len(self._sorted):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return np.where(self._sorted[at] == wanted, self._order[at], -1).astype(np.int64)


def _standing(values: Floats, usual: tuple[float, float]) -> Array:
    mean, deviation = usual
    return ((values - mean) / deviation).astype(np.float32)
