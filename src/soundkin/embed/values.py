"""What goes in and comes out: spaces, files, tasks, and what came of each."""

import functools
import hashlib
import json
import re
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders.descriptors import Analysis
from soundkin.tags import Tags

Array = NDArray[np.float32]
Vectors = dict[str, Array]  # space id -> track vector
Windows = dict[str, tuple[Array, Array]]  # space id -> (starts, window vectors)


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
        How much of a track is heard: "9x6.05s" or "all".
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
    ran : dict
        Encoder -> where it ran, and what ran it: "cpu, onnxruntime float32".
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
    ran: dict[str, str] = field(default_factory=dict)


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
