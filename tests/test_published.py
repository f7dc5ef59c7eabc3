"""Other people's encoders against the code their authors published, on random weights in their own formats."""

import importlib
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_encoder import EncoderContract
from numpy.typing import NDArray
from published import (
    MERT_CARD,
    NARROW,
    clap_folder,
    clap_model,
    cnn14_file,
    cnn14_weights,
    labels,
    mert_folder,
    musicnn_folder,
    musicnn_weights,
    openl3_file,
    openl3_weights,
    other_folder,
    sound,
    wav2vec2_folder,
    waveform_model,
    write_cnn14,
    write_hub,
    write_openl3,
)

from soundkin.audio import Excerpt
from soundkin.encoders import Encoder
from soundkin.encoders.clap import Clap
from soundkin.encoders.hf import HuggingFace, Mert, Wav2Vec2
from soundkin.encoders.musicnn import MusiCNN, read_checkpoint
from soundkin.encoders.openl3 import OpenL3, spectrogram
from soundkin.encoders.panns import Cnn14
from soundkin.errors import InputError

torch = pytest.importorskip("torch")

Array = NDArray[np.float32]
pytestmark = pytest.mark.torch
DATA = Path(__file__).parent / "data"


class Narrow(Cnn14):
    """Cnn14 with an eighth of its channels: the same code in a sixtieth of the time."""

    width, dims = NARROW, 32 * NARROW


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


# The contract


class OfRandomWeights(EncoderContract):
    made: Callable[[Path], Path]

    @pytest.fixture
    def source(self, folder: Path) -> str:
        return str(self.made(folder))


class TestCnn14(OfRandomWeights):
    loader = "test_published:Narrow"
    made = staticmethod(cnn14_file)


class TestMusiCNN(OfRandomWeights):
    loader = "soundkin.encoders.musicnn:MusiCNN"
    made = staticmethod(musicnn_folder)


class Exact(OpenL3):
    """In float32: what bfloat16 rounds depends on every sample, those at the edge of a resampled excerpt too."""

    def __init__(self, weights: str) -> None:
        super().__init__(weights, precision="float32")


@pytest.mark.slow  # 10 GFLOP per second of sound
class TestOpenL3(OfRandomWeights):
    loader = "test_published:Exact"
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


# Parity: the network alone to 1e-4, with its front end to a cosine of 0.9999


def official_cnn14() -> Any:
    """Return Cnn14 of the package panns_inference, whose own import would fetch files."""
    root = find_spec("panns_inference")
    if root is None or not root.submodule_search_locations:
        pytest.skip("panns_inference is not installed")
    for name in ("matplotlib", "matplotlib.pyplot"):  # imported there, not used
        sys.modules.setdefault(name, types.ModuleType(name))
    package = types.ModuleType("panns_inference")
    package.__path__ = list(root.submodule_search_locations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "panns_inference", package)
        kind = importlib.import_module("panns_inference.models").Cnn14
    return kind(32000, 1024, 320, 64, 50, 14000, 527).eval()


@pytest.mark.slow  # a third of a gigabyte
@pytest.mark.parametrize("legacy", [True, False])
def test_cnn14_is_the_published_one(tmp_path: Path, legacy: bool) -> None:
    official = official_cnn14()
    assert official.load_state_dict(cnn14_weights(), strict=False).unexpected_keys == []
    write_cnn14(tmp_path / "x.pth", official.state_dict(), legacy, bare=not legacy)
    (tmp_path / "labels.csv").write_text(labels())
    y = np.stack([sound(32000, 10.0, seed) for seed in (0, 1)])
    with torch.inference_mode():
        expected = {key: value.numpy() for key, value in official(torch.from_numpy(y)).items()}
    exact = Cnn14(tmp_path / "x.pth", labels=tmp_path / "labels.csv", device="cpu", precision="float32")
    assert relative(windows(exact, y.ravel(), 32000), expected["embedding"]) < 1e-4
    told = dict(exact.tags([Excerpt(0.0, y.ravel(), 32000)]))
    assert np.allclose(
        [told[f"tag, {i}"] for i in range(527)], expected["clipwise_output"].mean(0), atol=1e-5
    )
    short = sound(32000, 3.07)  # what others hear of a track: as it is, not in silence
    with torch.inference_mode():
        alone = official(torch.from_numpy(short[None]))["embedding"].numpy()
    assert relative(windows(exact, short, 32000), alone) < 1e-4
    fast = Cnn14(tmp_path / "x.pth", device="cpu", precision="bfloat16")
    assert worst_cosine(windows(fast, y.ravel(), 32000), expected["embedding"]) >= 0.9995


