"""Sound and taste in one score that can be read: weighted z-scores, each weight shrunk by how much is known.

    score = (1 - w) z(sound) + w z(taste) + a z(artist) + p z(popularity),   w = min(1, W r(person) r(track))

r is evidence / (evidence + c): where nothing that a person has played is known, or nobody has played a track and
nothing tells who would, w is 0, and sound decides alone. Ranks are not fused: where one part is much weaker, as it
mostly is, that was measured to lose (docs/taste.md).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

PERSON = 3.0
"""Tracks that somebody has played that make their taste count half."""


@dataclass(frozen=True)
class Weights:
    """What the parts of a score count for somebody of whom all is known.

    Parameters
    ----------
    taste : float
        W above, 0 or more; sound has the rest of 1.
    artist, popularity : float
        Of how much somebody plays an artist, and of how many play a track; 0 or more.
    """

    taste: float = 0.7
    artist: float = 0.0
    popularity: float = 0.0


@dataclass(frozen=True)
class Parts:
    """What is known of candidates for one person; each float32 (n,).

    Parameters
    ----------
    sound, taste, artist, popularity : float32 (n,)
        z-scores.
    trust : float32 (n,)
        How much is known of each track's taste, 0 to 1.
    person : float
        And of the person's, 0 to 1.
    """

    sound: Array
    taste: Array
    artist: Array
    popularity: Array
    trust: Array
    person: float


def standard(values: NDArray[np.floating], known: NDArray[np.bool_] | None = None) -> Array:
    """Return values less their mean in deviations.

    Parameters
    ----------
    values : float (n,)
        Of candidates.
    known : bool (n,), optional
        Those that count; the others get 0.

    Returns
    -------
    float32 (n,)
        All 0 where all are equal.
    """
    out = np.zeros(len(values), np.float32)
    some = slice(None) if known is None else known
    chosen = np.asarray(values, np.float64)[some]
    if len(chosen) and (spread := chosen.std()) > 1e-9 * np.abs(chosen).max():
        out[some] = (chosen - chosen.mean()) / spread
    return out


def share(parts: Parts, weights: Weights) -> Array:
    """Return w of each candidate, float32 (n,): how much taste decides."""
    return np.minimum(1, np.float32(weights.taste * parts.person) * parts.trust)


def fuse(parts: Parts, weights: Weights) -> Array:
    """Return the score of each candidate, float32 (n,); see above."""
    w = share(parts, weights)
    more = weights.artist * parts.artist + weights.popularity * parts.popularity
    return ((1 - w) * parts.sound + w * parts.taste + np.float32(parts.person) * more).astype(np.float32)
