"""A track, or many, -> window vectors and track vectors in named spaces.

A file is opened once: hashed, its tags read, its excerpts decoded, described and given to every encoder of the run. In
a scan this happens in worker processes, and what goes wrong with a file comes back as a `Failure`, never as an
exception.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import stat
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from soundkin import workers
from soundkin.audio import DEFAULT_LISTENING, Excerpt, Listening, hear
from soundkin.encoders import Encoder, load_encoder
from soundkin.encoders.descriptors import Analysis, Description, analyse, describe
from soundkin.errors import DecodeError
from soundkin.fingerprint import Piece, fingerprint, pieces_of
from soundkin.tags import Tags, read

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
Vectors = dict[str, Array]  # space id -> track vector
Windows = dict[str, tuple[Array, Array]]  # space id -> (starts, window vectors)

_SILENCE_DBFS = -80.0
# A file may take a minute, and a second more per 200 kB, far more than the slowest format
# needs: benchmarks/bench_indexing.py prints seconds a track.
_BASE_SECONDS, _BYTES_PER_SECOND = 60.0, 200_000


@dataclass(frozen=True)
class Space:
    """Names everything that made a vector. Vectors of different spaces are never compared.

    Parameters
    ----------
    encoder, weights, front_end : str
        Name of the encoder, hash of its weights, constants of its input.
    window_seconds, hop_seconds : float
        Length of a window, and seconds from one to the next.
    listening : str
        How much of a track is heard: "18x3.07s" or "all".
    pooling : str
        How windows become a track.
    dims : int
        Length of a track vector.
    """

    encoder: str
    weights: str
    front_end: str
    window_seconds: float
    hop_seconds: float
    listening: str
    pooling: str
    dims: int

    @functools.cached_property
    def id(self) -> str:
        """The encoder's name and eight hex digits that stand for all the rest: "cnn-1f3a9c02"."""
        return f"{self.encoder}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:8]}"

    def to_json(self) -> str:
        """Return the canonical JSON of this space."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Space":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class FileState:
    """What tells a file from its earlier self.

    Parameters
    ----------
    path : str
        Absolute, as `os.fsdecode` gives it.
    size : int
        Bytes.
    mtime_ns : int
        Modification time, nanoseconds.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass
class Embedded:
    """A file that was embedded.

    Parameters
    ----------
    file : FileState
        Taken before it was read.
    content : str
        First half of the SHA-256 of all its bytes, 32 hex digits.
    duration : float
        Seconds.
    sample_rate, channels : int
        As stored.
    format : str
        Codec.
    tags : Tags
        As read.
    analysis : Analysis
        Tempo, key, energy, loudness.
    vectors : dict
        Space id -> track vector, float32 (d,), unit length.
    windows : dict
        Space id -> (starts float32 (w,) in seconds, vectors float32 (w, d)).
    fingerprint : bytes
        By which copies are told, see `fingerprint`; empty when it was not made.
    damage : str
        What shows that the file is damaged though there is music in it; empty when nothing does.
    """

    file: FileState
    content: str
    duration: float
    sample_rate: int
    channels: int
    format: str
    tags: Tags
    analysis: Analysis
    vectors: Vectors = field(default_factory=dict)
    windows: Windows = field(default_factory=dict)
    fingerprint: bytes = b""
    damage: str = ""


@dataclass(frozen=True)
class Same:
    """A file whose bytes are known already: moved, or touched, but not changed."""

    file: FileState
    content: str


@dataclass(frozen=True)
class Failure:
    """A file that could not be embedded.

    Parameters
    ----------
    file : FileState
        What failed; it is tried again when this changes.
    kind : str
        "decode", "silent", "unreadable", "vanished", "timeout" or "crash"; "damaged" for one that was embedded
        nevertheless.
    reason : str
        One line.
    detail : str
        For the log: what the decoders said, or the traceback of a bug. The record does not keep it.
    """

    file: FileState
    kind: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Task:
    """A file to embed.

    Parameters
    ----------
    file : FileState
        As found.
    known : tuple of str
        Content hashes which, if the file has one of them, make embedding unnecessary.
    """

    file: FileState
    known: tuple[str, ...] = ()


Outcome = Embedded | Same | Failure


