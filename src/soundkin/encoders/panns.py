"""PANNs' Cnn14: 2048 numbers per ten seconds, and the 527 tags of AudioSet.

Kong et al., "PANNs: Large-scale pretrained audio neural networks for audio pattern recognition", 2020. Code MIT;
weights CC BY 4.0, Zenodo record 3987831, `Cnn14_mAP=0.431.pth`.
"""

import csv
import os
from collections.abc import Iterable

import numpy as np

from soundkin.audio import Excerpt, Listening
from soundkin.encoders import Array
from soundkin.encoders.torch_tools import (
    TorchEncoder,
    checked,
    device_in_use,
    hash_of,
    needs,
    precision_in_use,
    read_torch,
)  # fmt: skip
from soundkin.errors import InputError, ModelError
from soundkin.features import FrontEnd, log_mel

FRONT = FrontEnd(rate=32000, n_fft=1024, hop=320, n_mels=64, fmin=50.0, fmax=14000.0)
_CLASSES = 527


class Cnn14(TorchEncoder):
    """PANNs' Cnn14.

    Parameters
    ----------
    weights : path-like
        The published checkpoint.
    labels : path-like, optional
        `class_labels_indices.csv` of AudioSet, for `tags`.
    device : str
        "auto", "cpu", "cuda", ...
    precision : str
        Of the convolutions: "float32", "bfloat16", "float16"; "auto" takes bfloat16 on CPUs that
        compute in it.
    engine : str
        What runs it on a CPU: "torch", "openvino", "onnxruntime", or "auto" for the fastest.
    name : str
        In spaces.

    Raises
    ------
    ModelError
        The checkpoint is damaged or of another network, or there is no such device.
    MissingExtra
        PyTorch is not installed.
    """

    rate = FRONT.rate
    front_end = f"{FRONT.name}-centred"
    # It was trained on clips of ten seconds. It hears a shorter excerpt as it is: in silence put after it, its
    # maximum over time would be the same, but not its mean.
    window_seconds = hop_seconds = 10.0
    listening = Listening(5, 10.0)
    width = 64
    dims = 2048

    def __init__(
        self,
        weights: str | os.PathLike[str],
        *,
        labels: str | os.PathLike[str] | None = None,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "torch",
        name: str = "panns-cnn14",
    ) -> None:
        self.name, self._labels = name, labels
        self._torch = needs("torch", "torch")
        self.device = device_in_use(device)
        self.precision = precision_in_use(precision, self.device)
        from soundkin.encoders import networks

        self.weights = hash_of(weights)
        held = read_torch(weights)
        state = held.get("model", held)
        if not isinstance(state, dict):
            raise ModelError(f"{os.fspath(weights)!r}: 'model' holds no tensors by name")
        shapes = networks.cnn14_shapes(self.width, _CLASSES)
        tensors = checked(state, shapes, weights)
        self._network = networks.Cnn14(tensors, self.device, self.precision)
        self.hasten(
            engine, lambda: networks.Cnn14(tensors, "cpu", "float32"), (1, 1001, FRONT.n_mels), varies=2
        )

    def short(self, y: Array, size: int) -> Array:
        """Hear a short excerpt as it is, but a second at least; see `TorchEncoder.short`."""
        return y if len(y) >= self.rate else np.resize(y, self.rate)

    def encode(self, pieces: Array) -> Array:
        """Encode PCM windows; see `TorchEncoder.encode`."""
        return self.run(front(pieces))[0]

    def tags(self, excerpts: Iterable[Excerpt]) -> list[tuple[str, float]]:
        """Tell the tags of a track.

        Parameters
        ----------
        excerpts : iterable of Excerpt
            What is heard of it.

        Returns
        -------
        list of (str, float)
            All 527 labels of AudioSet with their probabilities, averaged over the windows; likeliest first.

        Raises
        ------
        InputError
            No excerpts.
        ModelError
            The encoder was made without labels, or the file of labels is damaged.
        """
        names = self._names()
        windows = [self.windows(excerpt)[1] for excerpt in excerpts]
        if not windows:
            raise InputError("no excerpts came; wanted one or more to tell tags of")
        with self._torch.inference_mode():
            chances = self._network.tags(self._torch.from_numpy(np.concatenate(windows))).mean(dim=0)
        ranked = sorted(zip(names, chances.tolist(), strict=True), key=lambda tag: -tag[1])
        return ranked

    def _names(self) -> list[str]:
        if self._labels is None:
            raise ModelError(
                "the names of AudioSet's classes were not given: class_labels_indices.csv is needed"
            )
        try:
            with open(self._labels, newline="", encoding="utf-8") as file:
                names = [row["display_name"] for row in csv.DictReader(file)]
        except (OSError, KeyError, ValueError, csv.Error) as error:
            raise ModelError(
                f"{os.fspath(self._labels)!r} is no list of AudioSet's classes: {error}"
            ) from error
        if len(names) != _CLASSES:
            raise ModelError(f"{os.fspath(self._labels)!r} names {len(names)} classes; wanted {_CLASSES}")
        return names


def front(pieces: Array) -> Array:
    """Return the log-mel spectrograms of PCM windows, float32 (b, n) at 32 kHz -> (b, frames, 64), decibels."""
    half = FRONT.n_fft // 2
    centred = np.pad(pieces, ((0, 0), (half, half)), mode="reflect")
    return np.ascontiguousarray(np.stack([log_mel(y, FRONT).T for y in centred]))
