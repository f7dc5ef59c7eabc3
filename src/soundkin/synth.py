"""A demo music library made by code, with known tempo, key, timbre and style.

The line: `plan` decides what exists (artists, albums, keys, tempos), `render` plays one track, `write_library` puts
tagged files on disk. The artist's name alone decides an artist's sound (`_personal`), so two tracks of one artist are
closer to each other than to the rest of their style. To add a style, add an entry to `STYLES`.

Patterns are read one character a step, four steps a beat (`.` rest, `-` hold the note before):
drums know `x` loud, `o` soft, `?` a hit that half of the artists play; parts know `#` the whole chord, `0`-`9` a tone of
the chord counted from its lowest, `<` a step below the next chord's root, `*` a note of the melody, `?` a melody note
that half of the artists play.

The file is longer than most because a third of it is data: the styles.
"""

from __future__ import annotations

import logging
import math
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError

__all__ = ["STYLES", "Drum", "Part", "Style", "SynthTrack", "Voice", "clicks", "noise", "plan", "render", "tone"]
__all__ += ["write_library"]

log = logging.getLogger(__name__)

Audio = NDArray[np.float32]

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PROGRESSIONS = {
    "major": ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (0, 5, 1, 4)),
    "minor": ((0, 3, 4, 0), (0, 5, 3, 4), (0, 0, 3, 4), (0, 5, 4, 0)),
}
# scale steps above the chord's root; "power" and "bass" keep root position, the others are folded close
_CHORDS = {"triad": (0, 2, 4), "seventh": (0, 2, 4, 6), "power": (0, 4, 7), "bass": (0, 2, 4, 7)}
_TABLE_BITS = 14  # 16,384 points: reading the nearest one, without interpolation, is 70 dB below the note


@dataclass(frozen=True, slots=True)
class Voice:
    """How one note sounds.

    Parameters
    ----------
    kind : str
        "wave" (wavetable through a closing low-pass), "pluck" (Karplus-Strong), "fm" (two operators), "noise".
    shape : str
        Spectrum of a "wave": a key of `SHAPES`.
    cutoff : float
        Low-pass corner in Hz; of a "pluck" the brightness of the pick.
    close : float
        Where the corner ends up after `decay`, as a fraction of `cutoff`.
    attack, decay, release : float
        Seconds. `decay` is the time constant towards `sustain`; a "pluck" rings for about `decay` seconds (T60).
    sustain : float
        Level held after the decay, 0 to 1.
    detune, vibrato : float
        Cents: spread of three unison copies (0: one copy), depth of a 5.5 Hz vibrato.
    breath : float
        Share of noise in the note, 0 to 1.
    ratio, index : float
        FM: modulator over carrier frequency, and peak modulation in radians.
    """

    kind: str = "wave"
    shape: str = "saw"
    cutoff: float = 4000.0
    close: float = 1.0
    attack: float = 0.01
    decay: float = 0.5
    sustain: float = 0.7
    release: float = 0.08
    detune: float = 0.0
    vibrato: float = 0.0
    breath: float = 0.0
    ratio: float = 1.0
    index: float = 1.5


@dataclass(frozen=True, slots=True)
class Part:
    """One player: a voice, what it plays, and its place in the mix.

    Parameters
    ----------
    voice : Voice
        The instrument.
    patterns : tuple of str
        Bars it may play (see the module's docstring); an artist keeps one of them.
    centre : int
        MIDI note in the middle of its range.
    gain : float
        Peak level in the mix, linear.
    pan : float
        -1 left to 1 right.
    chord : str
        "triad", "seventh", "power" or "bass".
    sections : str
        Where it plays: `i`ntro, `m`ain, `b`reak, `f`inal.
    drive : float
        Distortion of the whole part, 0 is clean, 10 is heavy.
    echo : float
        Gain of a dotted-eighth echo.
    """

    voice: Voice
    patterns: tuple[str, ...]
    centre: int = 60
    gain: float = 0.3
    pan: float = 0.0
    chord: str = "triad"
    sections: str = "imbf"
    drive: float = 0.0
    echo: float = 0.0


@dataclass(frozen=True, slots=True)
class Drum:
    """One drum: a swept sine plus a band of noise, each with its own decay.

    Parameters
    ----------
    tone, sweep, ring : float
        Sine's final frequency in Hz (0: none), how far above it starts (Hz), its decay time constant (s).
    low, high, decay, hiss : float
        Noise band in Hz, its decay time constant (s) and its level.
    crush : int
        Samples for which a noise value is held: the sound of old consoles.
    """

    tone: float = 0.0
    sweep: float = 0.0
    ring: float = 0.1
    low: float = 200.0
    high: float = 9000.0
    decay: float = 0.05
    hiss: float = 0.0
    crush: int = 1


@dataclass(frozen=True, slots=True)
class Style:
    """What the tracks of a style share.

    Parameters
    ----------
    genre : str
        First genre tag.
    subgenres : tuple of str
        An artist has one of them as second tag.
    bpm : tuple of float
        Slowest and fastest tempo in quarter notes a minute.
    minor : float
        Share of tracks in minor.
    parts : tuple of Part
        The players.
    drums : tuple of (str, str)
        Drum (a key of `DRUMS`) and pattern; intro and break keep only the first.
    steps : int
        Steps a bar: 16 is 4/4, 12 is 3/4.
    bars_per_chord : int
        Harmonic rhythm.
    swing : float
        Delay of the offbeat eighth in steps: 0 straight, 0.67 triplets.
    loose : float
        Standard deviation of the players' timing in seconds.
    kick, reverb, room : float
        Level of the drums; share of reverb in the mix; its length (T60) in seconds.
    years : tuple of int
        First and last year of release.
    """

    genre: str
    subgenres: tuple[str, ...]
    bpm: tuple[float, float]
    minor: float
    parts: tuple[Part, ...]
    drums: tuple[tuple[str, str], ...] = ()
    steps: int = 16
    bars_per_chord: int = 1
    swing: float = 0.0
    loose: float = 0.0
    kick: float = 0.6
    reverb: float = 0.15
    room: float = 0.8
    years: tuple[int, int] = (1990, 2024)


