"""From windows to a track: ways to pool, to compare with an encoder's own."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import unit

Array = NDArray[np.float32]

# Each takes window vectors, float32 (w, d), and gives a track vector of unit length. Parts that are joined count alike.
POOLINGS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda windows: unit(windows.mean(axis=0)),
    "max": lambda windows: unit(windows.max(axis=0)),
    "mean+max": lambda windows: _joined(windows.mean(axis=0), windows.max(axis=0)),
    "mean+std": lambda windows: _joined(windows.mean(axis=0), windows.std(axis=0)),
}


def _joined(*parts: Array) -> Array:
    return unit(np.concatenate([unit(part) for part in parts]))


def halves(starts: Array, least: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Deal the windows of a track into two halves that share no sound: every other window, in order of time.

    Parameters
    ----------
    starts : float32 (w,)
        Where windows begin, seconds.
    least : float
        Length of a window, seconds. Windows that begin earlier than that after the last one kept are left out.

    Returns
    -------
    even, odd : int64
        Numbers of windows; `odd` is empty when only one is left.
    """
    kept: list[int] = []
    for number in np.argsort(starts, kind="stable").tolist():
        # A hundredth of slack: starts are float32, and windows that touch are disjoint.
        if not kept or starts[number] - starts[kept[-1]] >= least - 0.01:
            kept.append(number)
    return np.array(kept[::2], np.int64), np.array(kept[1::2], np.int64)
