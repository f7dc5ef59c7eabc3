"""The encoders: audio -> vectors. One file each, one registry, one contract.

An encoder turns an `Excerpt` into window vectors and pools the windows of a track into one unit vector. It states all
that shaped its vectors (weights, front end, window, hop, pooling), because that names the space they live in.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundkin.audio import DEFAULT_LISTENING, Excerpt, Listening, excerpts_of, hear
from soundkin.encoders.hub import Hub
from soundkin.encoders.weights import WeightFile
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
    listening : Listening
        How it hears tracks best, when nobody says how much of them to hear.
    device, engine : str
        Where it runs, and what runs it: "cpu", "onnxruntime float32".
    """

    name: str
    weights: str
    front_end: str
    window_seconds: float
    hop_seconds: float
    pooling: str
    dims: int
    listening: Listening = DEFAULT_LISTENING
    device: str = "cpu"
    engine: str = "numpy"

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

    def windows_of(self, excerpts: Sequence[Excerpt]) -> list[tuple[Array, Array]]:
        """Encode the windows of several excerpts, as `windows` does each: where it pays, in common batches."""
        return [self.windows(excerpt) for excerpt in excerpts]

    def text(self, text: str) -> Array:
        """Embed words into the space of tracks, float32 (dims,), of unit length.

        Parameters
        ----------
        text : str
            "slow melancholic piano".

        Returns
        -------
        float32 (dims,)
            Near the tracks that sound like that.

        Raises
        ------
        ModelError
            This encoder hears, but does not read.
        """
        raise ModelError(f"{self.name} understands no words; {', '.join(_readers())} does")

    @abstractmethod
    def pool(self, vectors: Array) -> Array:
        """Pool window vectors, float32 (w, d), into a track vector, float32 (dims,), of unit length."""

    def embed(
        self,
        audio: str | os.PathLike[str] | ArrayLike,
        rate: int | None = None,
        listening: Listening | None = None,
    ) -> Array:
        """Embed one track.

        Parameters
        ----------
        audio : path-like, or float (n,) or (n, channels)
            A file, or PCM with full scale +-1.
        rate : int, optional
            Sample rate of PCM, Hz.
        listening : Listening, optional
            How much of it is heard; default what suits this encoder.

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
        listening = listening or self.listening
        if isinstance(audio, (str, os.PathLike)):
            try:
                with hear(audio, listening) as hearing:
                    return self._embed(hearing.excerpts)
            except DecodeError as error:
                raise DecodeError(f"{os.fspath(audio)!r}: {error}") from error
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
class Choice:
    """What to load of an entry of the registry.

    Parameters
    ----------
    name : str
        Name in spaces.
    device : str
        "auto", "cpu", "cuda", ...
    options : mapping
        What was set behind the name, as in ``wav2vec2-base:layer=7``.
    """

    name: str
    device: str = "auto"
    options: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderInfo:
    """An entry of the registry.

    Parameters
    ----------
    load : callable
        Makes the encoder of a `Choice`.
    dims, rate : int
        Length of a track vector; sample rate it hears, Hz. 0 where the files say it.
    window : str
        What one window is.
    licence : str
        Of the weights.
    size : str
        Of the weights on disk.
    about : str
        One line for people.
    files : tuple of WeightFile
        Weights to fetch, one by one; or
    hub : Hub, optional
        a folder of them on the Hugging Face Hub.
    extra : str
        The extra of this package that runs it: "torch".
    modules : tuple of str
        What that extra brings that this encoder imports.
    options : mapping of str to str
        What can be set behind its name -> what it means.
    variants : tuple of str
        Other names, of the same network with other weights or sizes.
    reads : bool
        Whether it embeds words, too.
    usual : (float, float), optional
        Mean and standard deviation of the cosines of two tracks picked at random from much music, where that was
        measured (``python benchmarks/bench_closeness.py LIBRARY``): what a library of few tracks cannot say.
    verify : callable, optional
        Compares the loaded encoder with what its authors published; returns a line, raises ModelError.
    """

    load: Callable[[Choice], Encoder]
    dims: int
    rate: int
    window: str
    licence: str
    size: str
    about: str
    files: tuple[WeightFile, ...] = ()
    hub: Hub | None = None
    extra: str = ""
    modules: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[str, ...] = ()
    reads: bool = False
    usual: tuple[float, float] | None = None
    verify: Callable[[Encoder], str] | None = None

    @property
    def is_built_in(self) -> bool:
        """Whether it needs nothing that is not in the wheel."""
        return not self.files and self.hub is None


def _cnn(choice: Choice) -> Encoder:
    from soundkin.encoders.onnx import OnnxEncoder

    return OnnxEncoder(Path(__file__).parent / "cnn", name="cnn")


def _descriptors(choice: Choice) -> Encoder:
    from soundkin.encoders.descriptors import Descriptors

    return Descriptors()


from soundkin.encoders.public import ALIASES, PUBLIC, VARIANTS, of_hub  # noqa: E402 - it takes EncoderInfo from here

ENCODERS: dict[str, EncoderInfo] = {
    "cnn": EncoderInfo(
        load=_cnn,
        dims=128,
        rate=22050,
        window="3.1 s",
        licence="Apache-2.0",
        size="in the wheel",
        about="CNN trained by contrast, a teacher and discriminants on free soundtracks; the default",
        usual=(0.014, 0.158),
    ),
    "descriptors": EncoderInfo(
        load=_descriptors,
        dims=184,
        rate=22050,
        window="excerpt",
        licence="Apache-2.0",
        size="none",
        about="hand-made: timbre, harmony, rhythm, loudness and how they vary; the classical baseline",
        usual=(0.0, 0.28),
    ),
    **PUBLIC,
}


def find(name: str) -> tuple[EncoderInfo, Choice] | None:
    """Look a name up in the registry.

    Parameters
    ----------
    name : str
        A name of `ENCODERS` or one of its variants, or ``hf:organisation/model``; options may follow, as in
        ``wav2vec2-base:layer=7``.

    Returns
    -------
    (EncoderInfo, Choice) or None
        None when the registry has no such name.

    Raises
    ------
    ModelError
        The encoder has no such option.
    """
    plain, _, settings = name.rpartition(":") if "=" in name.rpartition(":")[2] else (name, "", "")
    plain = ALIASES.get(plain, plain)
    info = {**ENCODERS, **VARIANTS}.get(plain) or of_hub(plain)
    if info is None:
        return None
    options: dict[str, str | int | float] = {}
    for setting in filter(None, settings.split(",")):
        key, _, value = setting.partition("=")
        if key not in info.options:
            known = ", ".join(f"{k} ({what})" for k, what in info.options.items()) or "none"
            raise ModelError(f"{plain} has no option {key!r}; it has: {known}")
        options[key] = _number(value)
    ordered = ",".join(f"{key}={options[key]}" for key in sorted(options))
    return info, Choice(f"{plain}:{ordered}" if ordered else plain, options=options)


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _readers() -> list[str]:
    return [name for name, info in ENCODERS.items() if info.reads]


def load_encoder(name: str = DEFAULT, device: str = "auto") -> Encoder:
    """Load an encoder.

    Parameters
    ----------
    name : str
        A name of `ENCODERS`, one of its variants, ``hf:organisation/model``, or the path of an encoder folder written
        by training. Options follow a name as in ``wav2vec2-base:layer=7``.
    device : str
        "cpu", "cuda", ...; "auto" takes a GPU where there is one that the encoder can use.

    Returns
    -------
    Encoder
        Ready to use; its `device` says where it runs.

    Raises
    ------
    ModelError
        Unknown name, weights that are not here or damaged, or a device that is not here.
    MissingExtra
        What runs it is not installed.
    """
    if found := find(name):
        info, choice = found
        return info.load(Choice(choice.name, device, choice.options))
    if (Path(name) / "encoder.json").is_file():
        from soundkin.encoders.onnx import OnnxEncoder

        return OnnxEncoder(Path(name))
    raise ModelError(
        f"no encoder is called {name!r}; there are {', '.join(ENCODERS)}, hf:ORGANISATION/MODEL, or the folder of a "
        "trained one"
    )


def unit(vector: Array) -> Array:
    """Scale vectors along the last axis to unit length; a zero vector stays zero."""
    norm = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.ascontiguousarray(vector / np.maximum(norm, 1e-12), np.float32)


def must_be_finite(vectors: Array, what: str = "vectors") -> None:
    """Raise InputError, which says how many, when one of the vectors, float32 (n, d), holds NaN or infinity."""
    bad = int((~np.isfinite(vectors).all(axis=1)).sum())
    if bad:
        raise InputError(
            f"{bad} of {len(vectors)} {what} hold NaN or infinity; wanted finite numbers: index the music into a "
            "new library"
        )


def mean_of_units(vectors: Array) -> Array:
    """Pool by averaging unit vectors and renormalising: float32 (w, d) -> (d,)."""
    return unit(unit(vectors).mean(axis=0))
