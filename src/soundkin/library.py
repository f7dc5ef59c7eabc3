"""Library: what users hold. It ties scanning, embedding, the record and the index together.

    library = Library.open("~/my-library")
    library.add(["~/Music"])
    for hit in library.similar("blue in green"):
        print(hit.similarity, hit.artist, hit.title)

Reading never needs the writer's lock, so any number of processes may ask while one indexes. Its parts are what it
inherits: what is meant by a question (`asking`), how tracks come and go (`filling`), what it remembers of people
(`noting`, `tasting`), what it answers (`mixing`, `browsing`), and what it takes over from others (`finding`).
`holding` has its record and its index.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from soundkin import exchange, fusion, recommend
from soundkin.asking import Array, Asked, Filters, Listener
from soundkin.browsing import Browsing
from soundkin.embed import Failure, Space, is_gone
from soundkin.errors import InputError
from soundkin.filling import Filling
from soundkin.finding import Finding
from soundkin.holding import Holding
from soundkin.index.settings import QdrantCollection, QdrantLayout, QdrantSettings
from soundkin.mixing import Mixing
from soundkin.recommend import Hit, Query, Variety
from soundkin.record import Summary, Track, writer_of
from soundkin.record.database import shown, url_of
from soundkin.scan import printable
from soundkin.tasting import Tasting

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

ENVIRONMENT = "SOUNDKIN_LIBRARY"


@dataclass(frozen=True)
class Status:
    """What a library holds.

    Parameters
    ----------
    folder : str
        Where it is: its folder, or where its record is if that is elsewhere.
    summary : Summary
        Tracks, seconds, bytes, formats, failures.
    spaces : list of (Space, int, bool)
        Each space, how many tracks have a vector in it, and whether scans fill it.
    gone : int
        Tracks whose files are not there now.
    writer : str
        The process that is writing, in words; empty when none is.
    without_fingerprint : int
        Tracks that have none, although they are long enough.
    """

    folder: str
    summary: Summary
    spaces: list[tuple[Space, int, bool]] = field(default_factory=list)
    gone: int = 0
    writer: str = ""
    without_fingerprint: int = 0


def default_folder() -> Path:
    """Return the library used when none is named: `SOUNDKIN_LIBRARY`, or the platform's folder for user data."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("soundkin", appauthor=False))


