import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import get_window

from soundkin.audio import Excerpt
from soundkin.features import (
    FLOOR_DB,
    FrontEnd,
    chroma_filters,
    decibels,
    hann,
    hz_to_mel,
    log_mel,
    mel_filters,
    mel_to_hz,
    power_blocks,
    spectra,
    spectra_of,
)
from soundkin.synth import clicks, plan, render

FRONT = FrontEnd()
FRONTS = [FRONT, FrontEnd(32000, 1024, 320, 64, 50, 14000), FrontEnd(16000, 400, 160, 80, 0, 8000)]
Array = NDArray[np.float32]


def sounds(rate: int) -> dict[str, Array]:
    random = np.random.default_rng(0)
    time = np.arange(3 * rate) / rate
    music = render(plan(6, seconds=3.0)[0], rate).mean(axis=1)
    return {
        "noise": random.uniform(-1, 1, 3 * rate).astype(np.float32),
        "chord": np.sin(2 * np.pi * np.outer(time, (220, 277, 330))).mean(axis=1).astype(np.float32),
        "sweep": np.sin(2 * np.pi * 1500 * time**2).astype(np.float32),
        "clicks": clicks(120, 3, rate),
        "music": np.ascontiguousarray(music, np.float32),
    }


def by_librosa(y: Array, front: FrontEnd) -> Array:
    mel = librosa.feature.melspectrogram(
        y=y.astype(np.float64), sr=front.rate, n_fft=front.n_fft, hop_length=front.hop, n_mels=front.n_mels,
        fmin=front.fmin, fmax=front.fmax, center=False,
    )  # fmt: skip
    return np.asarray(librosa.power_to_db(mel, amin=1e-10, top_db=None))


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.name)
def test_log_mel_equals_librosa(front: FrontEnd) -> None:
    for name, y in sounds(front.rate).items():
        ours, theirs = log_mel(y, front), by_librosa(y, front)
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        assert ours.flags.c_contiguous
        # float32 sums err by 1e-7 of the loudest part of a frame: quieter bands than that cannot agree
        heard = theirs > theirs.max(axis=0) - 50
        assert np.abs(ours - theirs)[heard].max() < 1e-3, name
        assert heard.mean() > 0.03, name


def test_noise_and_music_agree_in_every_band() -> None:
    for name in ("noise", "music"):
        y = sounds(22050)[name]
        theirs = by_librosa(y, FRONT)
        assert np.abs(log_mel(y, FRONT) - theirs)[theirs > -90].max() < (1e-3 if name == "noise" else 0.05)


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.name)
def test_mel_filters_equal_librosas(front: FrontEnd) -> None:
    theirs = librosa.filters.mel(
        sr=front.rate, n_fft=front.n_fft, n_mels=front.n_mels, fmin=front.fmin, fmax=front.fmax
    )
    assert np.abs(mel_filters(front) - theirs.T).max() < 1e-7


def test_the_mel_scale_is_slaneys() -> None:
    hz = np.array([0.0, 100, 999, 1000, 1001, 4000, 11025])
    assert np.allclose(hz_to_mel(hz), librosa.hz_to_mel(hz), atol=1e-9)
    assert np.allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


@pytest.mark.parametrize("n", [400, 1024, 2048])
def test_the_window_is_the_periodic_hann(n: int) -> None:
    assert np.abs(hann(n) - get_window("hann", n)).max() < 1e-7


def test_power_is_that_of_a_plain_fft() -> None:
    y = sounds(22050)["noise"][:60000]
    ours = np.concatenate(list(power_blocks(y, 2048, 512)))
    frames = [y[i : i + 2048] * get_window("hann", 2048) for i in range(0, len(y) - 2047, 512)]
    theirs = np.abs(np.fft.rfft(np.array(frames, np.float64))) ** 2
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1e-6 * theirs.max()


@pytest.mark.parametrize("midi", range(48, 84))
def test_the_chroma_of_a_tone_is_its_pitch_class(midi: int) -> None:
    hz = 440 * 2 ** ((midi - 69) / 12)
    y = np.sin(2 * np.pi * hz * np.arange(22050) / 22050).astype(np.float32)
    chroma = spectra(y, FRONT).chroma.mean(axis=0)
    assert chroma.shape == (12,)
    assert int(np.argmax(chroma)) == midi % 12  # MIDI 60 is C
    if midi >= 57:  # from A3 on, a semitone is wider than a bin of the FFT
        assert chroma[midi % 12] > 1.5 * np.delete(chroma, midi % 12).max()


def test_chroma_hears_from_a2_to_a6() -> None:
    weights = chroma_filters(FRONT).sum(axis=1)
    bins = np.fft.rfftfreq(2048, 1 / 22050)
    assert weights[(bins < 110) | (bins > 1760)].max() == 0
    assert weights[(bins >= 110) & (bins <= 1760)].min() > 0.5


@given(st.integers(0, 200_000), st.sampled_from(FRONTS))
def test_frames_are_whole(samples: int, front: FrontEnd) -> None:
    frames = front.n_frames(samples)
    assert frames == len(range(0, samples - front.n_fft + 1, front.hop))
    if frames:
        assert front.n_samples(frames) <= samples < front.n_samples(frames + 1)


@pytest.mark.parametrize("samples", [0, 1, 2047, 2048, 2559, 2560, 64 * 512 + 2048, 65 * 512 + 2048])
def test_spectra_have_as_many_frames_as_promised(samples: int) -> None:
    both = spectra(np.ones(samples, np.float32), FRONT)
    assert both.mel.shape == (FRONT.n_frames(samples), 128)
    assert both.chroma.shape == (FRONT.n_frames(samples), 12)
    assert log_mel(np.ones(samples, np.float32), FRONT).shape == (128, FRONT.n_frames(samples))


@settings(deadline=None, max_examples=30)
@given(st.floats(-60, 20))
def test_gain_adds_its_decibels(gain_db: float) -> None:
    y = np.random.default_rng(1).uniform(-0.1, 0.1, 8192).astype(np.float32)
    plain, louder = log_mel(y, FRONT), log_mel(y * np.float32(10 ** (gain_db / 20)), FRONT)
    above = (plain > FLOOR_DB + 1) & (plain + gain_db > FLOOR_DB + 1)
    assert above.any()
    assert np.abs(louder - plain - gain_db)[above].max() < 1e-3
    assert louder.min() >= FLOOR_DB - 1e-4


def test_silence_is_the_floor() -> None:
    assert np.allclose(log_mel(np.zeros(44100, np.float32), FRONT), -100, rtol=0, atol=1e-4)


def test_decibels() -> None:
    powers = np.array([0, 1e-20, 1e-10, 1e-3, 1, 1e6], np.float32)
    assert np.allclose(decibels(powers), [-100, -100, -100, -30, 0, 60], atol=1e-4)
    assert decibels(powers).dtype == np.float32


@given(st.sampled_from(FRONTS), st.sampled_from(FRONTS))
def test_names_tell_front_ends_apart(one: FrontEnd, other: FrontEnd) -> None:
    assert (one.name == other.name) == (one == other)


def test_spectra_of_an_excerpt_are_computed_once() -> None:
    excerpt = Excerpt(0.0, sounds(44100)["noise"], 44100)
    assert spectra_of(excerpt, FRONT) is spectra_of(excerpt, FrontEnd())
    assert spectra_of(excerpt, FRONTS[1]) is not spectra_of(excerpt, FRONT)
    assert len(spectra_of(excerpt, FRONT).mel) == FRONT.n_frames(3 * 22050)
