"""Weights that are damaged, hostile or of another network: one line, and nothing else happens."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from published import (
    MERT_CARD,
    NARROW,
    clap_model,
    cnn14_file,
    cnn14_weights,
    labels,
    musicnn_folder,
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
from soundkin.cli.collection import _print_devices
from soundkin.encoders.clap import Clap
from soundkin.encoders.hf import HuggingFace, Mert, Wav2Vec2
from soundkin.encoders.musicnn import MusiCNN, read_checkpoint
from soundkin.encoders.openl3 import OpenL3
from soundkin.encoders.panns import Cnn14
from soundkin.encoders.torch_tools import device_in_use, precision_in_use
from soundkin.errors import InputError, ModelError
from soundkin.scan import ScanReport

torch = pytest.importorskip("torch")

Array = NDArray[np.float32]
pytestmark = pytest.mark.torch


class Narrow(Cnn14):
    """Cnn14 with an eighth of its channels: the same code in a sixtieth of the time."""

    width, dims = NARROW, 32 * NARROW


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


class Code:
    """Runs when it is unpickled by somebody careless."""

    def __reduce__(self) -> Any:
        return (exec, ("import pathlib; pathlib.Path(__file__).parent.joinpath('ran').touch()",))


def broken_cnn14(path: Path, how: str) -> None:
    state = cnn14_weights(Narrow.width)
    if how == "missing":
        del state["conv_block3.conv2.weight"]
    elif how == "shape":
        state["fc1.weight"] = state["fc1.weight"][:, :-1]
    elif how == "NaN":
        state["bn0.weight"][3] = float("nan")
    elif how == "integers":
        state["fc1.bias"] = torch.zeros(256, dtype=torch.int32)
    elif how == "no tensor":
        state["fc1.bias"] = 3
    elif how == "sparse":
        state["fc1.weight"] = state["fc1.weight"].to_sparse()
    write_cnn14(path, state)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "lacks 1 of the .* 'conv_block3.conv2.weight'"), ("shape", r"has shape \(256, 255\)"),
        ("NaN", "NaN"), ("integers", "no tensor of floating-point"), ("no tensor", "no tensor of floating-point"),
        ("sparse", "no tensor of floating-point"),
    ],
)  # fmt: skip
def test_a_checkpoint_with_a_wrong_tensor(tmp_path: Path, how: str, words: str) -> None:
    broken_cnn14(tmp_path / "x.pth", how)
    refused(lambda: Narrow(tmp_path / "x.pth", device="cpu"), words)


def refused(make: Any, words: str | None = None) -> None:
    with pytest.raises(ModelError, match=words or None) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("legacy", [True, False])
def test_a_checkpoint_that_would_run_code(tmp_path: Path, legacy: bool) -> None:
    held = {"model": cnn14_weights(1), "x": Code()}
    torch.save(held, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    refused(lambda: Narrow(tmp_path / "x.pth", device="cpu"), "no PyTorch checkpoint of plain tensors")
    assert not Path(__file__).parent.joinpath("ran").exists()


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_checkpoint_cut_short(folder: Path, tmp_path: Path, legacy: bool, share: float) -> None:
    whole = tmp_path / "whole.pth"
    write_cnn14(whole, cnn14_weights(Narrow.width), legacy)
    data = whole.read_bytes()
    (tmp_path / "x.pth").write_bytes(data[: int(len(data) * share)])
    refused(lambda: Narrow(tmp_path / "x.pth", device="cpu"))


@pytest.mark.parametrize("held", [[1, 2], {"model": [1]}, {"model": {}}, torch.zeros(3)])
def test_a_checkpoint_of_something_else(tmp_path: Path, held: Any) -> None:
    torch.save(held, tmp_path / "x.pth")
    refused(lambda: Narrow(tmp_path / "x.pth", device="cpu"))


def test_a_checkpoint_that_grows_when_read(tmp_path: Path) -> None:
    import zipfile

    torch.save({"model": {}}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry, plain.read(entry))
        bomb.writestr("plain/data/0", bytes(50 << 20))
    refused(lambda: Narrow(tmp_path / "x.pth", device="cpu"), "more than the file has")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    for make in (Cnn14, OpenL3, MusiCNN, Wav2Vec2, Mert, HuggingFace, Clap):
        arguments: dict[str, Any] = {"tags": "MTT"} if make is MusiCNN else {}
        refused(lambda make=make, arguments=arguments: make(missing, device="cpu", **arguments), "nothing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda layers: layers[:-2], "7 convolutions"),
        (lambda layers: layers + layers[1:2], "9 convolutions"),
        (lambda layers: [layers[1], layers[0], *layers[2:]], "in a fixed order"),
        (
            lambda layers: [*layers[:3], [layers[3][0][..., :-1], layers[3][1]], *layers[4:]],
            "'kernel' has shape",
        ),
        (lambda layers: [[np.full(1, np.inf, np.float32), *layers[0][1:]], *layers[1:]], "NaN or infinite"),
    ],
)
def test_openl3_with_wrong_layers(tmp_path: Path, change: Any, words: str) -> None:
    write_openl3(tmp_path / "x.h5", change(openl3_weights()))
    refused(lambda: OpenL3(tmp_path / "x.h5", device="cpu"), words)


def test_a_keras_file_that_points_elsewhere(tmp_path: Path) -> None:
    import h5py

    write_openl3(tmp_path / "x.h5", openl3_weights())
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(64 * 4))
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["conv2d/conv2d/bias:0"]
        file.create_dataset("conv2d/conv2d/bias:0", (64,), "f4", external=[(str(secret), 0, 64 * 4)])
    refused(lambda: OpenL3(tmp_path / "x.h5", device="cpu"), "claims more data")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["conv2d/conv2d/bias:0"]
        file.create_dataset("conv2d/conv2d/bias:0", (1 << 40,), "f4", chunks=(1 << 20,))
    refused(lambda: OpenL3(tmp_path / "x.h5", device="cpu"), "claims more data")


@pytest.mark.parametrize("data", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100), b"\x1f\x8bno gzip"])
def test_what_is_no_keras_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.h5").write_bytes(data)
    refused(lambda: OpenL3(tmp_path / "x.h5", device="cpu"))


def test_a_keras_file_cut_short_or_too_long(folder: Path, tmp_path: Path) -> None:
    import gzip

    data = openl3_file(folder).read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "x.h5").write_bytes(data[: int(len(data) * share)])
        refused(lambda: OpenL3(tmp_path / "x.h5", device="cpu"))
    (tmp_path / "x.h5.gz").write_bytes(gzip.compress(bytes(100 << 20), 1))
    refused(lambda: OpenL3(tmp_path / "x.h5.gz", device="cpu"), "more than 64 MB")


@pytest.mark.parametrize("part", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_checkpoint_of_tensorflow_cut_short(folder: Path, tmp_path: Path, part: str, share: float) -> None:
    whole = {
        name: (musicnn_folder(folder) / name).read_bytes() for name in (".index", ".data-00000-of-00001")
    }
    whole[part] = whole[part][: int(len(whole[part]) * share)]
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    refused(lambda: MusiCNN(tmp_path, tags="MTT", device="cpu"))


@pytest.mark.parametrize("seed", range(40))
def test_a_checkpoint_of_tensorflow_with_flipped_bytes(folder: Path, tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    index = bytearray((musicnn_folder(folder) / ".index").read_bytes())
    for at in random.integers(len(index), size=5):
        index[at] = random.integers(256)
    (tmp_path / ".index").write_bytes(index)
    (tmp_path / ".data-00000-of-00001").symlink_to(musicnn_folder(folder) / ".data-00000-of-00001")
    try:
        read_checkpoint(tmp_path)
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may as well be readable


def test_a_folder_of_the_hub_with_a_wrong_configuration(folder: Path, tmp_path: Path) -> None:
    card = json.loads((wav2vec2_folder(folder) / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").symlink_to(wav2vec2_folder(folder) / "pytorch_model.bin")
    for change, words in (
        ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1000000000"),
        ({"hidden_size": 10**9}, "'hidden_size' is"),
        ({"num_hidden_layers": 5}, "lacks"),
        ({"hidden_size": 64}, ""),
        ({"conv_dim": [16] * 300}, ""),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
        ({"model_type": "bert"}, "'bert'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**card, **change}))
        refused(lambda: Wav2Vec2(tmp_path, device="cpu"), words)
    for text in ("", "[]", "{", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        refused(lambda: Wav2Vec2(tmp_path, device="cpu"), "no usable configuration")


def test_mert_whose_own_code_would_matter(tmp_path: Path) -> None:
    for extra in ("feature_extractor_cqt", "deepnorm"):
        path = write_hub(tmp_path / extra, waveform_model("hubert"), **{**MERT_CARD, extra: True})
        refused(lambda path=path: Mert(path, device="cpu"), extra)


def test_a_clap_with_fusion(tmp_path: Path) -> None:
    model = clap_model()
    card = json.loads(model.config.to_json_string())
    path = write_hub(tmp_path, model, old=False, audio_config={**card["audio_config"], "enable_fusion": True})
    refused(lambda: Clap(path, device="cpu"), "fuses")


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 8, (1 << 60).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"]
)
def test_safetensors_that_are_damaged(folder: Path, tmp_path: Path, data: bytes) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).symlink_to(other_folder(folder) / name)
    (tmp_path / "model.safetensors").write_bytes(data)
    refused(lambda: HuggingFace(tmp_path, device="cpu"), "no safetensors file")


def test_safetensors_with_what_is_not_finite(tmp_path: Path) -> None:
    model = waveform_model("wav2vec2")
    with torch.no_grad():
        model.wav2vec2.encoder.layer_norm.weight[0] = float("inf")
    refused(lambda: Wav2Vec2(write_hub(tmp_path, model, old=False), device="cpu"), "NaN or infinite")


def test_a_model_of_the_hub_that_brings_code(folder: Path, tmp_path: Path) -> None:
    for path in other_folder(folder).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "code.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")
    card = json.loads((tmp_path / "config.json").read_text())
    card |= {"model_type": "unheard", "auto_map": {"AutoConfig": "code.X", "AutoModel": "code.X"}}
    (tmp_path / "config.json").write_text(json.dumps(card))
    refused(lambda: HuggingFace(tmp_path, device="cpu"))
    assert not (tmp_path / "ran").exists()


def test_a_device_that_is_not_here(folder: Path) -> None:
    if not torch.cuda.is_available():
        refused(
            lambda: MusiCNN(musicnn_folder(folder), device="cuda"), "'cuda' is not here; this machine has cpu"
        )
        assert device_in_use("auto") in ("cpu", "mps")
    with pytest.raises(InputError, match="device 'gpu'"):
        MusiCNN(musicnn_folder(folder), device="gpu")
    with pytest.raises(InputError, match="precision 'int3'"):
        precision_in_use("int3", "cpu")


def test_the_device_in_use_is_the_one_asked_for_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert [device_in_use(asked) for asked in ("auto", "cpu", "cuda", "cuda:1")] == [
        "cuda",
        "cpu",
        "cuda",
        "cuda:1",
    ]
    for asked in ("cuda:2", "mps"):
        refused(
            lambda asked=asked: device_in_use(asked),
            f"'{asked}' is not here; this machine has cuda:0, cuda:1",
        )
    with pytest.raises(InputError, match="device 'gpu'"):
        device_in_use("gpu")


def test_what_is_shown_is_the_device_asked_for_and_the_one_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    _print_devices(
        ScanReport(devices={"cnn": "cpu, onnxruntime float32", "clap": "cuda, torch float32"}), "auto"
    )
    assert capsys.readouterr().out == "clap runs on cuda, torch float32 (asked for: auto)\n"


def test_variants_that_do_not_exist(folder: Path) -> None:
    for make in (
        lambda: OpenL3(openl3_file(folder), input="mel64"),
        lambda: OpenL3(openl3_file(folder), content="speech"),
        lambda: OpenL3(openl3_file(folder), dims=513),
        lambda: OpenL3(openl3_file(folder), hop=0.0),
        lambda: OpenL3(openl3_file(folder), front_end="torch"),
        lambda: MusiCNN(musicnn_folder(folder), layer="last"),
        lambda: MusiCNN(musicnn_folder(folder), tags="FMA"),
        lambda: Wav2Vec2(wav2vec2_folder(folder), layer=4),
        lambda: Wav2Vec2(wav2vec2_folder(folder), layer=-1),
    ):
        with pytest.raises(InputError):
            make()


def test_tags_need_names_and_sound(folder: Path, tmp_path: Path) -> None:
    one = [Excerpt(0.0, sound(32000, 1.0), 32000)]
    refused(lambda: Narrow(cnn14_file(folder)).tags(one), "were not given")
    for text in ("", "index,mid\n0,/m/0\n", labels(526)):
        (tmp_path / "labels.csv").write_text(text)
        refused(lambda: Narrow(cnn14_file(folder), labels=tmp_path / "labels.csv").tags(one))
    (tmp_path / "labels.csv").write_text(labels())
    told = Narrow(cnn14_file(folder), labels=tmp_path / "labels.csv").tags(one)
    assert len(told) == 527
    assert [p for _, p in told] == sorted((p for _, p in told), reverse=True)
    for encoder in (
        MusiCNN(musicnn_folder(folder)),
        Narrow(cnn14_file(folder), labels=tmp_path / "labels.csv"),
    ):
        with pytest.raises(InputError, match="no excerpts"):
            encoder.tags([])
    assert len(MusiCNN(musicnn_folder(folder)).tags(one)) == 50
