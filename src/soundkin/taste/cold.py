"""Taste vectors: from what people play, and for tracks that nobody played from their sound, artist and album.

The vectors of tracks that were played come from the model; a ridge regression learns to tell them from sound, and the
mean of what else is known of an artist and an album is mixed in, the more the more there is of it (semi-cold tracks are
most of the new ones: Tamm et al., arXiv 2604.07090). How far a guess can be trusted is measured on artists that were
held out: where taste cannot be heard, that is nothing, and guesses then count for nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.taste.matrix import Plays
from soundkin.taste.models import FACTORS, Model, carried, most_played, normalised, together

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DIMS = FACTORS
"""Length of a taste vector."""
_SPARE, _ROUNDS = 16, 6  # of the iteration that finds the leading directions
_PLAYED = 5.0  # rows that make a track's own vector count half
_MATES = 1.0  # tracks, as sure as they come, that make an artist's or album's mean count half
_RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_HELD, _LEAST_HELD = 0.2, 20  # share of artists that are held out; fewer tracks of them measure nothing
NOBODY = -1
"""The number of an artist or album that is not known."""


@dataclass(frozen=True)
class Guess:
    """Taste vectors of all tracks.

    Parameters
    ----------
    vectors : float32 (n, `DIMS`)
        Of unit length; 0 where nothing is known.
    trust : float32 (n,)
        How sure each is, 0 to 1.
    by_sound, by_artist : float
        What a guess from sound alone, of artists that were held out, and one with others of the artist or album, of
        tracks that were held out, had in common with the truth (mean cosine); 0 where that is no more than chance.
    """

    vectors: Array
    trust: Array
    by_sound: float
    by_artist: float


def directions(plays: Plays, model: Model, seed: int = 0) -> Array:
    """Return where played tracks stand among each other.

    Parameters
    ----------
    plays : Plays
        That the model was learned from.
    model : Model
        Its factors, or without such the leading eigenvectors of the cosines of its tracks (by subspace iteration:
        Halko et al., SIAM Review 53, 2011), scaled by the roots of their values.
    seed : int
        Of the iteration.

    Returns
    -------
    float32 (width, `DIMS`)
        Of unit length around the mean of all; 0 for a track that nobody played.
    """
    out = np.zeros((plays.width, DIMS), np.float32)
    if "factors" in model.arrays:
        found: Array = model.arrays["factors"][:, :DIMS]
        items = np.flatnonzero(found.any(axis=1))
        found = found[items]
    else:
        items = most_played(plays)
        found = _leading(normalised(together(plays, items)), carried(plays), seed)
    if len(items):
        found = unit(found)
        out[items, : found.shape[1]] = unit(found - found.mean(axis=0))
    return out


def guess(known: Array, listeners: Ints, sound: Array, artists: Ints, albums: Ints, seed: int = 0) -> Guess:
    """Tell where tracks stand that nobody played.

    Parameters
    ----------
    known : float32 (n, `DIMS`)
        As `directions` gives them.
    listeners : int64 (n,)
        How many rows have each track.
    sound : float32 (n, d)
        Of unit length; 0 where there is none.
    artists, albums : int64 (n,)
        Numbers, `NOBODY` where it is not known.
    seed : int
        Of the artists that are held out.

    Returns
    -------
    Guess
        Played tracks keep their own vectors, drawn towards their guesses the less they were played.
    """
    weights = np.where(has_any(known), listeners / (listeners + _PLAYED), 0.0)
    is_learned = weights > 0
    is_heard = has_any(sound)
    learn = is_learned & is_heard
    strength, by_sound = _strength(known, weights, sound, artists, learn, seed)
    mapped = _ridge(known, weights, sound, learn, strength) if by_sound else np.zeros_like(known)
    others, mates = _mixed(mapped, known, weights, artists, albums)
    by_artist = _worth_of_mates(known, weights, sound, artists, albums, strength if by_sound else None, seed)
    own = np.where(is_learned, listeners / (listeners + _PLAYED), 0.0)
    vectors = unit(own[:, None] * known + (1 - own)[:, None] * others)
    guessed = np.where(mates > 0, by_artist, np.where(is_heard, by_sound, 0.0))
    trust = own + (1 - own) * guessed
    return Guess(vectors, np.where(has_any(vectors), trust, 0).astype(np.float32), by_sound, by_artist)


def unit(rows: NDArray[np.floating]) -> Array:
    """Return vectors, (n, d), as float32 of unit length; what has none stays 0."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(lengths > 1e-9, rows / np.maximum(lengths, 1e-9), 0).astype(np.float32)


def has_any(rows: Array) -> Bools:
    """Tell which vectors, (n, d), are not 0 all over; bool (n,)."""
    return np.asarray(rows.any(axis=1))


