"""Audio files -> cached log-mels -> batches of crops.

A cache folder holds one ``.npy`` per track, uint8 (frames, n_mels), and ``manifest.json``. One step is 0.6
dB, counted from the floor of the log-mel: the error, at most 0.3 dB, is far below what any augmentation
does. Files are memory-mapped, so a training set may be larger than memory; a track already in the cache is
not decoded again.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin import workers
from soundkin.audio import Listening, hear, is_audio_name
from soundkin.embed import cores
from soundkin.errors import DecodeError, InputError, StoreError
from soundkin.features import FLOOR_DB, FrontEnd, log_mel

Codes = NDArray[np.uint8]

log = logging.getLogger(__name__)

STEP_DB = 0.6
MANIFEST = "manifest.json"
_NEAR = 8
# A file may take so long: a hundred times what the slowest format needs for the middle of a long track.
_PATIENCE_SECONDS = 300.0
# Files that are open besides the tracks: those of `soundkin.training.changes`, and some.
_OTHER_FILES = 1280


@dataclass(frozen=True)
class Source:
    """A file to train on.

    Parameters
    ----------
    path : str
        The audio file.
    album : str
        What it was released with: two tracks of one album are never used as a pair of strangers when that
        can be avoided.
    """

    path: str
    album: str


def sources_in(folder: str | os.PathLike[str]) -> list[Source]:
    """Find the audio files under a folder; the folder a file lies in counts as its album.

    Parameters
    ----------
    folder : path-like
        Searched recursively.

    Returns
    -------
    list of Source
        Sorted by path.

    Raises
    ------
    InputError
        There is no audio file in it.
    """
    root = Path(folder)
    paths = sorted(p for p in root.rglob("*") if is_audio_name(p.name) and p.is_file())
    if not paths:
        raise InputError(f"no audio files in {root}: name a folder of music")
    return [Source(str(p), str(p.parent.relative_to(root))) for p in paths]


@dataclass(frozen=True)
class Mels:
    """The cached log-mels of a training set.

    Parameters
    ----------
    front : FrontEnd
        The constants they were made with.
    sources : list of Source
        The tracks.
    tracks : list of uint8 (frames, n_mels)
        Their log-mels, memory-mapped, in steps of 0.6 dB above the floor; one per source.
    """

    front: FrontEnd
    sources: list[Source]
    tracks: list[Codes]

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def albums(self) -> list[str]:
        """The album of each track."""
        return [source.album for source in self.sources]

    def subset(self, keep: Iterable[int]) -> "Mels":
        """Return the tracks with these numbers."""
        keep = list(keep)
        return Mels(self.front, [self.sources[i] for i in keep], [self.tracks[i] for i in keep])


def encode_db(mel: NDArray[np.float32]) -> Codes:
    """Turn decibels into codes, ``(dB + 100) / 0.6``, rounded and clipped to a byte (-100 dB to +53 dB)."""
    codes: Codes = np.clip(np.rint((mel - FLOOR_DB) / STEP_DB), 0, 255).astype(np.uint8)
    return codes


def cache_mels(
    sources: Sequence[Source],
    folder: str | os.PathLike[str],
    front: FrontEnd,
    seconds: float = 240.0,
    progress: Callable[[int, int, str], None] | None = None,
    jobs: int | None = None,
) -> Mels:
    """Compute the log-mels of a training set, once, in worker processes.

    Parameters
    ----------
    sources : sequence of Source
        The files. One that cannot be decoded is left out, with a warning in the log.
    folder : path-like
        Where the cache lives; made when missing. A run that was killed goes on where it stopped.
    front : FrontEnd
        The constants of the log-mel.
    seconds : float
        Of each track, the middle so many seconds.
    progress : callable, optional
        Called after each file with (done, total, path).
    jobs : int, optional
        Worker processes; default one per core this process may use.

    Returns
    -------
    Mels
        In the order of `sources`. Tracks shorter than one frame are left out.

    Raises
    ------
    StoreError
        The cache cannot be written.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    names = in_workers(
        "soundkin.training.data:_cacher",
        (os.fspath(root), front, seconds),
        [source.path for source in sources],
        jobs,
        progress,
    )
    tracks = [{**asdict(source), "file": names[source.path]} for source in sources if source.path in names]
    partial = root / (MANIFEST + ".part")
    partial.write_text(json.dumps({"front_end": asdict(front), "tracks": tracks}, indent=1))
    partial.replace(root / MANIFEST)
    return open_mels(root)


