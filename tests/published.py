"""The published formats of other people's encoders, with random weights: what their own code would load.

Only numpy, and h5py or torch where a format needs it: `tests/data/make_references.py` uses this file under TensorFlow.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
# Channels of the first block of a Cnn14 with an eighth of the published one's: the same code, a sixtieth of the time.
NARROW = 8


def sound(rate: int, seconds: float, seed: int = 0) -> Array:
    """Return a chirp from 50 Hz to 0.45 of the rate, with clicks and a floor of noise, (n,)."""
    n = round(rate * seconds)
    time = np.arange(n) / rate
    phase = 2 * np.pi * (50 * time + (0.45 * rate - 50) * time**2 / (2 * seconds))
    random = np.random.default_rng(seed)
    clicks = (np.arange(n) % (rate // 4) == rate // 8) * 0.5
    return (0.3 * np.sin(phase) + clicks + 0.02 * random.standard_normal(n)).astype(np.float32)


def normal(random: np.random.Generator, shape: tuple[int, ...], fan: int) -> Array:
    """Return weights that keep the scale of what passes through (He et al., 2015)."""
    return (random.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32)


def norm(random: np.random.Generator, channels: int, mean: float = 0, variance: float = 1) -> list[Array]:
    """Return gamma, beta, mean and variance of a batch normalisation."""
    spread = np.sqrt(variance)
    return [
        random.uniform(0.7, 1.3, channels).astype(np.float32),
        (0.1 * random.standard_normal(channels)).astype(np.float32),
        (mean + 0.1 * spread * random.standard_normal(channels)).astype(np.float32),
        (variance * random.uniform(0.7, 1.3, channels)).astype(np.float32),
    ]


# OpenL3


def openl3_weights(seed: int = 0) -> list[list[Array]]:
    """Return the arrays of each layer of OpenL3's audio network that has any, in Keras's order."""
    random = np.random.default_rng(seed)
    layers = [norm(random, 1, -40, 300)]
    before = 1
    for width in (64, 64, 128, 128, 256, 256, 512, 512):
        layers.append([normal(random, (3, 3, before, width), 9 * before), 0.1 * normal(random, (width,), 2)])
        layers.append(norm(random, width))
        before = width
    return layers[:-1]


def write_openl3(
    path: Path, layers: list[list[Array]], first: tuple[int, int] = (0, 0), extra: bool = False
) -> None:
    """Write layers as Keras's legacy `save_weights` does.

    Parameters
    ----------
    path : Path
        The file to write.
    layers : list of list of array
        Of each layer, in order.
    first : tuple of int
        Number of the first batch normalisation and the first convolution.
    extra : bool
        With layers that have no weights, and one of a spectrogram.
    """
    import h5py

    numbers = {4: first[0], 2: first[1]}
    parts = {4: ("gamma", "beta", "moving_mean", "moving_variance"), 2: ("kernel", "bias")}
    names = []
    with h5py.File(path, "w") as file:
        if extra:
            names += ["input_1", "melspectrogram_1"]
            file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
            group = file.create_group("melspectrogram_1")
            group["melspectrogram_1/real_kernels:0"] = np.zeros((4, 4), np.float32)
            group.attrs["weight_names"] = np.array([b"melspectrogram_1/real_kernels:0"])
        for i, layer in enumerate(layers):
            n = len(layer)
            kind = {4: "batch_normalization", 2: "conv2d"}.get(n, "other")
            name = f"{kind}_{numbers.get(n, 0)}" if numbers.get(n, 0) else kind
            name = "audio_embedding_layer" if i == len(layers) - 1 and n == 2 else name
            numbers[n] = numbers.get(n, 0) + 1
            names.append(name)
            group = file.create_group(name)
            wanted = [f"{name}/{part}:0" for part in parts.get(n, ("a", "b", "c"))[:n]]
            for key, values in zip(wanted, layer, strict=True):
                group[key] = values
            group.attrs["weight_names"] = np.array([key.encode() for key in wanted])
        file.attrs["layer_names"] = np.array([name.encode() for name in names])
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.6.0"


# MusiCNN


def musicnn_weights(seed: int = 0) -> dict[str, Array]:
    """Return the tensors of MusiCNN by their names in its TensorFlow graph."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}

    def put(kind: str, i: int, **parts: Array) -> None:
        for part, values in parts.items():
            tensors[f"{kind}_{i}/{part}" if i else f"{kind}/{part}"] = values

    kernels = [(7, 38, 1, 204), (7, 67, 1, 204), (128, 1, 1, 51), (64, 1, 1, 51), (32, 1, 1, 51)]
    kernels += [(7, 561, 1, 64), (7, 64, 1, 64), (7, 64, 1, 64)]
    for i, shape in enumerate(kernels):
        put(
            "conv2d",
            i,
            kernel=normal(random, shape, shape[0] * shape[1]),
            bias=0.1 * normal(random, shape[3:], 2),
        )
    for i, channels in enumerate((1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200)):
        gamma, beta, mean, variance = norm(random, channels, 1, 1)
        put("batch_normalization", i, gamma=gamma, beta=beta, moving_mean=mean, moving_variance=variance)
    for i, (rows, columns) in enumerate(((1506, 200), (200, 50))):
        put(
            "dense", i, kernel=normal(random, (rows, columns), rows), bias=0.1 * normal(random, (columns,), 2)
        )
    return tensors