def _leading(table: Array, wanted: int, seed: int) -> Array:
    n = len(table)
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((n, min(n, wanted + _SPARE))).astype(np.float32)
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(table @ basis)
    values, turned = np.linalg.eigh(basis.T @ (table @ basis))
    best = np.argsort(-values)[:wanted]
    return np.asarray(basis @ turned[:, best] * np.sqrt(np.maximum(values[best], 0)), np.float32)


def _strength(
    known: Array, weights: Floats, sound: Array, artists: Ints, learn: Bools, seed: int
) -> tuple[float, float]:
    """Choose how hard the regression is held back, on artists that it has not seen, and say how well it tells them."""
    alone = artists.max(initial=0) + 1 + np.arange(len(artists))  # who is nobody is one of a kind
    names, group = np.unique(np.where(artists == NOBODY, alone, artists)[learn], return_inverse=True)
    held = np.zeros(len(learn), bool)
    held[learn] = (np.random.default_rng(seed).random(len(names)) < _HELD)[group]
    if held.sum() < _LEAST_HELD or (learn & ~held).sum() < _LEAST_HELD:
        return _RIDGES[-1], 0.0
    tried = [
        (_agreement(_ridge(known, weights, sound, learn & ~held, r), known, weights, held), r)
        for r in _RIDGES
    ]
    best, strength = max(tried)
    return strength, _beyond_chance(best, int(held.sum()))


def _worth_of_mates(
    known: Array,
    weights: Floats,
    sound: Array,
    artists: Ints,
    albums: Ints,
    strength: float | None,
    seed: int,
) -> float:
    """Say how well tracks are told by sound (where a strength is given) and by others of their artist and album.

    Those that are asked about are held out of both: neither the regression nor the means have seen them.
    """
    held = (np.random.default_rng(seed).random(len(known)) < _HELD) & (weights > 0)
    left = np.where(held, 0.0, weights)
    learn = (left > 0) & has_any(sound)
    if strength is None or not learn.any():
        mapped = np.zeros_like(known)
    else:
        mapped = _ridge(known, weights, sound, learn, strength)
    told, mates = _mixed(mapped, known, left, artists, albums)
    asked = held & (mates > 0)
    if asked.sum() < _LEAST_HELD:
        return 0.0
    return _beyond_chance(_agreement(told, known, weights, asked), int(asked.sum()))


def _beyond_chance(cosine: float, n: int) -> float:
    """Return a mean cosine of n tracks; 0 where chance alone brings it this far, or half as far."""
    return cosine if cosine > 2 / np.sqrt(n * DIMS) else 0.0


def _ridge(known: Array, weights: Floats, sound: Array, learn: Bools, strength: float) -> Array:
    """Learn to tell taste from sound where `learn` is set; return what it tells of all, (n, `DIMS`)."""
    rows, root = sound[learn].astype(np.float64), np.sqrt(weights[learn])[:, None]
    middle = np.average(rows, axis=0, weights=weights[learn])
    rows = (rows - middle) * root
    left = rows.T @ rows + strength * np.eye(rows.shape[1])
    solved = np.linalg.solve(left, rows.T @ (known[learn] * root))
    told = (sound - middle.astype(np.float32)) @ solved.astype(np.float32)
    return np.where(has_any(sound)[:, None], told, 0).astype(np.float32)


def _mixed(mapped: Array, known: Array, weights: Floats, artists: Ints, albums: Ints) -> tuple[Array, Floats]:
    """Mix what else is known of artist and album into guesses; also say how much that is. No track sees itself."""
    out, mates = mapped.astype(np.float64), np.zeros(len(known))
    own = weights[:, None] * known
    for groups in (artists, albums):
        named = groups != NOBODY
        number = np.where(named, groups, 0)
        most = int(number.max(initial=0)) + 1
        total = np.bincount(number[named], weights[named], most)
        sums = np.stack([np.bincount(number[named], column[named], most) for column in own.T], axis=1)
        others = np.where(named, np.maximum(total[number] - weights, 0), 0.0)
        rest = np.where(named[:, None], sums[number] - own, 0.0)
        out = (rest + _MATES * out) / (others + _MATES)[:, None]
        mates = np.maximum(mates, np.where(others > 1e-9, others, 0.0))
    return out.astype(np.float32), mates


def _agreement(told: Array, known: Array, weights: Floats, where: Bools) -> float:
    """Return the weighted mean cosine of guesses and truth, not below 0."""
    if not where.any():
        return 0.0
    cosines = (unit(told[where]) * known[where]).sum(axis=1)
    return max(0.0, float(np.average(cosines, weights=weights[where])))
