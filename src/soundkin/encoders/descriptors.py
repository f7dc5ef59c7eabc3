"""The classical baseline: hand-made descriptors, and the tempo, key, energy and loudness shown to people.

One excerpt gives one vector of `N_FEATURES` numbers: timbre (MFCC and their movement), spectral shape, harmony (how
chroma is shaped, whatever the key), rhythm (onset strength and its periodicities), loudness and dynamics. A track is
their mean and standard deviation over its excerpts, each scaled by what it is on real music, then L2-normalised.
"""

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
    pulse : float32 (tempi,)
        How strongly the onsets repeat at each tempo of 55 to 215 bpm.
    chroma : float32 (12,)
        Mean share of each pitch class, C first, sums to 1.
    loudness : float
        RMS level, dBFS.
    onsets : float
        Mean onset strength, dB per frame.
    brightness : float
        Spectral centroid, as a share of the mel range, 0..1.
    """

    features: Array
    pulse: Array
    chroma: Array
    loudness: float
    onsets: float
    brightness: float


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
        0 (calm) to 1 (intense): loudness, onsets and brightness together.
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
    weights = "1"
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
        return unit(np.clip((pooled - mean) / scale, -3, 3))


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
    pulse = np.mean([d.pulse for d in descriptions], axis=0)
    loudness = float(10 * np.log10(np.mean([10 ** (d.loudness / 10) for d in descriptions])))
    parts = (
        (loudness + 40) / 32,
        float(np.mean([d.onsets for d in descriptions])) / 2.5,
        float(np.mean([d.brightness for d in descriptions])) / 0.6,
    )
    energy = float(np.dot((0.5, 0.3, 0.2), np.clip(parts, 0, 1)))
    return Analysis(
        bpm=tempo(pulse),
        key=key(np.mean([d.chroma for d in descriptions], axis=0)),
        energy=round(energy, 3),
        loudness=round(loudness, 1),
    )


def tempo(pulse: Array) -> float | None:
    """Pick the tempo from the strengths of `Description.pulse`; None when nothing repeats."""
    # People tap near 120 bpm: a log-normal preference decides between a tempo and its double (Moelants 2002).
    preference = np.exp(-0.5 * (np.log2(_TEMPI / 120) / 0.9) ** 2)
    best = int(np.argmax(np.maximum(pulse, 0) * preference))
    return float(_TEMPI[best]) if pulse[best] > 0.05 else None


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
    return Description(features, pulse, chroma, loudness, float(onset.mean()), float(shape[:, 0].mean()))


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
