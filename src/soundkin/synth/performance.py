"""From a planned track to sound: compose a score, let each part of the style play it, mix."""

import math
import re
import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError
from soundkin.synth.instruments import make_hit, make_note, reverb, tuned
from soundkin.synth.signals import Audio, add, check_bpm, check_count, checked_length, level
from soundkin.synth.styles import DRUMS, STYLES, Part, Style

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PROGRESSIONS = {
    "major": ((0, 3, 4, 0), (0, 5, 3, 0), (0, 3, 0, 4), (0, 5, 1, 0)),
    "minor": ((0, 3, 4, 0), (0, 5, 3, 0), (0, 3, 0, 4), (0, 5, 4, 0)),
}
# scale steps above the chord's root; "power" and "bass" keep root position, the others are folded close
_CHORDS = {
    "triad": (0, 2, 4),
    "seventh": (0, 2, 4, 6),
    "ninth": (0, 2, 4, 8),
    "power": (0, 4, 7),
    "bass": (0, 2, 4, 7),
}


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
        Length, 0.1 to 3600.
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
        Stereo, ``round(track.seconds * rate)`` frames, peak 0.9, faded in and out. The same bits every time
        on the same machine.

    Raises
    ------
    InputError
        If the track has an unknown style or key, or its seed, length, tempo or the rate is out of range.
    """
    n = checked_length(track.seconds, rate)
    score = _compose(track)
    style, sound = score.style, zlib.crc32(track.artist.encode())
    rng = np.random.default_rng((track.seed, 3))
    dry, wet = np.zeros((2, n), np.float32), np.zeros(n, np.float32)
    for part in style.parts:
        line = level(_play(part, score, n, rate, sound, rng), part.gain * rng.uniform(0.8, 1.2))
        # equal-power panning
        dry[0] += line * np.float32(math.cos((part.pan + 1) * math.pi / 4))
        dry[1] += line * np.float32(math.sin((part.pan + 1) * math.pi / 4))
        if part.centre > 50:  # a reverberated bass is mud
            wet += line
    beat = level(_drums(score, n, rate, sound, rng), style.beat)
    mix = dry + beat * np.float32(0.7)
    if style.reverb > 0:
        mix += reverb(wet + beat * np.float32(0.2), style.room, rate, sound) * np.float32(2 * style.reverb)
    fade_in, fade_out = min(n // 4, rate // 50), min(n // 4, int(1.5 * rate))
    mix[:, :fade_in] *= np.linspace(0, 1, fade_in, dtype=np.float32)
    mix[:, n - fade_out :] *= np.linspace(1, 0, fade_out, dtype=np.float32)
    return np.ascontiguousarray(level(mix, 0.9).T)


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
        """Give a scale step in semitones above the tonic; the dominant of a minor key is a major chord."""
        octave, place = divmod(degree, 7)
        raised = self.mode == "minor" and self.chords[bar] == 4 and place == 6
        return 12 * octave + _SCALES[self.mode][place] + raised

    def chord(self, bar: int, kind: str, centre: int) -> list[int]:
        """List the MIDI notes of the bar's chord, ascending, near `centre`."""
        if kind == "seventh" and self.chords[bar] == 0:
            kind = "ninth"  # a tonic with a major seventh sounds like the chord a third above it
        notes = [self.tonic + self.pitch(bar, self.chords[bar] + above) for above in _CHORDS[kind]]
        if kind in ("power", "bass"):
            shift = (notes[0] - centre + 6) % 12 + centre - 6 - notes[0]
            return [note + shift for note in notes]
        return sorted((note - centre + 6) % 12 + centre - 6 for note in notes)

    def time(self, bar: int, step: int) -> float:
        """Say at which second a step starts, swung."""
        beat, place = divmod(step, 4)
        swing = self.style.swing
        swung = place * (2 + swing) / 2 if place <= 2 else 2 + swing + (place - 2) * (2 - swing) / 2
        return (bar * self.style.steps + 4 * beat + swung) * self.step