@dataclass(frozen=True, slots=True)
class SynthTrack:
    """A track to be rendered, and the truth about it.

    Parameters
    ----------
    style : str
        Key of `STYLES`.
    title, artist, album : str
        Tags; `artist` also decides the sound.
    genres : tuple of str
        Genre, then subgenre.
    year, number : int
        Year of release, place on the album (from 1).
    bpm : float
        True tempo, quarter notes a minute.
    key : str
        True key, "A minor": a name of `NOTES` and "major" or "minor".
    seconds : float
        Length.
    seed : int
        What the track's own choices (melody, chords) come from.
    filename : str
        Relative path with forward slashes: "artist/album/nn title.ext".
    """

    style: str
    title: str
    artist: str
    album: str
    genres: tuple[str, ...]
    year: int
    number: int
    bpm: float
    key: str
    seconds: float
    seed: int
    filename: str


DRUMS: dict[str, Drum] = {
    "kick": Drum(tone=48, sweep=180, ring=0.16, hiss=0.1, high=6000, decay=0.005),
    "boom": Drum(tone=42, sweep=90, ring=0.25, hiss=0.05, decay=0.005),
    "snare": Drum(tone=185, sweep=60, ring=0.06, low=700, high=9000, decay=0.09, hiss=0.8),
    "clap": Drum(low=900, high=3500, decay=0.1, hiss=0.8),
    "brush": Drum(low=1500, high=7000, decay=0.12, hiss=0.3),
    "rim": Drum(tone=1650, sweep=200, ring=0.015, low=2000, decay=0.008, hiss=0.4),
    "hat": Drum(low=7000, high=16000, decay=0.025, hiss=0.35),
    "open": Drum(low=6000, high=15000, decay=0.14, hiss=0.35),
    "ride": Drum(tone=5300, ring=0.3, low=5000, high=13000, decay=0.25, hiss=0.2),
    "shaker": Drum(low=4000, high=11000, decay=0.04, hiss=0.25),
    "bit kick": Drum(tone=70, sweep=300, ring=0.06, low=20, high=4000, decay=0.03, hiss=0.3, crush=24),
    "bit snare": Drum(low=300, high=9000, decay=0.07, hiss=0.7, crush=6),
    "bit hat": Drum(low=3000, high=16000, decay=0.02, hiss=0.3, crush=2),
}

# harmonic number k -> amplitude
SHAPES: dict[str, Callable[[Audio], Audio]] = {
    "sine": lambda k: np.where(k == 1, 1, np.where(k == 2, 0.08, 0)).astype(np.float32),
    "saw": lambda k: 1 / k,
    "square": lambda k: k % 2 / k,
    "pulse": lambda k: np.abs(np.sin(np.pi * k / 4)).astype(np.float32) / k,
    "triangle": lambda k: k % 2 / k**2,
    "organ": lambda k: np.isin(k, (1, 2, 3, 4, 6, 8)).astype(np.float32) / np.sqrt(k),
    "reed": lambda k: (k % 2 + 0.35) * np.exp(-(((k - 3) / 4) ** 2)).astype(np.float32),
    "bowed": lambda k: (1 + 0.6 * np.cos(k * 1.7)).astype(np.float32) / k,
}

