"""The classical baseline: hand-made descriptors, and the tempo, key, energy and loudness shown to people.

One excerpt gives one vector of `N_FEATURES` numbers: timbre (MFCC and their movement), spectral shape, harmony (how
chroma is shaped, whatever the key), rhythm (onset strength and its periodicities), loudness and dynamics. A track is
their mean and standard deviation over its excerpts, each scaled by what it is on real music, then L2-normalised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from soundkin.audio import Excerpt
from soundkin.encoders import Array, Encoder, unit
from soundkin.features import FrontEnd, decibels, spectra_of

FRONT = FrontEnd()
_N_MFCC = 20
_FRAME_RATE = FRONT.rate / FRONT.hop
_LEAST_ONSET_DB = 0.02
_TEMPI = np.arange(55.0, 215.0, 0.5)
# Tempi that may be told; the one that people like best to tap, and how far from it, in octaves, they still do; how much
# of the onsets must repeat. Chosen by ``python benchmarks/bench_tempo.py``.
_BEATS = np.arange(40.0, 220.5, 0.5)
_TAPPED, _OCTAVES, _CLEAR = 150.0, 0.9, 0.15
# Frames of the longest lag, which is two beats at 46 a minute (of what is slower only one counts); steps between two of
# them; pairs of frames without which a lag says nothing.
_LAGS, _FINER, _FEWEST_PAIRS = 112, 8, 20
_TREBLE = slice(72, 104)
_RHYTHM_BANDS = (55.0, 75.0, 90.0, 105.0, 120.0, 135.0, 150.0, 170.0, 215.0)
N_FEATURES = 3 * _N_MFCC + 8 + 12 + (len(_RHYTHM_BANDS) - 1) + 4

# Krumhansl and Kessler (1982), probe-tone ratings of the twelve pitch classes in a major and a minor key.
_MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
_MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
_PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True)
class Description:
    """What is kept of one excerpt.

    Parameters
    ----------
    features : float32 (N_FEATURES,)
        The vector, unscaled.
    onset : float32 (frames - 1,)
        Onset strength, dB per frame.
    chroma : float32 (12,)
        Mean share of each pitch class, C first, sums to 1.
    loudness : float
        RMS level, dBFS.
    treble : float
        Mean level of the mel bands from 2.5 to 5.8 kHz, dB.
    """

    features: Array
    onset: Array
    chroma: Array
    loudness: float
    treble: float


@dataclass(frozen=True)
class Analysis:
    """What people are told about a track; None or "" where it cannot be told.

    Parameters
    ----------
    bpm : float or None
        Tempo, beats per minute.
    key : str
        "A minor", "Eb major", ...
    energy : float or None
        0 (calm) to 1 (intense): about the share of 489 soundtracks that are calmer.
    loudness : float or None
        RMS level, dBFS.
    """

    bpm: float | None = None
    key: str = ""
    energy: float | None = None
    loudness: float | None = None


class Descriptors(Encoder):
    """The hand-made encoder; its window is the excerpt."""

    name = "descriptors"
    weights = "2"
    front_end = FRONT.name
    window_seconds = hop_seconds = 0.0  # one window per excerpt, whatever its length
    pooling = "mean+std"
    dims = 2 * N_FEATURES

    def windows(self, excerpt: Excerpt) -> tuple[Array, Array]:
        """Describe an excerpt; see `Encoder.windows`."""
        return np.array([excerpt.start], np.float32), describe(excerpt).features[None]

    def pool(self, vectors: Array) -> Array:
        """Pool excerpt vectors into a track vector; see `Encoder.pool`."""
        mean, scale = _scale()
        pooled = np.concatenate([vectors.mean(axis=0), vectors.std(axis=0)])
        # Clipped, so that no single odd feature decides what a track is like.
        scaled = np.clip((pooled - mean) / scale, -3, 3)
        if len(vectors) == 1:  # how a track varies is not in one excerpt: taken to be as in most
            scaled[N_FEATURES:] = 0
        return unit(scaled)


def describe(excerpt: Excerpt) -> Description:
    """Describe an excerpt, once.

    Parameters
    ----------
    excerpt : Excerpt
        At least half a second.

    Returns
    -------
    Description
        Its features, and what `analyse` needs.
    """
    return excerpt.cached("descriptors", lambda: _describe(excerpt))


def analyse(descriptions: list[Description]) -> Analysis:
    """Tell tempo, key, energy and loudness of a track.

    Parameters
    ----------
    descriptions : list of Description
        Of its excerpts.

    Returns
    -------
    Analysis
        Empty when there is nothing to analyse.
    """
    if not descriptions:
        return Analysis()
    loudness = float(10 * np.log10(np.mean([10 ** (d.loudness / 10) for d in descriptions])))
    return Analysis(
        bpm=tempo([d.onset for d in descriptions]),
        key=key(np.mean([d.chroma for d in descriptions], axis=0)),
        energy=round(_energy(descriptions, loudness), 3),
        loudness=round(loudness, 1),
    )


def _energy(descriptions: Sequence[Description], loudness: float) -> float:
    """Return how intense a track is, 0..1: how loud it is, how full of high sound, how much begins in it.

    The middle of each, and how much of it counts as much as of another, are those of 489 soundtracks, and so is the
    curve that spreads their sum evenly from 0 to 1: ``python benchmarks/bench_tempo.py FOLDER`` prints it.
    """
    treble, onset = np.mean([(d.treble, d.onset.mean()) for d in descriptions], axis=0)
    intensity = (loudness + 17.5) / 5 + (treble + 22.5) / 7.5 + (onset - 1.25) / 0.6
    return float(1 / (1 + np.exp(-intensity / 1.35)))


def tempo(onsets: Sequence[Array]) -> float | None:
    """Tell the tempo, to half a beat per minute.

    Parameters
    ----------
    onsets : sequence of float32 (frames,)
        `Description.onset` of the excerpts of a track.

    Returns
    -------
    float or None
        40 to 220 beats per minute; None when no pulse is clear.
    """
    repeats = _repeats(onsets)
    lags = np.arange(len(repeats)) / _FINER
    # A beat divides into two, and two make a larger one: it repeats at its half and its double as well.
    beat = 60 / _BEATS * _FRAME_RATE
    half, one, two = (np.interp(n * beat, lags, repeats, right=0.0) for n in (0.5, 1, 2))
    strength = 0.25 * half + 0.5 * one + 0.25 * two
    # What is left is whether people tap a tempo, its half or its double: a log-normal preference (Ellis 2007).
    preference = np.exp(-0.5 * (np.log2(_BEATS / _TAPPED) / _OCTAVES) ** 2)
    best = int(np.argmax(np.maximum(strength, 0) * preference))
    return float(_BEATS[best]) if strength[best] >= _CLEAR else None


def key(chroma: Array) -> str:
    """Name the key whose profile correlates best with a chroma, float32 (12,); "" when none does."""
    if not np.ptp(chroma) > 1e-6:
        return ""
    scores = [
        (float(np.corrcoef(np.roll(profile, tonic), chroma)[0, 1]), f"{_PITCHES[tonic]} {mode}")
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
        for tonic in range(12)
    ]
    best, name = max(scores)
    return name if best >= 0.5 else ""


def _describe(excerpt: Excerpt) -> Description:
    y = excerpt.at(FRONT.rate)
    spectra = spectra_of(excerpt, FRONT)
    level = decibels(spectra.mel)
    mfcc = level @ _dct()
    movement = np.diff(mfcc, axis=0)
    shape = _spectral_shape(spectra.mel)
    chroma = _chroma(spectra.chroma)
    onset = _onset_strength(level)
    pulse = _pulse(onset)
    rms = _frame_levels(y)
    loudness = float(10 * np.log10(np.mean(10 ** (rms / 10)))) if len(rms) else -100.0
    bands = np.digitize(_TEMPI, _RHYTHM_BANDS) - 1
    features = np.concatenate(
        [
            mfcc.mean(axis=0), mfcc.std(axis=0), _std(movement),
            shape.mean(axis=0), shape.std(axis=0),
            np.roll(chroma, -int(np.argmax(chroma))),
            [pulse[bands == b].max() for b in range(len(_RHYTHM_BANDS) - 1)],
            [onset.mean(), onset.std(), loudness, rms.std()],
        ]
    ).astype(np.float32)  # fmt: skip
    return Description(features, onset, chroma, loudness, float(level[:, _TREBLE].mean()))


def _spectral_shape(mel: Array) -> Array:
    """Return centroid, spread, roll-off (85 %) and flatness per frame, on the mel axis, each 0..1: (frames, 4)."""
    position = np.linspace(0, 1, mel.shape[1], dtype=np.float32)
    share = mel / np.maximum(mel.sum(axis=1, keepdims=True), 1e-10)
    centroid = share @ position
    spread = np.sqrt(np.maximum(share @ position**2 - centroid**2, 0))
    rolloff = (np.cumsum(share, axis=1) < 0.85).mean(axis=1)
    logs = np.log(np.maximum(mel, 1e-10))
    flatness = np.exp(logs.mean(axis=1)) / np.maximum(mel.mean(axis=1), 1e-10)
    return np.stack([centroid, spread, rolloff, np.minimum(flatness, 1)], axis=1).astype(np.float32)


def _chroma(power: Array) -> Array:
    """Average amplitude chroma over frames, each frame normalised, float32 (12,) summing to 1."""
    amplitude = np.sqrt(power)
    share = amplitude / np.maximum(amplitude.sum(axis=1, keepdims=True), 1e-6)
    total = share.sum(axis=0)
    return np.asarray(total / max(float(total.sum()), 1e-6), np.float32)


def _onset_strength(level: Array) -> Array:
    """Return the mean rise of the mel bands in dB, per frame: (frames - 1,), at least one."""
    rise = np.maximum(np.diff(np.maximum(level, level.max() - 80), axis=0), 0).mean(axis=1)
    return np.asarray(rise if len(rise) else np.zeros(1), np.float32)


def _repeats(onsets: Sequence[Array]) -> Array:
    """Return the autocorrelation of onset strengths over all excerpts, float32 (_FINER * _LAGS,); 1 at no lag.

    The farther two frames are apart, the fewer such pairs an excerpt has: each lag is divided by their number, without
    which slow beats look weak. Interpolated `_FINER` times, as the beat of a fast tempo is but 13 frames long.
    """
    size = 2 ** int(np.ceil(np.log2(_LAGS + max(map(len, onsets)))))
    power = sum(np.abs(np.fft.rfft(onset - onset.mean(), size)) ** 2 for onset in onsets)
    lags = np.arange(_FINER * _LAGS) / _FINER
    sums = _FINER * np.fft.irfft(power, _FINER * size)[: len(lags)]
    pairs = np.sum([np.maximum(len(onset) - lags, 0) for onset in onsets], axis=0)
    mean = np.where(pairs >= _FEWEST_PAIRS, sums / np.maximum(pairs, 1), 0)
    # A steady sound has onsets of rounding errors, and those repeat: what varies by less than that is no rhythm.
    return np.asarray(mean / max(float(mean[0]), _LEAST_ONSET_DB**2), np.float32)


def _pulse(onset: Array) -> Array:
    """Return how strongly onsets repeat at each tempo: autocorrelation averaged over 1, 2, 3 and 4 beats."""
    centred = onset - onset.mean()
    size = 2 ** int(np.ceil(np.log2(2 * len(centred) + 1)))
    spectrum = np.fft.rfft(centred, size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(centred)]
    # A steady sound has onsets of rounding errors, and those repeat: what varies by less than that is no rhythm.
    correlation = correlation / max(float(correlation[0]), len(centred) * _LEAST_ONSET_DB**2)
    lags = 60 / _TEMPI * _FRAME_RATE
    beats = [np.interp(n * lags, np.arange(len(correlation)), correlation, right=0.0) for n in (1, 2, 3, 4)]
    return np.mean(beats, axis=0).astype(np.float32)


def _frame_levels(y: Array) -> Array:
    """Return the RMS level of half-second blocks, dBFS, floored at -100."""
    block = FRONT.rate // 2
    n = max(1, len(y) // block)
    blocks = y[: n * block].reshape(n, -1)
    return decibels(np.mean(np.square(blocks), axis=1, dtype=np.float32))


def _std(x: Array) -> Array:
    return x.std(axis=0) if len(x) else np.zeros(x.shape[1], np.float32)


@cache
def _dct() -> Array:
    """Return the orthonormal DCT-II that makes MFCC of mel levels, without the 0th: float32 (n_mels, 20)."""
    n = FRONT.n_mels
    k = np.arange(1, _N_MFCC + 1)
    basis = np.cos(np.pi / n * (np.arange(n)[:, None] + 0.5) * k) * np.sqrt(2 / n)
    return basis.astype(np.float32)


@cache
def _scale() -> tuple[Array, Array]:
    """Return mean and standard deviation of the pooled features over real music, each float32 (dims,).

    Made by ``python benchmarks/fit_descriptors.py FOLDER`` on the soundtracks that the CNN is trained on.
    """
    with files("soundkin.encoders").joinpath("descriptors.csv").open() as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return table[:, 0], table[:, 1]
