"""The published networks, in PyTorch, for inference only.

Each is built from checked tensors (see `torch_tools.checked`) and called with a batch of spectrograms. A batch
normalisation that follows a convolution is folded into it: the same function in fewer passes over memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

State = Mapping[str, Tensor]
_PANNS_BLOCKS = 6


def affine(state: State, name: str, eps: float) -> tuple[Tensor, Tensor]:
    """Return the scale and shift, each (c,), that a batch normalisation in PyTorch's naming amounts to."""
    scale = state[f"{name}.weight"] / torch.sqrt(state[f"{name}.running_var"] + eps)
    return scale, state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale


class _Cnn(torch.nn.Module):
    """Folded convolutions in channels-last memory, of one precision on one device."""

    def __init__(self, device: str, precision: str) -> None:
        super().__init__()
        self.place: dict[str, Any] = {"device": device, "dtype": getattr(torch, precision)}
        self.kernels: list[Tensor] = []
        self.biases: list[Tensor] = []

    def add(self, kernel: Tensor, bias: Tensor) -> None:
        """Append a convolution: kernel (out, in, height, width), bias (out,)."""
        self.kernels.append(kernel.to(**self.place).contiguous(memory_format=torch.channels_last))
        self.biases.append(bias.to(**self.place))

    def enter(self, x: Tensor) -> Tensor:
        """Bring a batch (b, c, h, w) to where the convolutions are."""
        return x.to(**self.place).contiguous(memory_format=torch.channels_last)

    def conv(self, x: Tensor, i: int) -> Tensor:
        """Apply convolution i, padded to keep the size."""
        return functional.conv2d(x, self.kernels[i], self.biases[i], padding="same")


