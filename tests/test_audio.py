import itertools
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from badfiles import BadFile, make_bad_files
from hypothesis import given
from hypothesis import strategies as st
from sounds import FORMATS, Sound, decode, decode_av, rustle, tone, write

from soundkin import audio, decoding, workers
from soundkin.audio import (
    DEFAULT_LISTENING,
    MIN_SECONDS,
    WHOLE,
    Listening,
    excerpts_of,
    hear,
    is_audio_name,
    load,
    resample,
)
from soundkin.errors import DecodeError, InputError

SECONDS = 8.0
RATES = {name: 48000 if name == "opus" else 44100 for name in FORMATS}
# What encoders add in front or at the end, seconds: one or two blocks.
PADDING = {"adts": 0.1, "aac": 0.05, "wma": 0.15}
# How far what is not the tone lies below it, dB: what each encoder makes of a pure tone.
NOISE = {"mp3": -40, "aac": -30, "adts": -30, "vorbis": -40, "opus": -40, "wma": -40}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tones")
    return {
        name: write(folder / f"{name}{suffix}", tone(SECONDS, RATES[name], (0.6, 0.2)), RATES[name], name)
        for name, (suffix, _) in FORMATS.items()
    }


@pytest.fixture(scope="module")
def rustles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rustles")
    # Without noise substitution, AAC decodes to the same samples every time.
    options = {"aac_pns": "0"}
    return {
        name: write(
            folder / f"{name}{suffix}",
            rustle(SECONDS, RATES[name]),
            RATES[name],
            name,
            options if name in ("aac", "adts") else None,
        )
        for name, (suffix, _) in FORMATS.items()
    }


