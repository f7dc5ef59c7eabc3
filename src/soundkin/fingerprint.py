"""A fingerprint of a track: a coarse picture of a few of its moments, by which copies are told, also shifted ones.

The moments are the excerpts that are heard, so nothing else has to be heard for them. Of two
copies, one of which lacks two seconds at an end, they lie up to two seconds apart, so those of one overlap those of the
other; `compare` slides the one along the other until they fit best. A codec, a gain or an equaliser leaves such a
picture as it is, or moves whole bands of it up or down, which is taken out; other music, even of one style and tempo,
is another picture.

The bytes: a version, the number of pieces, then per piece its start (float32, seconds) and its number of frames, then
all frames, `BANDS` levels each as int8, in half decibels from the mean of their band.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.audio import DEFAULT_LISTENING, Excerpt, Listening
from soundkin.errors import StoreError
from soundkin.features import FrontEnd, decibels, spectra_of

Array = NDArray[np.float32]

MOMENTS = DEFAULT_LISTENING
"""What of a track is in its fingerprint; see `moments_of`."""
BANDS = 10
FRONT = FrontEnd()
_VERSION = 1
_GROUP = 4  # frames of the front end that make one of these
_USED = 120  # of its 128 bands: what codecs of a low bit rate leave away is above
_SKETCH = 9  # pieces: as many as most tracks have
SKETCH_DIMS = _SKETCH * BANDS
"""Length of a `sketch`."""
LEAST_SECONDS = 1.0
"""What is shorter has no fingerprint."""
FRAME_SECONDS = _GROUP * FRONT.hop / FRONT.rate
"""From one frame of a fingerprint to the next: 93 ms."""
_RANGE_DB = 60.0  # quieter than the loudest by more is silence
_FINE = 4  # steps per frame at which two fingerprints are slid along each other in the end
_HOPEFUL = 0.5  # fit by whole frames from which on they are looked at so finely
_MOST = 255  # pieces, and frames of a piece
_LEAST_SECONDS = 4.0
_LEAST_SHARE = 0.3  # of the frames of the shorter must meet, for shorter tracks
_HEAD = np.dtype([("start", "<f4"), ("frames", "u1")])


@dataclass(frozen=True, slots=True)
class Likeness:
    """How well two fingerprints fit.

    Parameters
    ----------
    score : float
        Correlation of the two where they meet, -1 to 1; 0 when they hardly meet.
    lag : float
        Seconds that a moment comes later in the second track than in the first.
    seconds : float
        How much of them meets at this lag.
    """

    score: float
    lag: float
    seconds: float


Piece = tuple[float, Array]
"""Start in seconds, and power of the bands, float32 (frames, BANDS)."""


def moments_of(listening: Listening) -> Listening:
    """Say what is in the fingerprint of a track that is heard in one way.

    Parameters
    ----------
    listening : Listening
        How much of it is heard.

    Returns
    -------
    Listening
        That itself, so that a library that goes on hearing in sixteen excerpts of three seconds has one kind of
        fingerprints; where that is more than `MOMENTS`, or excerpts are longer than a piece can be, these.
    """
    assert MOMENTS.excerpts is not None
    most = MOMENTS.excerpts * MOMENTS.seconds
    heard = math.inf if listening.excerpts is None else listening.excerpts * listening.seconds
    return listening if heard <= most and listening.seconds <= _MOST * FRAME_SECONDS else MOMENTS


def pieces_of(excerpt: Excerpt, duration: float, moments: Listening) -> list[Piece]:
    """Return what a fingerprint takes of an excerpt.

    Parameters
    ----------
    excerpt : Excerpt
        Of any length.
    duration : float
        Of the track, seconds.
    moments : Listening
        What is taken, from `moments_of`.

    Returns
    -------
    list of Piece
        One for each of the moments that the excerpt has a second or more of: when those are heard,
        just one.
    """
    found, ends = list[Piece](), excerpt.start + len(excerpt.samples) / excerpt.rate
    for moment in moments.starts(duration):
        begin, end = max(moment, excerpt.start), min(moment + moments.seconds, ends)
        if end - begin < LEAST_SECONDS:
            continue
        mel = spectra_of(excerpt, FRONT).mel
        first = round((begin - excerpt.start) * FRONT.rate / FRONT.hop)
        whole = int((end - begin) * FRONT.rate - FRONT.n_fft) // FRONT.hop + 2
        part = mel[first : first + whole]
        frames = min(len(part) // _GROUP, _MOST)
        if frames > 1:
            power = part[: frames * _GROUP, :_USED].reshape(frames, _GROUP, BANDS, _USED // BANDS)
            start = excerpt.start + first * FRONT.hop / FRONT.rate
            found.append((start, power.sum(axis=(1, 3), dtype=np.float32)))
    return found


def fingerprint(pieces: Sequence[Piece]) -> bytes:
    """Make a fingerprint of its pieces.

    Parameters
    ----------
    pieces : sequence of Piece
        From `pieces_of`, by their starts.

    Returns
    -------
    bytes
        Up to 6.5 kB; empty when there is nothing to take.
    """
    pieces = pieces[:_MOST]
    if not pieces:
        return b""
    levels = decibels(np.concatenate([power for _, power in pieces]))
    levels = np.maximum(levels, levels.max() - _RANGE_DB)
    coded = np.clip(np.round(2 * (levels - levels.mean(axis=0))), -127, 127).astype(np.int8)
    heads = b"".join(struct.pack("<fB", start, len(power)) for start, power in pieces)
    return struct.pack("<BB", _VERSION, len(pieces)) + heads + coded.tobytes()


def compare(a: bytes, b: bytes, reach: float) -> Likeness:
    """Slide two fingerprints along each other until they fit best.

    Parameters
    ----------
    a, b : bytes
        Two fingerprints.
    reach : float
        How far to slide either way, seconds.

    Returns
    -------
    Likeness
        At the lag where they fit best.

    Raises
    ------
    StoreError
        One of them is no fingerprint.
    """
    meeting = _Meeting(_read(a), _read(b), int(reach / FRAME_SECONDS))
    best = meeting.fit(0.0)
    # Music that fits nowhere by the frame fits nowhere between frames: most pairs end here.
    if best.score >= _HOPEFUL:
        best = max(best, *(meeting.fit(step / _FINE) for step in range(1, _FINE)), key=lambda fit: fit.score)
    return best


def sketch(print_: bytes) -> Array:
    """Reduce a fingerprint to one vector, whose products with others are a first guess of what `compare` says.

    Parameters
    ----------
    print_ : bytes
        A fingerprint.

    Returns
    -------
    float32 (SKETCH_DIMS,)
        How the mean levels go up and down from piece to piece, of unit length; all zeros where they do not.

    Raises
    ------
    StoreError
        It is no fingerprint.
    """
    frames = _read(print_)
    levels = frames.levels
    before = np.cumsum(frames.counts) - frames.counts
    # a piece that begins where the one before it ends is one with it
    begins = np.diff(frames.starts - FRAME_SECONDS * before, prepend=-np.inf) > 0.5 * FRAME_SECONDS
    firsts = before[begins]
    counts = np.diff(firsts, append=len(levels))
    means = np.add.reduceat(levels, firsts) / counts[:, None]
    if len(means) != _SKETCH:
        middle = (firsts + 0.5 * counts) / len(levels)
        at = (np.arange(_SKETCH) + 0.5) / _SKETCH
        means = np.stack([np.interp(at, middle, means[:, band]) for band in range(BANDS)], axis=1)
    moves = (means - means.mean(axis=0)).ravel()
    return np.asarray(moves / max(float(np.linalg.norm(moves)), 1e-6), np.float32)


@dataclass(frozen=True, slots=True)
class _Frames:
    """What is in a fingerprint: start in seconds and number of frames of its p pieces, levels float32 (n, BANDS)."""

    starts: NDArray[np.float64]
    counts: NDArray[np.intp]
    levels: Array

    def pieces(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return the levels by piece, and which there are: (p, m + 1, BANDS), (p, m + 1), for up to m frames each."""
        there = np.arange(self.counts.max() + 1) < self.counts[:, None]
        out = np.zeros((*there.shape, BANDS), np.float32)
        out[there] = self.levels
        return out, there


