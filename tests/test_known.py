"""The known answers of published encoders, with files that stand in for the published ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from published import musicnn_folder, openl3_file, sound

from soundkin.encoders import known
from soundkin.encoders.musicnn import MusiCNN
from soundkin.encoders.openl3 import OpenL3
from soundkin.encoders.weights import WeightFile
from soundkin.errors import ModelError

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where files are taken from, instead of being fetched."""

    def get(encoder: str, file: WeightFile) -> Path:
        return tmp_path / file.name.split("/")[-1]

    monkeypatch.setattr(known, "get", get)
    return tmp_path


def official_frames(y: Any, hop: float, centre: bool) -> Any:
    """Frame as openl3/core.py describes it: centre, pad the end until every sample is in a frame, cut."""
    y = np.concatenate([np.zeros(24000 if centre else 0, np.float32), y])
    frames, at = [], 0
    while True:
        frame = y[at : at + 48000]
        frames.append(np.pad(frame, (0, 48000 - len(frame))))
        if at + 48000 >= len(y):
            return np.stack(frames)
        at += int(hop * 48000)


@pytest.mark.parametrize(("hop", "centre"), [(0.1, True), (0.5, False), (0.3, True), (1.0, False)])
@pytest.mark.parametrize("seconds", [1.0, 2.0, 2.345])
def test_frames_are_those_of_the_library(seconds: float, hop: float, centre: bool) -> None:
    y = sound(48000, seconds)
    assert np.array_equal(known.openl3_frames(y, hop, centre), official_frames(y, hop, centre))


@pytest.mark.parametrize(("dims", "spoil"), [(512, False), (6144, False), (512, True)])
def test_openl3_is_compared_with_vectors_of_6144(folder: Path, shelf: Path, dims: int, spoil: bool) -> None:
    y = sound(48000, 1.0)
    soundfile.write(shelf / "chirp_44k.wav", y, 48000, subtype="FLOAT")
    large = OpenL3(openl3_file(folder), dims=6144, device="cpu", precision="float32")
    vectors = large.encode(official_frames(y, 0.1, True))
    if spoil:
        vectors[3] = vectors[3, ::-1]
    np.savez(shelf / "chirp_44k_kapre.npz", embedding=vectors, timestamps=np.arange(len(vectors)) * 0.1)
    encoder = OpenL3(openl3_file(folder), dims=dims, device="cpu", precision="float32")
    if spoil:
        with pytest.raises(ModelError, match=r"wanted 0\.999"):
            known.openl3(encoder)
    else:
        assert "cosine 1.000" in known.openl3(encoder)


def test_openl3_without_a_known_answer(folder: Path, shelf: Path) -> None:
    assert "no known answer" in known.openl3(OpenL3(openl3_file(folder), input="mel128", device="cpu"))


def test_vectors_that_are_none(folder: Path, shelf: Path) -> None:
    (shelf / "chirp_44k_kapre.npz").write_bytes(b"no zip")
    with pytest.raises(ModelError, match="holds no vectors"):
        known.openl3(OpenL3(openl3_file(folder), device="cpu"))


@pytest.mark.parametrize(
    ("change", "right"),
    [
        (lambda told: told, True),
        (lambda told: [(tag, chance + 0.01) for tag, chance in told], True),
        (lambda told: [(told[0][0], told[0][1] + 0.02), *told[1:]], False),
        (lambda told: [told[1], told[0], *told[2:]], False),
    ],
)
def test_tags_are_compared_with_those_published(
    folder: Path,
    shelf: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[list[tuple[str, float]]], list[tuple[str, float]]],
    right: bool,
) -> None:
    soundfile.write(shelf / "x.wav", sound(16000, 4.0), 16000)
    monkeypatch.setattr(known, "SOLIPSISM", WeightFile("known/x.wav", "https://example.org/x.wav", None))
    encoder = MusiCNN(musicnn_folder(folder), device="cpu")
    told = [*known.SOLIPSISM_TAGS.items(), ("drums", 0.1)]
    monkeypatch.setattr(encoder, "tags", lambda excerpts: change(told))
    if right:
        assert "techno" in known.musicnn(encoder)
    else:
        with pytest.raises(ModelError, match="not those published"):
            known.musicnn(encoder)
