"""OpenL3: 512 or 6144 numbers per second, learned by matching sound to video.

Cramer et al., "Look, listen and learn more: design choices for deep audio embeddings", 2019. Code MIT; weights CC BY
4.0, the `models` branch of github.com/marl/openl3.

Three front ends have been in use with the same weights, and their vectors differ (cosine 0.97 to 0.99):
    kapre    the library's default since 0.4: Slaney mels of magnitudes, zeros after the window
    librosa  its other choice since 0.4: the same mels, zeros on both sides
    htk      the library up to 0.3, and probably training: HTK mels of power, their root, zeros on both sides
"""

import gzip
import io
import os
from functools import cache
from typing import Any

import numpy as np

from soundkin.encoders import Array
from soundkin.encoders.torch_tools import (
    TorchEncoder,
    checked,
    device_in_use,
    hash_of,
    needs,
    one_line,
    precision_in_use,
)  # fmt: skip
from soundkin.errors import InputError, ModelError
from soundkin.features import FrontEnd, htk_edges, mel_filters, power_blocks, triangles

FRONT_ENDS = ("kapre", "librosa", "htk")
INPUTS = ("linear", "mel128", "mel256")
CONTENTS = ("music", "env")
_RATE, _HOP, _MEL_FFT, _LINEAR_FFT = 48000, 242, 2048, 512
# Zeros before and after a window of one second, per front end of mels; all give 199 frames.
_PADDING = {"kapre": (0, 1964), "librosa": (1024, 1024), "htk": (982, 982)}
# Size of the last pooling, over bands and over frames.
_POOLS = {
    ("linear", 6144): (8, 8), ("linear", 512): (32, 24), ("mel128", 6144): (4, 8), ("mel128", 512): (16, 24),
    ("mel256", 6144): (8, 8), ("mel256", 512): (32, 24),
}  # fmt: skip
_RANGE_DB = 80.0
# The published files hold 18.8 MB of weights.
_MOST_BYTES = 64 << 20


class OpenL3(TorchEncoder):
    """OpenL3's audio network.

    Parameters
    ----------
    weights : path-like
        A published `openl3_audio_*-v0_4_0.h5`, or the `.h5.gz` it comes as.
    content : str
        "music" or "env": what the weights were trained on.
    input : str
        "linear", "mel128" or "mel256": what the weights were trained with.
    dims : int
        512 or 6144.
    hop : float
        Seconds from one window to the next; 0.1 is the library's, and ten times the work.
    front_end : str
        "kapre", "librosa" or "htk".
    device, precision : str
        As for `panns.Cnn14`.
    engine : str
        What runs it on a CPU: "torch", "openvino", "onnxruntime", or "auto" for the fastest.
    name : str
        In spaces.

    Raises
    ------
    InputError
        No such variant.
    ModelError
        The file is damaged or of another network, or there is no such device.
    MissingExtra
        PyTorch or h5py is not installed.
    """

    rate = _RATE
    window_seconds = 1.0

    def __init__(
        self,
        weights: str | os.PathLike[str],
        *,
        content: str = "music",
        input: str = "mel256",
        dims: int = 512,
        hop: float = 1.0,
        front_end: str = "kapre",
        device: str = "auto",
        precision: str = "auto",
        engine: str = "torch",
        name: str = "openl3",
    ) -> None:
        for value, allowed in (
            (content, CONTENTS), (input, INPUTS), (dims, (512, 6144)), (front_end, FRONT_ENDS),
        ):  # fmt: skip
            if value not in allowed:
                raise InputError(f"OpenL3 has no {value!r}; wanted one of {', '.join(map(str, allowed))}")
        if not 0.01 <= hop <= 1:
            raise InputError(f"OpenL3 with a hop of {hop} s; wanted 0.01 to 1")
        self.name, self.dims, self.hop_seconds = name, dims, hop
        self.front_end = f"openl3-{content}-{input}-{front_end}"
        self._input, self._front = input, front_end
        self._torch = needs("torch", "torch")
        self.device = device_in_use(device)
        self.precision = precision_in_use(precision, self.device)
        from soundkin.encoders import networks

        self.weights = hash_of(weights)
        layers = read_layers(weights)
        pool = _POOLS[input, dims]
        self._network = networks.OpenL3(layers, pool, self.device, self.precision)
        example = (1, *spectrogram(np.zeros(_RATE, np.float32), input, front_end).shape)
        self.hasten(engine, lambda: networks.OpenL3(layers, pool, "cpu", "float32"), example, f"{pool}")

    def short(self, y: Array, size: int) -> Array:
        """Make a window from less, as the library does: zeros after it; see `TorchEncoder.short`."""
        return np.pad(y, (0, size - len(y)))

    def encode(self, pieces: Array) -> Array:
        """Encode PCM windows; see `TorchEncoder.encode`."""
        spectrograms = np.stack([spectrogram(y, self._input, self._front) for y in pieces])
        return self.run(spectrograms)[0]


