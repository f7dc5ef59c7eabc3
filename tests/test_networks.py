"""Other people's encoders against the code their authors published, on random weights in their own formats."""

import importlib
import json
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_encoder import EncoderContract
from numpy.typing import NDArray
from published import (
    cnn14_weights, musicnn_weights, openl3_weights, sound, write_cnn14, write_musicnn, write_openl3,
)  # fmt: skip

from soundkin.audio import Excerpt
from soundkin.encoders import Encoder
from soundkin.encoders.clap import Clap
from soundkin.encoders.hf import HuggingFace, Mert, Wav2Vec2
from soundkin.encoders.musicnn import MusiCNN, read_checkpoint
from soundkin.encoders.openl3 import OpenL3, spectrogram
from soundkin.encoders.panns import Cnn14
from soundkin.encoders.torch_tools import device_in_use, precision_in_use
from soundkin.errors import InputError, ModelError

torch = pytest.importorskip("torch")

Array = NDArray[np.float32]
pytestmark = pytest.mark.torch
DATA = Path(__file__).parent / "data"


class Narrow(Cnn14):
    """Cnn14 with an eighth of its channels: the same code in a sixtieth of the time."""

    width, dims = 8, 256


def worst_cosine(a: Array, b: Array) -> float:
    """Return the least cosine of rows."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def relative(a: Any, b: Array) -> float:
    """Return the largest difference, in units of the largest value."""
    return float(np.abs(np.asarray(a) - b).max() / np.abs(b).max())


def windows(encoder: Encoder, y: Array, rate: int) -> Array:
    return encoder.windows(Excerpt(0.0, y, rate))[1]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


# Random weights, as published


def cnn14_file(folder: Path) -> Path:
    path = folder / "narrow.pth"
    if not path.exists():
        write_cnn14(path, cnn14_weights(Narrow.width))
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


TINY = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def waveform_model(kind: str) -> Any:
    """Return a small wav2vec 2.0 (as pre-trained) or HuBERT with random weights."""
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
            k.replace(new[0], "weight_g").replace(new[1], "weight_v"): v for k, v in model.state_dict().items()
        }
        torch.save(state, path / "pytorch_model.bin")
    return path


def wav2vec2_folder(folder: Path) -> Path:
    path = folder / "wav2vec2"
    return path if path.exists() else write_hub(path, waveform_model("wav2vec2"))


MERT_CARD = {
    "model_type": "mert_model", "auto_map": {"AutoModel": "modeling_MERT.MERTModel"},
    "feature_extractor_cqt": False, "deepnorm": False,
}  # fmt: skip


def mert_folder(folder: Path) -> Path:
    path = folder / "mert"
    return path if path.exists() else write_hub(path, waveform_model("hubert"), **MERT_CARD)


def clap_model() -> Any:
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


# The contract


class OfRandomWeights(EncoderContract):
    @pytest.fixture
    def source(self, folder: Path) -> str:
        return str(self.made(folder))

    @staticmethod
    def made(folder: Path) -> Path:
        raise NotImplementedError


class TestCnn14(OfRandomWeights):
    loader = "test_networks:Narrow"
    made = staticmethod(cnn14_file)


class TestMusiCNN(OfRandomWeights):
    loader = "soundkin.encoders.musicnn:MusiCNN"
    made = staticmethod(musicnn_folder)


@pytest.mark.slow  # 10 GFLOP per second of sound
class TestOpenL3(OfRandomWeights):
    loader = "soundkin.encoders.openl3:OpenL3"
    made = staticmethod(openl3_file)


class TestWav2Vec2(OfRandomWeights):
    loader = "soundkin.encoders.hf:Wav2Vec2"
    made = staticmethod(wav2vec2_folder)


class TestMert(OfRandomWeights):
    loader = "soundkin.encoders.hf:Mert"
    made = staticmethod(mert_folder)


class TestClap(OfRandomWeights):
    loader = "soundkin.encoders.clap:Clap"
    made = staticmethod(clap_folder)


class TestHuggingFace(OfRandomWeights):
    loader = "soundkin.encoders.hf:HuggingFace"
    made = staticmethod(other_folder)