def in_workers(
    factory: str,
    arguments: tuple[Any, ...],
    paths: Sequence[str],
    jobs: int | None,
    progress: Callable[[int, int, str], None] | None,
) -> dict[str, str]:
    """Let worker processes fill the cache.

    Parameters
    ----------
    factory : str
        What makes a worker's task, "package.module:function": path -> name of a file in the cache, or the
        `DecodeError` for which there is none, or the `StoreError` that ends it all.
    arguments : tuple
        Of the factory.
    paths : sequence of str
        The audio files.
    jobs : int, optional
        Worker processes; default one per core this process may use.
    progress : callable, optional
        Called after each file with (done, total, path).

    Returns
    -------
    dict of str to str
        Name in the cache by path. A file that gave none is left out, with a warning in the log.

    Raises
    ------
    StoreError
        The cache cannot be written.
    """
    names: dict[str, str] = {}
    jobs = max(1, min(jobs or cores(), len(paths)))
    outcomes = workers.run(factory, arguments, paths, jobs, lambda path: _PATIENCE_SECONDS)
    with contextlib.closing(outcomes):
        for done, (path, outcome) in enumerate(outcomes, 1):
            if isinstance(outcome, StoreError):
                raise outcome
            if isinstance(outcome, workers.Lost):
                log.warning("left out %s: %s", path, outcome.reason)
            elif isinstance(outcome, DecodeError):
                log.warning("left out %s: %s", path, outcome)
            else:
                names[path] = outcome
            if progress:
                progress(done, len(paths), path)
    return names