def write_musicnn(folder: Path, tensors: dict[str, Array]) -> None:
    """Write tensors as a TensorFlow checkpoint: a LevelDB table of one block, and the numbers beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, data = [(b"", b"\x08\x01")], b""
    for name in sorted(tensors):
        values = tensors[name]
        shape = b"".join(_field(2, _field(1, size)) for size in values.shape)
        entry = _field(1, 1) + _field(2, shape) + _field(4, len(data)) + _field(5, values.nbytes)
        rows.append((name.encode(), entry))
        data += values.tobytes()
    block = _block(rows)
    index = _block([(b"~", _varint(0) + _varint(len(block)))])
    handle = _varint(len(block) + 5) + _varint(0) + _varint(len(block) + 5) + _varint(len(index))
    footer = handle.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (folder / ".index").write_bytes(block + bytes(5) + index + bytes(5) + footer)
    (folder / ".data-00000-of-00001").write_bytes(data)


def _block(rows: list[tuple[bytes, bytes]]) -> bytes:
    """Return a LevelDB block: keys share a prefix with the one before."""
    block, before = b"", b""
    for key, value in rows:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        block += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        before = key
    return block + struct.pack("<II", 0, 1)


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _field(number: int, value: int | bytes) -> bytes:
    """Return a protobuf field."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


# PANNs


def cnn14_weights(width: int = 64, seed: int = 0) -> dict[str, Any]:
    """Return the state of Cnn14, as tensors, without the three of its front end."""
    import torch

    random = np.random.default_rng(seed)
    state: dict[str, Array] = {}

    def put_norm(name: str, channels: int, mean: float = 0, variance: float = 1) -> None:
        for part, values in zip(
            ("weight", "bias", "running_mean", "running_var"),
            norm(random, channels, mean, variance),
            strict=True,
        ):
            state[f"{name}.{part}"] = values

    put_norm("bn0", 64, -30, 300)
    before = 1
    for block in range(1, 7):
        channels = width * 2 ** (block - 1)
        for i, came in ((1, before), (2, channels)):
            state[f"conv_block{block}.conv{i}.weight"] = normal(random, (channels, came, 3, 3), 9 * came)
            put_norm(f"conv_block{block}.bn{i}", channels)
        before = channels
    for name, rows in (("fc1", before), ("fc_audioset", 527)):
        state[f"{name}.weight"] = normal(random, (rows, before), before)
        state[f"{name}.bias"] = 0.1 * normal(random, (rows,), 2)
    tensors: dict[str, Any] = {name: torch.from_numpy(values) for name, values in state.items()}
    counted = {name.replace("running_var", "num_batches_tracked") for name in state if "running_var" in name}
    return tensors | {name: torch.tensor(600_000) for name in counted}


