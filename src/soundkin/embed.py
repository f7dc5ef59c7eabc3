"""A track, or many, -> window vectors and track vectors in named spaces.

A file is opened once: hashed, its tags read, its excerpts decoded, described and given to every encoder of the run.
Encoders may hear different excerpts; where these overlap, they are decoded once.
In a scan this happens in worker processes, and what goes wrong with a file comes back as a `Failure`, never as an
exception.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import stat
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from soundkin import workers
from soundkin.audio import DEFAULT_LISTENING, Excerpt, Hearing, Listening, hear
from soundkin.encoders import Encoder, find, load_encoder
from soundkin.encoders.descriptors import Analysis, Description, analyse, describe
from soundkin.errors import DecodeError, ModelError
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
# A published network may do a thousand times the work of the built-in one, and need more memory for it.
_PATIENCE_WITH_NETWORKS = 20.0
_TASK_BYTES, _NETWORK_TASK_BYTES = 1 << 30, 6 << 30
# Excerpts are given to encoders together, up to so much sound: enough for large batches, and memory stays flat.
_SECONDS_AT_ONCE = 60.0

# One way of listening for all encoders of a run, or for some of them by name; the others hear as they do best.
Listenings = Listening | Mapping[str, Listening] | None


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
        How much of a track is heard: "16x3.07s" or "all".
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
        name = re.sub(r"[^\w.-]", "-", self.encoder)  # "hf:org/name" as the engines take it
        return f"{name}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:8]}"

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
    lacking : tuple of str
        Ids of the spaces that are wanted; empty for all.
    """

    file: FileState
    known: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


Outcome = Embedded | Same | Failure


class Embedder:
    """Encoders and a way of listening: what a run embeds with; `encoders` holds them by the ids of their `spaces`.

    Parameters
    ----------
    names : sequence of str
        Names or folders of encoders.
    listening : Listening, or mapping of str to Listening, optional
        How much of a track is heard: by all encoders, or by some of them by name; an encoder that is not named hears
        as it does best.
    device : str
        Where encoders run: "auto", "cpu", "cuda", ...

    Raises
    ------
    ModelError
        An encoder cannot be loaded, or none of them can use the device.
    """

    def __init__(
        self, names: Sequence[str], listening: Listenings = DEFAULT_LISTENING, device: str = "auto"
    ) -> None:
        encoders = [load_encoder(name, device) for name in names]
        if device not in ("auto", "cpu") and all(encoder.device == "cpu" for encoder in encoders):
            told = ", ".join(encoder.name for encoder in encoders)
            raise ModelError(
                f"device {device!r} was asked for, but {told} runs on the CPU only; wanted auto or cpu"
            )
        self.encoders: dict[str, Encoder] = {}
        self._spaces: dict[str, Space] = {}
        self.listenings: dict[str, Listening] = {}
        for name, encoder in zip(names, encoders, strict=True):
            heard = (
                listening
                if isinstance(listening, Listening)
                else (listening or {}).get(name, encoder.listening)
            )
            space = space_of(encoder, heard)
            self.encoders[space.id] = encoder
            self.listenings[space.id] = heard
            self._spaces[space.id] = space
        every = list(self.listenings.values())
        # What is told of a track should not change with every encoder that joins.
        self._described = DEFAULT_LISTENING if DEFAULT_LISTENING in every else every[0]

    @property
    def spaces(self) -> list[Space]:
        """The spaces, in the order of the encoders."""
        return list(self._spaces.values())

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
            wanted = [id_ for id_ in self.listenings if not task.lacking or id_ in task.lacking]
            with hear(path, self._described, *(self.listenings[id_] for id_ in wanted)) as hearing:
                result = Embedded(
                    task.file, content, hearing.duration, hearing.rate, hearing.channels, hearing.format,
                    read(path), Analysis(),
                )  # fmt: skip
                descriptions, pieces, result.vectors, result.windows = self._encode(hearing, wanted)
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
            return Failure(
                task.file, "silent", f"no sound above {_SILENCE_DBFS:.0f} dBFS (NaN counts as silence)"
            )
        return result

    def _encode(
        self, hearing: Hearing, wanted: Sequence[str]
    ) -> tuple[list[Description], list[Piece], Vectors, Windows]:
        descriptions: list[Description] = []
        pieces: list[Piece] = []
        parts: dict[str, list[tuple[Array, Array]]] = {id_: [] for id_ in wanted}
        for listening, excerpts in _gathered(hearing.together):
            if listening == self._described:
                descriptions.extend(map(describe, excerpts))
                for excerpt in excerpts:
                    pieces.extend(pieces_of(excerpt, hearing.duration))
            for id_ in wanted:
                if self.listenings[id_] == listening:
                    parts[id_].extend(self.encoders[id_].windows_of(excerpts))
        vectors: Vectors = {}
        windows: Windows = {}
        for id_ in wanted:
            if not parts[id_]:  # no encoder of a run may lack what another one has
                return [], [], {}, {}
            starts, rows = (np.concatenate(column) for column in zip(*parts[id_], strict=True))
            windows[id_] = starts, rows
            vectors[id_] = self.encoders[id_].pool(rows)
        return descriptions, pieces, vectors, windows


