"""What the encoders that run in PyTorch share: device and precision, checkpoints read with distrust, windows.

A checkpoint is a file from the network. It is never unpickled as code, nothing is allocated on the word of its header,
and every tensor must have the name, shape and type that the network needs, and finite values.
"""

import hashlib
import importlib
import os
import platform
import zipfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soundkin.audio import Excerpt
from soundkin.encoders import Array, Encoder, mean_of_units
from soundkin.encoders.engines import Engine, engine_for
from soundkin.errors import InputError, MissingExtra, ModelError

# Resampling may give a sample or two less than a window needs.
_SLACK = 4
# Windows at a time: on a CPU few, so that activations stay in its cache; on a GPU enough to fill it.
_BATCH = {"cpu": 4}
_GPU_BATCH = 32
PRECISIONS = ("float32", "bfloat16", "float16")

Shapes = Mapping[str, tuple[int, ...]]


class TorchEncoder(Encoder):
    """An encoder whose windows are cut from PCM and encoded in batches on a device.

    Attributes
    ----------
    rate : int
        Sample rate of the PCM, Hz.
    device, precision : str
        In use: "cpu", "cuda", ...; "float32", "bfloat16" or "float16".
    """

    rate: int
    device: str
    precision: str = "float32"
    pooling = "mean"
    _network: Any = None
    _engine: Engine | None = None

    @property
    def engine(self) -> str:  # type: ignore[override]
        """What runs it, and in which precision."""
        return f"torch {self.precision}" if self._engine is None else self._engine.name

    def hasten(
        self,
        engine: str,
        network: Callable[[], Any],
        example: tuple[int, ...],
        key: str = "",
        varies: int = 1,
    ) -> None:
        """Let something else than PyTorch run the network, where that is faster; see `engines.engine_for`.

        Where nothing else does, and the encoder has made no network for PyTorch yet, it is made now.

        Parameters
        ----------
        engine : str
            "auto", or the name of one.
        network : callable
            Makes the network in float32 on the CPU.
        example : tuple of int
            Shape of a batch that it takes.
        key : str
            What tells this network from others of the same class and weights.
        varies : int
            How many of the first dimensions of `example` may differ.
        """
        if self.device == "cpu":
            key = f"{type(self).__name__} {self.weights} {key}"
            self._engine = engine_for(network, example, key, self.precision, engine, varies)
        if self._engine is None:
            self._network = self._network or network().to(
                self.device, getattr(needs("torch", "torch"), self.precision)
            )
        elif self._network is not None:
            self._network.kernels.clear()  # the graph has its own

    def run(self, x: Array) -> list[Array]:
        """Run the network on a batch, float32 (b, ...) -> what it gives, each float32 (b, ...)."""
        if self._engine is not None:
            return self._engine(x)
        torch = needs("torch", "torch")
        with torch.inference_mode():
            given = self._network(torch.from_numpy(x))
            return [part.float().cpu().numpy() for part in (given if isinstance(given, tuple) else (given,))]

    def windows(self, excerpt: Excerpt) -> tuple[Array, Array]:
        """Encode the windows of an excerpt; see `Encoder.windows`."""
        return self.windows_of([excerpt])[0]

    def windows_of(self, excerpts: Sequence[Excerpt]) -> list[tuple[Array, Array]]:
        """Encode the windows of several excerpts in common batches; see `Encoder.windows_of`."""
        cuts = [self.pieces(excerpt) for excerpt in excerpts]
        every = [piece for pieces in cuts for piece in pieces]
        vectors = np.empty((len(every), 0), np.float32)
        for length in sorted({len(piece) for piece in every}):  # windows of one length only share a batch
            alike = [i for i, piece in enumerate(every) if len(piece) == length]
            step = _BATCH.get(self.device, _GPU_BATCH)
            for first in range(0, len(alike), step):
                batch = alike[first : first + step]
                rows = self.encode(np.stack([every[i] for i in batch]))
                if not vectors.size:
                    vectors = np.empty((len(every), rows.shape[1]), np.float32)
                vectors[batch] = rows
        starts = [e.start + np.arange(len(c)) * self.hop_seconds for e, c in zip(excerpts, cuts, strict=True)]
        ends = np.cumsum([len(pieces) for pieces in cuts])[:-1]
        parts = np.split(vectors, ends)
        return [(s.astype(np.float32), np.ascontiguousarray(v)) for s, v in zip(starts, parts, strict=True)]

    def pieces(self, excerpt: Excerpt) -> Array:
        """Cut the PCM of an excerpt into its windows, float32 (w, n)."""
        y = excerpt.at(self.rate)
        size, hop = round(self.window_seconds * self.rate), round(self.hop_seconds * self.rate)
        return cut(y, size, hop) if len(y) + _SLACK >= size else self.short(y, size)[None]

    @abstractmethod
    def encode(self, pieces: Array) -> Array:
        """Encode PCM windows of equal length, float32 (b, n) -> (b, d)."""

    def short(self, y: Array, size: int) -> Array:
        """Make a window of `size` samples from less: heard in a loop. An encoder may know better."""
        return np.resize(y, size)

    def pool(self, vectors: Array) -> Array:
        """Pool window vectors into a track vector; see `Encoder.pool`."""
        return mean_of_units(vectors)


def cut(y: Array, size: int, hop: int) -> Array:
    """Cut PCM, float32 (n,), into windows of `size` samples every `hop`: (w, size), the rest left out."""
    n = (len(y) + _SLACK - size) // hop + 1
    needed = (n - 1) * hop + size
    if len(y) < needed:
        y = np.pad(y, (0, needed - len(y)))
    return np.lib.stride_tricks.sliding_window_view(y, size)[::hop][:n]


