"""Groups that nobody asked to be there: what lies close together, and nothing else."""

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import must_be_finite, unit
from soundkin.errors import InputError
from soundkin.explore.projection import extra, principal
from soundkin.recommend.clusters import by_size

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

LEAST = 10
_REDUCED = 50


def natural(vectors: Array) -> Ints:
    """Group what lies close together (HDBSCAN: Campello et al., 2013), and leave out what belongs to nothing.

    Parameters
    ----------
    vectors : float32 (n, d)
        Ten or more.

    Returns
    -------
    int64 (n,)
        Cluster numbers, the largest is 0; `recommend.clusters.UNASSIGNED` for none.

    Raises
    ------
    InputError
        Too few vectors, or one that is not finite.
    MissingExtra
        scikit-learn is not installed.
    """
    n = len(vectors)
    if n < LEAST:
        raise InputError(f"{n} tracks came; {LEAST} or more are needed for clusters that mean something")
    must_be_finite(vectors)
    module = extra("sklearn.cluster")
    centred = unit(vectors) - unit(vectors).mean(axis=0)
    reduced = principal(centred, min(_REDUCED, *centred.shape))
    least = max(5, n // 100)
    return by_size(module.HDBSCAN(min_cluster_size=least, min_samples=5, copy=True).fit_predict(reduced))
