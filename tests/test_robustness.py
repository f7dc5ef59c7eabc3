"""What is done to files, and what that does to vectors that are known."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import rustle, tone, write

from soundkin.errors import DecodeError
from soundkin.evaluate import Options, evaluate
from soundkin.evaluate.robustness import CHANGES, HEADLINE, changed, read_all
from soundkin.library import Library

RATE = 32_000


def level(y: Any) -> float:
    return float(np.sqrt(np.mean(np.square(y))))


def test_changes_are_what_they_say(tmp_path: Path) -> None:
    y = (rustle(3.0, RATE) / 4).astype(np.float32)
    found = {}
    for name, path in changed(y, RATE):
        if path.endswith(".wav"):
            found[name] = soundfile.read(path, dtype="float32", always_2d=True)
        else:
            found[name] = read_all(path)
    assert list(found) == list(CHANGES)
    assert not os.path.exists(path)
    shifted, _ = found["shifted by 1.2 s"]
    np.testing.assert_allclose(shifted, y[round(1.2 * RATE) :], atol=1e-6)
    assert level(found["6 dB louder"][0]) == pytest.approx(level(y) * 10 ** (6 / 20), rel=1e-4)
    assert level(found["6 dB softer"][0]) == pytest.approx(level(y) * 10 ** (-6 / 20), rel=1e-4)
    for hz in (44_100, 48_000, 22_050):
        z, rate = found[f"{hz / 1000:g} kHz"]
        assert rate == hz
        assert len(z) / rate == pytest.approx(3.0, abs=0.01)
        assert level(z) == pytest.approx(level(y), rel=0.02)
    mono, _ = found["mono for stereo, stereo for mono"]
    np.testing.assert_allclose(mono[:, 0], y.mean(axis=1), atol=1e-6)
    coded, rate = found["mp3, 96 kbit/s"]
    assert rate == RATE
    assert coded.shape[1] == 2
    assert 0.8 < level(coded) / level(y) < 1.2
    assert not np.allclose(coded[: len(y)], y[: len(coded)], atol=1e-3)  # something was lost


def test_the_mp3_is_of_96_kbit(tmp_path: Path) -> None:
    sizes = [
        os.path.getsize(path) for _, path in changed(rustle(10.0, 44_100), 44_100) if path.endswith("mp3")
    ]
    assert sizes[0] * 8 / 10 == pytest.approx(96_000, rel=0.05)


def test_a_rate_that_is_there_already_is_left_out() -> None:
    names = [name for name, _ in changed(tone(1.0, 48_000, (0.5,)), 48_000)]
    assert "48 kHz" not in names
    assert len(names) == len(CHANGES) - 1


def test_mono_becomes_stereo() -> None:
    y = tone(1.0, RATE, (0.5,))
    (path,) = [soundfile.read(p)[0] for name, p in changed(y, RATE) if name.startswith("mono")]
    assert path.shape == (len(y), 2)
    np.testing.assert_allclose(path[:, 1], y[:, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["flac", "aac", "opus", "wavpack"])
def test_files_are_read_whole(name: str, tmp_path: Path) -> None:
    rate = 48_000
    y = rustle(2.0, rate)
    path = write(
        tmp_path / ("a" + {"flac": ".flac", "aac": ".m4a", "opus": ".opus", "wavpack": ".wv"}[name]),
        y,
        rate,
        name,
    )
    z, found = read_all(os.fspath(path))
    assert (found, z.shape[1]) == (rate, 2)
    assert z.dtype == np.dtype(np.float32)
    assert len(z) == pytest.approx(len(y), abs=3000)  # codecs pad
    assert level(z) == pytest.approx(level(y), rel=0.15)


def test_what_is_no_audio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"nothing" * 100)
    with pytest.raises((DecodeError, OSError, ValueError)):
        read_all(os.fspath(tmp_path / "a.mp3"))


@pytest.mark.slow
def test_made_tracks_keep_their_place(made: Any) -> None:
    with Library.open(made.library) as library:
        (table,) = evaluate(library, Options(("robustness",), spaces=("descriptors", "cnn"), tracks=28))
    assert (table.reason, table.questions) == ("", 28)
    figures: Any = {row.system: {name: f.mean for name, f in row.figures.items()} for row in table.rows}
    # a mix of both channels is what is heard anyway
    same = figures["descriptors: mono for stereo, stereo for mono"]
    assert same["cosine"] == pytest.approx(1, abs=0.01)
    assert (same[HEADLINE], same["found first"]) == (1, 1)
    every, other = figures["descriptors: all of these"], figures["descriptors: the nearest other track"]
    # the mean of each track's worst change is no better than the worst mean
    assert every["cosine"] <= min(figures[f"descriptors: {name}"]["cosine"] for name in CHANGES) + 1e-6
    assert other["cosine"] < same["cosine"]
    assert "found first" not in other
    # a change of the second space is compared with the same of the first
    for row in table.rows:
        name, what = row.system.split(": ")
        if name == "cnn" and "nearest" not in what:
            apart = figures[row.system][HEADLINE] - figures[f"descriptors: {what}"][HEADLINE]
            assert row.difference == pytest.approx(apart, abs=2e-6)
            if what == "44.1 kHz":  # all but one are at that rate, and one cannot be compared
                assert row.p is None
            else:
                assert row.p is not None
                assert 0 < row.p <= 1
        else:
            assert row.p is None


def test_too_few_files_are_said(made: Any, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    (table,) = evaluate(library, Options(("robustness",)))
    assert table.rows == []
    assert "0 tracks could be heard again" in table.reason
