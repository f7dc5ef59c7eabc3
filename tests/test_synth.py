"""The demo library against independent measurements: librosa's chroma, arithmetic, other tag readers."""

import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundkin import synth
from soundkin.errors import InputError
from soundkin.synth.styles import DRUMS, SHAPES

Audio = NDArray[np.float32]
RATE = 22050
TRACKS = synth.plan(2 * len(synth.STYLES), seconds=16, seed=3)
FIRST = {track.style: track for track in reversed(TRACKS)}
# Krumhansl and Kessler's ratings, as printed in Krumhansl, "Cognitive Foundations of Musical Pitch", 1990
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@pytest.fixture(scope="module")
def rendered():
    return {track: synth.render(track, RATE) for track in TRACKS}


def spectrogram(samples: Audio, size: int = 1024, hop: int = 256) -> Audio:
    """Magnitudes, (frames, bins)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    magnitude: Audio = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32)))
    return magnitude


def onset_strength(samples: Audio) -> Audio:
    """Rise of log magnitude, summed over frequency, one value a frame of 256 samples."""
    rise = np.diff(np.log1p(100 * spectrogram(samples)), axis=0)
    strength: Audio = np.maximum(rise, 0).sum(axis=1)
    return strength


def mean_log_spectrum(audio: Audio) -> Audio:
    """Level in 32 bands of equal width on a log axis: a crude measure of timbre."""
    power = (spectrogram(audio.mean(axis=1), 2048, 1024) ** 2).mean(axis=0)
    edges = np.unique(np.geomspace(2, len(power), 40).astype(int))
    bands: Audio = np.log10(np.add.reduceat(power, edges[:-1]) / np.diff(edges) + 1e-9)
    return bands


# ------------------------------------------------------------------------------------------------ render


def test_every_style_renders_finite_stereo_of_the_planned_length_and_peak(rendered):
    for track, audio in rendered.items():
        assert audio.dtype == np.float32
        assert audio.flags.c_contiguous
        assert audio.shape == (round(track.seconds * RATE), 2)
        assert np.isfinite(audio).all()
        assert 0.89 < np.abs(audio).max() <= 0.9001
        assert not np.array_equal(audio[:, 0], audio[:, 1]), f"{track.style} is mono"


def test_tracks_fade_in_and_out_and_are_never_silent_in_between(rendered):
    for track, audio in rendered.items():
        assert np.abs(audio[[0, -1]]).max() < 1e-3
        seconds = audio[: len(audio) // RATE * RATE].reshape(-1, RATE * 2)[:-1]
        assert np.sqrt((seconds**2).mean(axis=1)).min() > 10 ** (-45 / 20), f"a silent second in {track}"


def test_rendering_is_deterministic_and_the_seed_matters(rendered):
    track = FIRST["jazz"]
    assert np.array_equal(synth.render(track, RATE), rendered[track])
    assert not np.array_equal(synth.render(replace(track, seed=track.seed + 1), RATE), rendered[track])


def test_the_break_sounds_unlike_the_main_part(rendered):
    """The break is further from the first half of the main part, in timbre, than the second half is."""
    further = []
    for audio in rendered.values():
        eighth = len(audio) // 8
        early, late, middle = (
            mean_log_spectrum(audio[int(start * len(audio)) :][:eighth]) for start in (0.2, 0.35, 0.53)
        )
        further.append(np.abs(middle - early).mean() > np.abs(late - early).mean())
    assert np.mean(further) >= 0.75


@pytest.mark.parametrize("rate", [8000, 48000])
def test_other_rates_give_the_same_music(rate):
    track = replace(FIRST["rock"], seconds=6.0)
    audio, reference = synth.render(track, rate).mean(axis=1), synth.render(track, RATE).mean(axis=1)
    assert len(audio) == round(6.0 * rate)

    # loudness over time below 1 kHz, where all rates agree on what there is
    def envelope(samples: Audio, at: int) -> Audio:
        spectrum = np.fft.rfft(samples)
        spectrum[np.fft.rfftfreq(len(samples), 1 / at) > 1000] = 0
        low = np.fft.irfft(spectrum, len(samples))
        loudness: Audio = np.sqrt([(block**2).mean() for block in np.array_split(low, 60)])
        return loudness

    assert np.corrcoef(envelope(audio, rate), envelope(reference, RATE))[0, 1] > 0.95


@pytest.mark.parametrize("seconds", [0.1, 1.0, 4.0])
def test_very_short_tracks_render(seconds):
    for track in FIRST.values():
        audio = synth.render(replace(track, seconds=seconds), 8000)
        assert len(audio) == round(seconds * 8000)
        assert np.isfinite(audio).all()


def test_an_artist_of_any_name_can_be_rendered():
    track = replace(FIRST["folk"], artist="Søren ✨", seconds=2.0)
    assert np.abs(synth.render(track, 8000)).max() > 0.5


# ----------------------------------------------------------------------------------------- musical truth


def measured_bar(samples: Audio, expected: float) -> tuple[float, float]:
    """Lag in seconds, within 8 % of `expected`, at which onsets repeat best, and the correlation there."""
    onsets = onset_strength(samples)
    onsets = onsets - onsets.mean()
    correlation = np.correlate(onsets, onsets, "full")[len(onsets) - 1 :]
    lags = np.arange(math.floor(0.92 * expected * RATE / 256), math.ceil(1.08 * expected * RATE / 256))
    best = lags[np.argmax(correlation[lags])]
    return float(best * 256 / RATE), float(correlation[best] / correlation[0])


@pytest.mark.parametrize("guess", [2.25, 2.4, 2.55])
def test_measured_bar_finds_the_tempo_of_a_metronome_whatever_was_expected(guess):
    assert measured_bar(synth.clicks(100, 12, RATE), guess)[0] == pytest.approx(2.4, rel=0.01)


@pytest.mark.parametrize("track", [t for t in TRACKS if synth.STYLES[t.style].drums], ids=lambda t: t.title)
def test_the_planned_tempo_is_there(rendered, track):
    bar = 4 * 60 / track.bpm
    measured, strength = measured_bar(rendered[track].mean(axis=1), bar)
    assert measured == pytest.approx(bar, rel=0.012)
    assert strength > 0.25


@pytest.mark.slow
def test_the_planned_key_is_heard_in_a_clear_majority(rendered):
    import librosa

    profiles = {
        f"{NAMES[shift]} {mode}": np.roll(profile, shift)
        for mode, profile in (("major", MAJOR), ("minor", MINOR))
        for shift in range(12)
    }
    right = 0
    for track, audio in rendered.items():
        chroma = librosa.feature.chroma_cqt(y=audio.mean(axis=1), sr=RATE, hop_length=1024).mean(axis=1)
        match = {key: np.corrcoef(profile, chroma)[0, 1] for key, profile in profiles.items()}
        right += track.key == max(match, key=lambda key: match[key])
    assert right / len(rendered) >= 0.7  # chance is 1 in 24


def test_styles_differ_in_brightness_and_density(rendered):
    def brightness(style: str) -> float:
        magnitude = spectrogram(rendered[FIRST[style]].mean(axis=1)).mean(axis=0)
        return float((magnitude * np.fft.rfftfreq(1024, 1 / RATE)).sum() / magnitude.sum())

    strengths = {style: onset_strength(rendered[FIRST[style]].mean(axis=1)) for style in synth.STYLES}
    clear = 0.25 * np.percentile(strengths["techno"], 99)

    def onsets_a_second(style: str) -> float:
        before, here, after = (strengths[style][start : start - 3] for start in (0, 1, 2))
        return float(np.sum((here > before) & (here >= after) & (here > clear)) / FIRST[style].seconds)

    assert brightness("chiptune") > 1.3 * brightness("ambient")
    assert brightness("techno") > 1.3 * brightness("ambient")
    assert onsets_a_second("techno") > 1.3 * onsets_a_second("folk")
    assert onsets_a_second("folk") > 1.3 * onsets_a_second("ambient")


@pytest.mark.slow
def test_timbre_is_closest_within_an_artist_then_within_a_style():
    tracks = synth.plan(4 * len(synth.STYLES), seconds=8, seed=5)
    timbre = np.array([mean_log_spectrum(synth.render(track, RATE)) for track in tracks])
    timbre -= timbre.mean(axis=1, keepdims=True)
    distance = np.linalg.norm(timbre[:, None] - timbre, axis=2)
    artists, styles = (
        np.array([track.artist for track in tracks]),
        np.array([track.style for track in tracks]),
    )
    artist, style = artists[:, None] == artists, styles[:, None] == styles
    same_artist = distance[artist & ~np.eye(len(tracks), dtype=bool)].mean()
    same_style = distance[style & ~artist].mean()
    assert same_artist < 0.9 * same_style
    assert same_style < 0.9 * distance[~style].mean()


def test_styles_are_well_formed():
    assert len(synth.STYLES) >= 8
    for name, style in synth.STYLES.items():
        assert style.genre
        assert style.subgenres
        assert 20 <= style.bpm[0] < style.bpm[1] <= 400
        assert style.years[0] < style.years[1]
        for drum, pattern in style.drums:
            assert drum in DRUMS
            assert len(pattern) == style.steps, f"{name}: {pattern}"
            assert set(pattern) <= set(".xo?")
        for part in style.parts:
            assert part.voice.kind in {"wave", "pluck", "fm", "noise"}
            assert part.voice.shape in SHAPES
            assert set(part.sections) <= set("imbf")
            for pattern in part.patterns:
                assert len(pattern) == style.steps, f"{name}: {pattern}"
                assert set(pattern) <= set(".-#0123456789<*?")
        assert style.drums or any("i" in part.sections for part in style.parts), f"{name} has a silent intro"


# -------------------------------------------------------------------------------------------------- plan


@settings(deadline=None, max_examples=40)
@given(n=st.integers(0, 200), seed=st.integers(0, 2**63), seconds=st.floats(1, 3000))
def test_any_plan_is_sound(n, seed, seconds):
    tracks = synth.plan(n, seconds, seed)
    assert len(tracks) == n
    assert len({track.filename.casefold() for track in tracks}) == n
    for track in tracks:
        low, high = synth.STYLES[track.style].bpm
        assert low <= track.bpm <= high
        assert 0.85 * seconds - 0.01 <= track.seconds <= 1.15 * seconds + 0.01
        tonic, mode = track.key.split(" ")
        assert tonic in NAMES
        assert mode in ("major", "minor")
        folder, album, name = track.filename.split("/")
        assert (folder, album) == (track.artist, track.album)
        stem, extension = name.split(".")
        assert stem == f"{track.number:02d} {track.title}"
        assert extension in ("flac", "ogg")
        assert track.filename.isascii()
        assert track.genres[0] == synth.STYLES[track.style].genre


@settings(deadline=None, max_examples=20)
@given(n=st.integers(0, 100), more=st.integers(0, 100), seed=st.integers(0, 2**32))
def test_a_shorter_plan_is_the_beginning_of_a_longer_one(n, more, seed):
    assert synth.plan(n + more, seed=seed)[:n] == synth.plan(n, seed=seed)


def test_the_default_library_has_every_style_several_artists_and_both_modes():
    tracks = synth.plan()
    assert len(tracks) == 60
    assert synth.plan(seed=1) != tracks
    assert {track.key.split()[1] for track in tracks} == {"major", "minor"}
    assert {track.filename.rsplit(".", 1)[1] for track in tracks} == {"flac", "ogg"}
    for style in synth.STYLES:
        own = [track for track in tracks if track.style == style]
        artists = {track.artist for track in own}
        assert len(artists) >= 2
        for artist in artists:
            theirs = [track for track in own if track.artist == artist]
            assert len(theirs) >= 3
            assert len({track.album for track in theirs}) <= 2
    for album in {(track.artist, track.album) for track in tracks}:
        numbers = sorted(track.number for track in tracks if (track.artist, track.album) == album)
        assert numbers == list(range(1, len(numbers) + 1))


# ----------------------------------------------------------------------------------------------- library


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    seen = []
    folder = tmp_path_factory.mktemp("demo")
    files = synth.write_library(folder, 12, 2.0, seed=4, progress=lambda *counts: seen.append(counts))
    return folder, files, seen


def test_a_library_is_complete_and_reports_progress(library):
    folder, files, seen = library
    assert seen == [(done, 12) for done in range(1, 13)]
    assert [track for _, track in files] == synth.plan(12, 2.0, 4)
    assert [path for path, _ in files] == [folder / track.filename for _, track in files]
    assert sorted(p for p in folder.rglob("*") if p.is_file()) == sorted(path for path, _ in files)
    assert {path.suffix for path, _ in files} == {".flac", ".ogg"}


def test_tags_and_sound_read_back_with_soundfile(library):
    for path, track in library[1]:
        with soundfile.SoundFile(path) as file:
            tags = file.copy_metadata()
            audio = file.read(dtype="float32")
            assert file.samplerate == 44100
        assert (tags["title"], tags["artist"], tags["album"]) == (track.title, track.artist, track.album)
        assert (tags["genre"], tags["date"]) == (";".join(track.genres), str(track.year))
        assert tags["tracknumber"] == str(track.number)
        reference = synth.render(track)
        assert audio.shape == reference.shape
        # Vorbis is not exact, but it is the same music
        assert np.corrcoef(audio.ravel(), reference.ravel())[0, 1] > 0.98


def test_tags_read_back_with_ffmpeg(library):
    for path, track in library[1]:
        with av.open(str(path)) as container:
            metadata = {**container.metadata, **container.streams.audio[0].metadata}
        found = {name.lower(): value for name, value in metadata.items()}
        assert (found["title"], found["artist"], found["album"]) == (track.title, track.artist, track.album)
        assert (found["genre"], found["date"]) == (";".join(track.genres), str(track.year))
        assert found["track"] == str(track.number)  # ffmpeg's name for tracknumber


def test_a_second_run_writes_only_what_is_missing(tmp_path):
    files = [path for path, _ in synth.write_library(tmp_path, 3, 1.0)]
    files[1].unlink()
    before = {path: path.stat().st_mtime_ns for path in (files[0], files[2])}
    assert [path for path, _ in synth.write_library(tmp_path, 3, 1.0)] == files
    assert files[1].is_file()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(self, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile.SoundFile, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synth.write_library(tmp_path, 1, 1.0)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    taken = Path(tmp_path, "file")
    taken.write_text("not a folder")
    with pytest.raises(InputError, match="name a folder"):
        synth.write_library(taken, 1, 1.0)


# --------------------------------------------------------------------------------------- signals, errors


def test_tone_is_the_sine_it_says():
    samples = synth.tone(1000, 0.5, 8000)
    assert samples.dtype == np.float32
    assert samples.shape == (4000,)
    # a 1 kHz sine at 8 kHz has eight samples a cycle
    half = math.sqrt(0.5)
    assert np.allclose(samples, 0.5 * np.tile([0, half, 1, half, 0, -half, -1, -half], 500), atol=1e-5)


def test_noise_is_white_bounded_and_seeded():
    samples = synth.noise(4, 16000, seed=7)
    assert samples.dtype == np.float32
    assert samples.shape == (64000,)
    assert np.abs(samples).max() <= 0.5
    assert samples.std() == pytest.approx(1 / math.sqrt(12), rel=0.02)  # of a uniform distribution of width 1
    assert abs(np.corrcoef(samples[1:], samples[:-1])[0, 1]) < 0.02
    assert np.array_equal(samples, synth.noise(4, 16000, seed=7))
    assert not np.array_equal(samples, synth.noise(4, 16000, seed=8))


@settings(deadline=None, max_examples=30)
@given(bpm=st.floats(20, 400), seconds=st.floats(0.5, 10))
def test_clicks_fall_on_the_beats_and_nowhere_else(bpm, seconds):
    samples = synth.clicks(bpm, seconds, 8000)
    assert len(samples) == round(seconds * 8000)
    loud = np.flatnonzero(np.abs(samples) > 0.79)
    beats = np.round(np.arange(0, seconds, 60 / bpm) * 8000).astype(int)
    beats = beats[beats < len(samples)]
    assert len(loud) == len(beats)
    assert np.abs(loud - beats).max() <= 1  # rounding of half a sample may go either way


NAN = float("nan")


@pytest.mark.parametrize(
    "call",
    [
        lambda: synth.plan(-1),
        lambda: synth.plan(2.5),  # type: ignore[arg-type]
        lambda: synth.plan(3, seed=-1),
        lambda: synth.plan(3, seconds=0),
        lambda: synth.plan(3, seconds=NAN),
        lambda: synth.plan(3, seconds=1e9),
        lambda: synth.render(replace(TRACKS[0], style="polka")),
        lambda: synth.render(replace(TRACKS[0], key="H major")),
        lambda: synth.render(replace(TRACKS[0], key="A")),
        lambda: synth.render(replace(TRACKS[0], bpm=0)),
        lambda: synth.render(replace(TRACKS[0], bpm=NAN)),
        lambda: synth.render(replace(TRACKS[0], seed=-5)),
        lambda: synth.render(replace(TRACKS[0], seconds=-1)),
        lambda: synth.render(TRACKS[0], rate=0),
        lambda: synth.render(TRACKS[0], rate=44100.5),  # type: ignore[arg-type]
        lambda: synth.write_library("unused", n_tracks=-1),
        lambda: synth.tone(0, 1),
        lambda: synth.tone(5000, 1, 8000),
        lambda: synth.tone(NAN, 1),
        lambda: synth.tone(440, 0),
        lambda: synth.noise(1, 1),
        lambda: synth.noise(1, seed=-1),
        lambda: synth.clicks(1, 1),
        lambda: synth.clicks(120, math.inf),
    ],
)
def test_unusable_arguments_raise_input_error_with_a_hint(call):
    with pytest.raises(InputError, match=r"wanted|choose"):
        call()