class Library(Filling, Mixing, Finding, Browsing, Tasting):
    """A folder that holds the record, the index and the encoders of one collection of music.

    Open it with `Library.open`; use it as a context manager, or `close` it. Several threads may ask at once.

    Parameters
    ----------
    folder : Path
        Need not exist yet: `add` makes it.
    qdrant : str, QdrantSettings or QdrantClient, optional
        URL of a Qdrant server that holds the index instead of the folder, or how to use it, or a client that is ready.
        Default: `QdrantSettings.of` the environment.
    api_key : str, optional
        Key of that server, where a URL is given.
    listener : callable, optional
        Embeds one file for a question: given the task, the encoders and how they hear, what came of it. By default a
        worker process is started for each; a server keeps some ready.
    record : str, optional
        URL of a PostgreSQL database that holds the record instead of the folder.

    Attributes
    ----------
    place : Path or str
        Where the record is: the folder, or that URL.
    """

    def __init__(
        self,
        folder: Path,
        qdrant: "str | QdrantSettings | QdrantClient | None" = None,
        api_key: str | None = None,
        listener: Listener | None = None,
        record: str | None = None,
    ) -> None:
        place = url_of(record) if record else folder
        if qdrant is None or isinstance(qdrant, str):
            qdrant = QdrantSettings.of(qdrant, api_key)
        super().__init__(folder, Holding(place, folder / "index", qdrant), listener)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str] | None = None,
        qdrant: "str | QdrantSettings | QdrantClient | None" = None,
        api_key: str | None = None,
        listener: Listener | None = None,
        record: str | None = None,
    ) -> Self:
        """Open a library.

        Parameters
        ----------
        folder : path-like, optional
            Default: `default_folder()`. ``~`` is expanded.
        qdrant : str, QdrantSettings or QdrantClient, optional
            URL of a Qdrant server that holds the index, or how to use it, or a client that is ready; default the
            environment's, see `QdrantSettings.of`.
        api_key : str, optional
            Its key, where a URL is given.
        listener : callable, optional
            What embeds files for questions, see `Library`.
        record : str, optional
            ``postgresql://user@host/database`` that holds the record instead of the folder, for many to share.

        Returns
        -------
        Library
            Nothing is read or made before it is needed.

        Raises
        ------
        InputError
            The record is no such URL.
        """
        return cls(Path(folder or default_folder()).expanduser(), qdrant, api_key, listener, record)

    @property
    def opened_with(self) -> dict[str, Any]:
        """What `open` takes to open the same library in another process; of a client for Qdrant nothing is told."""
        where = self._held.where
        return {
            "folder": os.fspath(self.folder),
            "qdrant": where if isinstance(where, QdrantSettings) else None,
            "record": self.place if isinstance(self.place, str) else None,
        }

    def export(
        self,
        path: str | os.PathLike[str],
        space: str | None = None,
        collection: str | None = None,
        api_key: str | None = None,
    ) -> int:
        """Write the tracks of a space with their vectors to a file, see `exchange` for the formats.

        Parameters
        ----------
        path : path-like
            To create or replace; ``.npz``, ``.parquet``, ``.sqlite`` or ``.db``. Or the URL of a Qdrant server.
        space : str, optional
            A space id or the name of an encoder; default the one that answers queries.
        collection : str, optional
            Of a Qdrant: what to call it, default ``music_collection``. With it `path` may be a folder.
        api_key : str, optional
            Key for the server.

        Returns
        -------
        int
            Tracks written.

        Raises
        ------
        InputError
            The suffix is unknown, or the file cannot be written.
        MissingExtra
            The format needs an extra that is not installed.
        NotFound
            No space matches.
        """
        if Path(path).expanduser().resolve().is_relative_to(self.folder.resolve()):
            raise InputError(f"{printable(os.fspath(path))} is inside the library: name a file outside of it")
        exported = exchange.take(self._reader(), self.space(space))
        exchange.write_any(path, exported, collection, api_key)
        return len(exported.tracks)

    def tracks(self) -> list[Track]:
        """Return every track of the library."""
        return list(self._reader().tracks())

    def failures(self) -> list[tuple[Failure, float]]:
        """Return the files that could not be embedded, with the time of the attempt (seconds since 1970)."""
        return [(row.failure, row.at) for row in self._reader().failures()]

    def vectors(self, space: str | None = None) -> tuple[list[str], Array]:
        """Return the vectors of a space.

        Parameters
        ----------
        space : str, optional
            A space id or the name of an encoder; default the one that answers queries.

        Returns
        -------
        ids : list of str
            Track ids.
        vectors : float32 (n, d)
            Of unit length, in the order of `ids`.
        """
        return self._reader().vectors(self.space(space).id)

    def status(self) -> Status:
        """Return what the library holds."""
        record = self._reader()
        summary = record.counts()
        active = {space.id for space in record.active_spaces()}
        spaces = [(space, summary.vectors.get(space.id, 0), space.id in active) for space in record.spaces()]
        gone = sum(map(is_gone, record.files()))
        writer, prints = writer_of(self.place), self.without_fingerprint()
        return Status(shown(self.place), summary, spaces, gone, writer, prints)

    def similar(
        self,
        query: Asked | Query | Array | None = None,
        k: int = 10,
        filters: Filters = None,
        space: str | None = None,
        at: float | None = None,
        seconds: float = 10.0,
        moments: bool = False,
        variety: Variety | None = None,
        versions: bool = False,
        profile: str | None = None,
        *,
        text: str | None = None,
    ) -> list[Hit]:
        """Find what sounds like a track, like a moment of it, or as words describe it.

        Parameters
        ----------
        query : str, path-like, Track, Query or float32 (d,)
            An id, a file (in the library or not), words, a track, what `hear` heard in the space, or a vector of it.
        k : int
            How many.
        filters : str, sequence of str, or Filter, optional
            ``"genre=samba"``, ``"year>=1990"``, ...; all must hold.
        space : str, optional
            A space id or the name of an encoder; several, joined by ``+``, are asked together, see `fusion`.
        at : float, optional
            Ask with the moment that begins here, seconds, instead of the whole track.
        seconds : float
            How long that moment is.
        moments : bool
            Order tracks by the moment of each that comes nearest.
        variety : Variety, optional
            How the answer may not repeat itself; default any way it likes.
        versions : bool
            Keep other copies of the recording, and name them and other versions of the piece in the reasons.
        profile : str, optional
            Who asks, for filters like ``liked``.
        text : str, optional
            Instead of a query, what it should sound like: "slow melancholic piano". Needs a space of an encoder that
            understands words.

        Returns
        -------
        list of Hit
            Best first, without the query itself and other copies of its recording; where a moment is asked for, copies
            are answers.

        Raises
        ------
        NotFound, Ambiguous
            The query names nothing, or several tracks; or no space understands words.
        DecodeError
            The file is no audio.
        InputError
            An unusable filter or vector; a moment that the track does not have; or not one of query and text.
        """
        if k < 1:
            raise InputError(f"k={k}; wanted how many tracks to find, 1 or more")
        if (query is None) == (text is None):
            raise InputError("similar came with both a query and a text, or neither; wanted one of them")
        record = self._reader()
        where = self._filter(filters, profile)
        chosen = self.asked(space, text)
        if query is None:
            queries = {chosen[0]: self._described(text or "", chosen[0])}
        elif len(chosen) > 1 and (isinstance(query, Query | np.ndarray) or moments or versions or variety):
            raise InputError(
                f"a vector, moments, versions and variety are of one space; {len(chosen)} came: "
                "name the one that is meant"
            )
        elif at is None:
            queries = {one: self._query(query, one) for one in chosen}
        else:
            queries = {one: self._moment(query, one, at, seconds) for one in chosen}
        usual = {one.id: self.closeness(one) for one in chosen}
        if len(chosen) > 1:
            return fusion.similar(record, self._current_index(), queries, k, usual, where)
        (only,) = chosen
        return recommend.similar(
            record, self._current_index(), only, queries[only], k, usual[only.id], where, variety, moments,
            versions,
        )  # fmt: skip

    def recommend(
        self,
        likes: Iterable[Asked] = (),
        dislikes: Iterable[Asked] = (),
        profile: str | None = None,
        k: int = 20,
        strategy: str = recommend.STRATEGIES[0],
        filters: Filters = None,
        space: str | None = None,
        variety: Variety | None = None,
        discover: bool = False,
        hybrid: bool = False,
    ) -> list[Hit]:
        """Recommend tracks to somebody who likes some and dislikes others.

        Parameters
        ----------
        likes, dislikes : iterable of str, path-like or Track
            Ids, files (in the library or not), words, or tracks.
        profile : str, optional
            Whose likes, dislikes, skips and plays count as well. What is given here goes before what a profile said.
        k : int
            How many.
        strategy : str
            One of `STRATEGIES`.
        filters : str, sequence of str, or Filter, optional
            As in `similar`.
        space : str, optional
            A space id or the name of an encoder.
        variety : Variety, optional
            How the list may not repeat itself; default `Variety()`.
        discover : bool
            Prefer what the profile never played, or not for long.
        hybrid : bool
            Let what `train_taste` learned from plays have its say; where it has none, see `why_no_taste`, sound alone
            decides.

        Returns
        -------
        list of Hit
            In the order to hear them.

        Raises
        ------
        NotFound, Ambiguous
            A like or dislike names nothing, or several tracks; there is no such profile.
        InputError
            There is no like, a track is both liked and disliked, or a filter is unusable; or hybrid comes with
            another strategy than the default.
        """
        chosen = self.space(space)
        where = self._filter(filters, profile)
        if hybrid and strategy != recommend.STRATEGIES[0]:
            raise InputError(
                f"hybrid goes with the strategy {recommend.STRATEGIES[0]}; {strategy!r} came: leave one of the two out"
            )
        likes = list(likes)
        seeds = self._seeds(likes, dislikes, profile, chosen)
        second = self._second(seeds, likes, profile, chosen) if hybrid else None
        return recommend.recommend(
            self._reader(), self._current_index(), chosen, seeds, k, self.closeness(chosen), strategy, where,
            variety, time.time() if discover else None, second,
        )  # fmt: skip

    # ---- the index, and the end

    def tidy(self) -> bool:
        """Build the index anew when much was added since it was built, which makes questions fast again.

        Questions are answered meanwhile, from the index as it is.

        Returns
        -------
        bool
            Whether it was built.

        Raises
        ------
        StoreError
            It could not be; the index there is as true as before, only slower.
        """
        return self._held.tidy()

    def collection(self) -> QdrantCollection | None:
        """Ask the Qdrant server how the collection of this library is.

        Returns
        -------
        QdrantCollection or None
            None where the index is a folder.

        Raises
        ------
        RebuildNeeded
            There is none yet.
        StoreError
            The server cannot be reached or refuses.
        """
        return self._held.collection()

    def lay_out(self, layout: QdrantLayout | None = None) -> QdrantCollection:
        """Make the collection on the Qdrant server anew from the record, beside the one that answers meanwhile.

        Parameters
        ----------
        layout : QdrantLayout, optional
            How it lies on the nodes; what this does not say stays as it is. With a library that has no track yet the
            collection waits for the first.

        Returns
        -------
        QdrantCollection
            The new one, which answers now; the one before is gone.

        Raises
        ------
        InputError
            The index of this library is a folder, or the layout cannot be.
        IndexLocked
            Another process is doing it.
        StoreError
            The server cannot be reached or refuses; nothing has changed then.
        """
        return self._held.lay_out(layout)

    def close(self) -> None:
        """Let go of the files."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
