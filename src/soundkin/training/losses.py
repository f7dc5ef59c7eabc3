"""Contrastive losses.

Both pull the two views of a track together and push the views of different tracks apart, by the
cross-entropy of picking the right partner with logits ``cosine / temperature``. Where all similarities are
equal the partner is a guess, so `info_nce` is log N and `nt_xent` log(2N - 1).
"""

import torch
from torch import Tensor
from torch.nn import functional

# Finite, because a row of minus infinities has no gradient.
_NEVER = -1e9


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE: each row of `a` must find its partner among the rows of `b`, and the reverse.

    Parameters
    ----------
    a, b : float tensor (n, d)
        Two views of n tracks, row i of `a` belonging to row i of `b`. Any norm.
    temperature : float
        > 0; small values look at the hardest strangers only.

    Returns
    -------
    scalar tensor
        Nats: mean over both directions. Van den Oord et al., 2018, equation 4, with cosines as in CLIP
        (Radford et al., 2021).
    """
    logits = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / temperature
    target = torch.arange(len(a), device=a.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def nt_xent(a: Tensor, b: Tensor, temperature: float, kin: Tensor | None = None) -> Tensor:
    """NT-Xent: among all other views of the batch, each view must find its partner.

    Parameters
    ----------
    a, b : float tensor (n, d)
        Two views of n tracks, row i of `a` belonging to row i of `b`. Any norm.
    temperature : float
        > 0.
    kin : bool tensor (n, n), optional
        True where two different tracks must not be pushed apart (of one album, say); the diagonal is ignored.

    Returns
    -------
    scalar tensor
        Nats: mean over the 2n views. Chen et al. (SimCLR), 2020, equation 1.
    """
    n = len(a)
    z = functional.normalize(torch.cat([a, b]), dim=1)
    logits = z @ z.T / temperature
    hidden = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    if kin is not None:
        strangers_only = kin & ~torch.eye(n, dtype=torch.bool, device=z.device)
        hidden = hidden | strangers_only.repeat(2, 2)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return functional.cross_entropy(logits.masked_fill(hidden, _NEVER), partner)
