"""The encoder network in PyTorch: log-mel in decibels -> unit vector.

Everything between decibels and vector is inside, so that what is exported needs no instructions: loudness is
removed and bands are standardised here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from soundkin.training.recipes import Recipe


class Standardise(nn.Module):
    """Decibels -> standard scores per band, independent of gain.

    Parameters
    ----------
    n_mels : int
        Number of bands.
    range_db : float
        What is softer than the loudest cell of a window by more than this is silence.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_mels: int, range_db: float) -> None:
        super().__init__()
        self.range_db = range_db
        self.register_buffer("mean", torch.zeros(1, n_mels, 1))
        self.register_buffer("scale", torch.full((1, n_mels, 1), 1 / 15))

    def level(self, x: Tensor) -> Tensor:
        """Cut (n, n_mels, frames) so far below the loudest cell as `range_db` says, and remove the mean."""
        x = torch.maximum(x, x.amax((1, 2), keepdim=True) - self.range_db)
        return x - x.mean((1, 2), keepdim=True)

    def fit(self, x: Tensor) -> None:
        """Take the bands' mean and standard deviation from log-mels (n, n_mels, frames)."""
        level = self.level(x)
        self.mean.copy_(level.mean((0, 2))[None, :, None])
        self.scale.copy_(1 / level.std((0, 2)).clamp(min=1.0)[None, :, None])

    def forward(self, x: Tensor) -> Tensor:
        """Standardise decibels (n, n_mels, frames)."""
        return (self.level(x) - self.mean) * self.scale


class Encoder(nn.Module):
    """Three convolutions, pooling over time, one dense layer.

    Parameters
    ----------
    recipe : Recipe
        Its shape.
    n_mels : int
        Bands of the log-mel.
    """

    def __init__(self, recipe: Recipe, n_mels: int = 128) -> None:
        super().__init__()
        self.recipe = recipe
        self.standardise = Standardise(n_mels, recipe.range_db)
        channels = (1, *recipe.channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels[i], channels[i + 1], kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(channels[i + 1]),
                nn.ReLU(),
                nn.MaxPool2d(pool) if pool > 1 else nn.Identity(),
            )
            for i, (kernel, stride, pool) in enumerate(
                zip(recipe.kernels, recipe.strides, recipe.pools, strict=True)
            )
        )
        pooled = recipe.channels[-1] * recipe.bands * (1 + (recipe.pooling == "mean+max"))
        self.norm = nn.BatchNorm1d(pooled)
        self.dense = nn.Linear(pooled, recipe.dims)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, logmel: Tensor) -> Tensor:
        """Return what the dense layer sees: float (n, pooled), from decibels (n, n_mels, frames)."""
        x = self.standardise(logmel)[:, None].contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        x = functional.avg_pool2d(x, (x.shape[2] // self.recipe.bands, 1))
        pooled = [x.mean(3)] if self.recipe.pooling == "mean" else [x.mean(3), x.amax(3)]
        result: Tensor = self.norm(torch.cat(pooled, 1).flatten(1))
        return result

    def raw(self, logmel: Tensor) -> Tensor:
        """Return what the loss sees: float (n, dims), any norm, from decibels (n, n_mels, frames)."""
        result: Tensor = self.dense(self.features(logmel))
        return result

    def forward(self, logmel: Tensor) -> Tensor:
        """Embed decibels (n, n_mels, frames) as unit vectors (n, dims)."""
        return functional.normalize(self.raw(logmel), dim=1)


class Projector(nn.Module):
    """The layer between embedding and loss, thrown away after training.

    Parameters
    ----------
    dims : int
        Length of the embedding.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(dims), nn.ReLU(), nn.Linear(dims, dims))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, dims) to (n, dims)."""
        result: Tensor = self.layers(x)
        return result