STYLES: dict[str, Style] = {
    "techno": Style(
        "Electronic", ("Techno", "Minimal Techno"), (126, 136), 0.9,
        (
            Part(Voice(cutoff=900, close=0.3, decay=0.1, sustain=0.3),
                 ("..0...0...0...0.", ".00..00..00..00.", "0.00.00.0.00.00."), 38, 0.5, chord="bass", sections="mf", drive=2),
            Part(Voice(cutoff=2500, close=0.2, decay=0.09, sustain=0.0, detune=12),
                 ("...#..#....#..#.", "#..#..#.........", "..#.......#....."), 62, 0.35, 0.2, echo=0.5),
            Part(Voice(shape="square", cutoff=3000, close=0.3, decay=0.08, sustain=0.1),
                 ("0.2.1.2.0.2.1.3.", "0120.120.120.123"), 72, 0.2, -0.4, sections="bf", echo=0.4),
        ),
        (("hat", "..x...x...x...x."), ("kick", "x...x...x...x..."), ("hat", "o?o?o?o?o?o?o?o?"),
         ("clap", "....x.......x...")),
        bars_per_chord=2, kick=0.9, reverb=0.12, years=(1994, 2024),
    ),
    "ambient": Style(
        "Ambient", ("Drone", "Space Ambient"), (60, 76), 0.5,
        (
            Part(Voice(cutoff=900, attack=1.2, decay=3, sustain=0.9, release=1.8, detune=14),
                 ("#---------------",), 58, 0.5),
            Part(Voice(shape="sine", attack=0.8, sustain=1, release=1.2), ("0---------------",), 38, 0.4, chord="bass"),
            Part(Voice("noise", cutoff=1500, attack=1.5, sustain=1, release=1.5), ("0---------------",), 66, 0.1, 0.3),
            Part(Voice("fm", attack=0.02, decay=1.5, sustain=0, release=1.5, ratio=3.5, index=1.2),
                 ("*.....?.....*...", "....*...?...?..."), 76, 0.15, -0.3, sections="mf", echo=0.5),
        ),
        reverb=0.5, room=4.0, years=(1978, 2024),
    ),
    "rock": Style(
        "Rock", ("Hard Rock", "Indie Rock"), (108, 148), 0.4,
        (
            Part(Voice(cutoff=2600, decay=0.6, sustain=0.6, detune=6), ("#-##-##-#-##-##-", "#-#-#-#-#-#-#-#-", "#---#-#---#-#-#-"),
                 50, 0.45, -0.4, "power", "imf", drive=8),
            Part(Voice(cutoff=2200, decay=0.8, sustain=0.6), ("#-------#-------",), 55, 0.25, 0.5, "power", drive=5),
            Part(Voice("pluck", cutoff=1500, decay=2), ("0-0-0-0-0-0-0-0-", "0-0-0-0-3-0-2-0-"), 38, 0.4, chord="bass",
                 sections="mbf"),
            Part(Voice(shape="bowed", cutoff=3000, vibrato=25, sustain=0.9), ("*---*-*---?-*---", "*-*-*---*-*-?---"), 69, 0.3,
                 0.1, sections="bf", drive=5, echo=0.25),
        ),
        (("hat", "x.o.x.o.x.o.x.o."), ("kick", "x.......x.x....."), ("snare", "....x.......x..?")),
        loose=0.004, kick=0.8, reverb=0.15, room=0.9, years=(1969, 2022),
    ),
    "folk": Style(
        "Folk", ("Singer-Songwriter", "Celtic"), (84, 112), 0.3,
        (
            Part(Voice("pluck", cutoff=3500, decay=3, release=0.4), ("0-1-2-1-3-1-2-1-", "0-2-1-2-3-2-1-2-", "0-1-2-3-2-1-2-1-"), 62,
                 0.5, -0.2),
            Part(Voice("pluck", cutoff=1500, decay=3, release=0.3), ("0-------2-------", "0-----0-2-------"), 43, 0.35, 0.1, "bass"),
            Part(Voice(shape="triangle", attack=0.05, sustain=0.9, vibrato=12, breath=0.12),
                 ("*---*-*-*-------", "*-----*-*---?---"), 76, 0.25, 0.3, sections="mf"),
        ),
        loose=0.008, reverb=0.12, room=1.0, years=(1965, 2020),
    ),
    "jazz": Style(
        "Jazz", ("Swing", "Cool Jazz"), (112, 164), 0.4,
        (
            Part(Voice("pluck", cutoff=900, decay=1.2), ("0---1---2---<---", "0---2---1---<---"), 41, 0.5, chord="bass"),
            Part(Voice("fm", decay=0.7, sustain=0.1, release=0.15, ratio=1, index=1.6), ("..#-..#---......", "#---..#-........", "......#-....#---"),
                 60, 0.4, -0.3, "seventh"),
            Part(Voice(shape="reed", cutoff=2500, attack=0.03, sustain=0.8, vibrato=18, breath=0.08),
                 ("*-*-*-..?-*-*---", "..*-*-*-*---?-.."), 67, 0.35, 0.2, sections="mf"),
        ),
        (("ride", "x...x.o.x...x.o."), ("hat", "....x.......x..."), ("brush", "o.....?...o...?.")),
        swing=0.67, loose=0.008, kick=0.3, reverb=0.15, room=1.0, years=(1955, 2015),
    ),
    "chiptune": Style(
        "Chiptune", ("8-bit", "Video Game"), (140, 176), 0.4,
        (
            Part(Voice(shape="pulse", cutoff=12000, attack=0.002, sustain=0.8, release=0.01),
                 ("0120120120120123", "0123012301230123", "0.1.2.3.0.1.2.3."), 72, 0.3, -0.2),
            Part(Voice(shape="triangle", cutoff=9000, attack=0.002, sustain=1, release=0.01), ("0-0-3-0-0-0-3-2-", "0.0.0.0.0.0.2.3."), 45,
                 0.45, chord="bass", sections="mbf"),
            Part(Voice(shape="square", cutoff=12000, attack=0.002, sustain=0.8, release=0.02, vibrato=10),
                 ("*-*-*-*---*-?-*-", "*---*-*-*-?-*---"), 79, 0.3, 0.2, sections="mf"),
        ),
        (("bit hat", "x.x.x.x.x.x.x.x."), ("bit kick", "x...?.x.x...?..."), ("bit snare", "....x.......x...")),
        kick=0.5, reverb=0.0, room=0.3, years=(1986, 2018),
    ),
    "classical": Style(
        "Classical", ("Chamber Music", "Romantic"), (63, 84), 0.5,
        (
            Part(Voice(shape="bowed", cutoff=2500, attack=0.18, sustain=0.9, release=0.35, detune=9, vibrato=14),
                 ("#-----------", "#-------#---"), 60, 0.4, -0.3),
            Part(Voice(shape="bowed", cutoff=1400, attack=0.12, sustain=0.9, release=0.3, detune=5, vibrato=10),
                 ("0-------2---", "0-----------"), 43, 0.35, 0.4, "bass"),
            Part(Voice(shape="bowed", cutoff=4000, attack=0.1, sustain=0.95, release=0.2, detune=4, vibrato=25),
                 ("*---*---?---", "*-----*-*---", "*-*-*-*-*---"), 74, 0.4, -0.1, sections="mbf"),
        ),
        steps=12, loose=0.012, reverb=0.3, room=2.2, years=(1958, 2012),
    ),
    "drum'n'bass": Style(
        "Drum and Bass", ("Liquid", "Jungle"), (168, 176), 0.9,
        (
            Part(Voice(shape="sine", decay=1, sustain=0.9), ("0-----0---......", "0---......0--3--", "0-..0-....2-----"), 34, 0.6, chord="bass",
                 sections="mf", drive=1.5),
            Part(Voice(cutoff=1600, attack=0.2, sustain=0.9, release=0.4, detune=16), ("#---------------",), 60, 0.25),
            Part(Voice(cutoff=3500, close=0.3, decay=0.15, sustain=0.1, detune=8), ("*..*..*...?...*.", "..*...*..*......"), 72, 0.2, 0.3,
                 sections="bf", echo=0.5),
        ),
        (("hat", "x.x.x.x.x.x.x.x."), ("kick", "x.........x....."), ("snare", "....x..o.o..x..?"), ("shaker", "?o?o?o?o?o?o?o?o")),
        bars_per_chord=2, kick=0.9, reverb=0.15, years=(1993, 2024),
    ),
    "dub": Style(
        "Reggae", ("Dub", "Roots Reggae"), (68, 82), 0.6,
        (
            Part(Voice(shape="organ", cutoff=2500, decay=0.08, sustain=0.2, release=0.05),
                 ("..#...#...#...#.", "..##..##..##..##"), 62, 0.35, -0.3, echo=0.35),
            Part(Voice(shape="triangle", cutoff=500, decay=0.6, sustain=0.6), ("0-.0-.2-....0-2-", "0---..0-2-..3-2-", "..0-0-..2---0-.."), 38, 0.6,
                 chord="bass", sections="mbf"),
            Part(Voice(shape="reed", cutoff=3500, attack=0.04, sustain=0.9, vibrato=10), ("*---..*-*---....", "*-*-?---........"), 72, 0.25,
                 0.3, sections="mf", echo=0.5),
        ),
        (("hat", "x.o.x.o.x.o.x.o."), ("boom", "........x......."), ("rim", "..?.....x..?....")),
        swing=0.3, loose=0.006, kick=0.6, reverb=0.25, room=1.8, years=(1971, 2010),
    ),
    "bossa": Style(
        "Latin", ("Bossa Nova", "Samba"), (118, 138), 0.3,
        (
            Part(Voice("pluck", cutoff=2200, decay=1.2, release=0.1), ("#-.#-.#-..#-.#-.", "#--#--#---#--#--"), 60, 0.5, -0.2, "seventh"),
            Part(Voice("pluck", cutoff=800, decay=1.0), ("0-----2-2-----0-", "0-----2-0-----2-"), 41, 0.4, chord="bass"),
            Part(Voice(shape="triangle", attack=0.05, sustain=0.9, vibrato=18, breath=0.2), ("*-----*-*---*---", "..*-*---?-*-----"), 74, 0.3,
                 0.2, sections="mf"),
        ),
        (("shaker", "xoxoxoxoxoxoxoxo"), ("rim", "x..x..x...x..x.."), ("boom", "x.....o.x.....o.")),
        loose=0.005, kick=0.35, reverb=0.15, room=1.0, years=(1960, 2016),
    ),
}  # fmt: skip


