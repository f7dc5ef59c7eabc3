import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from soundkin.audio import DEFAULT_LISTENING, WHOLE, Listening, excerpts_of
from soundkin.errors import StoreError
from soundkin.fingerprint import BANDS, FRAME_SECONDS, MOMENTS, compare, fingerprint, moments_of, pieces_of

Pieces = list[tuple[float, np.ndarray]]

RATE = 22_050
SECONDS = 45.0


def tune(seed: int) -> np.ndarray:
    """Notes and noises at random times: no two seeds have anything in common."""
    rng = np.random.default_rng(seed)
    y = 0.001 * rng.normal(size=int(SECONDS * RATE))
    for start in np.sort(rng.uniform(0, SECONDS - 1, 150)):
        n = int(RATE * rng.uniform(0.1, 0.8))
        t = np.arange(n) / RATE
        note = np.sin(2 * np.pi * 110 * 2 ** rng.uniform(0, 5) * t) + 0.3 * rng.normal(size=n)
        first = int(start * RATE)
        y[first : first + n] += 0.3 * note * np.exp(-4 * t)
    return (0.3 * y).astype(np.float32)


def taken(y: np.ndarray, listening: Listening = MOMENTS) -> bytes:
    duration = len(y) / RATE
    moments = moments_of(listening)
    return fingerprint([p for e in excerpts_of(y, RATE, listening) for p in pieces_of(e, duration, moments)])


SONG, OTHER = tune(1), tune(2)
PRINT = taken(SONG)


def test_it_fits_itself() -> None:
    likeness = compare(PRINT, PRINT, 2.5)
    assert likeness.score > 0.99
    assert likeness.lag == 0
    assert likeness.seconds == pytest.approx(7 * 5.9, abs=1.0)  # so many fit into 45 s


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0])
def test_it_finds_a_copy_that_begins_later_or_ends_earlier(seconds: float) -> None:
    n = int(seconds * RATE)
    later = compare(PRINT, taken(SONG[n:]), 2.5)
    assert later.score > 0.9
    assert later.lag == pytest.approx(-seconds, abs=FRAME_SECONDS / 2)
    earlier = compare(PRINT, taken(SONG[:-n]), 2.5)
    assert earlier.score > 0.9
    assert earlier.lag == pytest.approx(0, abs=FRAME_SECONDS / 2)
    both = compare(taken(SONG[n:]), taken(SONG[:-n]), 2.5)
    assert both.score > 0.85
    assert both.lag == pytest.approx(seconds, abs=FRAME_SECONDS / 2)


def test_gain_and_an_equaliser_change_nothing() -> None:
    assert compare(PRINT, taken(SONG * 0.25), 2.5).score > 0.99
    brighter = np.append(SONG[0], np.diff(SONG)).astype(np.float32)
    assert compare(PRINT, taken(brighter), 2.5).score > 0.9


def test_other_music_does_not_fit() -> None:
    assert compare(PRINT, taken(OTHER), 2.5).score < 0.5


@pytest.mark.parametrize("listening", [WHOLE, Listening(20, 9.2)])
def test_whatever_more_is_heard_the_same_moments_are_taken(listening: Listening) -> None:
    other_way = taken(SONG, listening)
    assert len(other_way) <= len(PRINT)
    assert compare(PRINT, other_way, 2.5).score > 0.95


@pytest.mark.parametrize("listening", [Listening(16, 3.07), Listening(5, 9.2)])
def test_where_less_is_heard_all_of_it_is_taken(listening: Listening) -> None:
    print_ = taken(SONG, listening)
    starts = [struct.unpack_from("<fB", print_, 2 + 5 * i)[0] for i in range(print_[1])]
    assert starts == pytest.approx(listening.starts(SECONDS), abs=0.03)
    assert compare(print_, PRINT, 2.5).score > 0.95  # what they have in common fits


def test_pictures_of_quite_different_moments_do_not_fit() -> None:
    frames = np.random.default_rng(0).uniform(0, 1, (30, BANDS)).astype(np.float32)
    here, elsewhere = fingerprint([(10.0, frames)]), fingerprint([(100.0, frames)])
    assert compare(here, elsewhere, 2.5).score == 0


@pytest.mark.parametrize("seconds", [61, 300])
def test_all_that_is_heard_by_default_is_in_it(seconds: int) -> None:
    print_ = taken(np.random.default_rng(0).normal(size=seconds * RATE).astype(np.float32), DEFAULT_LISTENING)
    frames = [struct.unpack_from("<fB", print_, 2 + 5 * i)[1] for i in range(print_[1])]
    assert print_[1] == 9
    assert len(print_) < 6600
    assert min(frames) * FRAME_SECONDS == pytest.approx(DEFAULT_LISTENING.seconds, abs=0.2)


