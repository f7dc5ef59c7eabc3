"""The styles of the demo library: data only.

Patterns are read one character a step, four steps a beat: `.` rest, `-` hold the note before.
Drums know `x` loud, `o` soft, `?` a soft hit that half of the artists play.
Parts know `#` the whole chord, `0` to `9` one of its tones counted from the lowest, `<` a semitone below the
next chord's root, `*` a melody note, `?` a melody note that half of the artists play.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.synth.signals import Audio


@dataclass(frozen=True, slots=True)
class Voice:
    """How one note sounds.

    Parameters
    ----------
    kind : str
        "wave" (wavetable, closing low-pass), "pluck" (Karplus-Strong), "fm" (two operators), "noise".
    shape : str
        Spectrum of a "wave": a key of `SHAPES`.
    cutoff : float
        Low-pass corner in Hz; of a "pluck" the brightness of the pick.
    close : float
        Where the corner ends up after `decay`, as a fraction of `cutoff`.
    attack, decay, release : float
        Seconds. `decay` is the time constant towards `sustain`; for a "pluck", how long it rings (T60).
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
        Bars it may play (see the module's docstring); an artist keeps one.
    centre : int
        MIDI note in the middle of its range.
    gain : float
        Peak level in the mix, linear.
    pan : float
        -1 left to 1 right.
    chord : str
        "triad", "seventh", "power" or "bass" (root position).
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
    beat, reverb, room : float
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
    beat: float = 0.6
    reverb: float = 0.15
    room: float = 0.8
    years: tuple[int, int] = (1990, 2024)


DRUMS: dict[str, Drum] = {
    "kick": Drum(tone=48, sweep=180, ring=0.16, high=12000, decay=0.012, hiss=0.35),
    "boom": Drum(tone=42, sweep=90, ring=0.25, high=5000, decay=0.012, hiss=0.3),
    "snare": Drum(tone=185, sweep=60, ring=0.06, low=700, high=9000, decay=0.09, hiss=0.8),
    "clap": Drum(low=900, high=3500, decay=0.1, hiss=0.8),
    "brush": Drum(low=1500, high=7000, decay=0.12, hiss=0.3),
    "rim": Drum(tone=1650, sweep=200, ring=0.015, low=2000, decay=0.008, hiss=0.4),
    "hat": Drum(low=7000, high=16000, decay=0.025, hiss=0.25),
    "open": Drum(low=6000, high=15000, decay=0.14, hiss=0.35),
    "ride": Drum(tone=5300, ring=0.3, low=5000, high=13000, decay=0.25, hiss=0.2),
    "shaker": Drum(low=4000, high=11000, decay=0.04, hiss=0.25),
    "bit kick": Drum(tone=70, sweep=300, ring=0.06, low=20, high=4000, decay=0.03, hiss=0.3, crush=24),
    "bit snare": Drum(low=300, high=9000, decay=0.07, hiss=0.7, crush=6),
    "bit hat": Drum(low=3000, high=16000, decay=0.02, hiss=0.3, crush=2),
}

# harmonic number k -> amplitude
SHAPES: dict[str, Callable[[Audio], NDArray[np.floating]]] = {
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
        parts=(
            Part(Voice(cutoff=900, close=0.3, decay=0.1, sustain=0.3),
                 ("..0...0...0...0.", ".00..00..00..00.", "0.00.00.0.00.00."),
                 centre=38, gain=0.5, chord="bass", sections="mf", drive=2),
            Part(Voice(cutoff=2500, close=0.2, decay=0.09, sustain=0.0, detune=12),
                 ("..#...#...#...#.", "#..#....#..#....", "..#.......#....."),
                 centre=62, gain=0.35, pan=0.2, echo=0.5),
            Part(Voice(shape="square", cutoff=3000, close=0.3, decay=0.08, sustain=0.1),
                 ("0.2.1.2.0.2.1.3.", "012.012.012.312."),
                 centre=72, gain=0.2, pan=-0.4, sections="bf", echo=0.4),
        ),
        drums=(
            ("kick", "x...x...x...x..."), ("open", "..o...o...o...o."),
            ("shaker", "o?o?o?o?o?o?o?o?"), ("clap", "....o.......o..."),
        ),
        bars_per_chord=2, beat=0.9, reverb=0.12, years=(1994, 2024),
    ),
    "ambient": Style(
        "Ambient", ("Drone", "Space Ambient"), (60, 76), 0.5,
        parts=(
            Part(Voice(cutoff=900, attack=1.2, decay=3, sustain=0.9, release=1.8, detune=14),
                 ("#---------------",),
                 centre=58, gain=0.5),
            Part(Voice(shape="sine", attack=0.8, sustain=1, release=1.2),
                 ("0---------------",),
                 centre=38, gain=0.4, chord="bass"),
            Part(Voice("noise", cutoff=1500, attack=1.5, sustain=1, release=1.5),
                 ("0---------------",),
                 centre=66, gain=0.1, pan=0.3),
            Part(Voice("fm", attack=0.02, decay=1.5, sustain=0, release=1.5, ratio=3.5, index=1.2),
                 ("*.....?.....*...", "....*...?...?..."),
                 centre=76, gain=0.15, pan=-0.3, sections="mf", echo=0.5),
        ),
        reverb=0.5, room=4.0, years=(1978, 2024),
    ),
    "rock": Style(
        "Rock", ("Hard Rock", "Indie Rock"), (108, 148), 0.4,
        parts=(
            Part(Voice(cutoff=2600, decay=0.6, sustain=0.6, detune=6),
                 ("#-##-##-#-##-##-", "#-#-#-#-#-#-#-#-", "#---#-#---#-#-#-"),
                 centre=50, gain=0.45, pan=-0.4, chord="power", sections="imf", drive=8),
            Part(Voice(cutoff=2200, decay=0.8, sustain=0.6),
                 ("#-------#-------",),
                 centre=55, gain=0.25, pan=0.5, chord="power", drive=5),
            Part(Voice("pluck", cutoff=1500, decay=2),
                 ("0-0-0-0-0-0-0-0-", "0-0-0-0-3-0-2-0-"),
                 centre=38, gain=0.4, chord="bass", sections="mbf"),
            Part(Voice(shape="bowed", cutoff=3000, vibrato=25, sustain=0.9),
                 ("*---*-*---?-*---", "*-*-*---*-*-?---"),
                 centre=69, gain=0.3, pan=0.1, sections="bf", drive=5, echo=0.25),
        ),
        drums=(
            ("hat", "x.o.x.o.x.o.x.o."), ("kick", "x.......x.x....."),
            ("snare", "....x.......x..?"),
        ),
        loose=0.004, beat=0.8, reverb=0.15, room=0.9, years=(1969, 2022),
    ),
    "folk": Style(
        "Folk", ("Singer-Songwriter", "Celtic"), (84, 112), 0.3,
        parts=(
            Part(Voice("pluck", cutoff=3500, decay=3, release=0.4),
                 ("0-1-2-1-3-1-2-1-", "0-2-1-2-3-2-1-2-", "0-1-2-3-2-1-2-1-"),
                 centre=62, gain=0.5, pan=-0.2),
            Part(Voice("pluck", cutoff=1500, decay=3, release=0.3),
                 ("0-------2-------", "0-----0-2-------"),
                 centre=43, gain=0.35, pan=0.1, chord="bass"),
            Part(Voice(shape="triangle", attack=0.05, sustain=0.9, vibrato=12, breath=0.12),
                 ("*---*-*-*-------", "*-----*-*---?---"),
                 centre=76, gain=0.25, pan=0.3, sections="mf"),
        ),
        loose=0.008, reverb=0.12, room=1.0, years=(1965, 2020),
    ),
    "jazz": Style(
        "Jazz", ("Swing", "Cool Jazz"), (112, 164), 0.4,
        parts=(
            Part(Voice("pluck", cutoff=900, decay=1.2),
                 ("0---1---2---<---", "0---2---1---<---"),
                 centre=41, gain=0.5, chord="bass"),
            Part(Voice("fm", decay=0.7, sustain=0.1, release=0.15, ratio=1, index=1.6),
                 ("..#-..#---......", "#---..#-........", "......#-....#---"),
                 centre=60, gain=0.4, pan=-0.3, chord="seventh"),
            Part(Voice(shape="reed", cutoff=2500, attack=0.03, sustain=0.8, vibrato=18, breath=0.08),
                 ("*-*-*-..?-*-*---", "..*-*-*-*---?-.."),
                 centre=67, gain=0.35, pan=0.2, sections="mf"),
        ),
        drums=(
            ("ride", "x...x.o.x...x.o."), ("hat", "....x.......x..."),
            ("brush", "o.....?...o...?."),
        ),
        swing=0.67, loose=0.008, beat=0.3, reverb=0.15, room=1.0, years=(1955, 2015),
    ),
    "chiptune": Style(
        "Chiptune", ("8-bit", "Video Game"), (140, 176), 0.4,
        parts=(
            Part(Voice(shape="pulse", cutoff=12000, attack=0.002, sustain=0.8, release=0.01),
                 ("0121012101210123", "0123012301230123", "0.1.2.3.0.1.2.3."),
                 centre=72, gain=0.3, pan=-0.2),
            Part(Voice(shape="triangle", cutoff=9000, attack=0.002, sustain=1, release=0.01),
                 ("0-0-3-0-0-0-3-2-", "0.0.0.0.0.0.2.3."),
                 centre=45, gain=0.45, chord="bass", sections="mbf"),
            Part(Voice(shape="square", cutoff=12000, attack=0.002, sustain=0.8, release=0.02, vibrato=10),
                 ("*-*-*-*-*---?-*-", "*---*-*-*-?-*---"),
                 centre=79, gain=0.3, pan=0.2, sections="mf"),
        ),
        drums=(
            ("bit hat", "x.o.x.o.x.o.x.o."), ("bit kick", "x...x...x...x.?."),
            ("bit snare", "....x.......x..."),
        ),
        beat=0.5, reverb=0.0, room=0.3, years=(1986, 2018),
    ),
    "classical": Style(
        "Classical", ("Chamber Music", "Romantic"), (63, 84), 0.5,
        parts=(
            Part(Voice(shape="bowed", cutoff=2500, attack=0.18, sustain=0.9, release=0.35,
                       detune=9, vibrato=14),
                 ("#-----------", "#-------#---"),
                 centre=60, gain=0.4, pan=-0.3),
            Part(Voice(shape="bowed", cutoff=1400, attack=0.12, sustain=0.9, release=0.3,
                       detune=5, vibrato=10),
                 ("0-------2---", "0-----------"),
                 centre=43, gain=0.35, pan=0.4, chord="bass"),
            Part(Voice(shape="bowed", cutoff=4000, attack=0.1, sustain=0.95, release=0.2,
                       detune=4, vibrato=25),
                 ("*---*---?---", "*-----*-*---", "*-*-*-*-*---"),
                 centre=74, gain=0.4, pan=-0.1, sections="mbf"),
        ),
        steps=12, loose=0.012, reverb=0.3, room=2.2, years=(1958, 2012),
    ),
    "drum'n'bass": Style(
        "Drum and Bass", ("Liquid", "Jungle"), (168, 176), 0.9,
        parts=(
            Part(Voice(shape="sine", decay=1, sustain=0.9),
                 ("0-----0---......", "0---......0--3--", "0-..0-....2-----"),
                 centre=34, gain=0.6, chord="bass", sections="mf", drive=1.5),
            Part(Voice(cutoff=1600, attack=0.2, sustain=0.9, release=0.4, detune=16),
                 ("#---------------",),
                 centre=60, gain=0.25),
            Part(Voice(cutoff=3500, close=0.3, decay=0.15, sustain=0.1, detune=8),
                 ("*..*..*...?...*.", "..*...*..*......"),
                 centre=72, gain=0.2, pan=0.3, sections="bf", echo=0.5),
        ),
        drums=(
            ("hat", "x.x.x.x.x.x.x.x."), ("kick", "x.........x....."),
            ("snare", "....x..o.o..x..?"), ("shaker", "?o?o?o?o?o?o?o?o"),
        ),
        bars_per_chord=2, beat=0.9, reverb=0.15, years=(1993, 2024),
    ),
    "dub": Style(
        "Reggae", ("Dub", "Roots Reggae"), (68, 82), 0.6,
        parts=(
            Part(Voice(shape="organ", cutoff=2500, decay=0.08, sustain=0.2, release=0.05),
                 ("..#...#...#...#.", "..##..##..##..##"),
                 centre=62, gain=0.35, pan=-0.3, echo=0.35),
            Part(Voice(shape="triangle", cutoff=500, decay=0.6, sustain=0.6),
                 ("0-.0-.2-....0-2-", "0---..0-2-..3-2-", "..0-0-..2---0-.."),
                 centre=38, gain=0.6, chord="bass", sections="mbf"),
            Part(Voice(shape="reed", cutoff=3500, attack=0.04, sustain=0.9, vibrato=10),
                 ("*---..*-*---....", "*-*-?---........"),
                 centre=72, gain=0.25, pan=0.3, sections="mf", echo=0.5),
        ),
        drums=(
            ("hat", "x.o.x.o.x.o.x.o."), ("boom", "........x......."),
            ("rim", "..?.....x..?...."),
        ),
        swing=0.3, loose=0.006, beat=0.6, reverb=0.25, room=1.8, years=(1971, 2010),
    ),
    "bossa": Style(
        "Latin", ("Bossa Nova", "Samba"), (118, 138), 0.3,
        parts=(
            Part(Voice("pluck", cutoff=2200, decay=1.2, release=0.1),
                 ("#-.#-.#-#-.#-.#-", "#---#-#-#---#-#-"),
                 centre=60, gain=0.5, pan=-0.2, chord="seventh"),
            Part(Voice("pluck", cutoff=800, decay=1.0),
                 ("0-----2-2-----0-", "0---0-2-2---2-0-"),
                 centre=41, gain=0.4, chord="bass"),
            Part(Voice(shape="triangle", attack=0.05, sustain=0.9, vibrato=18, breath=0.2),
                 ("*-----*-*---*---", "..*-*---?-*-----"),
                 centre=74, gain=0.3, pan=0.2, sections="mf"),
        ),
        drums=(
            ("shaker", "xoooxoooxoooxooo"), ("rim", "x..o..o...o.o..."),
            ("boom", "x...x...x...x..."),
        ),
        loose=0.005, beat=0.5, reverb=0.15, room=1.0, years=(1960, 2016),
    ),
}  # fmt: skip
