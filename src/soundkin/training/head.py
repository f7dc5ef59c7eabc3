"""The last layer in closed form: where tracks differ most, and the windows of one track least.

Linear discriminant analysis (Fisher, 1936; Rao, 1948) with tracks as classes. It is what a contrastive loss
asks of a linear layer, found exactly and in seconds: speaker recognition ends the same way (Dehak et al.,
2011).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def discriminants(
    tracks: Iterable[Tensor],
    weights: Sequence[float],
    dims: int,
    shrinkage: float,
    flatten: float,
    nuisance: Tensor | None = None,
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
        power of minus this: 0.5 makes all equally strong, 0 leaves the strong ones dominant, less makes them
        more so.
    nuisance : float tensor (d, d), optional
        Second moments of changes that are to move a track as little as possible, on the scale of the features'
        covariance; see `second_moments`. Added to the within-track covariance.

    Returns
    -------
    weight : float tensor (dims, d)
        Rows beyond what the tracks can span are zero.
    bias : float tensor (dims,)
        So that the weighted mean of the tracks maps to zero.
    """
    rows, within = [], None
    share = torch.tensor(weights, dtype=torch.float64)
    share = share / share.sum()
    for w, x in zip(share, tracks, strict=True):
        mean = x.double().mean(0)
        spread = x.double() - mean
        update = (w / len(x)) * (spread.T @ spread)
        within = update if within is None else within.add_(update)
        rows.append(mean)
    assert within is not None
    means = torch.stack(rows)
    centre = share @ means
    between = (means - centre) * share.sqrt()[:, None]
    within.diagonal().add_(shrinkage * within.diagonal().mean() + 1e-12)
    if nuisance is not None:
        within.add_(nuisance.double())
    # With within = L L', the discriminants are the singular directions of the track means in L^-1 x.
    lower = torch.linalg.cholesky(within)
    scaled = torch.linalg.solve_triangular(lower, between.T, upper=False)
    directions, strength, _ = torch.linalg.svd(scaled, full_matrices=False)
    found = min(dims, int((strength > 1e-6 * strength[0]).sum()))
    rows = torch.linalg.solve_triangular(lower.T, directions[:, :found], upper=True).T
    weight = torch.zeros(dims, within.shape[0], dtype=torch.float64)
    weight[:found] = rows * strength[:found, None] ** (-2 * flatten)
    return weight.float(), -(weight @ centre).float()


def second_moments(changes: Iterable[Tensor], weights: Sequence[float]) -> Tensor:
    """Average the outer products of changes with themselves.

    A window moves at random from one to the next, and the mean of a track's windows lets that fade; a codec moves
    all of them the same way. So what it does counts for itself, beside the scatter of windows.

    Parameters
    ----------
    changes : iterable of float tensor (n, d)
        What was changed less what it was, for the windows of each track, or for their mean.
    weights : sequence of float
        How much each track counts; any scale.

    Returns
    -------
    float64 tensor (d, d)
        Symmetric; not about the mean.
    """
    result, total = None, 0.0
    for weight, change in zip(weights, changes, strict=True):
        x = change.double()
        update = (weight / len(x)) * (x.T @ x)
        result = update if result is None else result.add_(update)
        total += weight
    assert result is not None
    return result / total
