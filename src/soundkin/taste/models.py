"""Collaborative filtering: from who played what to what else somebody would play.

Three models, chosen by size. `cosine` and `ease` compare tracks with tracks and are a few lines of numpy; `als` (and
`bpr`) make factors, with the package `implicit` of the extra ``cf``, for more tracks than a square table holds. All
score for somebody who was not there when they were made: that is all that serving ever asks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError, MissingExtra
from soundkin.taste.matrix import Plays

Array = NDArray[np.float32]
Ints = NDArray[np.int64]
Progress = Callable[[int, int], None]

FACTORS = 64
"""Of tracks and people, at most."""
METHODS = ("cosine", "ease", "als", "bpr")
"""What can be learned from plays."""
MOST_ITEMS = 8000
"""Tracks that are compared with each other: the most played; their table has 256 MB."""
_FEW_ROWS = 50  # fewer do not carry a regression
_EASE_LAMBDA = 100.0
_KEPT = 200  # neighbours of each track
_PER_FACTOR, _LEAST_FACTORS = 8, 4  # rows and tracks that carry a factor
_ALS_ROUNDS = 15
_BPR_SAMPLES, _BPR_ROUNDS = 3_000_000, (30, 300)  # small tables need more rounds of what is drawn
_REGULARISATION, _ALPHA = 0.05, 10.0


@dataclass(frozen=True)
class Model:
    """What was learned from plays: one of the two kinds.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    width : int
        How many tracks it scores.
    arrays : dict of str to ndarray
        "near" int32 (n, k) and "how" float32 (n, k): the neighbours of each track and what they gain by it; or
        "factors" float32 (n, f).
    """

    method: str
    width: int
    arrays: dict[str, NDArray[Any]]

    def scores(self, items: Ints, weights: Array) -> Array:
        """Score every track for somebody.

        Parameters
        ----------
        items : int64 (k,)
            What they played.
        weights : float32 (k,)
            How much.

        Returns
        -------
        float32 (width,)
            More is better; 0 where the model has nothing to say.
        """
        if "factors" in self.arrays:
            factors: Array = self.arrays["factors"]
            return factors @ fold_in(factors, items, weights)
        near, how = self.arrays["near"][items], self.arrays["how"][items]
        return np.bincount(
            near.ravel(), (how * _damped(weights)[:, None]).ravel(), minlength=self.width
        ).astype(np.float32)

    def why(self, items: Ints, weights: Array, item: int) -> int:
        """Return the place, among what somebody played, of the track that speaks most for another one; -1 for none.

        Parameters
        ----------
        items, weights : (k,)
            As for `scores`.
        item : int
            The other one.
        """
        if not len(items):
            return -1
        if "factors" in self.arrays:
            factors: Array = self.arrays["factors"]
            lengths = np.maximum(np.linalg.norm(factors[items], axis=1), 1e-12)
            gain = factors[items] @ factors[item] / lengths
        else:
            there = self.arrays["near"][items] == item
            gain = (self.arrays["how"][items] * there).sum(axis=1)
        gain = gain * _damped(weights)
        return int(gain.argmax()) if gain.max() > 0 else -1


def method_for(plays: Plays, is_here: bool) -> str:
    """Choose a method by size.

    Parameters
    ----------
    plays : Plays
        What there is to learn from.
    is_here : bool
        Whether the extra ``cf`` is installed.

    Returns
    -------
    str
        "cosine" for few rows, "ease" up to 8,000 tracks, and for more "als" or, without it, "ease" of the most played.
    """
    if (plays.sizes > 0).sum() < _FEW_ROWS:
        return "cosine"
    return "als" if is_here and (plays.listeners > 1).sum() > MOST_ITEMS else "ease"


def fit(plays: Plays, method: str, seed: int = 0, progress: Progress | None = None) -> Model:
    """Learn from plays.

    Parameters
    ----------
    plays : Plays
        At least two tracks that somebody played both.
    method : str
        One of `METHODS`.
    seed : int
        Of the first factors.
    progress : callable, optional
        Called with what is done, and of how much.

    Returns
    -------
    Model
        Of all tracks; of those that nobody played it knows nothing.

    Raises
    ------
    MissingExtra
        "als" and "bpr" need the extra ``cf``.
    InputError
        There is no such method.
    """
    if method in ("als", "bpr"):
        return Model(method, plays.width, {"factors": _factors(plays, method, seed, progress)})
    if method not in METHODS:
        raise InputError(f"method {method!r}; wanted one of {', '.join(METHODS)}")
    items = most_played(plays)
    table = together(plays, items, progress)
    table = _ease(table) if method == "ease" else normalised(table)
    np.fill_diagonal(table, 0)
    return Model(method, plays.width, _strongest(table, items, plays.width))


def most_played(plays: Plays, most: int = MOST_ITEMS) -> Ints:
    """Return the numbers of the tracks that at least two rows have, int64 (n,), ascending; of too many the first."""
    count = plays.listeners
    items = np.flatnonzero(count > 1)
    return np.sort(items[np.argsort(-count[items], kind="stable")][:most])


def together(plays: Plays, items: Ints, progress: Progress | None = None) -> Array:
    """Count in how many rows two tracks are together.

    Parameters
    ----------
    plays : Plays
        Of all tracks.
    items : int64 (n,)
        Which tracks to count, ascending.
    progress : callable, optional
        Called with rows done and in all.

    Returns
    -------
    float32 (n, n)
        Symmetric; on the diagonal how many rows have the track.
    """
    place = np.full(plays.width, -1)
    place[items] = np.arange(len(items))
    table = np.zeros((len(items), len(items)), np.float32)
    for number in range(plays.height):
        own = place[plays.row(number)[0]]
        own = own[own >= 0]
        table[np.ix_(own, own)] += 1  # a row has no track twice
        if progress and number % 1000 == 0:
            progress(number, plays.height)
    return table


def normalised(table: Array) -> Array:
    """Return counts of `together`, float32 (n, n), as cosines (Sarwar et al., WWW 2001)."""
    length = np.sqrt(np.maximum(np.diag(table), 1e-12))
    return np.asarray(table / length / length[:, None], np.float32)


def _ease(table: Array) -> Array:
    """Let every track be a linear sum of the others, B = P / -diag P, P = inv(G + lambda I) (Steck, WWW 2019)."""
    table[np.diag_indices_from(table)] += _EASE_LAMBDA
    inverse = np.linalg.inv(table)
    return np.asarray(inverse / -np.diag(inverse), np.float32)


def _strongest(table: Array, items: Ints, width: int) -> dict[str, NDArray[Any]]:
    """Keep the strongest entries of each row, in the numbers of all tracks."""
    kept = min(_KEPT, len(items))
    near, how = np.zeros((width, kept), np.int32), np.zeros((width, kept), np.float32)
    for begin in range(0, len(items), 512):
        rows = table[begin : begin + 512]
        best = np.argpartition(-np.abs(rows), kept - 1, axis=1)[:, :kept]
        near[items[begin : begin + 512]] = items[best]
        how[items[begin : begin + 512]] = np.take_along_axis(rows, best, axis=1)
    return {"near": near, "how": how}


def _factors(plays: Plays, method: str, seed: int, progress: Progress | None) -> Array:
    try:
        from implicit.als import AlternatingLeastSquares
        from implicit.bpr import BayesianPersonalizedRanking
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise MissingExtra(f"{method} needs implicit: pip install 'soundkin[cf]'") from error
    weights, wanted = _ALPHA * _damped(plays.weights), carried(plays)
    shape = plays.height, plays.width
    table = csr_matrix((weights, plays.items.astype(np.int32), plays.starts.astype(np.int32)), shape)
    if method == "als":
        made = AlternatingLeastSquares(
            wanted, regularization=_REGULARISATION, alpha=1.0, iterations=_ALS_ROUNDS, random_state=seed
        )
        rounds = _ALS_ROUNDS
    else:
        rounds = int(np.clip(_BPR_SAMPLES // max(len(weights), 1), *_BPR_ROUNDS))
        made = BayesianPersonalizedRanking(
            wanted, iterations=rounds, random_state=seed, verify_negative_samples=True
        )
    tell = (lambda number, *_: progress(number + 1, rounds)) if progress else None
    made.fit(table, show_progress=False, callback=tell)
    factors = np.array(made.item_factors, np.float32)
    factors[plays.listeners == 0] = 0
    return np.ascontiguousarray(factors)


def carried(plays: Plays) -> int:
    """Return how many factors a table carries: of more, a small one would be learned by heart."""
    size = min(int((plays.sizes > 0).sum()), int((plays.listeners > 0).sum()))
    return min(FACTORS, max(_LEAST_FACTORS, size // _PER_FACTOR))


def fold_in(factors: Array, items: Ints, weights: Array) -> Array:
    """Find the factors of somebody new, with those of the tracks fixed (Hu, Koren & Volinsky, ICDM 2008, eq. 4).

    Parameters
    ----------
    factors : float32 (n, f)
        Of the tracks.
    items : int64 (k,)
        What they played.
    weights : float32 (k,)
        How much.

    Returns
    -------
    float32 (f,)
        p = inv(Y'Y + Y'(C - I)Y + r I) Y'C 1, with confidences C = 1 + alpha * damped weight on what was played.
    """
    own = factors[items]
    more = (_ALPHA * _damped(weights))[:, None]
    left = _squares(factors) + (own * more).T @ own + _REGULARISATION * np.eye(factors.shape[1])
    return np.linalg.solve(left, (own * (1 + more)).sum(axis=0)).astype(np.float32)


def _squares(factors: Array) -> NDArray[np.float64]:
    return (factors.T @ factors).astype(np.float64)


def _damped(weights: Array) -> Array:
    """Return log2(1 + weight): the tenth play says less than the first."""
    return (np.log1p(weights) / np.log(2)).astype(np.float32)
