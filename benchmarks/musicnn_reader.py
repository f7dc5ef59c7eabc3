"""MusiCNN (Pons and Serra, 2019) from its TensorFlow checkpoint, without TensorFlow: a peer to compare with.

The weights are not part of this project: unpack the wheel of the PyPI package ``musicnn`` (ISC licence).
Layers follow Pons et al., "End-to-end learning for music audio tagging at scale", 2018; the checkpoint format
is a LevelDB table (``.index``: tensor name -> protobuf with type, shape, offset, size) beside the raw tensors
(``.data``).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from soundkin.audio import Listening, hear

RATE, N_FFT, HOP, N_MELS, FRAMES = 16000, 512, 256, 96, 187


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _rows(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each row of an uncompressed LevelDB block, whose keys share prefixes."""
    block = table[offset : offset + size]
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Parse one level of a protobuf message: field number -> values."""
    at, fields = 0, {}  # type: int, dict[int, list[Any]]
    while at < len(message):
        tag, at = _varint(message, at)
        value: Any
        if tag & 7 == 0:
            value, at = _varint(message, at)
        else:
            length = {5: 4, 1: 8}.get(tag & 7)
            if length is None:
                length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def read_checkpoint(folder: Path) -> dict[str, Tensor]:
    """Read the float32 tensors of a TensorFlow checkpoint named ``.index`` and ``.data-00000-of-00001``."""
    table = (folder / ".index").read_bytes()
    data = (folder / ".data-00000-of-00001").read_bytes()
    handles, at = [], 0
    for _ in range(4):  # the footer: offset and size of the meta index, then of the index
        value, at = _varint(table[-48:], at)
        handles.append(value)
    tensors = {}
    for _, handle in _rows(table, handles[2], handles[3]):
        offset, at = _varint(handle, 0)
        for key, entry in _rows(table, offset, _varint(handle, at)[0]):
            fields = _fields(entry)
            if key and fields[1][0] == 1:
                shape = [_fields(d).get(1, [0])[0] for d in _fields(fields[2][0]).get(2, [])]
                start = fields.get(4, [0])[0]
                values = np.frombuffer(data[start : start + fields[5][0]], np.float32)
                tensors[key.decode()] = torch.from_numpy(values.reshape(shape).copy())
    return tensors


class MusiCNN:
    """The network up to its 200 penultimate activations.

    Parameters
    ----------
    folder : Path
        One of the package's model folders, "MTT_musicnn" or "MSD_musicnn".
    """

    def __init__(self, folder: Path) -> None:
        self.weights = read_checkpoint(folder)
        self.filters = librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=N_MELS)

    def embed(self, path: str, seconds: float, starts: NDArray[np.float64]) -> NDArray[np.float32]:
        """Embed 3 s windows of a file, float32 (windows, 200).

        Parameters
        ----------
        path : str
            The audio.
        seconds : float
            The middle so many seconds are heard.
        starts : float (windows,)
            Where the windows begin in them, seconds.
        """
        with hear(path, Listening(1, seconds)) as hearing:
            y = next(iter(hearing.excerpts)).at(RATE)
        return self.penultimate(torch.from_numpy(np.stack([self._logmel(y, s) for s in starts]))).numpy()

    def _logmel(self, y: NDArray[np.float32], start: float) -> NDArray[np.float32]:
        piece = np.resize(y[round(start * RATE) :][: 3 * RATE], 3 * RATE)
        power = np.abs(librosa.stft(piece, n_fft=N_FFT, hop_length=HOP)) ** 2
        return np.log10(10000 * (self.filters @ power).T + 1)[:FRAMES].astype(np.float32)

    def _named(self, kind: str, number: int, part: str) -> Tensor:
        return self.weights[f"{kind}_{number}/{part}" if number else f"{kind}/{part}"]

    def _norm(self, x: Tensor, number: int) -> Tensor:
        gamma, beta, mean, variance = (
            self._named("batch_normalization", number, part)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    def _conv(self, x: Tensor, number: int, norm: int) -> Tensor:
        kernel = self._named("conv2d", number, "kernel").permute(3, 2, 0, 1).contiguous()
        return self._norm(
            functional.relu(functional.conv2d(x, kernel, self._named("conv2d", number, "bias"))), norm
        )

    @torch.no_grad()
    def penultimate(self, logmel: Tensor) -> Tensor:
        """Return (windows, 200) from log-mels (windows, 187, 96)."""
        x = self._norm(logmel[:, None], 0)
        front = [self._conv(functional.pad(x, (0, 0, 3, 3)), i, i + 1).amax(3) for i in (0, 1)]
        for i, length in ((2, 128), (3, 64), (4, 32)):
            before = (length - 1) // 2
            padded = functional.pad(x, (0, 0, before, length - 1 - before))
            front.append(self._conv(padded, i, i + 1).amax(3))
        stages = [torch.cat(front, 1).transpose(1, 2)[:, None]]
        for i in (5, 6, 7):
            fresh = self._conv(functional.pad(stages[-1], (0, 0, 3, 3)), i, i + 1).permute(0, 3, 2, 1)
            stages.append(fresh if i == 5 else fresh + stages[-1])
        features = torch.cat(stages, 3)[:, 0]
        pooled = self._norm(torch.stack([features.amax(1), features.mean(1)], 2).flatten(1), 9)
        dense = pooled @ self.weights["dense/kernel"] + self.weights["dense/bias"]
        return self._norm(functional.relu(dense), 10)