def open_mels(folder: str | os.PathLike[str]) -> Mels:
    """Open a cache that `cache_mels` has filled.

    Parameters
    ----------
    folder : path-like
        The cache folder.

    Returns
    -------
    Mels
        Memory-mapped.

    Raises
    ------
    InputError
        The folder holds no finished cache, or more tracks than the system lets a process open.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise InputError(f"{folder} holds no {MANIFEST}: fill it with cache_mels first")
    manifest = json.loads(path.read_text())
    tracks = manifest["tracks"]
    _allow_open_files(len(tracks))
    return Mels(
        FrontEnd(**manifest["front_end"]),
        [Source(t["path"], t["album"]) for t in tracks],
        [np.load(path.parent / t["file"], mmap_mode="r") for t in tracks],
    )


def _allow_open_files(n: int) -> None:
    """Let this process hold `n` tracks open: 1024 files are a common limit that anyone may raise."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted, endless = n + _OTHER_FILES, resource.RLIM_INFINITY
    if soft == endless or wanted <= soft:
        return
    if hard != endless and wanted > hard:
        raise InputError(
            f"{n} tracks to train on, but this system lets a process open {hard} files: "
            "name fewer folders, or raise the limit (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _cacher(folder: str, front: FrontEnd, seconds: float) -> Callable[[str], str | DecodeError | StoreError]:
    return cacher(folder, f"{front.name}\0{seconds:g}", lambda path: _frames_of(path, front, seconds))


def cacher(
    folder: str, what: str, make: Callable[[str], Codes]
) -> Callable[[str], str | DecodeError | StoreError]:
    """Make the task of a worker that fills the cache, see `in_workers`.

    Parameters
    ----------
    folder : str
        The cache.
    what : str
        Everything but the file that decides the result.
    make : callable
        Path -> what is to be kept; may raise DecodeError.
    """

    def cache(path: str) -> str | DecodeError | StoreError:
        try:
            state = os.stat(path)
            key = f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0{what}"
            name = hashlib.blake2b(os.fsencode(key), digest_size=12).hexdigest() + ".npy"
            if (Path(folder) / name).exists():
                return name
            codes = make(path)
        except DecodeError as error:
            return error
        except (OSError, MemoryError) as error:
            return DecodeError(str(error) or "decoding it takes more memory than a worker may have")
        try:
            _write(codes, Path(folder) / name)
        except OSError as error:
            return StoreError(f"cannot write to {folder}: {error.strerror or error}")
        return name

    return cache


def _frames_of(path: str, front: FrontEnd, seconds: float) -> Codes:
    with hear(path, Listening(1, seconds)) as hearing:
        codes = [encode_db(log_mel(e.at(front.rate), front).T) for e in hearing.excerpts]
    frames = np.concatenate(codes) if codes else np.empty((0, front.n_mels), np.uint8)
    if not len(frames):
        raise DecodeError("shorter than one frame")
    return np.ascontiguousarray(frames)


def _write(frames: Codes, target: Path) -> None:
    partial = target.with_suffix(".part")
    with partial.open("wb") as file:
        np.save(file, frames)
    partial.replace(target)


def batch_of(albums: Sequence[str], size: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw tracks for one batch, of as many different albums as possible.

    Tracks of large albums are drawn less often each (weight ``album size ** -0.5``), so that one big
    soundtrack does not become the whole world. Every album has a track in the batch before any has two.

    Parameters
    ----------
    albums : sequence of str
        The album of each track.
    size : int
        Tracks wanted; all of them when there are fewer.
    random : numpy.random.Generator
        The source of chance.

    Returns
    -------
    int64 (min(size, n),)
        Track numbers, each at most once.
    """
    _, album, counts = np.unique(np.asarray(albums), return_inverse=True, return_counts=True)
    # Exponential races: sorting these is weighted drawing without replacement (Efraimidis and Spirakis,
    # 2006).
    order = np.argsort(random.exponential(size=len(album)) * counts[album] ** 0.5, kind="stable")
    _, first = np.unique(album[order], return_index=True)
    leading = np.zeros(len(order), bool)
    leading[first] = True
    return np.concatenate([order[leading], order[~leading]])[:size]


def crops(
    tracks: Sequence[Codes],
    which: NDArray[np.int64],
    frames: int,
    random: np.random.Generator,
    near: Sequence[int] | None = None,
) -> Codes:
    """Cut a random crop from each of some tracks.

    Parameters
    ----------
    tracks : sequence of uint8 (any, n_mels)
        Cached log-mels.
    which : int (n,)
        Track numbers.
    frames : int
        Length of a crop; a shorter track is repeated.
    random : numpy.random.Generator
        The source of chance.
    near : sequence of int, optional
        Frames that the crops are to start at, up to 8 frames (0.2 s) earlier or later.

    Returns
    -------
    uint8 (n, n_mels, frames)
        Codes; `decode_db` makes them decibels.
    """
    result = np.empty((len(which), tracks[0].shape[1], frames), np.uint8)
    for i, number in enumerate(which):
        track = tracks[number]
        last = max(0, len(track) - frames)
        if near is None:
            start = int(random.integers(last + 1))
        else:
            start = int(np.clip(near[i] + random.integers(-_NEAR, _NEAR + 1), 0, last))
        result[i] = window_at(track, start, frames)
    return result


def window_at(track: Codes, start: int, frames: int) -> Codes:
    """Return one window of a cached track, uint8 (n_mels, frames); a track shorter than that is repeated."""
    piece = np.asarray(track[start : start + frames])
    if len(piece) < frames:
        piece = np.resize(piece, (frames, piece.shape[1]))
    return piece.T


def spread_starts(length: int, frames: int, count: int) -> NDArray[np.int64]:
    """Choose windows spread evenly over a track.

    Parameters
    ----------
    length : int
        Frames of the track.
    frames : int
        Length of a window. Windows start at multiples of ``frames - 1``, as in the encoder's own windowing.
    count : int
        At most so many.

    Returns
    -------
    int64 (1..count,)
        Where they start, frames, ascending.
    """
    starts = np.arange(0, max(1, length - frames + 1), frames - 1)
    chosen: NDArray[np.int64] = starts[np.unique(np.rint(np.linspace(0, len(starts) - 1, count)).astype(int))]
    return chosen


def spread_windows(track: Codes, frames: int, count: int) -> Codes:
    """Cut the windows that `spread_starts` chooses.

    Parameters
    ----------
    track : uint8 (any, n_mels)
        A cached log-mel.
    frames, count : int
        See `spread_starts`.

    Returns
    -------
    uint8 (1..count, n_mels, frames)
        In order of time.
    """
    starts = spread_starts(len(track), frames, count).tolist()
    return np.stack([window_at(track, start, frames) for start in starts])


def decode_db(codes: Codes) -> NDArray[np.float32]:
    """Turn codes back into decibels, float32, same shape."""
    return codes.astype(np.float32) * np.float32(STEP_DB) + np.float32(FLOOR_DB)