OPENL3_FRONTS = [(kind, front) for kind in ("linear", "mel128", "mel256") for front in ("kapre", "librosa")]


@pytest.mark.parametrize(("kind", "front"), OPENL3_FRONTS)
def test_openl3_is_the_published_one(folder: Path, kind: str, front: str) -> None:
    expected = np.load(DATA / "openl3.npz")[f"{kind}-{front}"]
    y = sound(48000, 1.5)
    exact = OpenL3(
        openl3_file(folder), input=kind, front_end=front, hop=0.5, device="cpu", precision="float32"
    )
    vectors = windows(exact, y, 48000)
    assert vectors.shape == (2, 512)
    assert relative(vectors[1:], expected) < 1e-4
    fast = OpenL3(openl3_file(folder), input=kind, front_end=front, device="cpu", precision="bfloat16")
    assert worst_cosine(windows(fast, y[24000:], 48000), expected) >= 0.9995


@pytest.mark.parametrize("kind", ["linear", "mel128", "mel256"])
@pytest.mark.parametrize(("dims", "step"), [(512, 2), (6144, 24)])
def test_the_network_of_openl3_is_the_published_one(folder: Path, kind: str, dims: int, step: int) -> None:
    bins, frames = {"linear": (257, 197), "mel128": (128, 199), "mel256": (256, 199)}[kind]
    image = np.random.default_rng(1).uniform(-80, 0, (1, bins, frames, 1)).astype(np.float32)[..., 0]
    encoder = OpenL3(openl3_file(folder), input=kind, dims=dims, device="cpu", precision="float32")
    with torch.inference_mode():
        vectors = encoder._network(torch.from_numpy(image)).numpy()
    assert vectors.shape == (1, dims)
    assert relative(vectors[:, ::step], np.load(DATA / "openl3.npz")[f"{kind}-network-{dims}"]) < 1e-4


@pytest.mark.filterwarnings("ignore:Empty filters")  # HTK's lowest are narrower than a bin
@pytest.mark.parametrize("n_mels", [128, 256])
@pytest.mark.parametrize("front", ["librosa", "htk"])
def test_the_mels_of_openl3_are_librosas(n_mels: int, front: str) -> None:
    import librosa

    y = sound(48000, 1.0)
    common: dict[str, Any] = {"sr": 48000, "n_mels": n_mels, "n_fft": 2048, "hop_length": 242}
    if front == "librosa":
        mel = librosa.feature.melspectrogram(y=y, power=1.0, pad_mode="constant", **common)
    else:  # kapre 0.1.4: padded like a convolution of TensorFlow's, HTK's scale, the root of power
        y = np.pad(y, 982)
        mel = np.sqrt(librosa.feature.melspectrogram(y=y, center=False, htk=True, norm="slaney", **common))
    expected = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=80.0)
    ours = spectrogram(sound(48000, 1.0), f"mel{n_mels}", front)
    assert ours.shape == (n_mels, 199)
    assert np.abs(ours - (expected - expected.max())).mean() < 0.01


def test_the_front_ends_of_openl3_differ() -> None:
    y = sound(48000, 1.0)
    ways = [spectrogram(y, "mel256", front) for front in ("kapre", "librosa", "htk")]
    assert min(np.abs(a - b).mean() for i, a in enumerate(ways) for b in ways[:i]) > 0.5