def spectrogram(y: Array, input: str, front_end: str) -> Array:
    """Return what the network sees of a second of sound.

    Parameters
    ----------
    y : float32 (48000,)
        PCM.
    input : str
        One of `INPUTS`.
    front_end : str
        One of `FRONT_ENDS`; they agree on linear input.

    Returns
    -------
    float32 (bins, frames)
        "Decibels", -80 to 0: the library takes ten, not twenty, times the logarithm of a magnitude.
    """
    if input == "linear":
        level = np.sqrt(np.concatenate(list(power_blocks(y, _LINEAR_FFT, _HOP))))
    else:
        padded = np.pad(y, _PADDING[front_end])
        power = np.concatenate(list(power_blocks(padded, _MEL_FFT, _HOP)))
        filters = _filters(int(input.removeprefix("mel")), front_end)
        level = np.sqrt(power @ filters) if front_end == "htk" else np.sqrt(power) @ filters
    decibels = np.float32(10) * np.log10(np.maximum(level, np.float32(1e-10)))
    return np.ascontiguousarray(np.maximum(decibels - decibels.max(), np.float32(-_RANGE_DB)).T)


@cache
def _filters(n_mels: int, front_end: str) -> Array:
    if front_end == "htk":
        return triangles(htk_edges(n_mels, 0.0, _RATE / 2), _RATE, _MEL_FFT)
    return mel_filters(FrontEnd(_RATE, _MEL_FFT, _HOP, n_mels, 0.0, _RATE / 2))


def read_layers(file: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the weights of OpenL3 from Keras's HDF5 of weights.

    Layers are found by their order and kind: their numbers differ from file to file.

    Parameters
    ----------
    file : path-like
        `.h5` or `.h5.gz`.

    Returns
    -------
    list of dict of str to tensor
        As `networks.openl3_shapes` says.

    Raises
    ------
    ModelError
        Damaged, or the weights of something else.
    """
    from soundkin.encoders import networks

    h5py = needs("h5py", "openl3")
    shapes = networks.openl3_shapes()
    try:
        with h5py.File(_opened(file), "r") as held:
            names = [name for name in _texts(held.attrs["layer_names"]) if "spectrogram" not in name]
            found = [layer for layer in (_arrays(held, name) for name in names) if layer]
    except ModelError:
        raise
    except Exception as error:  # HDF5 reports damage with whatever exception is nearest
        raise ModelError(f"{os.fspath(file)!r} is no Keras file of weights: {one_line(error)}") from error
    kinds = ["batch normalisation" if len(layer) == 4 else "convolution" for layer in found]
    if kinds != [kind for kind, _ in shapes]:
        raise ModelError(
            f"{os.fspath(file)!r} has {kinds.count('convolution')} convolutions and {len(kinds)} layers with weights; "
            f"OpenL3's audio network has 8, and {len(shapes)} in a fixed order: it is of another network"
        )
    torch = needs("torch", "torch")
    layers = []
    for layer, (_, wanted) in zip(found, shapes, strict=True):
        named = {
            name.split("/")[-1].split(":")[0]: torch.from_numpy(values) for name, values in layer.items()
        }
        layers.append(checked(named, wanted, file))
    return layers


def _opened(file: str | os.PathLike[str]) -> io.BytesIO:
    """Return the bytes of a file, unpacked if it is packed."""
    with open(file, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        data = gzip.GzipFile(fileobj=stream).read(_MOST_BYTES + 1) if packed else stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ModelError(
            f"{os.fspath(file)!r} holds more than {_MOST_BYTES >> 20} MB; OpenL3's weights take 19"
        )
    return io.BytesIO(data)


def _texts(names: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _arrays(held: Any, layer: str) -> dict[str, Any]:
    """Return the weights of a layer by name, in their order."""
    group = held[layer]
    arrays = {}
    for name in _texts(group.attrs["weight_names"]):
        dataset = group[name]
        # What a file says may lie elsewhere: in other files, or nowhere, at any size.
        if dataset.external or dataset.is_virtual or dataset.nbytes > dataset.id.get_storage_size() * 2:
            raise ModelError(f"{name!r} claims more data than the file holds")
        arrays[name] = np.ascontiguousarray(dataset[()], np.float32)
    return arrays