def test_what_is_heard_is_in_it_unless_that_is_more_than_by_default_or_in_pieces_too_long() -> None:
    assert moments_of(Listening(16, 3.07)) == Listening(16, 3.07)
    for more in (WHOLE, Listening(5, 20.0), Listening(1, 50.0)):  # a piece has at most 255 frames, 23.7 s
        assert moments_of(more) == MOMENTS


def test_short_and_silent_tracks() -> None:
    assert compare(taken(SONG[: 3 * RATE]), taken(SONG[: 3 * RATE]), 2.5).score > 0.99
    silence = taken(np.zeros(30 * RATE, np.float32))
    assert compare(silence, silence, 2.5).score == 0
    assert compare(silence, PRINT, 2.5).score == 0
    assert fingerprint([]) == b""
    assert pieces_of(next(excerpts_of(SONG[: int(0.6 * RATE)], RATE, MOMENTS)), 0.6, MOMENTS) == []


def written(pieces: Pieces) -> bytes:
    heads = b"".join(struct.pack("<fB", start, len(levels)) for start, levels in pieces)
    return struct.pack("<BB", 1, len(pieces)) + heads + b"".join(levels.tobytes() for _, levels in pieces)


def correlation(a: Pieces, b: Pieces, lag: float) -> tuple[float, int]:
    """By the definition, frame by frame: how well all that meets at a lag correlates, and how many frames that are."""
    here, there = [], []
    for (start, levels), (other, others) in itertools.product(a, b):
        own = np.arange(len(others))
        at = (start - other) / FRAME_SECONDS + lag + np.arange(len(levels))
        meet = (at >= 0) & (at < len(others) - 1)
        here.append(levels[meet].astype(float))
        mixed = [np.interp(at[meet], own, others[:, band]) for band in range(BANDS)]
        there.append(np.stack(mixed, axis=1))
    x, y = np.concatenate(here), np.concatenate(there)
    if len(x) < 2:
        return 0.0, 0
    return float(np.corrcoef((x - x.mean(axis=0)).ravel(), (y - y.mean(axis=0)).ravel())[0, 1]), len(x)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.floats(-1.5, 1.5), st.lists(st.integers(15, 32), min_size=2, max_size=3))
def test_it_is_the_best_correlation_by_definition(seed: int, late: float, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    music = ndimage.gaussian_filter1d(rng.normal(0, 60, size=(500, BANDS)), 1.5, axis=0)
    a, b = Pieces(), Pieces()
    for i, size in enumerate(sizes):
        begin = int(rng.integers(0, 60)) + 100 * i
        for line, shift in ((a, 0.0), (b, late)):
            begin += int(rng.integers(-5, 6))
            begin = max(0, begin)
            levels = music[begin : begin + size] + rng.normal(0, 3, size=(size, BANDS))
            line.append((float(np.float32(begin * FRAME_SECONDS + shift)), levels.astype(np.int8)))
    frames = range(-int(2.5 / FRAME_SECONDS), int(2.5 / FRAME_SECONDS) + 1)
    lags = [frame + part / 4 for frame in frames for part in range(4)]
    needed = min(4.0, 0.3 * FRAME_SECONDS * sum(sizes))
    found = [(r, -lag, n) for lag in lags for r, n in [correlation(a, b, lag)] if n * FRAME_SECONDS >= needed]
    likeness = compare(written(a), written(b), 2.5)
    best, _, n = max(found, default=(0.0, 0.0, 0))
    assert likeness.score <= best + 1e-3
    if best >= 0.85:  # what is far from a copy need not be looked at so finely
        assert likeness.score == pytest.approx(best, abs=1e-3)
        assert (likeness.score, likeness.seconds) == pytest.approx((best, n * FRAME_SECONDS), abs=1e-3)
        assert likeness.lag == pytest.approx(late, abs=FRAME_SECONDS)


@given(st.binary(max_size=80))
def test_what_is_no_fingerprint_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="index again"):
        compare(PRINT, data, 2.5)


def test_layout_of_the_bytes() -> None:
    made = fingerprint(
        [(1.5, np.full((3, BANDS), 100.0, np.float32)), (9.0, np.full((1, BANDS), 1.0, np.float32))]
    )
    assert made[:2] == bytes([1, 2])
    assert np.frombuffer(made, "<f4", 1, 2)[0] == 1.5
    levels = np.frombuffer(made, np.int8, offset=2 + 10).reshape(4, BANDS)
    # 20 dB and 0 dB: the mean of a band is 15 dB, and a step half a decibel
    assert levels[:, 0].tolist() == [10, 10, 10, -30]
