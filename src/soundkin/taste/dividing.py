"""How plays are divided into what is learned from and what is asked for, so that nothing leaks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError
from soundkin.taste.matrix import Plays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SPLITS = ("time", "cold-track", "cold-artist")
"""Between what is learned from and what is asked for."""
HIDDEN = 0.2
"""Share of what each row has played, or of all plays by their time, that is held out."""
_COLD = 0.1  # of the tracks or artists


@dataclass(frozen=True)
class Divided:
    """Plays on two sides.

    Parameters
    ----------
    hidden : bool (m,)
        The entries that are asked for.
    left_out : bool (m,)
        Those that neither side has.
    candidates : bool (n,)
        The tracks that are ranked.
    """

    hidden: Bools
    left_out: Bools
    candidates: Bools


def divide(plays: Plays, latest: Floats, artists: Ints, split: str, seed: int = 0) -> Divided:
    """Split plays.

    Parameters
    ----------
    plays : Plays
        With m entries of n tracks.
    latest : float64 (m,)
        When each was, seconds since 1970.
    artists : int64 (n,)
        Numbers, below 0 where they are not known.
    split : str
        One of `SPLITS`, or "random": a fifth of each row.
    seed : int
        Of what is drawn.

    Returns
    -------
    Divided
        Of the latest fifth of all entries, of a tenth of the tracks, or of the tracks of a tenth of the artists.

    Raises
    ------
    InputError
        There is no such split.
    """
    nothing, every = np.zeros(len(plays.items), bool), np.ones(plays.width, bool)
    if split == "random":
        return Divided(hold_out(plays, seed), nothing, every)
    if split == "time":
        return Divided(latest > np.quantile(latest, 1 - HIDDEN), nothing, every)
    if split not in SPLITS:
        raise InputError(f"no split is called {split!r}; there are {', '.join(SPLITS)}")
    alone = artists.max(initial=0) + 1 + np.arange(plays.width)
    groups = np.where(artists >= 0, artists, alone) if split == "cold-artist" else np.arange(plays.width)
    played = np.unique(groups[plays.listeners > 0])
    drawn = np.random.default_rng(seed).permutation(played)[: max(1, round(_COLD * len(played)))]
    cold = np.isin(groups, drawn) & (plays.listeners > 0)
    return Divided(cold[plays.items], nothing, cold)


def warm_split(plays: Plays, latest: Floats | None, least: int) -> str:
    """Choose how tracks that others play are asked for.

    Parameters
    ----------
    plays : Plays
        With m entries.
    latest : float64 (m,) or None
        When each was; None where no times are known.
    least : int
        So many rows must have plays on both sides.

    Returns
    -------
    str
        "time" where the latest fifth leaves enough rows something on either side (sittings, which are over before,
        do not), else "random".
    """
    if latest is None or not len(latest):
        return "random"
    hidden = latest > np.quantile(latest, 1 - HIDDEN)
    later = np.bincount(plays.rows, hidden, plays.height)
    both = (later > 0) & (later < plays.sizes)
    return "time" if both.sum() >= least else "random"


def hold_out(plays: Plays, seed: int) -> Bools:
    """Choose entries to hide, a fifth of each row that has three or more; bool (m,)."""
    rng = np.random.default_rng(seed)
    order = rng.random(len(plays.items))
    place = np.lexsort((order, plays.rows))
    rank = np.empty(len(place), np.int64)
    rank[place] = np.arange(len(place)) - np.repeat(plays.starts[:-1], plays.sizes)
    most = np.maximum(1, (HIDDEN * plays.sizes).astype(np.int64)) * (plays.sizes >= 3)
    return rank < np.repeat(most, plays.sizes)