def tone(freq: float, seconds: float, rate: int = 44100) -> Audio:
    """Make a sine of amplitude 0.5.

    Parameters
    ----------
    freq : float
        Hz, above 0 and at most half of `rate`.
    seconds : float
        Length.
    rate : int
        Samples a second.

    Returns
    -------
    float32 (n,)
        ``round(seconds * rate)`` samples.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    n = _length(seconds, rate)
    if not 0 < freq <= rate / 2:
        raise InputError(f"freq is {freq}, wanted above 0 and at most half the rate ({rate / 2} Hz)")
    return (0.5 * np.sin(2 * np.pi * freq / rate * np.arange(n))).astype(np.float32)


def noise(seconds: float, rate: int = 44100, seed: int = 0) -> Audio:
    """Make white noise, uniform in -0.5 to 0.5.

    Parameters
    ----------
    seconds : float
        Length.
    rate : int
        Samples a second.
    seed : int
        Same seed, same noise.

    Returns
    -------
    float32 (n,)
        ``round(seconds * rate)`` samples.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    n = _length(seconds, rate)
    return np.random.default_rng(_natural("seed", seed)).random(n, dtype=np.float32) - np.float32(0.5)


def clicks(bpm: float, seconds: float, rate: int = 44100) -> Audio:
    """Make a metronome: a 10 ms tick on every beat, the first at 0.

    Parameters
    ----------
    bpm : float
        Beats a minute, 20 to 400.
    seconds : float
        Length.
    rate : int
        Samples a second.

    Returns
    -------
    float32 (n,)
        ``round(seconds * rate)`` samples.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    n = _length(seconds, rate)
    _check_bpm(bpm)
    t = np.arange(round(0.01 * rate)) / rate
    tick = (0.8 * np.cos(2 * np.pi * 1000 * t) * np.exp(-t / 0.002)).astype(np.float32)
    out = np.zeros(n, np.float32)
    for beat in range(math.ceil(seconds * bpm / 60)):
        _add(out, round(beat * 60 / bpm * rate), tick)
    return out


def plan(n_tracks: int = 60, seconds: float = 20.0, seed: int = 0) -> list[SynthTrack]:
    """Decide what a demo library holds.

    Styles take turns; inside a style two artists take turns until each has four tracks on one or two albums, then two
    new ones follow. A shorter plan is the beginning of a longer one with the same seed.

    Parameters
    ----------
    n_tracks : int
        How many, 0 or more.
    seconds : float
        Mean length of a track, at least 1; tracks vary by up to 15 % of it.
    seed : int
        Same seed, same library.

    Returns
    -------
    list of SynthTrack
        `n_tracks` tracks with distinct file names.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    _natural("n_tracks", n_tracks)
    _natural("seed", seed)
    _length(seconds, 44100)
    artists: dict[tuple[int, int], _Artist] = {}
    taken: set[str] = set()
    tracks = []
    for i in range(n_tracks):
        turn, style_index = divmod(i, len(STYLES))
        pair, place = divmod(turn, 8)
        who = (style_index, 2 * pair + place % 2)
        if who not in artists:
            artists[who] = _new_artist(list(STYLES)[style_index], np.random.default_rng((seed, 1, *who)), taken)
        tracks.append(_new_track(artists[who], place // 2, seconds, np.random.default_rng((seed, 2, i)), taken))
    return tracks


def render(track: SynthTrack, rate: int = 44100) -> Audio:
    """Play a track.

    Parameters
    ----------
    track : SynthTrack
        What to play.
    rate : int
        Samples a second, 8,000 to 192,000.

    Returns
    -------
    float32 (n, 2)
        Stereo, ``round(track.seconds * rate)`` frames, peak 0.9, faded in and out. The same bits every time on the
        same machine.

    Raises
    ------
    InputError
        If the track names an unknown style or key, or a length, tempo or rate out of range.
    """
    n = _length(track.seconds, rate)
    score = _compose(track)
    style, sound = score.style, zlib.crc32(track.artist.encode())
    rng = np.random.default_rng((track.seed, 3))
    dry, wet = np.zeros((2, n), np.float32), np.zeros(n, np.float32)
    for part in style.parts:
        line = _level(_play(part, score, n, rate, sound, rng), part.gain * rng.uniform(0.8, 1.2))
        # equal-power panning
        dry[0] += line * np.float32(math.cos((part.pan + 1) * math.pi / 4))
        dry[1] += line * np.float32(math.sin((part.pan + 1) * math.pi / 4))
        if part.centre > 50:  # a reverberated bass is mud
            wet += line
    beat = _level(_drum(score, n, rate, sound, rng), style.kick)
    mix = dry + beat * np.float32(0.7)
    if style.reverb > 0:
        mix += _reverb(wet + beat * np.float32(0.2), style.room, rate, sound) * np.float32(2 * style.reverb)
    fade_in, fade_out = min(n // 4, rate // 50), min(n // 4, int(1.5 * rate))
    mix[:, :fade_in] *= np.linspace(0, 1, fade_in, dtype=np.float32)
    mix[:, n - fade_out :] *= np.linspace(1, 0, fade_out, dtype=np.float32)
    return np.ascontiguousarray(_level(mix, 0.9).T)


def write_library(
    folder: str | os.PathLike[str],
    n_tracks: int = 60,
    seconds: float = 20.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[Path, SynthTrack]]:
    """Write a demo library: tagged flac and ogg files in ``folder/artist/album``.

    Files that are already there are left alone; a file appears under its name only when it is complete.

    Parameters
    ----------
    folder : path
        Where; made if missing.
    n_tracks, seconds, seed
        As in `plan`.
    progress : callable, optional
        Called with (files done, files in all) after every file.

    Returns
    -------
    list of (Path, SynthTrack)
        Every file of the library and what is in it.

    Raises
    ------
    InputError
        If an argument is out of range or the folder cannot be written.
    """
    written = []
    for done, track in enumerate(tracks := plan(n_tracks, seconds, seed), start=1):
        path = Path(folder, track.filename)
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, track)
        except OSError as error:
            raise InputError(f"cannot write {path} ({error.strerror}); name a folder that can be written") from error
        written.append((path, track))
        if progress is not None:
            progress(done, len(tracks))
    log.info("demo library of %d tracks in %s", len(written), folder)
    return written


# ---------------------------------------------------------------------------------------------- planning


@dataclass(frozen=True, slots=True)
class _Artist:
    style: str
    name: str
    albums: tuple[str, ...]
    years: tuple[int, ...]
    genres: tuple[str, ...]
    bpm: float
    minor: bool
    formats: tuple[str, ...]


def _new_artist(style_name: str, rng: np.random.Generator, taken: set[str]) -> _Artist:
    style = STYLES[style_name]
    name = _unused(lambda: ("The " if rng.random() < 0.2 else "") + _words(rng, rng.integers(1, 3)), taken)
    count = int(rng.integers(1, 3))
    low, high = style.bpm
    years = np.sort(rng.integers(style.years[0], style.years[1] + 1, count))
    return _Artist(
        style=style_name,
        name=name,
        albums=tuple(_unused(lambda: _words(rng, rng.integers(1, 4)), taken) for _ in range(count)),
        years=tuple(int(year) for year in years),
        genres=(style.genre, style.subgenres[rng.integers(len(style.subgenres))]),
        bpm=float(rng.uniform(low + 0.2 * (high - low), high - 0.2 * (high - low))),
        minor=bool(rng.random() < style.minor),
        formats=tuple("flac" if rng.random() < 0.5 else "ogg" for _ in range(count)),
    )


def _new_track(artist: _Artist, place: int, seconds: float, rng: np.random.Generator, taken: set[str]) -> SynthTrack:
    """Track number `place` (0 to 3) of an artist; two to an album when there are two albums."""
    low, high = STYLES[artist.style].bpm
    album, number = (place // 2, place % 2) if len(artist.albums) == 2 else (0, place)
    # an artist keeps to a mode, with an exception now and then
    minor = artist.minor != (rng.random() < 0.2)
    title = _unused(lambda: _words(rng, rng.integers(1, 4)), taken)
    return SynthTrack(
        style=artist.style,
        title=title,
        artist=artist.name,
        album=artist.albums[album],
        genres=artist.genres,
        year=artist.years[album],
        number=number + 1,
        bpm=round(artist.bpm + float(rng.uniform(-0.2, 0.2)) * (high - low), 1),
        key=f"{NOTES[rng.integers(12)]} {'minor' if minor else 'major'}",
        seconds=round(seconds * float(rng.uniform(0.85, 1.15)), 2),
        seed=int(rng.integers(2**31)),
        filename=f"{artist.name}/{artist.albums[album]}/{number + 1:02d} {title}.{artist.formats[album]}",
    )


def _words(rng: np.random.Generator, count: int) -> str:
    """Invented words that can be said aloud; chosen halves, because free syllables sooner or later swear."""
    heads = (
        "Al Bel Bran Cal Cor Dal Del Dor El Fen Gal Hal Il Jor Kel Lan Lor Mal Mar Mel Mor Nal Nor Ol Or Pel Quin Ral Ren "
        "Sel Sol Tal Tor Ul Val Ver Vor Wen Yar Zel"
    ).split()
    tails = (
        "a ade ana andra ane aro ast avel ea eda elin en enna era esk eth ia iel in ina ion ira is ista ith o ode olen ona "
        "ora oren os ovan una ur wen wick wyn mere dale"
    ).split()
    return " ".join(f"{rng.choice(heads)}{rng.choice(tails)}" for _ in range(count))


def _unused(draw: Callable[[], str], taken: set[str]) -> str:
    """Draw until the name is new: no two artists, albums or titles share one."""
    while (name := draw()) in taken:
        pass
    taken.add(name)
    return name


# --------------------------------------------------------------------------------------------- composing


@dataclass(frozen=True, slots=True)
class _Score:
    """What the players of one track read: their style as this artist plays it, and a plan of the bars."""

    style: Style
    step: float  # seconds
    tonic: int  # pitch class
    mode: str
    chords: tuple[int, ...]  # scale step of the root, one a bar
    sections: str  # one letter a bar
    motifs: NDArray[np.int64]  # (2, steps): scale steps above the chord's root

    def pitch(self, bar: int, degree: int) -> int:
        """Semitones above the tonic of a scale step, in minor with a raised leading tone over the dominant."""
        octave, place = divmod(degree, 7)
        raised = self.mode == "minor" and self.chords[bar] == 4 and place == 6
        return 12 * octave + _SCALES[self.mode][place] + raised

    def chord(self, bar: int, kind: str, centre: int) -> list[int]:
        """MIDI notes of the bar's chord, ascending, near `centre`."""
        notes = [self.tonic + self.pitch(bar, self.chords[bar] + above) for above in _CHORDS[kind]]
        if kind in ("power", "bass"):
            shift = (notes[0] - centre + 6) % 12 + centre - 6 - notes[0]
            return [note + shift for note in notes]
        return sorted((note - centre + 6) % 12 + centre - 6 for note in notes)

    def time(self, bar: int, step: int) -> float:
        """Seconds at which a step starts, swung."""
        beat, place = divmod(step, 4)
        swing = self.style.swing
        swung = place * (2 + swing) / 2 if place <= 2 else 2 + swing + (place - 2) * (2 - swing) / 2
        return (bar * self.style.steps + 4 * beat + swung) * self.step


def _compose(track: SynthTrack) -> _Score:
    if track.style not in STYLES:
        raise InputError(f"no style {track.style!r}; choose from {', '.join(STYLES)}")
    tonic, _, mode = track.key.partition(" ")
    if tonic not in NOTES or mode not in _SCALES:
        raise InputError(f"key is {track.key!r}, wanted one of {' '.join(NOTES)} and major or minor, as in 'A minor'")
    _check_bpm(track.bpm)
    _natural("seed", track.seed)
    style, rng = _personal(track.style, track.artist), np.random.default_rng((track.seed, 4))
    step = 60 / track.bpm / 4
    bars = math.ceil(track.seconds / (step * style.steps))
    progression = _PROGRESSIONS[mode][rng.integers(len(_PROGRESSIONS[mode]))]
    chords = [progression[bar // style.bars_per_chord % len(progression)] for bar in range(bars)]
    # the first and the last chord are what an ear takes the key from
    chords[-2:] = [4, 0] if bars > 2 else [0] * bars
    return _Score(
        style=style,
        step=step,
        tonic=NOTES.index(tonic),
        mode=mode,
        chords=tuple(chords),
        sections="".join(_section(bar / bars) for bar in range(bars)) if bars > 3 else "m" * bars,
        motifs=np.cumsum(rng.choice((-2, -1, -1, 1, 1, 2), (2, style.steps)), axis=1),
    )


def _section(position: float) -> str:
    """Letter of the section at a position from 0 to 1."""
    return "i" if position < 0.14 else "m" if position < 0.5 else "b" if position < 0.66 else "f"


def _personal(style_name: str, artist: str) -> Style:
    """The style as one artist plays it: every choice that the style leaves open is settled by the artist's name."""
    style, rng = STYLES[style_name], np.random.default_rng((zlib.crc32(artist.encode()), 5))

    def vary(value: float, spread: float = 0.3) -> float:
        return float(value * np.exp(rng.uniform(-spread, spread)))

    def coin(pattern: str, hit: str) -> str:
        return re.sub(r"\?", lambda _: hit if rng.random() < 0.5 else ".", pattern)

    parts = []
    for part in style.parts:
        voice = replace(
            part.voice,
            cutoff=vary(part.voice.cutoff, 0.6),
            attack=vary(part.voice.attack),
            decay=vary(part.voice.decay),
            detune=vary(part.voice.detune, 0.5),
            vibrato=vary(part.voice.vibrato, 0.7),
            breath=min(vary(part.voice.breath, 0.7), 1.0),
            index=vary(part.voice.index, 0.5),
        )
        pattern = coin(part.patterns[rng.integers(len(part.patterns))], "*")
        parts.append(replace(part, voice=voice, patterns=(pattern,), gain=vary(part.gain, 0.4), drive=vary(part.drive)))
    drums = tuple((name, coin(pattern, "o")) for name, pattern in style.drums)
    return replace(
        style, parts=tuple(parts), drums=drums, kick=vary(style.kick), reverb=vary(style.reverb), room=vary(style.room)
    )


# ----------------------------------------------------------------------------------------------- playing


def _play(part: Part, score: _Score, n: int, rate: int, sound: int, rng: np.random.Generator) -> Audio:
    """One part over the whole track, float32 (n,)."""
    out, cache = np.zeros(n, np.float32), dict[tuple[int, int], Audio]()
    # a hit and the holds after it are one note
    hits = [(m.start(), m.group()[0], len(m.group())) for m in re.finditer(r"[^.\-]-*", part.patterns[0])]
    for bar, section in enumerate(score.sections):
        if section not in part.sections:
            continue
        for step, symbol, length in hits:
            gate = round(length * score.step * rate)
            start = score.time(bar, step) + rng.normal(0, 1) * score.style.loose
            for note in _notes(part, score, bar, step, symbol, rng):
                if (note, gate) not in cache:
                    cache[note, gate] = _note(part.voice, note, gate, rate, sound)
                _add(out, max(0, round(start * rate)), cache[note, gate], rng.uniform(0.8, 1.0))
    if part.drive > 0:
        out = np.tanh(_level(out, 1.0) * np.float32(1 + part.drive))
    delay = round(3 * score.step * rate)
    echoed = out.copy()
    for tap in range(1, 4 if part.echo > 0 else 1):
        _add(echoed, tap * delay, out, part.echo**tap)
    return echoed


def _notes(part: Part, score: _Score, bar: int, step: int, symbol: str, rng: np.random.Generator) -> list[int]:
    """MIDI notes that a pattern's symbol stands for."""
    chord = score.chord(bar, part.chord, part.centre)
    if symbol == "#":
        return chord
    if symbol == "<":
        following = score.chord(min(bar + 1, len(score.chords) - 1), part.chord, part.centre)
        return [following[0] - 1]
    if symbol == "*":
        # AABA, where every fourth note or so is varied; strong beats fall on tones of the chord
        above = int(score.motifs[int(bar % 4 == 2)][step]) % 8 - (rng.random() < 0.25)
        if step % 8 == 0:
            above = min((0, 2, 4, 7), key=lambda tone: abs(tone - above))
        root = score.chords[bar] - (7 if score.chords[bar] > 3 else 0)
        return [score.tonic + (part.centre - 6) // 12 * 12 + score.pitch(bar, root + above)]
    octave, place = divmod(int(symbol), len(chord))
    return [chord[place] + 12 * octave]


def _drum(score: _Score, n: int, rate: int, sound: int, rng: np.random.Generator) -> Audio:
    """All drums over the whole track, float32 (n,)."""
    out = np.zeros(n, np.float32)
    for index, (name, pattern) in enumerate(score.style.drums):
        hit = _hit(DRUMS[name], rate, np.random.default_rng((sound, 6, index)))
        for bar, section in enumerate(score.sections):
            if index > 0 and section in "ib":
                continue
            for step, symbol in enumerate(pattern):
                if symbol != ".":
                    start = score.time(bar, step) + rng.normal(0, 1) * score.style.loose
                    level = (1.0 if symbol == "x" else 0.4) * rng.uniform(0.85, 1.0)
                    _add(out, max(0, round(start * rate)), hit, level)
    return out


def _hit(drum: Drum, rate: int, rng: np.random.Generator) -> Audio:
    """One stroke, tuned by the artist."""
    tuning, length = np.exp(rng.uniform(-0.15, 0.15)), np.exp(rng.uniform(-0.3, 0.3))
    t = np.arange(round(6 * length * max(drum.ring, drum.decay) * rate)) / rate
    # the sweep falls exponentially, with a time constant of 20 ms; this is the integral of the frequency
    phase = drum.tone * tuning * t + drum.sweep * 0.02 * (1 - np.exp(-t / 0.02))
    tonal = np.sin(2 * np.pi * phase) * np.exp(-t / (length * drum.ring)) * (drum.tone > 0)
    grains = rng.uniform(-1, 1, len(t) // drum.crush + 1)
    hiss = _band(np.repeat(grains, drum.crush)[: len(t)], drum.low * tuning, drum.high * tuning, rate)
    return (tonal + drum.hiss * hiss * np.exp(-t / (length * drum.decay))).astype(np.float32)


def _note(voice: Voice, midi: int, gate: int, rate: int, sound: int) -> Audio:
    """One note of peak about 1, float32 (gate + release,)."""
    n, freq = gate + round(voice.release * rate), 440 * 2 ** ((midi - 69) / 12)
    t = np.arange(n, dtype=np.float32) / np.float32(rate)
    rng = np.random.default_rng((sound, 7, midi))
    if voice.kind == "pluck":
        out = _pluck(voice, freq, n, rate, rng)
    elif voice.kind == "fm":
        out = _fm(voice, freq, t)
    elif voice.kind == "noise":
        out = _band(rng.uniform(-1, 1, n), 0.5 * voice.cutoff, voice.cutoff, rate)
    else:
        out = _wave(voice, freq, t, rate)
    if voice.breath > 0:
        out += voice.breath * _band(rng.uniform(-1, 1, n), freq, 6 * freq, rate)
    envelope = np.minimum(t / np.float32(voice.attack), 1)
    if voice.kind != "pluck":
        envelope *= voice.sustain + (1 - voice.sustain) * np.exp(-t / np.float32(voice.decay))
    envelope[gate:] *= np.linspace(1, 0, n - gate, dtype=np.float32)
    return out * envelope


def _wave(voice: Voice, freq: float, t: Audio, rate: int) -> Audio:
    """Read a bright and a dark wavetable and cross from one to the other: a low-pass that closes."""
    k = np.arange(1, min(96, int(0.45 * rate / freq)) + 1, dtype=np.float32)
    spectrum = np.zeros((2, 2 ** (_TABLE_BITS - 1) + 1), np.complex64)
    for row, cutoff in zip(spectrum, (voice.cutoff, voice.cutoff * voice.close), strict=True):
        # second-order low-pass, never below the fundamental; -1j makes the partials sines
        row[1 : len(k) + 1] = -1j * SHAPES[voice.shape](k) / (1 + (k * freq / max(cutoff, freq)) ** 2)
    bright, dark = _level(np.fft.irfft(spectrum).astype(np.float32), 1.0)
    wobble = (2 ** (voice.vibrato / 1200) - 1) * freq / (2 * np.pi * 5.5)  # in cycles
    bend = (wobble * 2**32 * np.sin(2 * np.pi * 5.5 * t)).astype(np.int64).astype(np.uint32)
    sweep = np.exp(-t / np.float32(voice.decay))
    out = np.zeros(len(t), np.float32)
    copies = (-voice.detune, 0.0, voice.detune) if voice.detune > 0 else (0.0,)
    for place, cents in enumerate(copies):
        # phase in 32-bit integers that wrap round once a cycle, the copies a third of a cycle apart
        stride = np.uint32(round(freq * 2 ** (cents / 1200) / rate * 2**32))
        phase = np.arange(len(t), dtype=np.uint32) * stride + bend + np.uint32(place * (2**32 // 3))
        index = phase >> np.uint32(32 - _TABLE_BITS)
        out += dark[index] if voice.close == 1 else dark[index] + sweep * (bright - dark)[index]
    return out / np.float32(len(copies))


def _pluck(voice: Voice, freq: float, n: int, rate: int, rng: np.random.Generator) -> Audio:
    """Karplus-Strong string (Computer Music Journal 7(2), 1983), solved instead of iterated.

    The averaging loop multiplies harmonic k by cos(pi k freq / rate) once a period, so every period's spectrum is known
    in advance; the rows are the periods.
    """
    k = np.arange(1, min(60, int(0.45 * rate / freq)) + 1)
    period = np.arange(math.ceil(n * freq / rate) + 2)[:, None]
    damping = np.log(np.cos(np.pi * k * freq / rate)) - math.log(1000) / (voice.decay * freq)
    pick = np.exp(2j * np.pi * rng.random(len(k))) / np.sqrt(k) / (1 + (k * freq / voice.cutoff) ** 2)
    spectrum = np.zeros((len(period), 65), np.complex64)
    spectrum[:, 1 : len(k) + 1] = pick * np.exp(period * damping)
    string = np.fft.irfft(spectrum).astype(np.float32).ravel()
    return _level(np.interp(np.arange(n) * (freq / rate * 128), np.arange(len(string)), string).astype(np.float32), 1.0)


def _fm(voice: Voice, freq: float, t: Audio) -> Audio:
    """Two-operator FM with a decaying index (Chowning, JAES 21(7), 1973): electric pianos and bells."""
    cycle = np.float32(2 * np.pi * freq) * t
    index = np.float32(voice.index) * np.exp(-t / np.float32(0.6 * voice.decay))
    return np.sin(cycle + index * np.sin(np.float32(voice.ratio) * cycle))


# ------------------------------------------------------------------------------------------------- tools


def _band(samples: NDArray[np.float64], low: float, high: float, rate: int) -> Audio:
    """Keep a band of frequencies, with soft edges, at peak 1."""
    spectrum = np.fft.rfft(samples.astype(np.float32))
    f = np.fft.rfftfreq(len(samples), 1 / rate) + 1e-3
    gain = 1 / (1 + (low / f) ** 4) / (1 + (f / high) ** 4)
    return _level(np.fft.irfft(spectrum * gain.astype(np.float32), len(samples)).astype(np.float32), 1.0)


def _reverb(samples: Audio, room: float, rate: int, sound: int) -> Audio:
    """Convolve with exponentially decaying stereo noise (Moorer, Computer Music Journal 3(2), 1979); float32 (2, n)."""
    t = np.arange(round(room * rate), dtype=np.float32) / np.float32(rate)
    tail = np.random.default_rng((sound, 8)).standard_normal((2, len(t)), np.float32) * np.exp(-6.9 * t / room)
    # air and walls swallow the treble: a running mean over three samples
    tail[:, 2:] = (tail[:, 2:] + tail[:, 1:-1] + tail[:, :-2]) / 3
    tail /= np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
    size = -(-(len(samples) + len(t)) // 2**15) * 2**15  # few large prime factors: a fast transform
    product = np.fft.rfft(samples, size) * np.fft.rfft(tail, size)
    return np.fft.irfft(product, size)[:, : len(samples)].astype(np.float32)


def _add(out: Audio, start: int, samples: Audio, gain: float = 1.0) -> None:
    """Add `samples` into `out` from `start` on; what falls beyond the end is lost."""
    room = out[start : start + len(samples)]
    room += np.float32(gain) * samples[: len(room)]


def _level(samples: Audio, peak: float) -> Audio:
    """Scale to a peak; silence stays silence."""
    highest = float(np.max(np.abs(samples), initial=0))
    return samples * np.float32(peak / highest) if highest > 0 else samples


def _write(path: Path, track: SynthTrack, rate: int = 44100) -> None:
    import soundfile

    audio, partial = render(track, rate), path.with_name(path.name + ".part")
    tags = {
        "title": track.title,
        "artist": track.artist,
        "album": track.album,
        "genre": ";".join(track.genres),  # libsndfile keeps one value of each tag
        "date": str(track.year),
        "tracknumber": str(track.number),
    }
    try:
        with soundfile.SoundFile(partial, "w", rate, 2, format=path.suffix[1:].upper()) as file:
            for name, value in tags.items():
                setattr(file, name, value)
            # libsndfile crashes when Vorbis gets very many frames in one call
            for start in range(0, len(audio), 65536):
                file.write(audio[start : start + 65536])
        os.replace(partial, path)
    except soundfile.LibsndfileError as error:
        raise InputError(f"cannot write {path} ({error}); name a folder that can be written") from error
    finally:
        partial.unlink(missing_ok=True)


def _length(seconds: float, rate: int) -> int:
    """Samples in `seconds`, checked."""
    if not 8000 <= rate <= 192000:
        raise InputError(f"rate is {rate}, wanted 8000 to 192000 samples a second")
    if not 0.1 <= seconds <= 3600:  # false for NaN too
        raise InputError(f"seconds is {seconds}, wanted 0.1 to 3600")
    return round(seconds * rate)


def _check_bpm(bpm: float) -> None:
    if not 20 <= bpm <= 400:
        raise InputError(f"bpm is {bpm}, wanted 20 to 400 beats a minute")


def _natural(name: str, value: int) -> int:
    if value < 0 or value != int(value):
        raise InputError(f"{name} is {value}, wanted a whole number of 0 or more")
    return value
