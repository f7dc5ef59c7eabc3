"""What a learned order is told of each candidate: nothing that serving does not know, and nothing of what comes later.

All is computed from one side of divided plays: the model, the listeners of a track, and what a person has played. What
was held out only says which candidates were right. And only candidates that serving would bring are judged: those that
it would not, added because they are right, were measured to turn the order upside down.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from soundkin.recommend import Closeness
from soundkin.recommend.closeness import surprise
from soundkin.taste.cold import NOBODY, has_any
from soundkin.taste.fusing import Parts, fuse, standard
from soundkin.taste.learning import Taste
from soundkin.taste.ranker import FEATURES

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SPEAK = 32
"""Of what somebody has played, so many are compared with every track."""
_BY_SCORE, _BY_SOUND = 200, 100  # candidates that serving brings, about


@dataclass(frozen=True)
class Hearing:
    """How the tracks of a collection sound to each other.

    Parameters
    ----------
    sound : float32 (n, d)
        Of unit length; 0 where there is none.
    known : bool (n,)
        Which have one.
    closeness : Closeness
        What is usual among them.
    usual : (float64 (n,), float64 (n,)) or None
        And for each of them: it takes longest, and is the same whoever asks. None where too few can be heard to say.
    """

    sound: Array
    known: Bools
    closeness: Closeness
    usual: tuple[Floats, Floats] | None

    @classmethod
    def of(cls, sound: Array) -> Self:
        """Listen to vectors, float32 (n, d), of unit length, 0 where there is none."""
        known = has_any(sound)
        rows = sound[known]
        closeness = Closeness.of(rows[:: max(1, len(rows) // 4000)], len(rows))
        return cls(sound, known, closeness, closeness.usual(sound) if closeness.is_told else None)

    def scores(self, items: Ints, weights: Array) -> tuple[Array, Array]:
        """Score all tracks by how they sound like what somebody has played.

        Parameters
        ----------
        items, weights : (k,)
            What was played, and how much; the first 32 by weight speak.

        Returns
        -------
        total, nearest : float32 (n,)
            z-scores of what speaks for each, as `recommend.blend` adds it up, and of what the nearest alone says.
        """
        own = items[np.argsort(-weights, kind="stable")]
        own = own[self.known[own]][:SPEAK]
        if not len(own):
            return np.zeros(len(self.sound), np.float32), np.zeros(len(self.sound), np.float32)
        if self.usual is None:
            evidence = self.closeness.evidence(self.sound, self.sound[own])
        else:
            mean, deviation = self.usual
            evidence = surprise(self.sound @ self.sound[own].T, self.usual, (mean[own], deviation[own]))
        return standard(evidence.sum(axis=1), self.known), standard(evidence.max(axis=1), self.known)


@dataclass(frozen=True)
class Listener:
    """What is known of a person, whatever the candidate.

    Parameters
    ----------
    direction : float32 (d,)
        Where their taste points, of unit length; 0 where nothing is known.
    spoken : float32 (k, d)
        Taste vectors of what they played most.
    mainstream : float
        How popular that is, a mean z-score.
    breadth : float
        How far apart it is: 0 all the same, 1 everything.
    faithful : float
        How much of it is by artists who are in it more than once, 0 to 1.
    """

    direction: Array
    spoken: Array
    mainstream: float
    breadth: float
    faithful: float

    @classmethod
    def of(cls, taste: Taste, popularity: Array, items: Ints, weights: Array, artists: Ints) -> Self:
        """Say it of somebody.

        Parameters
        ----------
        taste : Taste
            What was learned.
        popularity : float32 (n,)
            z-scores of all tracks.
        items, weights : (k,)
            What they have played, and how much.
        artists : int64 (n,)
            Numbers, `cold.NOBODY` where it is not known.
        """
        vectors = taste.guess.vectors[items]
        sum_ = np.log1p(weights) @ vectors
        length = float(np.linalg.norm(sum_))
        own, n = artists[items], max(len(items), 1)
        _, which, count = np.unique(own, return_inverse=True, return_counts=True)
        again = (count[which] > 1) & (own != NOBODY)
        most = np.argsort(-weights, kind="stable")[:SPEAK]
        return cls(
            (sum_ / max(length, 1e-9)).astype(np.float32), vectors[most],
            float(popularity[items].mean()) if len(items) else 0.0,
            1 - length / max(float(np.log1p(weights).sum()), 1e-9), float(again.sum() / n),
        )  # fmt: skip


def features(parts: Parts, fused: Array, nearest: Array, vectors: Array, listener: Listener) -> Array:
    """Say what is known of candidates.

    Parameters
    ----------
    parts : Parts
        Of m candidates.
    fused : float32 (m,)
        What `fusing.fuse` makes of them.
    nearest : float32 (m,)
        z-scores of what the nearest sound alone says.
    vectors : float32 (m, d)
        Their taste vectors; 0 where nothing is known.
    listener : Listener
        Who asks.

    Returns
    -------
    float32 (m, features)
        In the order of `ranker.FEATURES`.
    """
    near = vectors @ listener.direction
    closest = (vectors @ listener.spoken.T).max(axis=1, initial=-1.0) if len(listener.spoken) else near
    columns = {
        "score": fused, "sound": parts.sound, "nearest": nearest, "taste": parts.taste, "near": near,
        "closest": closest, "artist": parts.artist, "popularity": parts.popularity, "trust": parts.trust,
        "person": parts.person, "mainstream": listener.mainstream, "breadth": listener.breadth,
        "faithful": listener.faithful,
    }  # fmt: skip
    out = np.empty((len(vectors), len(FEATURES)), np.float32)
    for i, name in enumerate(FEATURES):
        out[:, i] = columns[name]
    return out


@dataclass(frozen=True)
class Question:
    """Somebody who asks, and what is known of all tracks for them.

    Parameters
    ----------
    taste : Taste
        What was learned, without what is asked for.
    parts : Parts
        Of all tracks.
    nearest : float32 (n,)
        As for `features`.
    items : int64 (k,)
        What they have played.
    listener : Listener
        Who asks.
    """

    taste: Taste
    parts: Parts
    nearest: Array
    items: Ints
    listener: Listener

    @classmethod
    def of(cls, taste: Taste, hearing: Hearing, artists: Ints, items: Ints, weights: Array) -> Self:
        """Put together what is known.

        Parameters
        ----------
        taste : Taste
            What was learned.
        hearing : Hearing
            Of the collection.
        artists : int64 (n,)
            Numbers, `cold.NOBODY` where it is not known.
        items, weights : (k,)
            What somebody has played, and how much.
        """
        total, nearest = hearing.scores(items, weights)
        parts = taste.parts(total, items, weights, artists)
        listener = Listener.of(taste, parts.popularity, items, weights, artists)
        return cls(taste, parts, nearest, items, listener)

    def fused(self) -> Array:
        """Return the transparent score of all tracks, float32 (n,)."""
        return fuse(self.parts, self.taste.weights)

    def retrieved(self, allowed: Bools) -> Ints:
        """Return the candidates that serving would bring, of those that are allowed, bool (n,); int64 (m,)."""
        allowed = allowed.copy()
        allowed[self.items] = False
        places = np.flatnonzero(allowed)
        best = [
            places[np.argpartition(-scores[places], most)[:most]] if len(places) > most else places
            for scores, most in ((self.fused(), _BY_SCORE), (self.parts.sound, _BY_SOUND))
        ]
        return np.union1d(*best)

    def features(self, at: Ints) -> Array:
        """Return what is known of some tracks, int64 (m,); float32 (m, features)."""
        p = self.parts
        some = Parts(p.sound[at], p.taste[at], p.artist[at], p.popularity[at], p.trust[at], p.person)
        fused = fuse(some, self.taste.weights)
        return features(some, fused, self.nearest[at], self.taste.guess.vectors[at], self.listener)

    def ranked(self, allowed: Bools) -> Array:
        """Return scores of all tracks, float32 (n,): candidates as the ranker orders them, and then the others.

        Parameters
        ----------
        allowed : bool (n,)
            Of which candidates are brought.
        """
        assert self.taste.ranker is not None
        fused, at = self.fused(), self.retrieved(allowed)
        out = fused - np.float32(np.ptp(fused) + 1)
        said = self.taste.ranker.scores(self.features(at))
        out[at] = fused.max(initial=0) + 1 + said - said.min(initial=0)
        return out