class _Meeting:
    """Two fingerprints that are slid along each other, up to so many frames.

    A piece of the one meets few pieces of the other, so each such pair is looked at by itself: its products at all lags
    are the sums along the diagonals of one product of matrices, and all other sums differences of running totals.
    """

    def __init__(self, a: _Frames, b: _Frames, frames: int) -> None:
        offsets = (a.starts[:, None] - b.starts) / FRAME_SECONDS
        meet = (offsets - frames - 1 < b.counts) & (offsets + frames + 1 > -a.counts[:, None])
        self._a, self._b = np.nonzero(meet)
        self._offsets = offsets[meet]
        self._levels, (self._others, self._there) = a.pieces()[0], b.pieces()
        self._totals = _totals(self._levels)
        self._counts, self._other_counts = a.counts[self._a, None], b.counts[self._b, None] - 1
        self._lags = np.arange(-frames, frames + 1)
        self._needed = min(_LEAST_SECONDS, _LEAST_SHARE * FRAME_SECONDS * min(len(a.levels), len(b.levels)))

    def fit(self, part: float) -> Likeness:
        """Return how well they fit at the best of all lags of whole frames and this part of one."""
        whole = np.floor(self._offsets + part).astype(np.intp)
        share = (self._offsets + part - whole).astype(np.float32)[:, None, None]
        # between two frames of a piece their levels are mixed, from the last one nothing goes on
        others = self._others[self._b]
        mixed = (others[:, :-1] * (1 - share) + others[:, 1:] * share) * self._there[self._b, 1:, None]
        shift = (
            whole[:, None] + self._lags
        )  # (pairs of pieces, lags): which frame of the other its first one meets
        first = np.maximum(0, -shift)
        last = np.minimum(self._counts, self._other_counts - shift)
        apart = first >= last
        for place in (first, last, shift):
            place[apart] = 0
        met = (last - first).sum(axis=0)
        own = _between(self._totals, self._a, first, last)
        other = _between(_totals(mixed), np.arange(len(mixed)), first + shift, last + shift)
        lined_up = _diagonals(self._levels[self._a] @ mixed.transpose(0, 2, 1))
        products = np.take_along_axis(lined_up, shift + (self._levels.shape[1] - 1), axis=1)
        # of each band the mean where the two meet is taken out: silence at one end of one of them moves that of all
        sums, other_sums, n = own[:, :BANDS], other[:, :BANDS], np.maximum(met, 1)
        both = np.where(apart, 0, products).sum(axis=0) - (sums * other_sums).sum(axis=1) / n
        energy = own[:, BANDS] - np.square(sums).sum(axis=1) / n
        other_energy = other[:, BANDS] - np.square(other_sums).sum(axis=1) / n
        # levels that move by less than a sixth of a decibel are no picture, but what rounding leaves of one
        moved = np.maximum(energy, n) * np.maximum(other_energy, n)
        fits = np.where(met * FRAME_SECONDS >= self._needed, both / np.sqrt(moved), 0)
        best = int(fits.argmax())
        lag = (float(self._lags[best]) + part) * FRAME_SECONDS
        return Likeness(float(fits[best]), lag, float(met[best]) * FRAME_SECONDS)


