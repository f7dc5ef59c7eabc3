"""What runs published networks on a CPU, against PyTorch itself."""

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published import clap_folder, mert_folder, musicnn_folder, sound, wav2vec2_folder

from soundkin.audio import Excerpt
from soundkin.encoders import engines
from soundkin.encoders.engines import engine_for, exported
from soundkin.encoders.musicnn import MusiCNN
from soundkin.errors import ModelError

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = pytest.mark.torch

ENGINES = ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOUNDKIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Two outputs from a batch of any number of frames."""

    def forward(self, x):
        return x.mean(dim=1), torch.relu(x).amax(dim=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_gives_what_the_network_gives(engine: str, cache: Path) -> None:
    made = []

    def network():
        made.append(1)
        return Net()

    for _ in range(2):
        run = engine_for(network, (1, 4, 3), "net", "float32", engine, varies=2)
        assert run is not None
        assert run.name == f"{engine} float32"
        for shape in ((1, 4, 3), (5, 4, 3), (2, 9, 3)):
            x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            mean, most = run(x)
            assert np.allclose(mean, x.mean(axis=1), atol=1e-6)
            assert np.allclose(most, np.maximum(x, 0).max(axis=1), atol=1e-6)
    assert made == [1]  # exported once, then found in the cache
    assert len(list((cache / "engines").glob("*.onnx"))) == 1


def test_other_weights_are_another_graph(cache: Path) -> None:
    assert exported(Net, (1, 4, 3), "one") != exported(Net, (1, 4, 3), "other")
    assert exported(Net, (1, 4, 3), "one") != exported(Net, (1, 5, 3), "one")
    assert exported(Net, (1, 4, 3), "one") == exported(Net, (7, 4, 3), "one")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_graph_is_told(engine: str) -> None:
    exported(Net, (1, 4, 3), "net").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=rf"{engine} cannot run .*\.onnx") as caught:
        engine_for(Net, (1, 4, 3), "net", "float32", engine)
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_exported(cache: Path) -> None:
    class Odd(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x):
            return torch.linalg.eigvals(x).real

    with pytest.raises(ModelError, match="cannot export the network"):
        exported(Odd, (1, 3, 3), "odd")
    assert not list((cache / "engines").glob("*.new"))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOUNDKIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot be written"):
        exported(Net, (1, 4, 3), "net")


def test_pytorch_runs_what_it_runs_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "openvino" else object())
    assert engines._fastest("bfloat16") == "torch"
    assert engines._fastest("float32") == "onnxruntime"
    assert engine_for(Net, (1, 4, 3), "net", "bfloat16") is None
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert engines._fastest("float32") == "torch"


@pytest.mark.parametrize("engine", ENGINES)
def test_an_encoder_is_the_same_in_every_engine(tmp_path: Path, engine: str) -> None:
    folder = musicnn_folder(tmp_path)
    excerpt = Excerpt(0.0, sound(16000, 7.0), 16000)
    plain = MusiCNN(folder, tags="MTT", device="cpu")
    hastened = MusiCNN(folder, tags="MTT", device="cpu", engine=engine)
    assert (plain.engine, hastened.engine) == ("torch float32", f"{engine} float32")
    a, b = plain.windows(excerpt)[1], hastened.windows(excerpt)[1]
    assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()
    (first, _), (second, _) = plain.tags([excerpt])[0], hastened.tags([excerpt])[0]
    assert first == second


@pytest.mark.parametrize("kind", ["wav2vec2", "mert", "clap"])
@pytest.mark.parametrize("engine", ENGINES)
def test_networks_of_transformers_are_the_same_in_every_engine(
    tmp_path: Path, engine: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    from soundkin.encoders import clap, hf

    made: dict[str, Any] = {"wav2vec2": hf.Wav2Vec2, "mert": hf.Mert, "clap": clap.Clap}
    folder = {"wav2vec2": wav2vec2_folder, "mert": mert_folder, "clap": clap_folder}[kind](tmp_path)
    plain = made[kind](folder, device="cpu")
    made[kind](folder, device="cpu", engine=engine)
    for module in (hf, clap):  # once exported, the weights need not be read again
        monkeypatch.setattr(module, "load_model", lambda *a, **k: pytest.fail("the graph is there"))
    hastened = made[kind](folder, device="cpu", engine=engine)
    assert (plain.engine, hastened.engine) == ("torch float32", f"{engine} float32")
    for seconds in (21.0, 0.6):  # two windows at once or more, and the rest; a short one
        excerpt = Excerpt(0.0, sound(plain.rate, seconds), plain.rate)
        a, b = plain.windows(excerpt)[1], hastened.windows(excerpt)[1]
        assert a.shape == b.shape
        assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()


@pytest.mark.parametrize("engine", ["torch", *(["openvino"] if "openvino" in ENGINES else [])])
@pytest.mark.parametrize("kind", ["wav2vec2", "clap"])
def test_bfloat16_is_close_enough(tmp_path: Path, engine: str, kind: str) -> None:
    pytest.importorskip("transformers")
    from soundkin.encoders import clap, hf

    made: dict[str, Any] = {"wav2vec2": hf.Wav2Vec2, "clap": clap.Clap}
    folder = {"wav2vec2": wav2vec2_folder, "clap": clap_folder}[kind](tmp_path)
    exact = made[kind](folder, device="cpu")
    fast = made[kind](folder, device="cpu", engine=engine, precision="bfloat16")
    assert fast.engine == f"{engine} bfloat16"
    excerpt = Excerpt(0.0, sound(exact.rate, 20.0), exact.rate)
    a, b = exact.windows(excerpt)[1], fast.windows(excerpt)[1]
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() >= 0.9995
    assert np.abs(a - b).max() > 0  # it was not float32 after all


def test_another_configuration_is_another_graph(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("transformers")
    from soundkin.encoders.hf import Wav2Vec2

    folder = wav2vec2_folder(tmp_path)
    for layer in (2, 3):
        Wav2Vec2(folder, layer=layer, device="cpu", engine="onnxruntime")
    card = (folder / "config.json").read_text()
    (folder / "config.json").write_text(card.replace('"layer_norm_eps": 1e-05', '"layer_norm_eps": 1e-04'))
    assert (folder / "config.json").read_text() != card
    Wav2Vec2(folder, layer=3, device="cpu", engine="onnxruntime")
    assert len(list((cache / "engines").glob("*.onnx"))) == 3


@pytest.mark.skipif("openvino" not in ENGINES, reason="OpenVINO is not installed")
def test_openvino_reaches_for_no_network(tmp_path: Path) -> None:
    graph = exported(Net, (1, 4, 3), "net")
    script = (
        "import socket, sys, time\n"
        "def reach(*a, **k): print('reached', a); raise OSError\n"
        "socket.getaddrinfo = socket.socket.connect = reach\n"
        "from pathlib import Path; from soundkin.encoders import engines\n"
        "print(engines._openvino(Path(sys.argv[1]), 'float32').name); time.sleep(1)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script, str(graph)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "openvino float32\n"


@pytest.mark.skipif("openvino" not in ENGINES, reason="OpenVINO is not installed")
def test_ctrl_c_is_no_crash_after_networks_came_and_went(tmp_path: Path) -> None:
    script = """
        import faulthandler, os, signal
        import torch
        from soundkin.encoders.engines import engine_for
        faulthandler.enable()  # with it Python has a stack for its signals that others put theirs upon
        first, second = (
            engine_for(torch.nn.ReLU, (1, 4), f"net{i}", "float32", "openvino", varies=1) for i in range(2)
        )
        del first
        del second
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("told")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False,
        env={**os.environ, "SOUNDKIN_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
