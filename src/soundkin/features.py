"""PCM -> spectra: pure functions, numpy only.

Conventions
    y            mono PCM, float32, shape (n,), full scale = +-1
    power        squared magnitude of the Hann-windowed FFT, linear, shape (frames, n_fft // 2 + 1)
    log-mel      decibels of mel power re 1.0, shape (n_mels, frames), floor -100 dB
    frame times  frame i covers samples [i * hop, i * hop + n_fft): no padding at either end

The numbers of a front end live in one `FrontEnd`; its `name` enters the name of every space made with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from soundkin.audio import Excerpt

Array = NDArray[np.float32]

FLOOR_DB = -100.0
# The FFT works on this many frames at a time: the block stays in the core's cache.
_BLOCK_FRAMES = 64
# Bins that are multiplied with the filters at a time: a sixth of 1025, measured fastest.
_PIECE_BINS = 171
_A4 = 440.0


@dataclass(frozen=True)
class FrontEnd:
    """The constants of a log-mel spectrogram.

    Parameters
    ----------
    rate : int
        Sample rate of the PCM, Hz.
    n_fft : int
        FFT and Hann window length, samples.
    hop : int
        Samples from one frame to the next.
    n_mels : int
        Number of mel bands (Slaney scale, Slaney area normalisation).
    fmin, fmax : float
        Edges of the lowest and highest band, Hz.
    """

    rate: int = 22050
    n_fft: int = 2048
    hop: int = 512
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float = 11025.0

    @property
    def name(self) -> str:
        """Every constant in one word, for the name of a space."""
        return f"logmel-{self.rate}-{self.n_fft}-{self.hop}-{self.n_mels}-{self.fmin:g}-{self.fmax:g}"

    def n_frames(self, n_samples: int) -> int:
        """Return how many whole frames `n_samples` hold."""
        return max(0, (n_samples - self.n_fft) // self.hop + 1)

    def n_samples(self, n_frames: int) -> int:
        """Return how many samples `n_frames` need."""
        return (n_frames - 1) * self.hop + self.n_fft


@dataclass(frozen=True)
class Spectra:
    """What one pass of FFTs over an excerpt gives.

    Parameters
    ----------
    mel : float32 (frames, n_mels)
        Mel power, linear.
    chroma : float32 (frames, 12)
        Power per pitch class, C first, linear, from 110 Hz to 1760 Hz.
    """

    mel: Array
    chroma: Array


def spectra_of(excerpt: Excerpt, front: FrontEnd) -> Spectra:
    """Compute the spectra of an excerpt once, whoever asks."""
    return excerpt.cached(front, lambda: spectra(excerpt.at(front.rate), front))


def power_blocks(y: Array, n_fft: int, hop: int) -> Iterator[Array]:
    """Yield the power spectrogram of `y` in blocks of frames.

    Parameters
    ----------
    y : float32 (n,)
        Mono PCM.
    n_fft, hop : int
        Window length and hop, samples.

    Yields
    ------
    float32 (<= 64, n_fft // 2 + 1)
        Squared magnitudes.
    """
    if len(y) < n_fft:
        return
    frames = np.lib.stride_tricks.sliding_window_view(y, n_fft)[::hop]
    window = hann(n_fft)
    for first in range(0, len(frames), _BLOCK_FRAMES):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK_FRAMES] * window)
        yield np.square(spectrum.real) + np.square(spectrum.imag)


def spectra(y: Array, front: FrontEnd) -> Spectra:
    """Compute mel and chroma power from the same FFTs.

    Parameters
    ----------
    y : float32 (n,)
        Mono PCM at `front.rate`.
    front : FrontEnd
        The constants.

    Returns
    -------
    Spectra
        With ``front.n_frames(n)`` frames.
    """
    width, pieces = front.n_mels + 12, _pieces(front)
    blocks = []
    for power in power_blocks(y, front.n_fft, front.hop):
        block = np.zeros((len(power), width), np.float32)
        for bins, columns, filters in pieces:
            block[:, columns] += power[:, bins] @ filters
        blocks.append(block)
    both = np.concatenate(blocks) if blocks else np.empty((0, width), np.float32)
    return Spectra(both[:, : front.n_mels], both[:, front.n_mels :])


def decibels(power: Array) -> Array:
    """Return ``10 log10(power)``, floored at -100 dB.

    Parameters
    ----------
    power : float32, any shape
        Linear power, >= 0.

    Returns
    -------
    float32, same shape
        Decibels re 1.0.
    """
    return np.float32(10.0) * np.log10(np.maximum(power, np.float32(10 ** (FLOOR_DB / 10))))


def log_mel(y: Array, front: FrontEnd) -> Array:
    """Compute the log-mel spectrogram of `y`.

    Equals ``librosa.power_to_db(librosa.feature.melspectrogram(..., center=False), top_db=None)``.

    Parameters
    ----------
    y : float32 (n,)
        Mono PCM at `front.rate`.
    front : FrontEnd
        The constants.

    Returns
    -------
    float32 (n_mels, frames)
        Decibels.
    """
    return np.ascontiguousarray(decibels(spectra(y, front).mel).T)


@cache
def hann(n: int) -> Array:
    """Return the periodic Hann window, float32 (n,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert Hz to mels on Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, then logarithmic."""
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert mels on Slaney's scale to Hz."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))


@cache
def mel_filters(front: FrontEnd) -> Array:
    """Return triangular mel filters of equal area, float32 (n_fft // 2 + 1, n_mels)."""
    ends = hz_to_mel(np.array([front.fmin, front.fmax]))
    edges = mel_to_hz(np.linspace(ends[0], ends[1], front.n_mels + 2))
    return triangles(edges, front.rate, front.n_fft)


def triangles(edges: NDArray[np.float64], rate: int, n_fft: int, equal_area: bool = True) -> Array:
    """Return triangular filters over the bins of an FFT.

    Parameters
    ----------
    edges : float64 (n + 2,)
        Hz, ascending: filter i rises from edge i to edge i + 1 and falls to edge i + 2.
    rate, n_fft : int
        Hz, samples.
    equal_area : bool
        Scale each to an area of 1 Hz (Slaney's normalisation); otherwise each is 1 at its peak.

    Returns
    -------
    float32 (n_fft // 2 + 1, n)
        Weights, >= 0.
    """
    bins = np.fft.rfftfreq(n_fft, 1 / rate)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    return (weights * (2 / (edges[2:] - edges[:-2])) if equal_area else weights).astype(np.float32)


def htk_edges(n: int, fmin: float, fmax: float) -> NDArray[np.float64]:
    """Return the edges, Hz, of `n` filters equally spaced on HTK's mel scale (O'Shaughnessy, 1987): (n + 2,)."""
    low, high = 2595 * np.log10(1 + np.array([fmin, fmax]) / 700)
    return np.asarray(700 * (10 ** (np.linspace(low, high, n + 2) / 2595) - 1), np.float64)


@cache
def chroma_filters(front: FrontEnd) -> Array:
    """Return filters that sum FFT bins into pitch classes, float32 (n_fft // 2 + 1, 12), C first.

    A bin belongs to a pitch class by a Gaussian of half a semitone round the nearest pitch. Below 110 Hz bins are
    wider than a semitone, above 1760 Hz overtones outweigh fundamentals: both are left out.

    Parameters
    ----------
    front : FrontEnd
        Its rate and size of FFT.
    """
    bins = np.fft.rfftfreq(front.n_fft, 1 / front.rate)
    inside = (bins >= 110) & (bins <= 1760)
    semitones = 12 * np.log2(np.where(inside, bins, _A4) / _A4) + 9  # A4 is 9 semitones above C
    distance = (semitones[:, None] - np.arange(12) + 6) % 12 - 6
    weights = np.exp(-0.5 * (distance / 0.5) ** 2) * inside[:, None]
    return weights.astype(np.float32)


@cache
def _pieces(front: FrontEnd) -> list[tuple[slice, slice, Array]]:
    """Cut the filters, mel then chroma, into (bins, columns, weights): a third of the products, the rest is zeros."""
    pieces, column = [], 0
    for filters in (mel_filters(front), chroma_filters(front)):
        for first in range(0, len(filters), _PIECE_BINS):
            part = filters[first : first + _PIECE_BINS]
            used = np.flatnonzero(part.any(axis=0))
            if len(used):
                low, high = int(used[0]), int(used[-1]) + 1
                columns = slice(column + low, column + high)
                pieces.append(
                    (slice(first, first + len(part)), columns, np.ascontiguousarray(part[:, low:high]))
                )
        column += filters.shape[1]
    return pieces
