"""The encoders: audio -> vectors. One file each, one registry, one contract.

An encoder turns an `Excerpt` into window vectors and pools the windows of a track into one unit vector. It states all
that shaped its vectors (weights, front end, window, hop, pooling), because that names the space they live in.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundkin.audio import DEFAULT_LISTENING, Excerpt, Listening, excerpts_of, hear
from soundkin.errors import DecodeError, InputError, ModelError

Array = NDArray[np.float32]

DEFAULT = "cnn"
# What an encoder folder is made of: what it says about itself, and the network.
FOLDER_FILES = ("encoder.json", "encoder.onnx")


class Encoder(ABC):
    """What every encoder is.

    Attributes
    ----------
    name : str
        As in the registry, or the folder it was loaded from.
    weights : str
        Hash of the weights, or the version of the formula.
    front_end : str
        The constants of its input, in one word.
    window_seconds, hop_seconds : float
        Length of a window, and seconds from one to the next.
    pooling : str
        How window vectors become a track vector.
    dims : int
        Length of a track vector.
    """

    name: str
    weights: str
    front_end: str
    window_seconds: float
    hop_seconds: float
    pooling: str
    dims: int

    @abstractmethod
    def windows(self, excerpt: Excerpt) -> tuple[Array, Array]:
        """Encode the windows of an excerpt.

        Parameters
        ----------
        excerpt : Excerpt
            At least half a second.

        Returns
        -------
        starts : float32 (w,)
            Seconds from the beginning of the track; w >= 1.
        vectors : float32 (w, d)
            One vector per window.
        """

    @abstractmethod
    def pool(self, vectors: Array) -> Array:
        """Pool window vectors, float32 (w, d), into a track vector, float32 (dims,), of unit length."""

    def embed(
        self,
        audio: str | os.PathLike[str] | ArrayLike,
        rate: int | None = None,
        listening: Listening = DEFAULT_LISTENING,
    ) -> Array:
        """Embed one track.

        Parameters
        ----------
        audio : path-like, or float (n,) or (n, channels)
            A file, or PCM with full scale +-1.
        rate : int, optional
            Sample rate of PCM, Hz.
        listening : Listening
            How much of it is heard.

        Returns
        -------
        float32 (dims,)
            Unit length.

        Raises
        ------
        DecodeError
            The file is no audio, or nothing of it can be decoded.
        InputError
            The file is not there or cannot be read; PCM without a rate, or not usable.
        """
        if isinstance(audio, (str, os.PathLike)):
            try:
                with hear(audio, listening) as hearing:
                    return self._embed(hearing.excerpts)
            except OSError as error:
                raise InputError(
                    f"{os.fspath(audio)!r} cannot be read: {error.strerror or error}; wanted an audio file"
                ) from error
        if rate is None:
            raise InputError("PCM came without its sample rate; wanted embed(samples, rate)")
        return self._embed(excerpts_of(audio, rate, listening))

    def _embed(self, excerpts: Iterable[Excerpt]) -> Array:
        windows = [self.windows(excerpt)[1] for excerpt in excerpts]
        if not windows:
            raise DecodeError("no excerpt of it can be decoded")
        return self.pool(np.concatenate(windows))


@dataclass(frozen=True)
class EncoderInfo:
    """An entry of the registry.

    Parameters
    ----------
    load : callable
        Makes the encoder.
    dims, rate : int
        Length of a track vector; sample rate it hears, Hz.
    window : str
        What one window is.
    licence : str
        Of the weights.
    size : str
        Of the weights on disk.
    about : str
        One line for people.
    """

    load: Callable[[], Encoder]
    dims: int
    rate: int
    window: str
    licence: str
    size: str
    about: str


def _cnn() -> Encoder:
    from soundkin.encoders.onnx import OnnxEncoder

    return OnnxEncoder(Path(__file__).parent / "cnn", name="cnn")


def _descriptors() -> Encoder:
    from soundkin.encoders.descriptors import Descriptors

    return Descriptors()


ENCODERS: dict[str, EncoderInfo] = {
    "cnn": EncoderInfo(
        load=_cnn,
        dims=128,
        rate=22050,
        window="3.1 s",
        licence="Apache-2.0",
        size="in the wheel",
        about="CNN trained by contrast, a teacher and discriminants on free soundtracks; the default",
    ),
    "descriptors": EncoderInfo(
        load=_descriptors,
        dims=184,
        rate=22050,
        window="excerpt",
        licence="Apache-2.0",
        size="none",
        about="hand-made: timbre, harmony, rhythm, loudness and how they vary; the classical baseline",
    ),
}


def load_encoder(name: str = DEFAULT) -> Encoder:
    """Load an encoder.

    Parameters
    ----------
    name : str
        A name of `ENCODERS`, or the path of an encoder folder written by training.

    Returns
    -------
    Encoder
        Ready to use.

    Raises
    ------
    ModelError
        Unknown name, or damaged weights.
    """
    if name in ENCODERS:
        return ENCODERS[name].load()
    if (Path(name) / "encoder.json").is_file():
        from soundkin.encoders.onnx import OnnxEncoder

        return OnnxEncoder(Path(name))
    raise ModelError(
        f"no encoder is called {name!r}; there are {', '.join(ENCODERS)}, or give the folder of a trained one"
    )


def unit(vector: Array) -> Array:
    """Scale vectors along the last axis to unit length; a zero vector stays zero."""
    norm = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.ascontiguousarray(vector / np.maximum(norm, 1e-12), np.float32)


def mean_of_units(vectors: Array) -> Array:
    """Pool by averaging unit vectors and renormalising: float32 (w, d) -> (d,)."""
    return unit(unit(vectors).mean(axis=0))
