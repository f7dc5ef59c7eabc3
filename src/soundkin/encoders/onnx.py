"""Encoders that are a folder: `encoder.json` says what they are, `encoder.onnx` is the network.

The built-in `cnn` is such a folder, and so is whatever `soundkin.training` writes. The graph takes log-mel windows in
decibels, float32 (batch, n_mels, frames), and gives unit vectors; every normalisation is inside it.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soundkin.audio import Excerpt
from soundkin.encoders import Array, Encoder, mean_of_units
from soundkin.errors import ModelError
from soundkin.features import FrontEnd, decibels, spectra_of

# Small batches keep a window's activations in the core's cache; larger ones were measured slower.
_BATCH = 4


class OnnxEncoder(Encoder):
    """A log-mel network run by ONNX Runtime in float32 on one thread.

    Precision and threads are pinned, so that a vector does not depend on the machine that made it.

    Parameters
    ----------
    folder : Path
        Holds `encoder.json` and `encoder.onnx`.
    name : str, optional
        Name in spaces; default the one in `encoder.json`.

    Raises
    ------
    ModelError
        Files missing, damaged, or of another hash than `encoder.json` states.
    """

    pooling = "mean"
    engine = "onnxruntime float32"

    def __init__(self, folder: Path, name: str | None = None) -> None:
        try:
            card = json.loads((folder / "encoder.json").read_text("utf-8"))
            graph = (folder / "encoder.onnx").read_bytes()
            self.front = FrontEnd(**card["front_end"])
            self.frames, self.hop_frames = int(card["window_frames"]), int(card["hop_frames"])
            self.dims = int(card["dims"])
            self.name = name or str(card["name"])
            expected = str(card["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} is not an encoder folder: {error}") from error
        self.weights = hashlib.sha256(graph).hexdigest()
        if self.weights != expected:
            raise ModelError(
                f"{folder / 'encoder.onnx'} is damaged: sha256 {self.weights[:12]}, wanted {expected[:12]}; "
                "install it again"
            )
        self.front_end = self.front.name
        self.window_seconds = self.front.n_samples(self.frames) / self.front.rate
        self.hop_seconds = self.hop_frames * self.front.hop / self.front.rate
        self._session = _session(graph)

    def windows(self, excerpt: Excerpt) -> tuple[Array, Array]:
        """Encode the windows of an excerpt; see `Encoder.windows`."""
        return self.windows_of([excerpt])[0]

    def windows_of(self, excerpts: Sequence[Excerpt]) -> list[tuple[Array, Array]]:
        """Encode the windows of several excerpts in common batches; see `Encoder.windows_of`."""
        views = [self._views(excerpt) for excerpt in excerpts]
        vectors = [self._run(batch) for batch in _batches(views)]
        ends = np.cumsum([len(each) for each in views])
        parts = np.split(np.concatenate(vectors), ends[:-1])
        steps = (np.arange(len(each), dtype=np.float32) * np.float32(self.hop_seconds) for each in views)
        return [
            (np.float32(excerpt.start) + step, part)
            for excerpt, step, part in zip(excerpts, steps, parts, strict=True)
        ]

    def _views(self, excerpt: Excerpt) -> Array:
        """Return the windows' log-mels, float32 (w, n_mels, frames); views of one array."""
        mel = decibels(spectra_of(excerpt, self.front).mel)
        if len(mel) < self.frames:  # shorter than a window: heard in a loop
            mel = np.resize(mel, (self.frames, mel.shape[1]))
        return np.lib.stride_tricks.sliding_window_view(mel, self.frames, axis=0)[:: self.hop_frames]

    def _run(self, batch: Array) -> Array:
        vectors: Array = self._session.run(None, {"logmel": batch})[0]
        return vectors

    def pool(self, vectors: Array) -> Array:
        """Pool window vectors into a track vector; see `Encoder.pool`."""
        return mean_of_units(vectors)


def _batches(parts: Sequence[Array]) -> Iterator[Array]:
    """Yield the rows of some arrays one after the other, contiguous, so many at a time."""
    rows = [row for part in parts for row in part]
    for i in range(0, len(rows), _BATCH):
        yield np.stack(rows[i : i + _BATCH])


def _session(graph: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no public root of its errors
        raise ModelError(f"ONNX Runtime cannot load the network: {' '.join(str(error).split())}") from error
