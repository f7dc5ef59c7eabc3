"""A fingerprint of a track: a coarse picture of a few of its moments, by which copies are told, also shifted ones.

The moments are those of the default listening, an excerpt each: nothing else has to be heard for them. Of two
copies, one of which lacks two seconds at an end, they lie up to two seconds apart, so those of one overlap those of the
other; `compare` slides the one along the other until they fit best. A codec, a gain or an equaliser leaves such a
picture as it is, or moves whole bands of it up or down, which is taken out; other music, even of one style and tempo,
is another picture.

The bytes: a version, the number of pieces, then per piece its start (float32, seconds) and its number of frames, then
all frames, `BANDS` levels each as int8, in half decibels from the mean of their band.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.audio import DEFAULT_LISTENING, Excerpt
from soundkin.errors import StoreError
from soundkin.features import FrontEnd, decibels, spectra_of

Array = NDArray[np.float32]

MOMENTS = DEFAULT_LISTENING
"""What of a track is in its fingerprint. Where other moments are heard, only what they share with these is in it."""
BANDS = 10
FRONT = FrontEnd()
_VERSION = 1
_GROUP = 4  # frames of the front end that make one of these
_USED = 120  # of its 128 bands: what codecs of a low bit rate leave away is above
_SKETCH = 16  # pieces
SKETCH_DIMS = _SKETCH * BANDS
"""Length of a `sketch`."""
LEAST_SECONDS = 1.0
"""What is shorter has no fingerprint."""
FRAME_SECONDS = _GROUP * FRONT.hop / FRONT.rate
"""From one frame of a fingerprint to the next: 93 ms."""
_RANGE_DB = 60.0  # quieter than the loudest by more is silence
_FINE = 4  # steps per frame at which two fingerprints are slid along each other in the end
_PEAKS = 3  # lags that are looked at so finely
_MOST = 255  # pieces, and frames of a piece
_LEAST_SECONDS = 4.0
_LEAST_SHARE = 0.3  # of the frames of the shorter must meet, for shorter tracks


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


def pieces_of(excerpt: Excerpt, duration: float) -> list[Piece]:
    """Return what a fingerprint takes of an excerpt.

    Parameters
    ----------
    excerpt : Excerpt
        Of any length.
    duration : float
        Of the track, seconds.

    Returns
    -------
    list of Piece
        One for each of `MOMENTS` that the excerpt has a second or more of: when those are heard,
        just one.
    """
    found, ends = list[Piece](), excerpt.start + len(excerpt.samples) / excerpt.rate
    for moment in MOMENTS.starts(duration):
        begin, end = max(moment, excerpt.start), min(moment + MOMENTS.seconds, ends)
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
        About 6 kB; empty when there is nothing to take.
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
    times, levels = _frames(a)
    steps = int(reach / FRAME_SECONDS)
    pictures, there = _timeline(b)
    places = np.round(times * (_FINE / FRAME_SECONDS)).astype(np.intp)
    # room on both sides, so that nothing falls off however far it is slid
    before, after = _FINE * (steps + 1), max(0, int(places[-1]) + _FINE * (steps + 2) - len(there))
    pictures = np.pad(pictures, ((before, after), (0, 0)))
    there = np.pad(there, (before, after)).astype(np.float32)
    squares_there, squares = np.square(pictures), np.square(levels)
    needed = min(_LEAST_SECONDS, _LEAST_SHARE * FRAME_SECONDS * min(len(levels), len(b) // BANDS))

    def fits(lags: NDArray[np.intp]) -> tuple[Array, Array]:
        at = places + (lags[:, None] + before)
        meets = there[at]
        n = meets.sum(axis=1, keepdims=True)
        pictures_met = pictures[at]
        # of each band the mean where the two meet is taken out: silence at one end of one of them moves that of all
        one, other = pictures_met.sum(axis=1), meets @ levels
        both = np.einsum("lfb,fb->lb", pictures_met, levels) - one * other / np.maximum(n, 1)
        energies = (
            squares_there[at].sum(axis=1) - one**2 / np.maximum(n, 1),
            meets @ squares - other**2 / np.maximum(n, 1),
        )
        energy = energies[0].sum(axis=1) * energies[1].sum(axis=1)
        seconds = n[:, 0] * np.float32(FRAME_SECONDS)
        fit = both.sum(axis=1) / np.sqrt(np.maximum(energy, 1e-6))
        return np.where(seconds >= needed, fit, 0), seconds

    coarse = np.arange(-steps, steps + 1, dtype=np.intp) * _FINE
    # Loops fit at several lags, and which fits best shows only when the frames are in line.
    near = coarse[np.argsort(-fits(coarse)[0])[:_PEAKS]]
    fine = np.unique(near[:, None] + np.arange(-_FINE + 1, _FINE, dtype=np.intp))
    scores, seconds = fits(fine)
    best = int(scores.argmax())
    return Likeness(float(scores[best]), float(fine[best]) * FRAME_SECONDS / _FINE, float(seconds[best]))


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
    times, levels = _frames(print_)
    firsts = np.flatnonzero(np.diff(times, prepend=-np.inf) > 1.5 * FRAME_SECONDS)
    counts = np.diff(firsts, append=len(times))
    means = np.add.reduceat(levels, firsts) / counts[:, None]
    if len(means) != _SKETCH:
        middle = (firsts + 0.5 * counts) / len(times)
        at = (np.arange(_SKETCH) + 0.5) / _SKETCH
        means = np.stack([np.interp(at, middle, means[:, band]) for band in range(BANDS)], axis=1)
    moves = (means - means.mean(axis=0)).ravel()
    return np.asarray(moves / max(float(np.linalg.norm(moves)), 1e-6), np.float32)


def _frames(print_: bytes) -> tuple[Array, Array]:
    """Return when each frame begins, float32 (n,), and its levels, float32 (n, BANDS)."""
    try:
        version, count = struct.unpack_from("<BB", print_)
        heads = [struct.unpack_from("<fB", print_, 2 + 5 * i) for i in range(count)]
        levels = np.frombuffer(print_, np.int8, offset=2 + 5 * count).reshape(-1, BANDS)
        if version != _VERSION or sum(frames for _, frames in heads) != len(levels) or not count:
            raise ValueError(f"version {version}, {count} pieces")
    except (struct.error, ValueError) as error:
        raise StoreError(
            f"a fingerprint of {len(print_)} bytes cannot be read ({error}): index again"
        ) from error
    times = np.concatenate([start + FRAME_SECONDS * np.arange(frames) for start, frames in heads])
    return times.astype(np.float32), levels.astype(np.float32)


def _timeline(print_: bytes) -> tuple[Array, NDArray[np.bool_]]:
    """Lay the frames on one axis of time, `_FINE` steps a frame, between them what lies between their levels."""
    times, levels = _frames(print_)
    step = FRAME_SECONDS / _FINE
    axis = np.arange(int(times[-1] / step) + 2) * step
    right = np.clip(np.searchsorted(times, axis, side="left"), 1, len(times) - 1)
    gap = times[right] - times[right - 1]
    share = (axis - times[right - 1]) / gap
    there = (gap < 1.5 * FRAME_SECONDS) & (share >= 0) & (share <= 1)
    share = share.astype(np.float32)[:, None]
    return np.where(there[:, None], levels[right - 1] * (1 - share) + levels[right] * share, 0), there