def cnn14_shapes(width: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the tensors of PANNs' Cnn14 whose first block has `width` channels."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)

    norm("bn0", 64)
    before = 1
    for block in range(_PANNS_BLOCKS):
        channels = width * 2**block
        for i, came in ((1, before), (2, channels)):
            shapes[f"conv_block{block + 1}.conv{i}.weight"] = (channels, came, 3, 3)
            norm(f"conv_block{block + 1}.bn{i}", channels)
        before = channels
    shapes |= {"fc1.weight": (before, before), "fc1.bias": (before,)}
    return shapes | {"fc_audioset.weight": (classes, before), "fc_audioset.bias": (classes,)}


class Cnn14(_Cnn):
    """PANNs' Cnn14: Kong et al., "PANNs: Large-scale pretrained audio neural networks", 2020.

    Parameters
    ----------
    state : mapping of str to tensor
        As `cnn14_shapes` says.
    device, precision : str
        Where and in what its convolutions run.
    """

    def __init__(self, state: State, device: str, precision: str) -> None:
        super().__init__(device, precision)
        self.scale, self.shift = (part.to(device) for part in affine(state, "bn0", 1e-5))
        for block in range(1, _PANNS_BLOCKS + 1):
            for i in (1, 2):
                scale, shift = affine(state, f"conv_block{block}.bn{i}", 1e-5)
                self.add(state[f"conv_block{block}.conv{i}.weight"] * scale[:, None, None, None], shift)
        dense = ("fc1.weight", "fc1.bias", "fc_audioset.weight", "fc_audioset.bias")
        self.dense = [state[name].to(device) for name in dense]

    def forward(self, logmel: Tensor) -> Tensor:
        """Return embeddings (b, 32 width), >= 0, from decibels (b, frames, 64), 32 frames or more."""
        x = self.enter((logmel.to(self.scale.device) * self.scale + self.shift)[:, None])
        for block in range(_PANNS_BLOCKS):
            x = functional.relu_(self.conv(x, 2 * block))
            x = functional.relu_(self.conv(x, 2 * block + 1))
            if block < _PANNS_BLOCKS - 1:
                x = functional.avg_pool2d(x, 2)
        over_bands = x.float().mean(dim=3)
        x = over_bands.amax(dim=2) + over_bands.mean(dim=2)
        return functional.relu_(functional.linear(x, self.dense[0], self.dense[1]))

    def tags(self, embeddings: Tensor) -> Tensor:
        """Return the probability of each class, (b, classes), from embeddings."""
        return torch.sigmoid(
            functional.linear(embeddings.to(self.scale.device), self.dense[2], self.dense[3])
        )


_OPENL3_WIDTHS = (64, 64, 128, 128, 256, 256, 512, 512)


def openl3_shapes() -> list[tuple[str, dict[str, tuple[int, ...]]]]:
    """Return kind and shapes of the layers of OpenL3's audio network that have weights, in order, as Keras lays out."""
    layers: list[tuple[str, dict[str, tuple[int, ...]]]] = []

    def norm(channels: int) -> None:
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        layers.append(("batch normalisation", dict.fromkeys(parts, (channels,))))

    norm(1)
    before = 1
    for width in _OPENL3_WIDTHS:
        layers.append(("convolution", {"kernel": (3, 3, before, width), "bias": (width,)}))
        norm(width)
        before = width
    return layers[:-1]  # the last convolution is the embedding, with nothing after it


class OpenL3(_Cnn):
    """OpenL3's audio network: Cramer et al., "Look, listen and learn more", 2019.

    Parameters
    ----------
    layers : sequence of mapping of str to tensor
        As `openl3_shapes` says.
    pool : tuple of int
        Size of the last pooling, over bands and over frames.
    device, precision : str
        Where and in what its convolutions run.
    """

    def __init__(self, layers: Sequence[State], pool: tuple[int, int], device: str, precision: str) -> None:
        super().__init__(device, precision)
        self.pool = pool
        scale, shift = _keras_affine(layers[0])
        self.scale, self.shift = float(scale), float(shift)
        for i in range(1, len(layers), 2):
            kernel, bias = layers[i]["kernel"].permute(3, 2, 0, 1), layers[i]["bias"]
            if i + 1 < len(layers):
                scale, shift = _keras_affine(layers[i + 1])
                kernel, bias = kernel * scale[:, None, None, None], bias * scale + shift
            self.add(kernel, bias)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Return embeddings (b, d) from decibels (b, bins, frames)."""
        x = self.enter((spectrogram * self.scale + self.shift)[:, None])
        last = len(self.kernels) - 1
        for i in range(last):
            x = functional.relu_(self.conv(x, i))
            if i % 2:
                x = functional.max_pool2d(x, 2)
        x = functional.max_pool2d(self.conv(x, last), self.pool)
        return x.float().permute(0, 2, 3, 1).flatten(1)


def _keras_affine(layer: State) -> tuple[Tensor, Tensor]:
    scale = layer["gamma"] / torch.sqrt(layer["moving_variance"] + 1e-3)
    return scale, layer["beta"] - layer["moving_mean"] * scale


# Kernels (frames, bands) and filters of the first layer: timbre across 0.4 and 0.7 of the
# bands, rhythm along time.
_MUSICNN_FRONT = ((7, 38, 204), (7, 67, 204), (128, 1, 51), (64, 1, 51), (32, 1, 51))
_MUSICNN_MID = (561, 64, 64)


def musicnn_shapes(tags: int = 50) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the tensors of MusiCNN in its TensorFlow checkpoint."""
    shapes: dict[str, tuple[int, ...]] = {}
    norms = [1, *(filters for _, _, filters in _MUSICNN_FRONT), 64, 64, 64, 2 * 753, 200]
    for i, channels in enumerate(norms):
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[_numbered("batch_normalization", i, part)] = (channels,)
    kernels = [(height, width, 1, filters) for height, width, filters in _MUSICNN_FRONT]
    kernels += [(7, width, 1, 64) for width in _MUSICNN_MID]
    for i, kernel in enumerate(kernels):
        shapes[_numbered("conv2d", i, "kernel")] = kernel
        shapes[_numbered("conv2d", i, "bias")] = kernel[-1:]
    for i, (rows, columns) in enumerate(((2 * 753, 200), (200, tags))):
        shapes[_numbered("dense", i, "kernel")] = (rows, columns)
        shapes[_numbered("dense", i, "bias")] = (columns,)
    return shapes


def _numbered(kind: str, number: int, part: str) -> str:
    return f"{kind}_{number}/{part}" if number else f"{kind}/{part}"


class MusiCNN(torch.nn.Module):
    """MusiCNN: Pons et al., "End-to-end learning for music audio tagging at scale", 2018.

    Parameters
    ----------
    state : mapping of str to tensor
        As `musicnn_shapes` says.
    device : str
        Where it runs.
    """

    def __init__(self, state: State, device: str) -> None:
        super().__init__()
        self.state = {name: tensor.to(device) for name, tensor in state.items()}
        self.device = device
        self.kernels = [
            self._named("conv2d", i, "kernel").permute(3, 2, 0, 1).contiguous()
            for i in range(len(_MUSICNN_FRONT) + len(_MUSICNN_MID))
        ]

    def _named(self, kind: str, number: int, part: str) -> Tensor:
        return self.state[_numbered(kind, number, part)]

    def _norm(self, x: Tensor, i: int) -> Tensor:
        gamma, beta, mean, variance = (
            self._named("batch_normalization", i, part)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    def _conv(self, x: Tensor, i: int) -> Tensor:
        return self._norm(
            functional.relu_(functional.conv2d(x, self.kernels[i], self._named("conv2d", i, "bias"))), i + 1
        )

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Return penultimate activations (b, 200) and the mid-end's mean over time (b, 753), from (b, frames, 96)."""
        x = self._norm(logmel.to(self.device)[:, None], 0)
        front = []
        for i, (length, _, _) in enumerate(_MUSICNN_FRONT):
            # Padded to keep the number of frames; like TensorFlow, the odd one goes after. Then the loudest band.
            before = (length - 1) // 2
            padded = functional.pad(x, (0, 0, before, length - 1 - before))
            front.append(self._conv(padded, i).amax(3))
        stages = [torch.cat(front, 1).transpose(1, 2)[:, None]]
        for i in range(len(_MUSICNN_FRONT), len(self.kernels)):
            fresh = self._conv(functional.pad(stages[-1], (0, 0, 3, 3)), i).permute(0, 3, 2, 1)
            stages.append(fresh if len(stages) == 1 else fresh + stages[-1])
        features = torch.cat(stages, 3)[:, 0]
        mean = features.mean(1)
        pooled = self._norm(torch.stack([features.amax(1), mean], 2).flatten(1), 9)
        dense = pooled @ self._named("dense", 0, "kernel") + self._named("dense", 0, "bias")
        return self._norm(functional.relu_(dense), 10), mean

    def tags(self, penultimate: Tensor) -> Tensor:
        """Return the probability of each tag, (b, tags), from penultimate activations."""
        x = penultimate.to(self.device)
        return torch.sigmoid(x @ self._named("dense", 1, "kernel") + self._named("dense", 1, "bias"))


class Hidden(torch.nn.Module):
    """One layer of a transformer that hears PCM, averaged over time.

    Parameters
    ----------
    model : torch.nn.Module
        Of `transformers`: wav2vec 2.0, HuBERT.
    layer : int
        Of its hidden states, 0 before the first.
    """

    def __init__(self, model: Any, layer: int) -> None:
        super().__init__()
        self.model, self.layer = model, layer

    def forward(self, pcm: Tensor) -> Tensor:
        """Return embeddings (b, d) from PCM (b, n)."""
        states = self.model(_entering(self.model, pcm), output_hidden_states=True).hidden_states
        average: Tensor = states[self.layer].float().mean(dim=1)
        return average


class ClapSound(torch.nn.Module):
    """CLAP's tower of sound.

    Parameters
    ----------
    model : torch.nn.Module
        `ClapAudioModelWithProjection` of `transformers`, without fusion.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, logmel: Tensor) -> Tensor:
        """Return embeddings (b, d) from decibels (b, 1, frames, 64)."""
        x = _entering(self.model, logmel)
        longer = torch.zeros((x.shape[0], 1), dtype=torch.bool, device=x.device)
        embeddings: Tensor = self.model(input_features=x, is_longer=longer).audio_embeds
        return embeddings


def _entering(model: Any, x: Tensor) -> Tensor:
    """Bring a batch to where a model is, in its precision."""
    return x.to(next(model.parameters()))
