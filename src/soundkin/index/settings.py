"""How a Qdrant server or cluster is used: where it is, with what patience, and how a collection lies on it.

    settings = QdrantSettings("http://localhost:6333", layout=QdrantLayout(shards=6, replicas=2, quantization="int8"))
    with Library.open("library", qdrant=settings) as library:
        library.lay_out()

Nothing of Qdrant is imported here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from soundkin.errors import InputError

QUANTIZATIONS = ("none", "int8", "binary")
"""What is kept of each vector in memory to search by; answers are always scored by the whole vectors."""

CONSISTENCIES = ("majority", "quorum", "all")
"""How many copies a question is asked of, as Qdrant calls it; or a number of them."""

ENVIRONMENT = "SOUNDKIN_QDRANT"


@dataclass(frozen=True, slots=True)
class QdrantLayout:
    """How a collection lies on the nodes of a cluster. What is None stays as it is, or is the server's default.

    Parameters
    ----------
    shards : int, optional
        Parts that are spread over the nodes, at least 1; by default as many as there are nodes. The number stays what
        it was when the collection was made: a multiple of the nodes to come is a good one.
    replicas : int, optional
        Copies of each part on different nodes, at least 1, the default; with 2, one node may be lost.
    write_consistency : int, optional
        Copies that must have a change before it counts as made, 1 (the default) up to `replicas`.
    quantization : str, optional
        One of `QUANTIZATIONS`; default "none".
    on_disk : bool, optional
        Keep whole vectors, payload and its indexes on disk, in memory only as far as there is room; what is quantized
        stays in memory. Default False.

    Raises
    ------
    InputError
        A number or word is out of range.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    quantization: str | None = None
    on_disk: bool | None = None

    def __post_init__(self) -> None:
        for name in ("shards", "replicas", "write_consistency"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InputError(f"{name}: got {number}, wanted 1 or more")
        if self.quantization not in (None, *QUANTIZATIONS):
            wanted = ", ".join(QUANTIZATIONS)
            raise InputError(f"quantization: got {self.quantization!r}, wanted one of {wanted}")
        if self.replicas and (self.write_consistency or 1) > self.replicas:
            raise InputError(
                f"write_consistency: got {self.write_consistency}, but there are only {self.replicas} replicas; "
                "give as many replicas, or wait for fewer"
            )

    def over(self, other: "QdrantLayout") -> "QdrantLayout":
        """Fill in what is not said here.

        Parameters
        ----------
        other : QdrantLayout
            Where to take it from.

        Returns
        -------
        QdrantLayout
            What is said here, and else what the other one says.

        Raises
        ------
        InputError
            The two do not go together: more copies to wait for than there are.
        """
        said = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(other, **said)


@dataclass(frozen=True, slots=True)
class QdrantSettings:
    """Which Qdrant holds the index of a library, and how to speak with it.

    Parameters
    ----------
    url : str
        Like ``http://localhost:6333``; of a cluster any node, or what balances the load of all.
    api_key : str, optional
        Key of the server; it is left out where settings are printed.
    timeout : int
        Seconds that one request may take, at least 1. One that fails in a way that may pass (no connection, no answer,
        too many requests, trouble of the server) is sent again after growing pauses, but not when twice this time
        has gone by.
    retries : int
        How often a request is sent again at most, at least 0.
    read_consistency : str, optional
        One of `CONSISTENCIES`, or a number of copies that have to agree on an answer; by default one is asked.
    layout : QdrantLayout
        How the collection lies on the nodes when it is made.

    Raises
    ------
    InputError
        A number or word is out of range.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    timeout: int = 30
    retries: int = 5
    read_consistency: str | None = None
    layout: QdrantLayout = field(default_factory=QdrantLayout)

    def __post_init__(self) -> None:
        if self.timeout < 1 or self.retries < 0:
            raise InputError(
                f"Qdrant: got a timeout of {self.timeout} s and {self.retries} retries; wanted 1 or more and 0 or more"
            )
        copies = self.read_consistency
        if copies is not None and copies not in CONSISTENCIES and not (copies.isdecimal() and int(copies)):
            raise InputError(
                f"Qdrant: read consistency {copies!r}; wanted a number of copies, or one of {', '.join(CONSISTENCIES)}"
            )

    @classmethod
    def of(cls, url: str | None = None, api_key: str | None = None) -> "QdrantSettings | None":
        """Take from the environment what is not given.

        Parameters
        ----------
        url : str, optional
            Default ``SOUNDKIN_QDRANT``.
        api_key : str, optional
            Default ``SOUNDKIN_QDRANT_API_KEY``, then ``QDRANT_API_KEY``.

        Returns
        -------
        QdrantSettings or None
            With ``SOUNDKIN_QDRANT_TIMEOUT`` and ``SOUNDKIN_QDRANT_CONSISTENCY``; None when no URL is named.

        Raises
        ------
        InputError
            A variable is unusable.
        """
        url = url or os.environ.get(ENVIRONMENT)
        if not url:
            return None
        keys = (api_key, *map(os.environ.get, ("SOUNDKIN_QDRANT_API_KEY", "QDRANT_API_KEY")))
        said: dict[str, Any] = {"api_key": next(filter(None, keys), None)}
        if timeout := os.environ.get("SOUNDKIN_QDRANT_TIMEOUT"):
            if not timeout.isdecimal():
                raise InputError(
                    f"SOUNDKIN_QDRANT_TIMEOUT: got {timeout!r}, wanted a whole number of seconds"
                )
            said["timeout"] = int(timeout)
        said["read_consistency"] = os.environ.get("SOUNDKIN_QDRANT_CONSISTENCY") or None
        return cls(url, **said)


@dataclass(frozen=True, slots=True)
class QdrantCollection:
    """What a server says of the collection that holds the index of a library.

    Parameters
    ----------
    place : str
        The server, without its key.
    alias : str
        What readers call it.
    collection : str
        What it is at present, see `soundkin.index.aliases`.
    status : str
        "green": all is well; "yellow": graphs are being built; "grey": they wait to be; "red": something is wrong.
    points, indexed : int
        Points in it, and vectors in graphs; both roughly.
    layout : QdrantLayout
        How it lies on the nodes.
    spaces : mapping of str to int
        Space id -> number of dimensions.
    loading : bool
        Graphs are switched off, because something is being loaded; or was, by a process that was killed.
    """

    place: str
    alias: str
    collection: str
    status: str
    points: int
    indexed: int
    layout: QdrantLayout
    spaces: Mapping[str, int]
    loading: bool
