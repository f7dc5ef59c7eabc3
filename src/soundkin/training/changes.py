"""What another file of a track may do to it: windows as they are, after mp3, and too loud, to learn to overlook it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from soundkin.audio import Listening, hear, resample
from soundkin.errors import DecodeError, StoreError
from soundkin.evaluate.robustness import write_mp3
from soundkin.features import FrontEnd, log_mel
from soundkin.training.data import Codes, Mels, cacher, encode_db, in_workers

Array = NDArray[np.float32]

WINDOWS = 8
# What we hear is mono; half the bits of a stereo file do it at least as much harm.
_MONO_BITS = 48_000
_LOUDER = np.float32(10 ** (6 / 20))
# Less is learned of 165 tracks than of 330, see docs/encoder.md; so many make short work of a large library.
MOST_TRACKS = 1000
# What mp3 is made at; from another rate, the first of these.
_RATES = (44_100, 48_000, 32_000)
# Before and after each window, so that its neighbours in the coded file do not reach into it.
_AROUND_SECONDS = 0.25


def cache_changed(
    mels: Mels,
    folder: str | os.PathLike[str],
    frames: int,
    progress: Callable[[int, int, str], None] | None = None,
    jobs: int | None = None,
) -> list[Codes | None]:
    """Change windows of a training set as another file would, once, in worker processes.

    Parameters
    ----------
    mels : Mels
        The training set.
    folder : path-like
        Its cache.
    frames : int
        Length of a window.
    progress : callable, optional
        Called after each file with (done, total, path).
    jobs : int, optional
        Worker processes; default one per core this process may use.

    Returns
    -------
    list of (uint8 (3, 1..8, n_mels, frames) or None)
        Per track, see `changed_windows`; None where that failed, and for all but 1000 tracks, spread over the set,
        when there are more. Memory-mapped.

    Raises
    ------
    StoreError
        The cache cannot be written.
    """
    chosen = np.unique(np.linspace(0, len(mels) - 1, min(len(mels), MOST_TRACKS)).astype(int)).tolist()
    paths = [mels.sources[i].path for i in chosen]
    arguments = (os.fspath(folder), mels.front, frames)
    names = in_workers("soundkin.training.changes:_changer", arguments, paths, jobs, progress)
    changed: list[Codes | None] = [None] * len(mels)
    for i, path in zip(chosen, paths, strict=True):
        if path in names:
            changed[i] = np.load(Path(folder) / names[path], mmap_mode="r")
    return changed


def _changer(folder: str, front: FrontEnd, frames: int) -> Callable[[str], str | DecodeError | StoreError]:
    return cacher(
        folder, f"{front.name}\0changed {frames}", lambda path: changed_windows(path, front, frames)
    )


def changed_windows(path: str, front: FrontEnd, frames: int) -> Codes:
    """Hear windows of a file as they are, after mp3, and 6 dB louder, clipped; the rest of the file is not touched.

    Parameters
    ----------
    path : str
        The audio file.
    front : FrontEnd
        The constants of the log-mel.
    frames : int
        Length of a window.

    Returns
    -------
    uint8 (3, 1..8, n_mels, frames)
        8 windows, fewer of a short track; codes, see `soundkin.training.data.encode_db`.

    Raises
    ------
    DecodeError
        The file cannot be decoded.
    """
    seconds = front.n_samples(frames) / front.rate
    with hear(path, Listening(WINDOWS, seconds + 2 * _AROUND_SECONDS)) as hearing:
        heard = list(hearing.excerpts)
    if not heard:
        raise DecodeError("shorter than one frame")
    rate = heard[0].rate if heard[0].rate in _RATES else _RATES[0]
    n, around = round(seconds * rate), round(_AROUND_SECONDS * rate)
    y = np.concatenate([np.resize(excerpt.at(rate), n + 2 * around) for excerpt in heard])
    versions = y, _after_mp3(y, rate), np.clip(_LOUDER * y, -1.0, 1.0)
    firsts = range(around, len(y), n + 2 * around)
    return np.stack([[_codes(v[i : i + n], rate, front, frames) for i in firsts] for v in versions])


def _after_mp3(y: Array, rate: int) -> Array:
    with tempfile.TemporaryDirectory(prefix="soundkin-") as folder:
        path = os.path.join(folder, "coded.mp3")
        write_mp3(path, y[:, None], rate, _MONO_BITS)
        z, _ = soundfile.read(path, dtype="float32")
    return np.clip(np.resize(z, len(y)), -1.0, 1.0)


def _codes(y: Array, rate: int, front: FrontEnd, frames: int) -> Codes:
    mono = np.resize(resample(y, rate, front.rate), front.n_samples(frames))
    return encode_db(log_mel(mono, front))
