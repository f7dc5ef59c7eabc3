"""What is said of encoders without loading them must be what they say of themselves."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soundkin import spaces
from soundkin.audio import WHOLE, Listening
from soundkin.embed import Embedder
from soundkin.encoders import ENCODERS, Choice, Encoder, EncoderInfo, weights
from soundkin.encoders.descriptors import Descriptors
from soundkin.errors import ModelError
from soundkin.spaces import own_space, spaces_of

CNN = Path(spaces.__file__).parent / "encoders" / "cnn"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOUNDKIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Made(Descriptors):
    listening = Listening(4, 2.0)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a published encoder in the registry whose weights are here; count how often it is loaded."""
    file = weights.WeightFile("made/made.bin", "https://example.org/made.bin", 5)
    (tmp_path / "made.bin").write_bytes(b"first")
    weights.add("made-up", [file], tmp_path / "made.bin")
    loads: list[str] = []

    def load(choice: Choice) -> Encoder:
        loads.append(choice.device)
        encoder = Made()
        encoder.name, encoder.weights = choice.name, weights.path_of(choice.name, file).read_text()
        return encoder

    monkeypatch.setitem(ENCODERS, "made-up", EncoderInfo(load, 184, 22050, "", "", "", "", files=(file,)))
    return loads


@pytest.mark.parametrize("listening", [None, WHOLE, {"made-up": Listening(3, 1.5)}])
def test_spaces_are_those_of_the_loaded_encoders(loaded: list[str], listening: Any) -> None:
    names = ["made-up", "cnn", "descriptors"]
    wanted = Embedder(names, listening).spaces
    loaded.clear()
    assert spaces_of(names, listening) == wanted  # loaded, because nothing is known yet
    assert spaces_of(names, listening) == wanted
    assert loaded == ["auto"]


def test_other_weights_are_looked_at(loaded: list[str], cache: Path) -> None:
    assert own_space("made-up").weights == "first"
    path = cache / "weights" / "made" / "made.bin"
    path.write_text("other")
    os.utime(path, ns=(1, 1))
    assert own_space("made-up").weights == "other"
    assert len(loaded) == 2
    path.unlink()
    with pytest.raises(ModelError, match="encoders get made-up"):
        own_space("made-up")


def test_other_code_is_looked_at(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    own_space("made-up")
    monkeypatch.setattr(spaces, "_code", lambda: "an upgrade")
    own_space("made-up")
    own_space("made-up")
    assert len(loaded) == 2


def test_a_trained_encoder_is_known_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(CNN, folder)
    first = own_space(str(folder))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spaces, "load_encoder", lambda name: pytest.fail("it is known"))
    assert own_space("mine") == first
    (folder / "encoder.onnx").unlink()
    with pytest.raises(pytest.fail.Exception, match="it is known"):
        own_space("mine")


def test_a_cache_that_cannot_be_written_costs_only_time(
    loaded: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "spaces").write_text("a file where the folder would be")
    assert own_space("made-up") == own_space("made-up")
    assert len(loaded) == 2


def test_a_device_asked_for_by_name_has_to_be_there(loaded: list[str]) -> None:
    own_space("made-up")
    with pytest.raises(ModelError, match="'cuda' was asked for, but made-up runs on the CPU only"):
        spaces_of(["made-up"], device="cuda")


def test_the_state_of_the_code_is_of_files_that_are_there() -> None:
    named = spaces._code().split(";")
    assert all(int(entry.split("|")[1]) == os.path.getsize(entry.split("|")[0]) for entry in named)
    assert {Path(entry.split("|")[0]).name for entry in named} >= {"features.py", "audio.py", "openl3.py"}
    assert replace(own_space("cnn"), listening="all").id != own_space("cnn").id