def _compose(track: SynthTrack) -> _Score:
    if track.style not in STYLES:
        raise InputError(f"no style {track.style!r}; choose from {', '.join(STYLES)}")
    tonic, _, mode = track.key.partition(" ")
    if tonic not in NOTES or mode not in _SCALES:
        raise InputError(
            f"key is {track.key!r}, wanted one of {' '.join(NOTES)} and major or minor, as in 'A minor'"
        )
    check_bpm(track.bpm)
    check_count("seed", track.seed)
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
    """Name the section at a position from 0 to 1 by its letter."""
    return "i" if position < 0.14 else "m" if position < 0.5 else "b" if position < 0.66 else "f"


def _personal(style_name: str, artist: str) -> Style:
    """Settle every choice that a style leaves open, by the artist's name alone: the artist's sound."""
    style, rng = STYLES[style_name], np.random.default_rng((zlib.crc32(artist.encode()), 5))

    def vary(value: float, spread: float = 0.3) -> float:
        return float(value * np.exp(rng.uniform(-spread, spread)))

    def coin(pattern: str, hit: str) -> str:
        return re.sub(r"\?", lambda _: hit if rng.random() < 0.5 else ".", pattern)

    parts = []
    for part in style.parts:
        voice = replace(
            part.voice,
            cutoff=vary(part.voice.cutoff, 0.5),
            attack=vary(part.voice.attack),
            decay=vary(part.voice.decay),
            detune=vary(part.voice.detune, 0.5),
            vibrato=vary(part.voice.vibrato, 0.7),
            breath=min(vary(part.voice.breath, 0.7), 1.0),
            index=vary(part.voice.index, 0.5),
        )
        pattern = coin(part.patterns[rng.integers(len(part.patterns))], "*")
        parts.append(
            replace(part, voice=voice, patterns=(pattern,), gain=vary(part.gain), drive=vary(part.drive))
        )
    drums = tuple((name, coin(pattern, "o")) for name, pattern in style.drums)
    return replace(
        style,
        parts=tuple(parts),
        drums=drums,
        beat=vary(style.beat),
        reverb=vary(style.reverb),
        room=vary(style.room),
    )


def _play(part: Part, score: _Score, n: int, rate: int, sound: int, rng: np.random.Generator) -> Audio:
    """Play one part over the whole track: float32 (n,)."""
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
                    cache[note, gate] = make_note(part.voice, note, gate, rate, sound)
                add(out, max(0, round(start * rate)), cache[note, gate], rng.uniform(0.8, 1.0))
    if part.drive > 0:
        out = np.tanh(level(out, 1.0) * np.float32(1 + part.drive))
    delay = round(3 * score.step * rate)
    echoed = out.copy()
    for tap in range(1, 4 if part.echo > 0 else 1):
        add(echoed, tap * delay, out, part.echo**tap)
    return echoed


def _notes(
    part: Part, score: _Score, bar: int, step: int, symbol: str, rng: np.random.Generator
) -> list[int]:
    """List the MIDI notes that a pattern's symbol stands for."""
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


def _drums(score: _Score, n: int, rate: int, sound: int, rng: np.random.Generator) -> Audio:
    """Play all drums over the whole track: float32 (n,)."""
    out = np.zeros(n, np.float32)
    for index, (name, pattern) in enumerate(score.style.drums):
        stroke = make_hit(tuned(DRUMS[name], score.tonic), rate, np.random.default_rng((sound, 6, index)))
        for bar, section in enumerate(score.sections):
            if index > 0 and section in "ib":
                continue
            for step, symbol in enumerate(pattern):
                if symbol != ".":
                    start = score.time(bar, step) + rng.normal(0, 1) * score.style.loose
                    loudness = (1.0 if symbol == "x" else 0.4) * rng.uniform(0.85, 1.0)
                    add(out, max(0, round(start * rate)), stroke, loudness)
    return out
