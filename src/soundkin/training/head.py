"""The last layer in closed form: where tracks differ most, and the windows of one track least.

Linear discriminant analysis (Fisher, 1936; Rao, 1948) with tracks as classes. It is what a contrastive loss
asks of a linear layer, found exactly and in seconds: speaker recognition ends the same way (Dehak et al.,
2011).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def discriminants(
    tracks: Iterable[Tensor], weights: Sequence[float], dims: int, shrinkage: float, flatten: float
) -> tuple[Tensor, Tensor]:
    """Find the linear layer that tells tracks apart.

    Parameters
    ----------
    tracks : iterable of float tensor (windows, d)
        The features of each track's windows.
    weights : sequence of float
        How much each track counts; any scale.
    dims : int
        Directions wanted.
    shrinkage : float
        Added to the within-track covariance: this times its mean eigenvalue. More is smoother.
    flatten : float
        Each direction, of unit variance within tracks, is multiplied by its variance between tracks to the
        power of minus this: 0 leaves the strongest directions dominant, 0.5 makes all equally strong.

    Returns
    -------
    weight : float tensor (dims, d)
        Rows beyond what the tracks can span are zero.
    bias : float tensor (dims,)
        So that the weighted mean of the tracks maps to zero.
    """
    means, within = [], None
    share = torch.tensor(weights, dtype=torch.float64)
    share = share / share.sum()
    for w, x in zip(share, tracks, strict=True):
        mean = x.double().mean(0)
        spread = x.double() - mean
        update = (w / len(x)) * (spread.T @ spread)
        within = update if within is None else within.add_(update)
        means.append(mean)
    assert within is not None
    centre = share @ torch.stack(means)
    between = (torch.stack(means) - centre) * share.sqrt()[:, None]
    within.diagonal().add_(shrinkage * within.diagonal().mean() + 1e-12)
    # With within = L L', the discriminants are the singular directions of the track means in L^-1 x.
    lower = torch.linalg.cholesky(within)
    scaled = torch.linalg.solve_triangular(lower, between.T, upper=False)
    directions, strength, _ = torch.linalg.svd(scaled, full_matrices=False)
    found = min(dims, int((strength > 1e-6 * strength[0]).sum()))
    rows = torch.linalg.solve_triangular(lower.T, directions[:, :found], upper=True).T
    weight = torch.zeros(dims, within.shape[0], dtype=torch.float64)
    weight[:found] = rows * strength[:found, None] ** (-2 * flatten)
    return weight.float(), -(weight @ centre).float()