def _totals(pieces: Array) -> Array:
    """Return running totals of pieces' levels, and of their squares: (p, m, BANDS) to (p, m + 1, BANDS + 1)."""
    p, m, _ = pieces.shape
    out = np.zeros((p, m + 1, BANDS + 1), np.float32)
    out[:, 1:, :BANDS] = pieces
    out[:, 1:, BANDS] = np.einsum("pmb,pmb->pm", pieces, pieces)
    return np.cumsum(out, axis=1, out=out)


def _between(
    totals: Array, piece: NDArray[np.intp], first: NDArray[np.intp], last: NDArray[np.intp]
) -> Array:
    """Add up what is between two places of pieces, over all of these: places (k, l) to (l, BANDS + 1)."""
    rows, begin = totals.reshape(-1, totals.shape[2]), piece[:, None] * totals.shape[1]
    return np.asarray((rows[begin + last] - rows[begin + first]).sum(axis=0))


def _diagonals(products: Array) -> Array:
    """Sum along the diagonals of matrices: (k, n, m) to (k, n + m - 1), the diagonal of row 0 at n - 1."""
    k, n, m = products.shape
    room = np.zeros((k, n, n + m), np.float32)
    room[:, :, :m] = products[:, ::-1]
    # read with rows that are one shorter, each row stands one place farther right: diagonals become columns
    return room.reshape(k, n * (n + m))[:, : n * (n + m - 1)].reshape(k, n, n + m - 1).sum(axis=1)


def _read(print_: bytes) -> _Frames:
    try:
        version, count = struct.unpack_from("<BB", print_)
        heads = np.frombuffer(print_, _HEAD, count, 2)
        levels = np.frombuffer(print_, np.int8, offset=2 + _HEAD.itemsize * count).reshape(-1, BANDS)
        if version != _VERSION or int(heads["frames"].sum()) != len(levels) or not count:
            raise ValueError(f"version {version}, {count} pieces")
    except (struct.error, ValueError) as error:
        raise StoreError(
            f"a fingerprint of {len(print_)} bytes cannot be read ({error}): index again"
        ) from error
    return _Frames(
        heads["start"].astype(np.float64), heads["frames"].astype(np.intp), levels.astype(np.float32)
    )