def peak_hz(y: Sound, rate: int) -> tuple[float, float, float]:
    """Frequency (Hz) and amplitude of the strongest sine, and the share of power that is not it, in dB."""
    y = y[: len(y) // 2 * 2].astype(np.float64)
    window = np.hanning(len(y))
    spectrum = np.abs(np.fft.rfft(y * window)) * 2 / window.sum()
    peak = int(np.argmax(spectrum))
    power = spectrum**2
    around = power[max(0, peak - 40) : peak + 41].sum()
    return (
        peak * rate / len(y),
        float(np.sqrt(around / 1.5)),  # a Hann window spreads a sine's power over 1.5 bins
        10 * np.log10((power.sum() - around) / around + 1e-12),
    )


def lag(whole: Sound, part: Sound, at: int, most: int) -> int:
    """How many samples after `at` a part is found in the whole, at most `most` either way."""
    from scipy.signal import correlate

    first = max(0, at - most)
    around = whole[first : at + len(part) + most]
    return int(np.argmax(correlate(around, part, mode="valid", method="fft"))) + first - at


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_decodes_to_the_sound_that_was_written(tones: dict[str, Path], name: str) -> None:
    rate = RATES[name]
    y = load(tones[name], rate)
    assert y.dtype == np.float32
    assert len(y) / rate == pytest.approx(SECONDS, abs=PADDING.get(name, 0.03))
    middle = y[rate : 7 * rate]
    hz, level, rest = peak_hz(middle, rate)
    assert hz == pytest.approx(997, abs=0.2)
    assert 20 * np.log10(level / 0.4) == pytest.approx(0, abs=0.1)  # the mean of 0.6 and 0.2
    assert rest < NOISE.get(name, -80)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_says_what_it_is(tones: dict[str, Path], name: str) -> None:
    formats = {"adts": "aac", "wma": "wmav2"}
    with hear(tones[name], DEFAULT_LISTENING) as hearing:
        assert (hearing.rate, hearing.channels) == (RATES[name], 2)
        assert hearing.format == formats.get(name, name)
        # a stream without an index says nothing about its length; ffmpeg guesses from the bit rate
        assert hearing.duration == pytest.approx(
            SECONDS, abs=0.5 if name == "adts" else PADDING.get(name, 0.03)
        )


@pytest.mark.parametrize("name", FORMATS)
def test_excerpts_reached_by_seeking_are_the_same_stretch_of_the_whole(
    rustles: dict[str, Path], name: str
) -> None:
    rate, path = RATES[name], rustles[name]
    whole = decode_av(path) if name in ("opus", "vorbis") else decode(path)
    with hear(path, Listening(3, 1.0)) as hearing:
        excerpts = list(hearing.excerpts)
    assert len(excerpts) == 3
    for excerpt in excerpts:
        at = round(excerpt.start * rate)
        assert len(excerpt.samples) == rate
        if name in ("wma", "adts"):  # time stamps in whole milliseconds, or guessed from the bit rate
            at += lag(whole, excerpt.samples, at, round({"wma": 0.002, "adts": 0.25}[name] * rate))
        difference = np.abs(whole[at : at + rate] - excerpt.samples).max()
        assert difference < (1e-3 if name in ("aac", "adts") else 1e-6)


def test_a_seek_in_an_mp3_of_small_frames_leaves_no_hole(tones: dict[str, Path]) -> None:
    """The frames of a pure tone are small, so that each needs many before it to be decoded."""
    whole = decode(tones["mp3"])
    decoder = decoding._SoundFile(str(tones["mp3"]))
    for start in (150_000, 50_000, 60_000, 100_001, 0):
        assert np.abs(decoder.read(start, 10_000) - whole[start : start + 10_000]).max() < 1e-6
    decoder.close()


def test_blocks_join_without_a_seam(tones: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BLOCK", 1 << 15)
    for name in ("mp3", "flac"):
        decoder = decoding._SoundFile(str(tones[name]))
        assert np.abs(decoder.read(0, 8 * 44100) - decode(tones[name])).max() < 1e-6
        decoder.close()


def test_noise_that_aac_makes_up_differs_but_nothing_else_does(tmp_path: Path) -> None:
    path = write(tmp_path / "x.m4a", rustle(SECONDS, 44100), 44100, "aac")
    whole = decode(path)
    with hear(path, Listening(3, 1.0)) as hearing:
        for excerpt in hearing.excerpts:
            at = round(excerpt.start * 44100)
            assert np.corrcoef(whole[at : at + 44100], excerpt.samples)[0, 1] > 0.995


@pytest.mark.parametrize("name", ["mp3", "flac", "vorbis", "wav", "aiff", "opus"])
def test_the_two_decoders_agree(rustles: dict[str, Path], name: str) -> None:
    decoders: list[decoding.Decoder] = [
        decoding._SoundFile(str(rustles[name])),
        decoding._Av(str(rustles[name])),
    ]
    lengths = {decoder.frames for decoder in decoders}
    assert max(filter(None, lengths)) - min(filter(None, lengths)) <= 0.007 * RATES[name]
    for start in (0, 100_000):
        one, other = (decoder.read(start, 48000) for decoder in decoders)
        assert len(one) == len(other) == 48000
        # opus: two implementations of one decoder that rounds
        assert np.abs(one - other).max() < (1e-2 if name == "opus" else 1e-4)
    assert [decoder.rate for decoder in decoders] == [RATES[name]] * 2
    assert decoders[0].format == name
    for decoder in decoders:
        decoder.close()


@pytest.mark.parametrize("kind", ["_SoundFile", "_Av"])
@pytest.mark.parametrize("name", ["mp3", "flac", "vorbis", "wav", "opus"])
def test_what_one_decoder_refuses_the_other_one_hears(
    rustles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    class Refusing:
        def __init__(self, path: str) -> None:
            raise DecodeError("refused")

    monkeypatch.setattr(decoding, kind, Refusing)
    y = load(rustles[name], RATES[name])
    reference = decode(rustles[name])
    n = min(len(y), len(reference))
    assert abs(len(y) - len(reference)) < 0.01 * RATES[name]
    assert np.corrcoef(y[:n], reference[:n])[0, 1] > 0.999


@pytest.mark.parametrize(("name", "kind"), [("mp3", "_SoundFile"), ("flac", "_SoundFile"), ("vorbis", "_Av")])
def test_where_one_decoder_stops_the_other_one_goes_on(
    rustles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    real = getattr(decoding, kind)
    stop = 100_000

    def read(self: object, start: int, n: int) -> Sound:
        samples: Sound = real_read(self, start, max(0, min(n, stop - start)))
        return samples

    real_read = real.read
    monkeypatch.setattr(real, "read", read)
    y = load(rustles[name], RATES[name])
    reference = decode_av(rustles[name])
    assert abs(len(y) - len(reference)) <= 0.06 * RATES[name]
    n = min(len(y), len(reference))
    assert np.abs(y[:n] - reference[:n]).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 48000, 96000, 192_000])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_rates(tmp_path: Path, rate: int, suffix: str) -> None:
    soundfile.write(tmp_path / f"x{suffix}", tone(2, rate, (0.5,)), rate)
    y = load(tmp_path / f"x{suffix}", 22050)
    assert len(y) == pytest.approx(2 * 22050, abs=2)
    hz, level, rest = peak_hz(y[2205:-2205], 22050)
    assert hz == pytest.approx(997, abs=0.6)
    assert level == pytest.approx(0.5, rel=0.01)
    assert rest < -70


@pytest.mark.parametrize("rate", [3999, 384_001])
def test_rates_that_are_refused(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "x.wav", tone(2, rate, (0.5,)), rate)
    with pytest.raises(DecodeError, match=f"sample rate {rate} Hz; wanted 4000 to 384000 Hz"):
        load(tmp_path / "x.wav", 22050)


def test_the_mean_of_eight_channels(tmp_path: Path) -> None:
    levels = (0.8, 0.0, 0.4, 0.0, 0.0, 0.0, 0.8, 0.0)
    for name in ("x.wav", "x.flac"):
        soundfile.write(tmp_path / name, tone(2, 44100, levels), 44100)
        for decoder in (decoding._SoundFile(str(tmp_path / name)), decoding._Av(str(tmp_path / name))):
            assert decoder.channels == 8
            assert np.abs(decoder.read(0, 88200) - tone(2, 44100, (0.25,))[:, 0]).max() < 1e-4
            decoder.close()


def test_the_mean_of_six_planes(tmp_path: Path) -> None:
    levels = (0.6, 0.6, 0.0, 0.0, 0.3, 0.3)  # the fourth of 5.1 is for bass only
    path = write(tmp_path / "x.m4a", tone(3, 44100, levels), 44100, "aac")
    _, level, _ = peak_hz(load(path, 44100)[44100:88200], 44100)
    assert level == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
def test_every_sample_type_has_the_same_full_scale(tmp_path: Path, subtype: str) -> None:
    sound = tone(1, 44100, (0.6, 0.2))
    soundfile.write(tmp_path / "x.wav", sound, 44100, subtype=subtype)
    step = {"PCM_U8": 2 / 128, "ULAW": 0.02, "ALAW": 0.02}.get(subtype, 1e-4)
    for decoder in (decoding._SoundFile(str(tmp_path / "x.wav")), decoding._Av(str(tmp_path / "x.wav"))):
        assert np.abs(decoder.read(0, 44100) - sound.mean(axis=1)).max() < step
        decoder.close()


# Files that break programs


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BadFile]:
    return make_bad_files(tmp_path_factory.mktemp("bad"))


def hear_in_worker(listening: Listening) -> Callable[[str], float | str]:
    """What runs in a worker, so that a hang would be cut short: seconds heard, or the refusal."""

    def task(path: str) -> float | str:
        try:
            with hear(path, listening) as hearing:
                seconds = 0.0
                for excerpt in hearing.excerpts:
                    assert np.isfinite(excerpt.samples).all()
                    assert np.abs(excerpt.samples).max() <= 1
                    seconds += len(excerpt.samples) / excerpt.rate
                return seconds
        except (DecodeError, OSError) as error:
            return str(error)

    return task


@pytest.mark.parametrize("listening", [WHOLE, Listening(3, 1.0)])
def test_bad_files_end_as_they_should(
    bad_files: dict[str, BadFile], monkeypatch: pytest.MonkeyPatch, listening: Listening
) -> None:
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    paths = {bad.path: bad for bad in bad_files.values()}
    results = dict(workers.run(f"{__name__}:hear_in_worker", (listening,), list(paths), 1, lambda path: 20.0))
    assert len(results) == len(paths)
    wrong = {}
    for path, result in results.items():
        heard = isinstance(result, float) and result >= 0.9
        refused = isinstance(result, str) and "\n" not in result
        fine = {"ok": heard, "fail": refused, "either": heard or refused}[paths[path].expect]
        if not fine:
            wrong[path] = result
    assert wrong == {}


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac", "wav"])
def test_of_a_truncated_file_all_that_is_there_is_heard(bad_files: dict[str, BadFile], suffix: str) -> None:
    with hear(bad_files[f"cut.{suffix}"].path, WHOLE) as hearing:
        assert hearing.duration == pytest.approx(4.5, abs=0.5)
        assert sum(len(e.samples) for e in hearing.excerpts) / hearing.rate == pytest.approx(4.5, abs=0.5)


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac", "wav", "m4a"])
@pytest.mark.parametrize("damage", ["flips", "hole"])
def test_damage_costs_what_is_damaged(bad_files: dict[str, BadFile], suffix: str, damage: str) -> None:
    with hear(bad_files[f"{damage}.{suffix}"].path, Listening(None, 1.0)) as hearing:
        heard = sum(len(e.samples) for e in hearing.excerpts) / hearing.rate
    # A third of the file is missing at most, and 200 flips leave most blocks of most formats whole.
    assert heard >= 4.4


def test_samples_that_are_no_numbers_are_silence(tmp_path: Path) -> None:
    sound = tone(2, 44100, (0.5, 0.5))
    sound[1000:2000] = np.nan
    sound[3000], sound[3001] = np.inf, (np.inf, -np.inf)
    for suffix in (".wav", ".ogg"):  # by libsndfile, by PyAV
        soundfile.write(tmp_path / f"x{suffix}", sound, 44100, format="WAV", subtype="FLOAT")
        y = load(tmp_path / f"x{suffix}", 44100)
        bad = np.r_[1000:2000, 3000, 3001]
        assert np.abs(y[bad]).max() == 0
        assert np.abs(np.delete(y - tone(2, 44100, (0.5,))[:, 0], bad)).max() < 1e-6


@pytest.mark.parametrize("key", ["4 GB.wav", "huge total.flac", "no total.flac"])
def test_headers_are_not_believed(bad_files: dict[str, BadFile], key: str) -> None:
    with hear(bad_files[key].path, WHOLE) as hearing:
        assert hearing.duration == pytest.approx(2, abs=0.01)
        assert sum(len(e.samples) for e in hearing.excerpts) == pytest.approx(2 * hearing.rate, abs=500)


def lying_riff(order: str = "<") -> bytes:
    """A tiny wav with a chunk of text that claims 2 GB."""
    form = struct.pack(f"{order}IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    text = b"LIST" + struct.pack(f"{order}I", 0x7FFFFFF0) + b"INFOINAM" + struct.pack(f"{order}I", 0x7FFFFF00)
    body = b"WAVEfmt " + form + text + b"abcd" * 100
    return (b"RIFF" if order == "<" else b"RIFX") + struct.pack(f"{order}I", len(body)) + body


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".wav", ".ogg"])
def test_a_chunk_that_claims_gigabytes_does_not_get_them(tmp_path: Path, suffix: str, order: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(lying_riff(order))
    script = (
        "import resource, sys\n"
        "from soundkin.audio import load\n"
        "from soundkin.errors import DecodeError\n"
        "def rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = rss()\n"
        "try: load(sys.argv[1], 22050)\n"
        "except DecodeError: print(rss(), rss() - before)"
    )
    peak, growth = map(int, run_python(script, str(path)).split())
    assert peak < 1_500_000  # kB; a child starts with its parent's peak
    assert growth < 200_000


def run_python(script: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wav", "bare mp3", "adts"])
def test_memory_stays_flat_for_three_hours(tmp_path: Path, name: str) -> None:
    path = long_file(tmp_path, name, hours=3)
    script = (
        "import resource, sys\n"
        "from soundkin.audio import WHOLE, Listening, hear\n"
        "def rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "seconds = 0\n"
        "with hear(sys.argv[1], WHOLE) as hearing:\n"
        "    next(hearing.excerpts); before = rss()\n"
        "    for excerpt in hearing.excerpts: seconds += len(excerpt.samples) / excerpt.rate\n"
        "print(seconds, rss() - before)"
    )
    seconds, growth = map(float, run_python(script, str(path)).split())
    assert seconds == pytest.approx(3 * 3600, rel=0.02)
    assert growth < 20_000  # kB; three hours at 8 kHz are 345 MB


def long_file(folder: Path, name: str, hours: int) -> Path:
    """Repeat a minute; without a header that counts, joined streams are one stream."""
    minute = rustle(60, 8000, 1)
    path = folder / "long"
    if name == "wav":
        soundfile.write(path, np.tile(minute, (60 * hours, 1)), 8000, format="WAV", subtype="PCM_U8")
    else:
        write(path, minute, 8000, name, {"write_xing": "0", "id3v2_version": "0"})
        path.write_bytes(path.read_bytes() * 60 * hours)
    return path


# Names and playlists


@pytest.mark.parametrize("suffix", [".mp3", ".ogg"])  # libsndfile first, PyAV first
def test_names_that_are_not_text(tmp_path: Path, suffix: str) -> None:
    path = os.fsencode(tmp_path) + b"/latin-\xe9-\xff" + suffix.encode()
    plain = tmp_path / f"x{suffix}"
    soundfile.write(plain, rustle(2, 44100), 44100)
    os.rename(plain, path)
    for name in (path, os.fsdecode(path)):
        assert len(load(name, 44100)) == pytest.approx(88200, abs=3000)  # type: ignore[arg-type]
    for kind in (decoding._SoundFile, decoding._Av):
        decoder = kind(os.fsdecode(path))
        assert len(decoder.read(0, 44100)) == 44100
        decoder.close()


NAMES = [
    "concat:y.ogg", "%03d.ogg", "data:audio;base64,T2dnUw==.ogg", "file:y.ogg", "http:y.ogg", "pipe:0.ogg", "-.ogg",
    "subfile,,start,0,end,9,,:y.ogg", "async:y.ogg", "crypto:y.ogg", "a?b#c&d.ogg", "*.ogg", "concat:y.mp3", "%03d.mp3",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_look_like_protocols_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    decoy = "y" + os.path.splitext(name)[1]
    soundfile.write(decoy, tone(5, 44100, (0.5,)), 44100)
    soundfile.write("x.wav", tone(2, 44100, (0.5,), hz=440), 44100)
    os.rename("x.wav", name)
    for decoder in (decoding._Av(name), decoding._SoundFile(name)):
        assert decoder.frames == 88200
        decoder.close()
    assert peak_hz(load(name, 44100), 44100)[0] == pytest.approx(440, abs=1)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
    "hls absolute": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na=control:{}\n",
}


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".m4a"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_by_any_name_opens_no_other_file(tmp_path: Path, kind: str, suffix: str) -> None:
    # Whoever opens a pipe to read waits for a writer; only then can a writer that does not wait open it.
    bait = tmp_path / "bait.ts"
    os.mkfifo(bait)
    path = tmp_path / f"x{suffix}"
    path.write_text(PLAYLISTS[kind].format(bait if "absolute" in kind else bait.name))
    done, opened = threading.Event(), []

    def watch() -> None:
        while not done.wait(0.005):
            try:
                os.close(os.open(bait, os.O_WRONLY | os.O_NONBLOCK))
                opened.append(True)
            except OSError:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(DecodeError), hear(path, WHOLE):
            pass
    finally:
        done.set()
        watcher.join()
    assert not opened


def test_the_bait_works(tmp_path: Path) -> None:
    """The test above can fail: ffmpeg, asked without our limits, opens what an HLS playlist names."""
    import av

    bait = tmp_path / "bait.ts"
    soundfile.write(tmp_path / "y.ogg", tone(2, 44100, (0.5,)), 44100)
    write(bait, tone(2, 44100, (0.5,)), 44100, "adts")
    path = tmp_path / "x.m3u8"
    path.write_text(PLAYLISTS["hls"].format("bait.ts"))
    with av.open(str(path), options={"allowed_extensions": "ALL", "extension_picky": "0"}) as container:
        assert container.streams.audio


def test_no_descriptor_is_left_open(bad_files: dict[str, BadFile], rustles: dict[str, Path]) -> None:
    paths = [bad.path for bad in bad_files.values() if bad.regular] + [str(p) for p in rustles.values()]

    def attempt() -> None:
        for path in paths:
            try:
                with hear(path, Listening(1, 0.5)) as hearing:
                    list(hearing.excerpts)
            except (DecodeError, OSError):
                continue

    attempt()
    before = len(os.listdir("/proc/self/fd"))
    attempt()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_refusal_closes_no_descriptor_of_others(bad_files: dict[str, BadFile]) -> None:
    paths = [bad_files[key].path for key in ("text.mp3", "random.mp3", "0 Hz.wav", "zeros.wav")]
    with open(bad_files["text.mp3"].path, "rb") as mine:
        for path in paths:
            with pytest.raises(DecodeError), hear(path, WHOLE):
                pass
        assert mine.read(4) == b"This"


# Listening

LISTENINGS = st.builds(
    Listening, st.none() | st.integers(1, 100), st.floats(MIN_SECONDS, 3600, allow_nan=False)
)


@given(LISTENINGS, st.floats(MIN_SECONDS, 36_000))
def test_excerpts_are_ascending_inside_and_apart(listening: Listening, duration: float) -> None:
    if listening.excerpts is None and duration / listening.seconds > 10_000:
        return
    starts = listening.starts(duration)
    assert starts
    assert starts[0] >= 0
    slack = 1e-6 * duration
    assert all(b - a >= listening.seconds - slack for a, b in itertools.pairwise(starts))
    if duration < listening.seconds:
        assert starts == [0]
    elif listening.excerpts is None:
        heard = sum(min(listening.seconds, duration - s) for s in starts)
        assert duration - heard <= MIN_SECONDS + slack
        assert starts[0] == 0
    else:
        assert starts[-1] + listening.seconds <= duration + slack
        assert len(starts) == min(listening.excerpts, int(duration / listening.seconds))
        gaps = np.diff([-listening.seconds / 2, *starts, duration - listening.seconds / 2])
        middle = gaps[1:-1]
        # as far from one to the next as twice from either end
        assert np.allclose(middle, duration / len(starts), atol=slack)
        assert gaps[0] == pytest.approx(gaps[-1], abs=slack)
        assert gaps[0] == pytest.approx(duration / len(starts) / 2, abs=slack)


@given(st.builds(Listening, st.integers(1, 10_000), st.floats(MIN_SECONDS, 86_400)))
def test_a_listening_is_found_by_its_name(listening: Listening) -> None:
    assert Listening.named(listening.name) == listening


def test_names_of_listenings() -> None:
    assert Listening(5, 9.02).name == "5x9.02s"
    assert Listening(3, 10).name == "3x10s"
    assert WHOLE.name == "all"
    assert Listening.named("all") == WHOLE


@pytest.mark.parametrize("name", ["", "5", "x", "5x", "0x9s", "5x0s", "5xinfs", "5xnans", "-1x9s", "5x1e99s"])
def test_names_of_no_listening(name: str) -> None:
    with pytest.raises(InputError):
        Listening.named(name)


# PCM in memory


def test_excerpts_of_pcm_are_those_of_the_file(tmp_path: Path) -> None:
    sound = rustle(10, 44100)
    soundfile.write(tmp_path / "x.wav", sound, 44100, subtype="FLOAT")
    for listening in (Listening(3, 1.7), Listening(None, 3.3), Listening(5, 9.02)):
        memory = list(excerpts_of(sound, 44100, listening))
        with hear(tmp_path / "x.wav", listening) as hearing:
            file = list(hearing.excerpts)
        assert [e.start for e in memory] == [e.start for e in file]
        for one, other in zip(memory, file, strict=True):
            assert one.samples.shape == other.samples.shape
            assert np.abs(one.samples - other.samples).max() < 1e-6


@pytest.mark.parametrize(
    ("y", "rate", "words"),
    [
        (np.zeros(44100, np.int16), 44100, "int16"),
        (np.zeros((2, 2, 44100)), 44100, r"\(2, 2, 44100\)"),
        (np.zeros(0), 44100, r"\(0,\)"),
        (np.zeros(44100), 100, "100 Hz"),
        (np.zeros(44100), 1_000_000, "1000000 Hz"),
        (np.zeros(1000), 44100, "0.02 s"),
        (np.zeros((2, 44100)), 44100, "0.00 s"),
        (np.full(44100, np.nan), 44100, "NaN"),
        (np.full(44100, np.inf), 44100, "NaN or inf"),
    ],
)
def test_pcm_that_is_refused(y: Sound, rate: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(excerpts_of(y, rate, WHOLE))


# Resampling


@pytest.mark.parametrize("rate", [8000, 16000, 32000, 44100, 48000, 96000])
def test_a_resampled_sine_is_the_sine_at_the_new_rate(rate: int) -> None:
    y = resample(tone(2, rate, (0.5,), hz=1234.5)[:, 0], rate, 22050)
    expected = tone(2, 22050, (0.5,), hz=1234.5)[:, 0]
    assert len(y) == pytest.approx(len(expected), abs=1)
    inner = slice(2205, 2 * 22050 - 2205)
    assert np.abs(y[inner] - expected[inner]).max() < 1e-5


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    y = resample(tone(2, 44100, (0.5,), hz=13_000)[:, 0], 44100, 22050)
    assert 20 * np.log10(np.abs(y[2205:-2205]).max()) < -100


def test_resampling_agrees_with_an_ideal_low_pass() -> None:
    from scipy.signal import resample as by_fourier

    sound = rustle(2, 44100, 1)[:, 0]
    ours, ideal = resample(sound, 44100, 22050), by_fourier(sound, 44100)
    assert (
        np.abs(ours[2205:-2205] - ideal[2205:-2205]).max() < 2e-3
    )  # its filter falls from 0.45 of the rate on


def test_the_same_rate_costs_nothing() -> None:
    y = tone(1, 22050, (0.5,))[:, 0]
    assert resample(y, 22050, 22050) is y


# Whole files


def test_load_stops_where_it_is_told(tones: dict[str, Path]) -> None:
    assert len(load(tones["flac"], 44100, seconds=1.5)) == round(1.5 * 44100)
    assert len(load(tones["flac"], 22050, seconds=100)) == round(SECONDS * 22050)


@pytest.mark.parametrize("seconds", [0.05, 0.49])
def test_too_short_to_judge(tmp_path: Path, seconds: float) -> None:
    soundfile.write(tmp_path / "x.wav", tone(seconds, 44100, (0.5,)), 44100)
    with pytest.raises(DecodeError, match="too short"):
        load(tmp_path / "x.wav", 22050)


def test_names_of_audio() -> None:
    for name in ("a.mp3", "A.FLAC", "x/y.z.Opus", "a.m4a", "a.wv", "a.wma", "a.aif", "a.oga"):
        assert is_audio_name(name)
    for name in ("a.txt", "mp3", "a.mp3.part", "cover.jpg", ".mp3", "a."):
        assert not is_audio_name(name)


# ---- several ways of listening at once


@pytest.mark.parametrize("others", [[Listening(4, 2.0)], [Listening(3, 0.7), Listening(None, 5.0)]])
def test_listening_in_several_ways_is_listening_in_each(tmp_path: Path, others: list[Listening]) -> None:
    path = tmp_path / "x.flac"
    y = np.random.default_rng(0).uniform(-0.5, 0.5, 23 * 8000)
    soundfile.write(path, y, 8000, subtype="PCM_24")
    first = Listening(6, 1.5)
    with hear(path, first, *others, first) as hearing:
        together = list(hearing.together)
    for listening in (first, *others):
        with hear(path, listening) as hearing:
            alone = list(hearing.excerpts)
        heard = [excerpt for way, excerpt in together if way == listening]
        assert [e.start for e in heard] == [e.start for e in alone]
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(heard, alone, strict=True))
    starts = [excerpt.start for _, excerpt in together]
    assert starts == sorted(starts)


def test_what_several_hear_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 120 * 8000), 8000)
    read, real = [], audio._read

    def counted(decoders, start, n, end):
        read.append((start, start + n))
        return real(decoders, start, n, end)

    monkeypatch.setattr(audio, "_read", counted)
    ways = Listening(18, 3.07), Listening(5, 10.0)
    with hear(path, *ways) as hearing:
        assert len(list(hearing.together)) == 18 + 5
    heard = np.zeros(120 * 8000, bool)
    for way in ways:
        for start in way.starts(120.0):
            heard[round(start * 8000) : round((start + way.seconds) * 8000)] = True
    assert sum(stop - start for start, stop in read) == pytest.approx(heard.sum(), abs=len(read))
    assert heard.sum() < 0.9 * 8000 * sum(way.excerpts * way.seconds for way in ways if way.excerpts)


def test_damage_in_a_stretch_costs_only_what_it_hits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.full(60 * 8000, 0.25), 8000)
    real = audio._read

    def damaged(decoders, start, n, end):  # nothing can be read from 30 s to 31 s
        y, whole = real(decoders, start, n, end)
        hole = 30 * 8000 - start
        return (y[: max(hole, 0)], False) if -8000 < hole < n else (y, whole)

    monkeypatch.setattr(audio, "_read", damaged)
    with hear(path, Listening(12, 4.0), Listening(5, 10.0)) as hearing:
        heard = list(hearing.together)
        flaws = hearing.flaws
    short = [e.start for way, e in heard if len(e.samples) < way.seconds * 8000]
    assert all(start < 30 < start + 10 for start in short)
    assert {way.excerpts for way, _ in heard} == {12, 5}
    assert len([1 for way, _ in heard if way.excerpts == 12]) >= 11
    assert flaws
    assert "excerpts could not be decoded in full" in flaws[0]