def write_cnn14(path: Path, state: dict[str, Any], legacy: bool = True, bare: bool = False) -> None:
    """Write a state as PANNs' training did, in the format of torch before 1.6 or today's."""
    import torch

    held = {"model": state} if bare else {"iteration": 600_000, "model": state}
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)


def labels(n: int = 527) -> str:
    rows = "".join(f'{i},/m/{i},"tag, {i}"\n' for i in range(n))
    return f"index,mid,display_name\n{rows}"


# Hugging Face

TINY: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def waveform_model(kind: str) -> Any:
    """Return a small wav2vec 2.0 (as pre-trained) or HuBERT with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    if kind == "wav2vec2":
        return transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**TINY)).eval()
    return transformers.HubertModel(transformers.HubertConfig(**TINY)).eval()


def write_hub(path: Path, model: Any, old: bool = True, **changes: Any) -> Path:
    """Write a model as its repository on the Hub has it: `old` with a pickle and the weight norm's old names."""
    path.mkdir(parents=True, exist_ok=True)
    if not old:
        model.save_pretrained(path)
    card = json.loads(model.config.to_json_string())
    (path / "config.json").write_text(json.dumps({**card, **changes}))
    if old:
        new = ("parametrizations.weight.original0", "parametrizations.weight.original1")
        state = {
            k.replace(new[0], "weight_g").replace(new[1], "weight_v"): v
            for k, v in model.state_dict().items()
        }
        import torch

        torch.save(state, path / "pytorch_model.bin")
    return path


MERT_CARD: dict[str, Any] = {
    "model_type": "mert_model", "auto_map": {"AutoModel": "modeling_MERT.MERTModel"},
    "feature_extractor_cqt": False, "deepnorm": False,
}  # fmt: skip


def clap_model() -> Any:
    import torch
    import transformers

    torch.manual_seed(0)
    audio = {
        "patch_embeds_hidden_size": 16, "depths": [1, 1, 1, 1], "num_attention_heads": [2, 2, 2, 2],
        "hidden_size": 128, "projection_dim": 32,
    }  # fmt: skip
    text = {
        "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "projection_dim": 32,
    }  # fmt: skip
    config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=32)
    return transformers.ClapModel(config).eval()


# Files made once per test session


def cnn14_file(folder: Path) -> Path:
    path = folder / "narrow.pth"
    if not path.exists():
        write_cnn14(path, cnn14_weights(NARROW))
    return path


def openl3_file(folder: Path) -> Path:
    path = folder / "openl3.h5"
    if not path.exists():
        write_openl3(path, openl3_weights())
    return path


def musicnn_folder(folder: Path) -> Path:
    path = folder / "MTT_random"
    if not path.exists():
        write_musicnn(path, musicnn_weights())
    return path


def wav2vec2_folder(folder: Path) -> Path:
    path = folder / "wav2vec2"
    return path if path.exists() else write_hub(path, waveform_model("wav2vec2"))


def mert_folder(folder: Path) -> Path:
    path = folder / "mert"
    return path if path.exists() else write_hub(path, waveform_model("hubert"), **MERT_CARD)


def clap_folder(folder: Path) -> Path:
    path = folder / "clap"
    if not path.exists():
        write_hub(path, clap_model(), old=False)
        letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *"abcdefghijklmnopqrstuvwxyz"]
        (path / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
        (path / "merges.txt").write_text("#version: 0.2\n")
        (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
    return path


def other_folder(folder: Path) -> Path:
    """Make a HuBERT: what `hf:` names are for."""
    import transformers

    path = folder / "hubert"
    if not path.exists():
        write_hub(path, waveform_model("hubert"), old=False)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(path)
    return path