@pytest.mark.parametrize(("first", "extra"), [((0, 0), False), ((17, 3), True)])
def test_the_numbers_of_openl3s_layers_do_not_matter(
    tmp_path: Path, first: tuple[int, int], extra: bool
) -> None:
    write_openl3(tmp_path / "x.h5", openl3_weights(), first, extra)
    exact = OpenL3(tmp_path / "x.h5", input="mel128", front_end="librosa", device="cpu", precision="float32")
    expected = np.load(DATA / "openl3.npz")["mel128-librosa"]
    assert relative(windows(exact, sound(48000, 1.5)[24000:], 48000), expected) < 1e-4


def test_openl3_is_read_as_it_comes(folder: Path, tmp_path: Path) -> None:
    import gzip

    (tmp_path / "x.h5.gz").write_bytes(gzip.compress(openl3_file(folder).read_bytes(), 1))
    y = sound(48000, 1.0)
    packed, plain = (
        OpenL3(path, input="mel128", device="cpu") for path in (tmp_path / "x.h5.gz", openl3_file(folder))
    )
    assert np.array_equal(windows(packed, y, 48000), windows(plain, y, 48000))


def test_the_network_of_musicnn_is_the_published_one(folder: Path) -> None:
    expected = np.load(DATA / "musicnn.npz")
    image = torch.from_numpy(np.random.default_rng(1).uniform(0, 5, (2, 187, 96)).astype(np.float32))
    encoder = MusiCNN(musicnn_folder(folder), device="cpu")
    with torch.inference_mode():
        penultimate, mean = encoder._network(image)
        tags = encoder._network.tags(penultimate)
    assert relative(penultimate, expected["penultimate"]) < 1e-4
    assert relative(mean, expected["mid-end"]) < 1e-4
    assert relative(tags, expected["tags"]) < 1e-4


def test_musicnn_hears_what_the_package_hears(folder: Path) -> None:
    import librosa

    y = sound(16000, 2.992)
    mel = librosa.feature.melspectrogram(
        y=y, sr=16000, hop_length=256, n_fft=512, n_mels=96, pad_mode="reflect"
    ).T[:187]
    image = np.log10(10000 * mel.astype(np.float16).astype(np.float32) + 1)[None]
    for layer, place in (("penultimate", 0), ("mid-end", 1)):
        encoder = MusiCNN(musicnn_folder(folder), layer=layer, device="cpu")
        with torch.inference_mode():
            expected = encoder._network(torch.from_numpy(image))[place].numpy()
        assert worst_cosine(windows(encoder, y, 16000), expected) >= 0.9999
        assert encoder.dims == expected.shape[1]


def test_a_checkpoint_of_tensorflow_is_read_bit_by_bit(folder: Path) -> None:
    read, written = read_checkpoint(musicnn_folder(folder)), musicnn_weights()
    assert read.keys() == written.keys()
    assert all(np.array_equal(read[name], written[name]) for name in written)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("layer", [0, 1, 2, 3, None])
def test_wav2vec2_is_transformers(tmp_path: Path, old: bool, layer: int | None) -> None:
    import transformers

    model = waveform_model("wav2vec2")
    encoder = Wav2Vec2(write_hub(tmp_path / "x", model, old), layer=layer, device="cpu")
    y = sound(16000, 10.0)
    prepared = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False)(
        y, sampling_rate=16000, return_tensors="pt"
    )
    with torch.inference_mode():
        states = model.wav2vec2(**prepared, output_hidden_states=True).hidden_states
    assert relative(windows(encoder, y, 16000), states[3 if layer is None else layer].mean(1).numpy()) < 1e-4
    assert encoder.pooling == f"layer{3 if layer is None else layer}-mean"