def needs(module: str, extra: str) -> Any:
    """Import an optional module.

    Parameters
    ----------
    module : str
        Its name.
    extra : str
        The extra of this package that brings it.

    Returns
    -------
    module
        Imported.

    Raises
    ------
    MissingExtra
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"this encoder needs {module.partition('.')[0]}, which cannot be imported "
            f"({one_line(error)}): pip install 'soundkin[{extra}]'"
        ) from error


def device_in_use(device: str) -> str:
    """Return the device that "auto" stands for here, or the one asked for if it is there.

    Parameters
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps".

    Returns
    -------
    str
        A device of PyTorch.

    Raises
    ------
    ModelError
        This machine has no such device: an encoder never falls back in silence.
    InputError
        No device is called that.
    """
    torch = needs("torch", "torch")
    there = ["cpu"]
    if torch.cuda.is_available():
        there = [*(f"cuda:{i}" for i in range(torch.cuda.device_count())), "cuda", *there]
    if torch.backends.mps.is_available():
        there = ["mps", *there]
    if device == "auto":
        return "cuda" if "cuda" in there else there[0]
    try:
        torch.device(device)
    except RuntimeError as error:
        raise InputError(f'device {device!r}; wanted "auto", "cpu", "cuda", "cuda:N" or "mps"') from error
    if device not in there:
        raise ModelError(f"device {device!r} is not here; this machine has {', '.join(there)}")
    return device


def precision_in_use(precision: str, device: str) -> str:
    """Return the precision that "auto" stands for on a device: float32, but bfloat16 on a CPU that is built for it.

    Parameters
    ----------
    precision : str
        "auto" or one of `PRECISIONS`.
    device : str
        In use.

    Raises
    ------
    InputError
        No precision is called that.
    """
    if precision == "auto":
        return "bfloat16" if device == "cpu" and _computes_in_bf16() else "float32"
    if precision not in PRECISIONS:
        raise InputError(f'precision {precision!r}; wanted "auto", {", ".join(PRECISIONS)}')
    return precision


def _computes_in_bf16() -> bool:
    """Tell whether the CPU multiplies bfloat16: others are slower in it than in float32."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    try:
        return " avx512_bf16 " in Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return False


def hash_of(file: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file of weights.

    Parameters
    ----------
    file : path-like
        The file.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    ModelError
        It cannot be read.
    """
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"the weights {os.fspath(file)!r} cannot be read: {error.strerror}") from error


def read_torch(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint written by ``torch.save``, of today's format or the one before 1.6, without running its code.

    Parameters
    ----------
    file : path-like
        The file.

    Returns
    -------
    dict
        What it holds: tensors on the CPU, by name, perhaps one level down.

    Raises
    ------
    ModelError
        It holds anything but tensors and plain values, is cut short, or is no checkpoint.
    """
    torch = needs("torch", "torch")
    try:
        if zipfile.is_zipfile(file):
            _refuse_inflation(file)
        held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch passes on what its readers raise: any error is a bad checkpoint
        raise ModelError(
            f"{os.fspath(file)!r} is no PyTorch checkpoint of plain tensors: {first_line(error)}"
        ) from error
    if not isinstance(held, dict):
        raise ModelError(f"{os.fspath(file)!r} holds a {type(held).__name__}; wanted tensors by name")
    return held


def _refuse_inflation(file: str | os.PathLike[str]) -> None:
    """Keep out archives that grow when read: torch.save stores its tensors as they are."""
    with zipfile.ZipFile(file) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > os.path.getsize(file):
        raise ModelError(f"its parts claim {claimed} bytes, more than the file has")


def read_safetensors(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a safetensors file.

    Parameters
    ----------
    file : path-like
        The file.

    Returns
    -------
    dict
        Tensors by name, on the CPU.

    Raises
    ------
    ModelError
        Damaged, or something else.
    """
    loader = needs("safetensors.torch", "hf")
    try:
        tensors: dict[str, Any] = loader.load_file(file, device="cpu")
    except Exception as error:  # SafetensorError, OSError, and what torch raises for types it does not know
        raise ModelError(f"{os.fspath(file)!r} is no safetensors file: {first_line(error)}") from error
    return tensors


def checked(state: Mapping[str, Any], shapes: Shapes, source: str | os.PathLike[str]) -> dict[str, Any]:
    """Take the tensors a network needs, and see that they are what it needs.

    Parameters
    ----------
    state : mapping of str to tensor
        As read.
    shapes : mapping of str to tuple of int
        Name and shape of every tensor needed; others are left out.
    source : path-like
        For messages.

    Returns
    -------
    dict
        Those tensors, float32.

    Raises
    ------
    ModelError
        One is missing, of another shape or type, or not finite.
    """
    torch = needs("torch", "torch")
    name_of_file = os.path.basename(os.fspath(source))
    missing = [name for name in shapes if name not in state]
    if missing:
        raise ModelError(
            f"{name_of_file} lacks {len(missing)} of the {len(shapes)} tensors needed, first {missing[0]!r}: "
            "it is of another network"
        )
    taken = {}
    for name, shape in shapes.items():
        tensor = state[name]
        if (
            not isinstance(tensor, torch.Tensor)
            or not tensor.is_floating_point()
            or tensor.layout != torch.strided
        ):
            raise ModelError(f"{name_of_file}: {name!r} is no tensor of floating-point numbers")
        if tuple(tensor.shape) != shape:
            raise ModelError(f"{name_of_file}: {name!r} has shape {tuple(tensor.shape)}; wanted {shape}")
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{name_of_file}: {name!r} holds NaN or infinite values")
        taken[name] = tensor.to(torch.float32).contiguous()
    return taken


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first sentence of an error: torch explains at length how to load the checkpoint all the same."""
    text = one_line(error)
    return text if len(text) <= 160 else text[:157] + "..."
