"""MusiCNN: 200 or 753 numbers per three seconds, and 50 tags.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019. Code and weights
ISC, inside the PyPI package `musicnn`: a folder per model, with a TensorFlow checkpoint, read here without TensorFlow.
"""

import math
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from soundkin.audio import Excerpt
from soundkin.encoders import Array
from soundkin.encoders.torch_tools import TorchEncoder, checked, device_in_use, hash_of, needs, one_line
from soundkin.errors import InputError, ModelError
from soundkin.features import FrontEnd, mel_filters, power_blocks

FRONT = FrontEnd(rate=16000, n_fft=512, hop=256, n_mels=96, fmin=0.0, fmax=8000.0)
FRAMES = 187
LAYERS = {"penultimate": 200, "mid-end": 753}
INDEX, DATA = ".index", ".data-00000-of-00001"
_MOST_BYTES = 256 << 20
_FLOAT = 1

# The tags of the two data sets, in the order of the network's outputs.
TAGS = {
    "MTT": (
        "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
        "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
        "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo",
        "man", "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello",
        "no voice", "weird", "country", "metal", "female voice", "choral",
    ),
    "MSD": (
        "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock",
        "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow",
        "electronica", "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient",
        "acoustic", "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening",
        "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad",
        "House", "happy",
    ),
}  # fmt: skip


class MusiCNN(TorchEncoder):
    """MusiCNN.

    Parameters
    ----------
    weights : path-like
        A model's folder from the package, "MTT_musicnn" or "MSD_musicnn", with its `.index` and `.data-00000-of-00001`.
    tags : str
        "MTT" or "MSD": what it was trained on; default what the folder's name begins with.
    layer : str
        "penultimate" (200 numbers) or "mid-end" (753).
    device : str
        "auto", "cpu", "cuda", ...
    engine : str
        What runs it on a CPU: "torch", "openvino", "onnxruntime", or "auto" for the fastest.
    name : str
        In spaces.

    Raises
    ------
    InputError
        No such variant.
    ModelError
        The checkpoint is damaged or of another network, or there is no such device.
    MissingExtra
        PyTorch is not installed.
    """

    rate = FRONT.rate
    front_end = f"{FRONT.name}-centred"
    window_seconds = hop_seconds = FRAMES * FRONT.hop / FRONT.rate

    def __init__(
        self,
        weights: str | os.PathLike[str],
        *,
        tags: str | None = None,
        layer: str = "penultimate",
        device: str = "auto",
        engine: str = "torch",
        name: str = "musicnn",
    ) -> None:
        folder = Path(weights)
        data_set = tags or folder.name[:3]
        if layer not in LAYERS:
            raise InputError(f"MusiCNN has no layer {layer!r}; wanted one of {', '.join(LAYERS)}")
        if data_set not in TAGS:
            raise InputError(f'tags {data_set!r}; wanted "MTT" or "MSD", or a folder whose name begins so')
        self.name, self.dims = name, LAYERS[layer]
        self._layer, self._tags = list(LAYERS).index(layer), TAGS[data_set]
        self.pooling = f"{layer}-mean"
        self._torch = needs("torch", "torch")
        self.device = device_in_use(device)
        from soundkin.encoders import networks

        self.weights = hash_of(folder / DATA)
        held = {key: self._torch.from_numpy(values) for key, values in read_checkpoint(folder).items()}
        state = checked(held, networks.musicnn_shapes(len(self._tags)), folder)
        self._network = networks.MusiCNN(state, self.device)
        self.hasten(engine, lambda: networks.MusiCNN(state, "cpu"), (1, FRAMES, FRONT.n_mels))

    def encode(self, pieces: Array) -> Array:
        """Encode PCM windows; see `TorchEncoder.encode`."""
        return self.run(front(pieces))[self._layer]

    def tags(self, excerpts: Iterable[Excerpt]) -> list[tuple[str, float]]:
        """Tell the tags of a track.

        Parameters
        ----------
        excerpts : iterable of Excerpt
            What is heard of it.

        Returns
        -------
        list of (str, float)
            All 50 tags with their probabilities, averaged over the windows; likeliest first.

        Raises
        ------
        InputError
            No excerpts.
        """
        heard = [self.pieces(excerpt) for excerpt in excerpts]
        if not heard:
            raise InputError("no excerpts came; wanted one or more to tell tags of")
        with self._torch.inference_mode():
            windows = [self._torch.from_numpy(self.run(front(pieces))[0]) for pieces in heard]
            chances = [self._network.tags(activations) for activations in windows]
            mean = self._torch.cat(chances).mean(dim=0)
        return sorted(zip(self._tags, mean.tolist(), strict=True), key=lambda tag: -tag[1])


def front(pieces: Array) -> Array:
    """Return what the network sees of PCM windows.

    Centred frames mirrored at the edges, as librosa did when the network was trained; rounded to half precision, as
    the package does.

    Parameters
    ----------
    pieces : float32 (b, n)
        PCM at 16 kHz.

    Returns
    -------
    float32 (b, 187, 96)
        log10 of 1 + 10000 times mel power.
    """
    half = FRONT.n_fft // 2
    centred = np.pad(pieces, ((0, 0), (half, half)), mode="reflect")
    filters = mel_filters(FRONT)
    mels = [np.concatenate([p @ filters for p in power_blocks(y, FRONT.n_fft, FRONT.hop)]) for y in centred]
    most = np.finfo(np.float16).max
    rounded = np.minimum(np.stack(mels)[:, :FRAMES], most).astype(np.float16).astype(np.float32)
    return np.log10(np.float32(10000) * rounded + np.float32(1))


def read_checkpoint(folder: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the float32 tensors of a TensorFlow checkpoint.

    Its index is a LevelDB table: name -> protobuf with type, shape, offset and size; the numbers lie in another file.

    Parameters
    ----------
    folder : path-like
        Holds `INDEX` and `DATA`.

    Returns
    -------
    dict
        Tensors by name.

    Raises
    ------
    ModelError
        Missing or damaged files.
    """
    index, data = Path(folder) / INDEX, Path(folder) / DATA
    try:
        if max(index.stat().st_size << 8, data.stat().st_size) > _MOST_BYTES:
            raise ValueError("larger than any MusiCNN")
        return _tensors(index.read_bytes(), data.read_bytes())
    except (OSError, ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
        raise ModelError(
            f"{os.fspath(folder)!r} holds no TensorFlow checkpoint: {one_line(error)}"
        ) from error


def _tensors(table: bytes, data: bytes) -> dict[str, Array]:
    handles, at = [], 0
    footer = table[-48:]
    for _ in range(4):  # offset and size of the meta index, then of the index
        value, at = _varint(footer, at)
        handles.append(value)
    tensors = {}
    for _, handle in _rows(table, handles[2], handles[3]):
        offset, at = _varint(handle, 0)
        for key, entry in _rows(table, offset, _varint(handle, at)[0]):
            fields = _fields(entry)
            if key and fields[1][0] == _FLOAT:
                shape = [_fields(d).get(1, [0])[0] for d in _fields(fields[2][0]).get(2, [])]
                start, size = fields.get(4, [0])[0], fields[5][0]
                if size != 4 * math.prod(shape) or start + size > len(data):
                    raise ValueError(f"{key!r} is cut short")
                tensors[key.decode()] = (
                    np.frombuffer(data, np.float32, size // 4, start).reshape(shape).copy()
                )
    return tensors


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 64 bits")


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
    at = 0
    fields: dict[int, list[Any]] = {}
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
