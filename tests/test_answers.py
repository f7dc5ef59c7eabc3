from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from soundkin.audio import Excerpt
from soundkin.encoders.answers import tags_match, vectors_match
from soundkin.errors import ModelError


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "x.wav", np.full((48_000, 1), 0.25), 48_000, subtype="FLOAT")
    return tmp_path / "x.wav"


def tagger(**tags: float) -> Any:
    return SimpleNamespace(name="net", tags=lambda excerpts: sorted(tags.items(), key=lambda tag: -tag[1]))


def test_tags_may_differ_as_decoders_do(sound: Path) -> None:
    assert "a 0.89" in tags_match(tagger(a=0.89, b=0.5, c=0.1), sound, {"a": 0.9, "b": 0.51})
    with pytest.raises(ModelError, match="net gives other tags"):
        tags_match(tagger(a=0.85, b=0.5, c=0.1), sound, {"a": 0.9, "b": 0.51})


def test_the_likeliest_tags_are_compared_in_their_order(sound: Path) -> None:
    near = tagger(a=0.9, b=0.8, c=0.7, d=0.1, e=0.11, f=0.01)
    assert tags_match(near, sound, ("a", "b", "c", "d", "e"))
    for other in (("b", "a", "c", "d", "e"), ("a", "b", "c", "d", "f")):
        with pytest.raises(ModelError, match="its first are"):
            tags_match(near, sound, other)


class Frames:
    """Two numbers of each second every tenth of one: how much of it is not silent, and 0.1."""

    name = "net"

    def windows(self, excerpt: Excerpt) -> Any:
        parts = np.lib.stride_tricks.sliding_window_view(excerpt.samples, 48_000)[::4800]
        rows = [[(abs(part) > 0.1).mean(), 0.1] for part in parts]
        return np.zeros(len(rows), np.float32), np.array(rows, np.float32)


def test_frames_lie_around_their_times(sound: Path, tmp_path: Path) -> None:
    # Half a second of silence before one of sound: the frame at 0.1 i holds 0.5 + 0.1 i of it.
    wanted = np.array([[0.5 + 0.1 * i, 0.1] for i in range(6)])
    np.savez(tmp_path / "right.npz", embedding=wanted)
    told = vectors_match(Frames(), sound, tmp_path / "right.npz")  # type: ignore[arg-type]
    assert told == "known answer: 6 published vectors, least cosine 1.000000"
    np.savez(tmp_path / "wrong.npz", embedding=wanted[::-1])
    np.savez(tmp_path / "fewer.npz", embedding=wanted[1:])
    np.savez(tmp_path / "none.npz", other=wanted)
    np.savez(tmp_path / "code.npz", embedding=np.array([{}], object))
    for name, words in (
        ("wrong", "least cosine 0.9"), ("fewer", r"shape \(6, 2\)"), ("none", "no vectors"), ("code", "no vectors"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=words):
            vectors_match(Frames(), sound, tmp_path / f"{name}.npz")  # type: ignore[arg-type]
