from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_record import song

from soundkin.recommend import is_copy, moments_alike, reasons
from soundkin.record.rows import to_track

RNG = np.random.default_rng(7)
WINDOWS = RNG.normal(size=(12, 16)).astype(np.float32)
OTHERS = RNG.normal(size=(12, 16)).astype(np.float32)


def track(path="/music/a.mp3", content="a" * 32, **changes):
    known = replace(
        to_track(song(path), "0" * 16, 0.0), content=content, bpm=120.0, key="A minor", duration=200.0
    )
    return replace(known, **changes)


ONE, OTHER = track(), track("/music/b.mp3", "b" * 32)


def test_moments_of_a_track_and_itself_agree_fully():
    assert moments_alike(WINDOWS, WINDOWS) == pytest.approx(1.0)


def test_moments_that_go_the_other_way_disagree_fully():
    assert moments_alike(WINDOWS, 3 - WINDOWS) == pytest.approx(-1.0)


def test_unrelated_moments_say_nothing():
    # 192 numbers less a mean: a correlation of chance has a deviation of about 1 / sqrt(176)
    assert abs(moments_alike(WINDOWS, OTHERS)) < 4 / np.sqrt(176)


def test_a_track_that_never_changes_has_no_moments():
    assert moments_alike(np.ones((5, 4), np.float32), WINDOWS[:5, :4]) == 0.0


@given(st.lists(st.floats(-5, 5, width=32), min_size=16, max_size=16), st.floats(0.1, 10))
def test_what_two_tracks_share_all_along_does_not_count(offset, scale):
    shared = np.asarray(offset, np.float32)
    expected = moments_alike(WINDOWS, OTHERS)
    assert moments_alike(WINDOWS + shared, np.float32(scale) * OTHERS + shared) == pytest.approx(
        expected, abs=1e-3
    )


def test_of_unequal_numbers_of_windows_the_first_are_compared():
    assert moments_alike(WINDOWS, WINDOWS[:8]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("other", "similarity", "windows", "copy"),
    [
        (OTHER, 0.9, WINDOWS, True),
        (OTHER, 0.9, OTHERS, False),  # sounds alike, but other things happen
        (OTHER, 0.7, WINDOWS, False),  # does not sound alike
        (replace(OTHER, duration=203.0), 0.99, WINDOWS, False),  # 3 s longer
        (
            replace(OTHER, duration=202.0, bpm=60.0, key=""),
            0.9,
            WINDOWS,
            True,
        ),  # tempo and key may be misheard
        (replace(OTHER, content=ONE.content, duration=0.0), 0.0, OTHERS, True),  # the same bytes
        (OTHER, 0.95, None, True),  # too few windows: length, tempo and key decide
        (OTHER, 0.95, WINDOWS[:3], True),
        (OTHER, 0.85, None, False),
        (replace(OTHER, bpm=125.0), 0.95, None, False),
        (replace(OTHER, key="E minor"), 0.95, None, False),
        (replace(OTHER, duration=200.5), 0.95, None, False),
    ],
)
def test_copies(other, similarity, windows, copy):
    assert is_copy(ONE, other, similarity, WINDOWS, windows) is copy
    assert is_copy(other, ONE, similarity, windows, WINDOWS) is copy


def test_reasons_name_what_is_shared():
    a = track(artist="Ana", genres=("Samba", "Bossa"), bpm=100.0)
    assert reasons(a, replace(a, bpm=101.0)) == ("same artist", "genre Samba", "tempo 101", "key A minor")
    assert reasons(a, replace(a, artist="Bo", genres=("Bossa",), bpm=50.0, key="")) == ("genre Bossa",)
    assert reasons(a, replace(a, artist="", genres=(), bpm=None, key="")) == ()