def _gathered(heard: Iterable[tuple[Listening, Excerpt]]) -> Iterator[tuple[Listening, list[Excerpt]]]:
    """Gather the excerpts of each way of listening, up to a minute of sound."""
    waiting: dict[Listening, list[Excerpt]] = defaultdict(list)
    for listening, excerpt in heard:
        waiting[listening].append(excerpt)
        if sum(len(e.samples) / e.rate for e in waiting[listening]) >= _SECONDS_AT_ONCE:
            yield listening, waiting.pop(listening)
    yield from waiting.items()


def space_of(encoder: Encoder, listening: Listening) -> Space:
    """Name the space of an encoder that hears tracks in one way."""
    return Space(
        encoder.name, encoder.weights, encoder.front_end, round(encoder.window_seconds, 4),
        round(encoder.hop_seconds, 4), listening.name, encoder.pooling, encoder.dims,
    )  # fmt: skip


def embed_files(
    tasks: Iterable[Task],
    names: Sequence[str],
    listening: Listenings = DEFAULT_LISTENING,
    jobs: int | None = None,
    nice: bool = False,
    device: str = "auto",
) -> Generator[tuple[Task, Outcome], None, None]:
    """Embed many files in worker processes.

    Parameters
    ----------
    tasks : iterable of Task
        Consumed lazily.
    names : sequence of str
        Names or folders of encoders.
    listening : Listening, or mapping of str to Listening, optional
        As for `Embedder`.
    jobs : int, optional
        Worker processes; default one per core this process may use.
    nice : bool
        Give way to other programs.
    device : str
        As for `Embedder`; every worker loads its own copy of the encoders there.

    Yields
    ------
    tuple of (Task, Embedded or Same or Failure)
        In the order they end.
    """
    patience = partial(_patience, heavy=not all(map(is_light, names)))
    outcomes = workers.run(
        "soundkin.embed:_worker", (tuple(names), listening, device), tasks, jobs or cores(), patience, nice
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


def is_light(name: str) -> bool:
    """Tell whether an encoder is one of ours: built in, or a folder of its kind."""
    found = find(name)
    return found is None or found[0].is_built_in


def _worker(names: tuple[str, ...], listening: Listenings, device: str) -> Callable[[Task], Outcome]:
    embedder = Embedder(names, listening, device)
    if all(encoder.device == "cpu" for encoder in embedder.encoders.values()):
        # The driver of a GPU reserves far more addresses than it ever uses; anything else may be held to a limit.
        workers.limit_memory(_TASK_BYTES if all(map(is_light, names)) else _NETWORK_TASK_BYTES)
    return embedder.file


def _patience(task: Task, heavy: bool = False) -> float:
    return (_BASE_SECONDS + task.file.size / _BYTES_PER_SECOND) * (_PATIENCE_WITH_NETWORKS if heavy else 1.0)