def test_mert_is_hubert(tmp_path: Path) -> None:
    import transformers

    model = waveform_model("hubert")
    encoder = Mert(write_hub(tmp_path / "x", model, **MERT_CARD), layer=2, device="cpu")
    y = sound(24000, 5.0)
    prepared = transformers.Wav2Vec2FeatureExtractor(sampling_rate=24000)(
        y, sampling_rate=24000, return_tensors="pt"
    )
    with torch.inference_mode():
        states = model(prepared.input_values, output_hidden_states=True).hidden_states
    assert relative(windows(encoder, y, 24000), states[2].mean(1).numpy()) < 1e-4


@pytest.mark.parametrize("seconds", [10.0, 3.07, 0.6])
def test_clap_is_transformers(folder: Path, seconds: float) -> None:
    import transformers

    y = sound(48000, seconds)
    prepared = transformers.ClapFeatureExtractor(
        frequency_min=50, frequency_max=14000, truncation="rand_trunc", padding="repeatpad"
    )(y, sampling_rate=48000, return_tensors="pt")
    with torch.inference_mode():
        expected = clap_model().get_audio_features(**prepared).pooler_output.numpy()
    assert relative(windows(Clap(clap_folder(folder), device="cpu"), y, 48000), expected) < 1e-4


def test_clap_reads_as_transformers_does(folder: Path) -> None:
    import transformers

    words = "slow melancholic piano " * 10  # more than 77 letters
    tokens = transformers.AutoTokenizer.from_pretrained(clap_folder(folder))(
        words.strip(), truncation=True, max_length=77, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = clap_model().get_text_features(**tokens).pooler_output[0].numpy()
    clap = Clap(clap_folder(folder), device="cpu")
    assert clap._reader is None  # no text tower unless it is asked for
    vector = clap.text(words)
    assert relative(vector, expected) < 1e-4
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    with pytest.raises(InputError, match="empty text"):
        clap.text(" \n")


@pytest.mark.parametrize("kind", ["hubert", "ast", "whisper", "clap"])
def test_any_audio_encoder_of_transformers(tmp_path: Path, kind: str) -> None:
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    whisper = {
        "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 80,
    }  # fmt: skip
    model, extractor, seconds = {
        "hubert": lambda: (waveform_model("hubert"), transformers.Wav2Vec2FeatureExtractor(), 10.0),
        "ast": lambda: (
            transformers.ASTModel(transformers.ASTConfig(**small, num_mel_bins=64)),
            transformers.ASTFeatureExtractor(num_mel_bins=64), 10.0,
        ),
        "whisper": lambda: (
            transformers.WhisperModel(transformers.WhisperConfig(**whisper)),
            transformers.WhisperFeatureExtractor(), 30.0,
        ),
        "clap": lambda: (
            clap_model(), transformers.ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc"), 10.0,
        ),
    }[kind]()  # fmt: skip
    extractor.save_pretrained(tmp_path)
    encoder = HuggingFace(write_hub(tmp_path, model.eval(), old=False), device="cpu")
    y = sound(encoder.rate, seconds)
    prepared = extractor(y, sampling_rate=encoder.rate, return_tensors="pt")
    with torch.inference_mode():
        if kind == "clap":
            expected = model.get_audio_features(**prepared).pooler_output
        elif kind == "whisper":
            expected = model.encoder(prepared.input_features).last_hidden_state.mean(1)
        else:
            expected = model(prepared.input_values).last_hidden_state.mean(1)
    assert encoder.window_seconds == seconds
    assert relative(windows(encoder, y, encoder.rate), expected.numpy()) < 1e-4
    assert encoder.dims == 32


def test_excerpts_share_batches_and_keep_their_windows(folder: Path) -> None:
    encoder = MusiCNN(musicnn_folder(folder), device="cpu")
    y = sound(16000, 20.0)
    excerpts = [
        Excerpt(s, y[int(s * 16000) :][: int(n * 16000)], 16000) for s, n in ((0, 6.5), (7, 1.0), (9, 9.5))
    ]
    for (starts, vectors), excerpt in zip(encoder.windows_of(excerpts), excerpts, strict=True):
        alone = encoder.windows(excerpt)
        assert np.array_equal(starts, alone[0])
        assert worst_cosine(vectors, alone[1]) > 0.99999