class Embedder:
    """Encoders and a way of listening: what a run embeds with.

    Parameters
    ----------
    names : sequence of str
        Names or folders of encoders.
    listening : Listening
        How much of a track is heard.

    Raises
    ------
    ModelError
        An encoder cannot be loaded.
    """

    def __init__(self, names: Sequence[str], listening: Listening = DEFAULT_LISTENING) -> None:
        self.listening = listening
        encoders = [load_encoder(name) for name in names]
        self.spaces = [space_of(encoder, listening) for encoder in encoders]
        self._encoders = list(zip(self.spaces, encoders, strict=True))

    def file(self, task: Task) -> Outcome:
        """Embed one file.

        Parameters
        ----------
        task : Task
            What to embed.

        Returns
        -------
        Embedded, Same or Failure
            Never raises because of the file.
        """
        path = task.file.path
        try:
            content = content_hash(path)
            if content in task.known:
                return Same(task.file, content)
            with hear(path, self.listening) as hearing:
                result = Embedded(
                    task.file, content, hearing.duration, hearing.rate, hearing.channels, hearing.format,
                    read(path), Analysis(),
                )  # fmt: skip
                pieces: list[Piece] = []
                heard = _taking(hearing.excerpts, hearing.duration, pieces)
                descriptions, result.vectors, result.windows = self._encode(heard)
                result.fingerprint = fingerprint(pieces)
                result.damage = "; ".join(hearing.flaws)
        except FileNotFoundError:
            return Failure(task.file, "vanished", "the file is gone, or a link leads nowhere")
        except DecodeError as error:
            return Failure(task.file, "decode", str(error), "\n".join(getattr(error, "__notes__", ())))
        except MemoryError:
            return Failure(task.file, "decode", "decoding it takes more memory than a worker may have")
        except OSError as error:
            return Failure(task.file, "unreadable", error.strerror or str(error))
        except (
            Exception
        ) as error:  # a bug, ours or a decoder's, costs the file that it shows in, not the scan
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return Failure(task.file, "crash", f"a bug, please report it: {reason}", traceback.format_exc())
        result.analysis = analyse(descriptions)
        if not descriptions:
            return Failure(task.file, "decode", "no excerpt of it can be decoded")
        if result.analysis.loudness is None or result.analysis.loudness < _SILENCE_DBFS:
            return Failure(task.file, "silent", f"no sound above {_SILENCE_DBFS:.0f} dBFS")
        return result

    def _encode(self, excerpts: Iterable[Excerpt]) -> tuple[list[Description], Vectors, Windows]:
        descriptions = []
        parts: dict[str, list[tuple[Array, Array]]] = {space.id: [] for space in self.spaces}
        for excerpt in excerpts:
            descriptions.append(describe(excerpt))
            for space, encoder in self._encoders:
                parts[space.id].append(encoder.windows(excerpt))
        vectors: Vectors = {}
        windows: Windows = {}
        for space, encoder in self._encoders if descriptions else ():
            starts, rows = (np.concatenate(column) for column in zip(*parts[space.id], strict=True))
            windows[space.id] = starts, rows
            vectors[space.id] = encoder.pool(rows)
        return descriptions, vectors, windows


def space_of(encoder: Encoder, listening: Listening) -> Space:
    """Name the space of an encoder that hears tracks in one way."""
    return Space(
        encoder.name, encoder.weights, encoder.front_end, round(encoder.window_seconds, 4),
        round(encoder.hop_seconds, 4), listening.name, encoder.pooling, encoder.dims,
    )  # fmt: skip


def embed_files(
    tasks: Iterable[Task],
    names: Sequence[str],
    listening: Listening = DEFAULT_LISTENING,
    jobs: int | None = None,
    nice: bool = False,
) -> Generator[tuple[Task, Outcome], None, None]:
    """Embed many files in worker processes.

    Parameters
    ----------
    tasks : iterable of Task
        Consumed lazily.
    names : sequence of str
        Names or folders of encoders.
    listening : Listening
        How much of a track is heard.
    jobs : int, optional
        Worker processes; default one per core this process may use.
    nice : bool
        Give way to other programs.

    Yields
    ------
    tuple of (Task, Embedded or Same or Failure)
        In the order they end.
    """
    outcomes = workers.run(
        "soundkin.embed:_worker", (tuple(names), listening), tasks, jobs or cores(), _patience, nice
    )
    with contextlib.closing(outcomes):
        for task, outcome in outcomes:
            if isinstance(outcome, workers.Lost):
                outcome = Failure(task.file, outcome.kind, outcome.reason)
            if isinstance(outcome, Failure):  # said here, because nobody sees what a worker logs
                told = f"{outcome.reason}\n{outcome.detail}".strip()
                log.debug("%r: %s: %s", task.file.path, outcome.kind, told)
            yield task, outcome


def content_hash(path: str | os.PathLike[str]) -> str:
    """Return half the SHA-256 of a file's bytes, 32 hex digits.

    Parameters
    ----------
    path : path-like
        A regular file.

    Raises
    ------
    DecodeError
        Not a regular file.
    OSError
        It cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would hang at open
        raise DecodeError("not a regular file")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def is_gone(path: str) -> bool:
    """Tell what is not there from what cannot be seen now: only the first may be forgotten.

    Parameters
    ----------
    path : str
        Absolute.

    Returns
    -------
    bool
        False also for a broken link, and for what cannot be looked at.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _taking(excerpts: Iterable[Excerpt], duration: float, pieces: list[Piece]) -> Iterator[Excerpt]:
    """Pass excerpts on, and keep of each what its track's fingerprint takes."""
    for excerpt in excerpts:
        pieces += pieces_of(excerpt, duration)
        yield excerpt


def _worker(names: tuple[str, ...], listening: Listening) -> Callable[[Task], Outcome]:
    return Embedder(names, listening).file


def _patience(task: Task) -> float:
    return _BASE_SECONDS + task.file.size / _BYTES_PER_SECOND
