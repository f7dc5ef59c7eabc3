"""Augmentations of log-mels, on whole batches. Each takes and returns decibels, float (n, n_mels, frames)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from soundkin.training.recipes import Augment

_NEPER = math.log(10) / 10  # decibels of power -> natural logarithm
_KNOTS = 6
_NOISE_RANGE_DB = 80.0
_LOWEST_CUTOFF = 0.625  # of the bands
_FADE_DB_PER_BAND, _FADE_DB = 4.0, 60.0


def augmented(x: Tensor, how: Augment, random: torch.Generator) -> Tensor:
    """Apply a recipe's augmentations: what happens in the air first, then the codec, then masks.

    Parameters
    ----------
    x : float tensor (n, n_mels, frames)
        Decibels; not changed.
    how : Augment
        Which, and how strong.
    random : torch.Generator
        The source of chance.

    Returns
    -------
    float tensor (n, n_mels, frames)
        Decibels.
    """
    if how.mix:
        x = mixed(x, how.mix, random)
    if how.pitch_bands:
        x = shifted(x, how.pitch_bands, random)
    if how.equalise_db:
        x = equalised(x, how.equalise_db, random)
    if how.lowpass:
        x = lowpassed(x, how.lowpass, random)
    if how.mask_bands or how.mask_frames:
        x = masked(x, how.mask_bands, how.mask_frames, random)
    if how.noise:
        x = noisy(x, how.noise, random)
    return x


def _uniform(random: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=random)


def mixed(x: Tensor, chance: float, random: torch.Generator) -> Tensor:
    """Let another crop of the batch sound in the background, its peak 6 to 20 dB lower: powers add."""
    chosen = (_uniform(random, len(x)) < chance).nonzero()[:, 0]
    other = x[torch.randint(len(x), (len(chosen),), generator=random)]
    lower = 6 + 14 * _uniform(random, len(chosen))
    level = x[chosen].amax((1, 2)) - other.amax((1, 2)) - lower
    both = torch.logaddexp(x[chosen] * _NEPER, (other + level[:, None, None]) * _NEPER) / _NEPER
    return x.index_copy(0, chosen, both)


def shifted(x: Tensor, bands: int, random: torch.Generator) -> Tensor:
    """Move the spectrum up or down by a whole number of bands; the outermost band fills the gap."""
    by = torch.randint(-bands, bands + 1, (len(x), 1), generator=random)
    source = (torch.arange(x.shape[1])[None] + by).clamp(0, x.shape[1] - 1)
    return x.gather(1, source[:, :, None].expand_as(x))


def equalised(x: Tensor, sd_db: float, random: torch.Generator) -> Tensor:
    """Add a smooth random gain curve: normal at six knots, linear between them."""
    knots = torch.randn((len(x), 1, _KNOTS), generator=random) * sd_db
    return x + functional.interpolate(knots, x.shape[1], mode="linear", align_corners=True).transpose(1, 2)


def lowpassed(x: Tensor, chance: float, random: torch.Generator) -> Tensor:
    """Fade the bands above a random cut-off, 4 dB a band, down to 60 dB."""
    n = x.shape[1]
    chosen = _uniform(random, len(x), 1) < chance
    cutoff = n * (_LOWEST_CUTOFF + (1 - _LOWEST_CUTOFF) * _uniform(random, len(x), 1))
    fade = ((torch.arange(n)[None] - cutoff) * _FADE_DB_PER_BAND).clamp(0, _FADE_DB) * chosen
    return x - fade[:, :, None]


def masked(x: Tensor, bands: int, frames: int, random: torch.Generator) -> Tensor:
    """Replace a stretch of bands and one of frames by the mean (SpecAugment, Park et al., 2019)."""
    hidden = _stretch(len(x), x.shape[1], bands, random)[:, :, None]
    hidden = hidden | _stretch(len(x), x.shape[2], frames, random)[:, None, :]
    return torch.where(hidden, x.mean((1, 2), keepdim=True), x)


def _stretch(n: int, length: int, longest: int, random: torch.Generator) -> Tensor:
    width = _uniform(random, n, 1) * longest
    centre = torch.randint(length, (n, 1), generator=random)
    return (torch.arange(length)[None] - centre).abs() < width / 2


def noisy(x: Tensor, sd: float, random: torch.Generator) -> Tensor:
    """Add white noise on the scale that maps the loudest cell to 1 and 80 dB less to 0, clipped to it."""
    top = x.amax((1, 2), keepdim=True)
    scaled = (x - top) / _NOISE_RANGE_DB + 1 + sd * torch.randn(x.shape, generator=random)
    return (scaled.clamp(0, 1) - 1) * _NOISE_RANGE_DB + top
