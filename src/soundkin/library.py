"""Library: what users hold. It ties scanning, embedding, the record and the index together.

    library = Library.open("~/my-library")
    library.add(["~/Music"])
    for hit in library.similar("blue in green"):
        print(hit.similarity, hit.artist, hit.title)

Reading never needs the writer's lock, so any number of processes may ask while one indexes. The index follows the
record: whoever opens it applies what the record has gained since, and where another process holds it, the answer comes
from the vectors in the record, exactly, only slower.
"""

import contextlib
import difflib
import logging
import math
import os
import re
import resource
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from soundkin import exchange, fusion, recommend
from soundkin.audio import DEFAULT_LISTENING, MIN_SECONDS, WHOLE, Listening, Passage, is_audio_name
from soundkin.browsing import Browsing, where_of
from soundkin.cluster import ClusterOptions, ClusterReport, LoadReport, embed_with_ray, load, sources_of
from soundkin.embed import (
    Embedded,
    Embedder,
    Failure,
    FileState,
    Outcome,
    Space,
    Task,
    cores,
    embed_files,
    is_gone,
)
from soundkin.encoders import DEFAULT, FOLDER_FILES, find
from soundkin.errors import DecodeError, InputError, ModelError, NotFound, StoreError
from soundkin.filters import Filter, Values, glob, parse
from soundkin.index import Index, Mark, RebuildNeeded, open_index
from soundkin.index.building import Builder
from soundkin.index.follow import catch_up, is_foreign, rebuild_from
from soundkin.index.generations import read_state
from soundkin.index.recorded import RecordIndex
from soundkin.index.settings import QdrantCollection, QdrantLayout, QdrantSettings
from soundkin.mixing import Mixing
from soundkin.recommend import Closeness, Hit, Query, Seeds, Variety
from soundkin.record import Record, Summary, Track, writer_of
from soundkin.record.database import Place, shown, url_of
from soundkin.record.feedback import DEFAULT_PROFILE, Feedback, Profile
from soundkin.record.listing import Where
from soundkin.record.rows import fold, to_track
from soundkin.record.runs import Run
from soundkin.scan import (
    Progress,
    PruneRefused,
    Scan,
    ScanOptions,
    ScanReport,
    absolute,
    holds_audio,
    is_below,
    printable,
    roots_of,
)
from soundkin.spaces import own_space, spaces_of
from soundkin.taste.serving import SPACE as TASTE
from soundkin.tasting import Tasting

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


Array = NDArray[np.float32]
Listener = Callable[[Task, list[str], Listening], Outcome]

log = logging.getLogger(__name__)

ENVIRONMENT = "SOUNDKIN_LIBRARY"
# Up to here searching without a graph is as fast as with one, and building it not worth a process of its own.
_SMALL = 10_000
# An index is built anew when one in so many of its points is outside the graph: at a million tracks that costs less
# than half of what embedding those took.
_OUTSIDE = 50
_MANY_TITLES = 100_000
_ID = re.compile("[0-9a-f]{16}")  # of a track
# How long answers come from the record after the index could not be had, before it is tried again.
_TRY_AGAIN_SECONDS = 10.0


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


class Ambiguous(NotFound):
    """Words that match several tracks.

    Parameters
    ----------
    message : str
        One line.
    choices : list of Track
        What they match.
    """

    def __init__(self, message: str, choices: list[Track]) -> None:
        super().__init__(message)
        self.choices = choices


def default_folder() -> Path:
    """Return the library used when none is named: `SOUNDKIN_LIBRARY`, or the platform's folder for user data."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("soundkin", appauthor=False))


class Library(Mixing, Browsing, Tasting):
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
        self.folder = folder
        self.place: Place = url_of(record) if record else folder
        self._listener = listener or _listen_once
        self._guard = threading.RLock()  # of what is opened and brought up to date on demand
        if qdrant is None or isinstance(qdrant, str):
            qdrant = QdrantSettings.of(qdrant, api_key)
        self._where: Path | QdrantSettings | QdrantClient = qdrant or folder / "index"
        self._is_remote = qdrant is not None
        self._record: Record | None = None
        self._index: Index | None = None
        self._fallback: RecordIndex | None = None  # while the index cannot be had
        self._builder = Builder(self.place, folder / "index")
        self._try_again = 0.0  # when to look for the index again, on the monotonic clock
        self._embedders: dict[str, Embedder] = {}
        self._counted: tuple[int, dict[str, int]] = (
            -1,
            {},
        )  # vectors in each space, with the revision of the record
        self._valued: dict[str, tuple[int, Values]] = {}  # with the revision of the record
        self._closeness: dict[str, tuple[int, Closeness]] = {}  # with the revision of the record

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
    def opened_with(self) -> dict[str, str | None]:
        """What `open` takes to open the same library in another process; of a client for Qdrant nothing is told."""
        server = self._where if isinstance(self._where, QdrantSettings) else None
        return {
            "folder": os.fspath(self.folder),
            "qdrant": server.url if server else None,
            "api_key": server.api_key if server else None,
            "record": self.place if isinstance(self.place, str) else None,
        }

    # ---- writing

    def add(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        options: ScanOptions | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> ScanReport:
        """Index files and folders: embed what is new or changed, follow what moved.

        Parameters
        ----------
        paths : path-like, or iterable of them
            Folders are searched through.
        options : ScanOptions, optional
            How.
        progress : callable, optional
            Called with a `Progress` after every file.

        Returns
        -------
        ScanReport
            What happened. Files that failed are in the record with their reasons, see `failures`.

        Raises
        ------
        InputError
            A path does not exist.
        PruneRefused
            Everything known below a path is gone, and `prune` would forget it. All else is done: the error has the
            report.
        StoreError
            Another process is writing, the disk is full, the folder cannot be written.
        """
        begin, used = time.monotonic(), _cpu_seconds()
        options = options or ScanOptions()
        roots = roots_of([paths] if isinstance(paths, (str, os.PathLike)) else paths)
        with Record.open(self.place, write=True) as record:
            self._drop_foreign_index(record)
            names, listening = self._settings(record, options)
            refused: PruneRefused | None = None
            try:
                report = Scan(record, names, listening, options, progress).run(roots)
            except PruneRefused as error:
                refused, report = error, error.report
            if report.added or report.updated:
                record.keep_run(_run(report, time.monotonic() - begin, options.jobs, used))
        self._renew_index()
        report.elapsed = time.monotonic() - begin
        if refused is not None:
            raise refused
        return report

    def watch(
        self,
        paths: Iterable[str | os.PathLike[str]],
        options: ScanOptions | None = None,
        report: Callable[[ScanReport], None] | None = None,
        stop: Any = None,
    ) -> None:
        """Keep the library up to date as files come and go, until interrupted.

        Parameters
        ----------
        paths : iterable of path-like
            Folders to watch.
        options : ScanOptions, optional
            As for `add`; files that go are forgotten when `prune` is set.
        report : callable, optional
            Called after every round that did something.
        stop : threading.Event, optional
            Ends the watch when set.

        Raises
        ------
        InputError
            A path does not exist, or the system refuses to watch it: a folder inside it cannot be read, or there are
            more than it watches at a time.
        """
        roots, own = roots_of(paths), os.path.abspath(self.folder) + os.sep
        waiting, trouble = set(roots), ""  # what changed before the watch began
        for changed in _changes(roots, stop):
            # The library may lie inside the music: its own files must not start a scan, which would change them.
            seen = [path for path in changed if not (path + os.sep).startswith(own)]
            if all(is_below(path, roots) for path in seen):
                waiting.update(_nearest_folder(path, roots) for path in seen)
            else:  # macOS calls what is behind a link by its own name
                waiting.update(roots)
            if not waiting:
                continue
            try:
                done = self.add(_topmost(waiting), options)
            except StoreError as error:  # another process writes, the disk is full: both pass
                if str(error) != trouble:
                    log.warning("%s; trying again", error)
                trouble = str(error)
                continue
            except InputError as error:
                log.warning("%s", error)
                waiting.clear()
                if not isinstance(error, PruneRefused):
                    continue
                done = error.report
            waiting.clear()
            trouble = ""
            if report and (done.added or done.updated or done.moved or done.failed or done.removed):
                report(done)

    def remove(self, queries: Iterable[str | os.PathLike[str]]) -> int:
        """Forget tracks, and failures. Files are not touched: what is still on disk comes back with the next scan.

        Parameters
        ----------
        queries : iterable
            Ids, files, folders (everything below them) or words.

        Returns
        -------
        int
            Tracks removed.

        Raises
        ------
        NotFound
            A query names nothing, or several tracks.
        """
        ids: set[str] = set()
        failed: set[str] = set()
        files, failures = self._reader().files(), self._reader().failed_files()
        for query in queries:
            if not os.fspath(query):  # as a path it would be the current folder and everything below it
                raise NotFound("nothing is named by an empty query: give an id, a file, a folder or words")
            below = [absolute(query)]
            under = [row.track_id for path, row in files.items() if is_below(path, below)]
            bad = [path for path in failures if is_below(path, below)]
            ids.update(under if under or bad else [self.find(query).id])
            failed.update(bad)
        with Record.open(self.place, write=True) as record:
            self._drop_foreign_index(record)
            removed = record.remove(ids=sorted(ids), paths=sorted(failed))
        self._renew_index()
        return removed

    def import_(
        self,
        path: str | os.PathLike[str],
        encoder_name: str = exchange.IMPORTED,
        collection: str | None = None,
        api_key: str | None = None,
    ) -> exchange.ImportReport:
        """Take in vectors that were made elsewhere, see `exchange` for the formats.

        A library that has no space yet goes on in the imported one, if its encoder is here: then the next scan finds
        nothing to embed.

        Parameters
        ----------
        path : path-like
            What `export` wrote, here or on another machine; or an SQLite file with a table ``songs_vectors``; or the
            URL or folder of a Qdrant.
        encoder_name : str
            What to call whatever made the vectors of such a table, or of a collection by others.
        collection, api_key : str, optional
            Of a Qdrant: which one, default ``music_collection``; key for the server.

        Returns
        -------
        ImportReport
            What became of the rows. A second time changes nothing.

        Raises
        ------
        InputError
            The file is not there, damaged, or of another kind.
        MissingExtra
            Its format needs an extra that is not installed.
        StoreError
            Another process is writing, the disk is full, the folder cannot be written.
        """
        content = exchange.read_any(path, encoder_name, collection, api_key)
        with Record.open(self.place, write=True) as record:
            self._drop_foreign_index(record)
            report = exchange.merge(
                record, content, not record.active_spaces() and self._makes(content.space)
            )
        if report.vectors or report.added:
            self._renew_index()
        return report

    def add_with_ray(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        options: ClusterOptions | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> tuple[ClusterReport, LoadReport]:
        """Index files, folders and URLs as `add` does it, on a Ray cluster.

        What the library has already is not embedded again. The results lie in its folder ``ray`` until they are
        loaded, so that one that was killed goes on.

        Parameters
        ----------
        paths : path-like, or iterable of them
            Folders are searched through. Every machine of the cluster has to see them, and the library's folder.
        options : ClusterOptions, optional
            How; `encoders` and `listening` as in `ScanOptions`.
        progress : callable, optional
            Called with a `Progress` now and then.

        Returns
        -------
        tuple of (ClusterReport, LoadReport)
            What the cluster did, and what came into the library.

        Raises
        ------
        InputError
            A path does not exist.
        MissingExtra
            Ray is not installed.
        StoreError
            The cluster cannot be reached; another process is writing, the disk is full.
        """
        options = options or ClusterOptions()
        given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        with Record.open(self.place, write=True) as record:
            heard = options.listening if isinstance(options.listening, Listening) else None
            names, listening = self._settings(record, ScanOptions(options.encoders, heard))
            known = _known(record, [space.id for space in spaces_of(names, listening)], options.retry)
        out = self.folder / "ray"
        how = replace(options, encoders=tuple(names), listening=listening)
        report = embed_with_ray(given, out, how, progress, known)
        loaded = self.load(out) if (out / "parts").is_dir() else LoadReport()
        shutil.rmtree(
            out, ignore_errors=True
        )  # else what is removed from the library would come back from there
        return report, loaded

    def load(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        progress: Callable[[int, int], None] | None = None,
    ) -> LoadReport:
        """Take in what `cluster.embed_with_ray` made, in bulk.

        Parameters
        ----------
        paths : path-like, or iterable of them
            Its Parquet files; or their folders, here or in a bucket.
        progress : callable, optional
            Called with the number of files read and of all.

        Returns
        -------
        LoadReport
            What became of the rows. A second time adds nothing.

        Raises
        ------
        InputError
            A file is not there, damaged, or of another kind. What came before it is in the library.
        MissingExtra
            A package is not installed.
        StoreError
            Another process is writing, the disk is full, the folder cannot be written.
        """
        sources = sources_of([paths] if isinstance(paths, (str, os.PathLike)) else list(paths))
        with Record.open(self.place, write=True) as record:
            self._drop_foreign_index(record)
            others = bool(record.active_spaces())
            report = load(record, sources, lambda space: not others and self._makes(space), progress)
        self._renew_index(report.added + report.updated)
        return report

    # ---- reading

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

    def scanning(self) -> str:
        """Say that another process is filling this library, for the end of a message that something is not in it.

        Returns
        -------
        str
            Begins with a semicolon; empty when nobody is.
        """
        writer = writer_of(self.place)
        return f"; {writer} is filling this library, ask again when it is done" if writer else ""

    def space(self, name: str | None = None) -> Space:
        """Choose a space.

        Parameters
        ----------
        name : str, optional
            A space id, or the name of an encoder, or how its name begins if no other one begins like that.

        Returns
        -------
        Space
            Of those that match, the one that most tracks have; so a new encoder takes over when it has caught up.

        Raises
        ------
        NotFound
            No space matches.
        """
        record = self._reader()
        # what is learned from plays answers only when it is asked for
        spaces = _called([s for s in record.spaces() if name is not None or s != TASTE], name)
        if not spaces:
            known = ", ".join(s.id for s in record.spaces())
            if not known:
                raise NotFound(f"nothing is indexed in {shown(self.place)} yet{self.scanning()}")
            raise NotFound(f"no space {name!r} in this library; there is: {known}")
        if len(spaces) == 1:
            return spaces[0]
        counts = self._vectors_in_spaces()
        order = {space.id: place for place, space in enumerate(spaces)}
        active = {space.id for space in record.active_spaces()}

        def rank(space: Space) -> tuple[int, bool, bool, int]:
            return counts.get(space.id, 0), space.encoder == DEFAULT, space.id in active, order[space.id]

        best = max(spaces, key=rank)
        # What a successor lacks may never come, for files go and fail: then it is as full as it can be.
        heirs = [s for s in spaces if s.id in active and s.encoder == best.encoder and counts.get(s.id)]
        full = [s for s in heirs if best.id not in active and self._is_full(s)]
        return max(full, key=rank, default=best)

    def find(self, query: str | os.PathLike[str], files: bool = True) -> Track:
        """Find the one track that a query names.

        Parameters
        ----------
        query : str or path-like
            An id, a path, or words of title, artist, album or file name.
        files : bool
            False takes nothing for a path: for questions from people who must not ask what is on this disk.

        Returns
        -------
        Track
            The track.

        Raises
        ------
        NotFound
            Nothing matches.
        Ambiguous
            Several tracks match; it lists them.
        """
        record, text = self._reader(), os.fspath(query)
        with contextlib.suppress(NotFound, InputError):
            return record.track(text)
        if files and (track := record.by_path(absolute(text))) is not None:
            return track
        matches = record.search(text)
        if not matches:
            raise NotFound(self._no_match(text))
        exact = [t for t in matches if fold(text) in (fold(t.name), fold(f"{t.artist} {t.name}"))]
        choices = exact or matches
        if len(choices) > 1:
            raise Ambiguous(f"{printable(text)!r} matches several tracks: say which", choices)
        return choices[0]

    def _no_match(self, text: str) -> str:
        """Say why a query names nothing, and what to do about it."""
        path, shown = absolute(text), printable(text)
        if os.path.isfile(path):
            command = f"soundkin index {shlex.quote(printable(path))}"
            return f"{shown} is not in the library: index it first, with `{command}`{self.scanning()}"
        if text[:1] in (os.sep, "~") or (os.sep in text and is_audio_name(text)):
            return f"there is no file {printable(path)}, nor does the library know one by that path{self.scanning()}"
        near = "; nearest: " + ", ".join(map(printable, names)) if (names := self._names_like(text)) else ""
        return f"nothing in the library matches {shown!r}: no id, no file, no words{near}{self.scanning()}"

    def _names_like(self, text: str) -> list[str]:
        """Return up to three artists or titles, of a large library artists, that are spelled much like some words."""
        # to compare a million titles takes ten seconds
        fields = ("artist",) if self._reader().count(Where()) > _MANY_TITLES else ("artist", "title")
        names = {fold(name): name for field in fields for name in self._reader().distinct(field)}
        return [names[near] for near in difflib.get_close_matches(fold(text), names, 3)]

    def asked(self, names: str | None = None, text: str | None = None) -> list[Space]:
        """Choose the spaces of a question.

        Parameters
        ----------
        names : str, optional
            As for `space`; several are joined by ``+``.
        text : str, optional
            Words that are the question: then it is one space, whose encoder understands them.

        Returns
        -------
        list of Space
            At least one, none twice.

        Raises
        ------
        NotFound
            A name matches no space, or no space understands words.
        """
        if text is not None:
            return [self._reading_space(names)]
        return list(dict.fromkeys(map(self.space, names.split("+") if names else (None,))))

    def similar(
        self,
        query: str | os.PathLike[str] | Track | Query | Array | None = None,
        k: int = 10,
        filters: str | Sequence[str] | Filter | None = None,
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
        likes: Iterable[str | os.PathLike[str] | Track] = (),
        dislikes: Iterable[str | os.PathLike[str] | Track] = (),
        profile: str | None = None,
        k: int = 20,
        strategy: str = recommend.STRATEGIES[0],
        filters: str | Sequence[str] | Filter | None = None,
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
        record = self._reader()
        if self._current_index().outside_graph() < _most_outside(record):
            return False
        self._rebuild(record)
        with self._guard:
            self._close_index()
        return True

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
        if isinstance(self._where, Path):
            return None
        from soundkin.index.server import open_collection

        with open_collection(self._where, **self._server(self._reader())) as index:
            return index.state()

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
        if isinstance(self._where, Path):
            raise InputError("the index of this library is a folder; name a Qdrant server, with --qdrant URL")
        try:
            record = self._reader()
        except NotFound:  # before the first scan: the record is what gives the collection its name
            Record.open(self.place, write=True).close()
            record = self._reader()
        rebuild_from(self.place, self._where, layout=layout, **self._server(record))
        with self._guard:
            self._close_index()
        if record.revision:
            self._current_index()  # what the record has gained meanwhile
        state = self.collection()
        assert state is not None
        return state

    def closeness(self, space: Space) -> Closeness:
        """Return what similarities are usual in a space of this library.

        Parameters
        ----------
        space : Space
            One of the library's.

        Returns
        -------
        Closeness
            Learned from a sample; again when the library has grown or shrunk by a twentieth.
        """
        record = self._reader()
        revision = record.revision
        seen, known = self._closeness.get(space.id, (-1, None))
        if known is not None and seen == revision:
            return known
        tracks = record.size(space.id)
        if known is None or abs(tracks - known.tracks) * 20 > known.tracks:
            rows = record.sample(space.id, recommend.SAMPLE)
            rows = rows[rows.any(axis=1)]
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            known = Closeness.of(rows, tracks)
        self._closeness[space.id] = revision, known
        return known

    def hear(self, query: str | os.PathLike[str] | Track, space: str | None = None) -> Query:
        """Return what a query is in a space; a file outside the library is embedded, and nothing of it is kept.

        Parameters
        ----------
        query : str, path-like or Track
            An id, a file (in the library or not), words, or a track.
        space : str, optional
            A space id or the name of an encoder; default the one that answers queries.

        Returns
        -------
        Query
            Vector, windows, and what is known of the track; its id is "" when it is not in the library.

        Raises
        ------
        NotFound, Ambiguous
            It names nothing, or several tracks.
        DecodeError
            The file is not audio.
        ModelError
            The encoder that made the space is no longer here.
        """
        return self._query(query, self.space(space))

    # ---- taste

    def feedback(
        self,
        kind: str,
        queries: Iterable[str | os.PathLike[str] | Track],
        profile: str = DEFAULT_PROFILE,
        at: float | None = None,
    ) -> list[Track]:
        """Remember what somebody said about tracks, or played; also while another process scans.

        Parameters
        ----------
        kind : str
            "like", "dislike", "unlike" (takes back either), "skip" or "play".
        queries : iterable of str, path-like or Track
            Which tracks.
        profile : str
            Who.
        at : float, optional
            When, seconds since 1970; default now.

        Returns
        -------
        list of Track
            What the queries name.

        Raises
        ------
        NotFound, Ambiguous
            A query names nothing, or several tracks; there is no such profile. Nothing is remembered then.
        InputError
            There is no such kind or time.
        """
        tracks = [query if isinstance(query, Track) else self.find(query) for query in queries]
        with Record.open_to_note(self.place) as record:
            record.add_feedback(profile, [track.id for track in tracks], kind, at)
        return tracks

    def history(self, profile: str = DEFAULT_PROFILE) -> list[Feedback]:
        """Return all that a profile said and did, oldest first; raise NotFound when there is no such profile."""
        return self._reader().feedback(profile)

    def profiles(self) -> list[Profile]:
        """Return every profile, the default one first."""
        return self._reader().profiles()

    def create_profile(self, name: str) -> str:
        """Make a profile and return its name as it is kept; raise InputError when it is unusable or taken."""
        with Record.open_to_note(self.place) as record:
            return record.create_profile(name)

    def delete_profile(self, name: str) -> int:
        """Forget a profile and all it said, and return how much that was; raise NotFound when there is none."""
        with Record.open_to_note(self.place) as record:
            return record.delete_profile(name)

    def embedder(self, space: Space) -> Embedder:
        """Return what embeds into a space of this library.

        Parameters
        ----------
        space : Space
            One of the library's.

        Returns
        -------
        Embedder
            Of this space alone; made once.

        Raises
        ------
        ModelError
            The encoder that made the space is no longer here.
        """
        if space.id not in self._embedders:
            made = Embedder([self._encoder_source(space.encoder)], Listening.named(space.listening))
            if made.spaces[0].id != space.id:
                raise _of_another_version(space)
            self._embedders[space.id] = made
        return self._embedders[space.id]

    def close(self) -> None:
        """Let go of the files."""
        with self._guard:
            self._close_index()
            self._fallback = None
            if self._record is not None:
                self._record.close()
            self._record = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- inside

    def _settings(self, record: Record, options: ScanOptions) -> tuple[list[str], dict[str, Listening]]:
        """Say what a scan embeds with: encoders, and how those hear that do not hear as they do best."""
        active = record.active_spaces()
        heard = {space.encoder: Listening.named(space.listening) for space in active}
        # An encoder that comes in a new version has the name of the one the library has: both are one folder here.
        sources = {
            self._keep_encoder(name): self._encoder_name(name)
            for name in [*heard, *options.encoders] or [DEFAULT]
        }
        if options.listening == DEFAULT_LISTENING:
            return list(sources), {}
        if options.listening is not None:
            return list(sources), dict.fromkeys(sources, options.listening)
        whole = bool(heard) and set(heard.values()) == {WHOLE}  # then a new encoder hears all, too
        listenings = {
            source: heard.get(name, WHOLE) for source, name in sources.items() if whole or name in heard
        }
        return list(sources), listenings

    def _encoder_name(self, name: str) -> str:
        """Return what an encoder is called in spaces."""
        if found := find(name):
            return found[1].name
        return own_space(self._encoder_source(name)).encoder

    def _keep_encoder(self, name: str) -> str:
        """Copy an encoder folder into the library, so that it can be queried wherever the original goes."""
        if find(name) or not (Path(name) / "encoder.json").is_file():
            return self._encoder_source(name)
        called = own_space(name).encoder
        if find(called):
            raise ModelError(
                f"the encoder in {printable(name)} is called {called!r} like a built-in one: give it another name "
                "in its encoder.json"
            )
        home = self.folder / "encoders" / called
        if Path(name).resolve() != home.resolve():
            home.mkdir(parents=True, exist_ok=True)
            for part in FOLDER_FILES:  # training leaves gigabytes of cache beside them
                shutil.copy(Path(name) / part, home)
        return os.fspath(home)

    def _makes(self, space: Space) -> bool:
        """Tell whether an encoder that is here makes vectors of a space."""
        try:
            listening = Listening.named(space.listening)
            return spaces_of([self._encoder_source(space.encoder)], listening) == [space]
        except ModelError:
            return False

    def _encoder_source(self, name: str) -> str:
        if found := find(name):
            return found[1].name
        home = self.folder / "encoders" / name
        return os.fspath(home) if home.is_dir() else name

    def _reader(self) -> Record:
        with self._guard:
            if self._record is None:
                self._record = Record.open(self.place)
            return self._record

    def _vectors_in_spaces(self) -> dict[str, int]:
        """Count the vectors of each space, once for each revision of the record: it reads through all of them."""
        revision, known = self._reader().revision, self._counted
        if known[0] != revision:
            known = self._counted = revision, self._reader().counts().vectors
        return known[1]

    def _is_full(self, space: Space) -> bool:
        record = self._reader()
        failed = record.failed_files()
        return all(path in failed or not os.path.exists(path) for path in record.missing(space.id))

    def _filter(
        self, filters: str | Sequence[str] | Filter | None, profile: str | None = None
    ) -> Filter | None:
        """Read filters; `liked` and its like are resolved to tracks now, for they change all the time."""
        if filters is None or isinstance(filters, Filter):
            return filters
        record = self._reader()

        def known(name: str) -> Sequence[str]:
            if name == "path":
                return sorted({part for path in record.paths().values() for part in Path(path).parts[1:-1]})
            return self._values("genre" if name == "subgenre" else name)

        def ids_of(name: str, value: str) -> frozenset[int]:
            if name == "path":
                passes = glob(os.path.expanduser(value))
                return frozenset(int(id_, 16) for id_, path in record.paths().items() if passes(path))
            return frozenset(int(id_, 16) for id_ in record.tracks_that_are(name, profile or DEFAULT_PROFILE))

        return parse([filters] if isinstance(filters, str) else filters, known, ids_of)

    def _values(self, field: str) -> Values:
        """Return the values that a field has; of a large library they take longer than a question."""
        revision = self._reader().revision
        if self._valued.get(field, (-1, ()))[0] != revision:
            self._valued[field] = revision, Values(self._reader().distinct(field))
        return self._valued[field][1]

    def _query(self, query: str | os.PathLike[str] | Track | Query | Array, space: Space) -> Query:
        if isinstance(query, Query):
            return query
        if isinstance(query, np.ndarray):
            return Query(query)
        track = self._named(query)
        if track is None:
            assert not isinstance(query, Track)
            return self._outside(absolute(query), space)
        try:
            record = self._reader()
            return recommend.with_windows(
                record, space, Query(_unit(record.vector(track.id, space.id)), track)
            )
        except NotFound:
            # The space is still being filled, and this track is not there yet.
            return self._outside(track.path, space)

    def _named(self, query: str | os.PathLike[str] | Track) -> Track | None:
        """Return the track that is meant; None for a file that the library does not have."""
        if isinstance(query, Track):
            return query
        path = absolute(query)
        if os.path.isfile(path) and self._reader().by_path(path) is None:
            return None
        # A word may happen to be the name of a folder here; what is written like a path means the folder.
        if os.path.isdir(path) and (os.sep in os.fspath(query) or os.fspath(query)[:1] in (".", "~")):
            raise InputError(
                f"{printable(path)} is a folder: ask with one file, an id, or words of artist and title"
            )
        return self.find(query)

    def _reading_space(self, name: str | None) -> Space:
        """Choose a space whose encoder understands words."""
        if name is not None:
            return self.space(name)
        readers = {
            s.encoder for s in self._reader().spaces() if (found := find(s.encoder)) and found[0].reads
        }
        if not readers:
            raise NotFound(
                "no space of this library understands words: `soundkin index PATHS --encoder clap` makes one"
            )
        counts = {reader: self._reader().counts().vectors.get(self.space(reader).id, 0) for reader in readers}
        return self.space(max(sorted(counts), key=counts.__getitem__))

    def _described(self, text: str, space: Space) -> Query:
        if not text.strip():
            raise InputError("the text is empty; wanted words for what it should sound like")
        return Query(self.embedder(space).encoders[space.id].text(text), is_text=True)

    def _moment(
        self, query: str | os.PathLike[str] | Track | Query | Array, space: Space, at: float, seconds: float
    ) -> Query:
        """Embed a moment of a track, in the library or not."""
        if isinstance(query, Query | np.ndarray):
            raise InputError("a vector has no moments: give a file, an id, words or a track")
        hop = min(seconds, Listening.named(space.listening).seconds)
        passage = Passage(None, max(hop, MIN_SECONDS), at, seconds)
        if not isinstance(query, Track):
            path = absolute(query)
            is_outside = os.path.isfile(path) and self._reader().by_path(path) is None
            query = path if is_outside else self.find(query)
        if isinstance(query, Track) and at > query.duration - MIN_SECONDS:
            raise InputError(
                f"a moment at {at:g} s: {printable(query.title or query.path)} is only {query.duration:.0f} s long"
            )
        path = query.path if isinstance(query, Track) else query
        moment = self._outside(path, space, passage)
        like = query if isinstance(query, Track) else moment.like
        return Query(moment.vector, like, moment.windows, moment.starts, whole=False)

    def _seeds(
        self,
        likes: Iterable[str | os.PathLike[str] | Track],
        dislikes: Iterable[str | os.PathLike[str] | Track],
        profile: str | None,
        space: Space,
    ) -> Seeds:
        """Bring together what is liked and disliked here and by a profile; what is given here goes first."""
        (near, silent), (far, too_far) = self._given(likes, space), self._given(dislikes, space)
        ids = {*silent, *(q.like.id or q.like.content for q in near if q.like)}
        against = {*too_far, *(q.like.id or q.like.content for q in far if q.like)}
        if both := ids & against:
            twice = min(both)
            name = next((q.like.name for q in near if q.like and twice in (q.like.id, q.like.content)), twice)
            raise InputError(f"{printable(name)} is both liked and disliked: leave one out")
        unwanted, too_many = (
            {int(id_, 16) for id_ in silent},
            dict.fromkeys((int(id_, 16) for id_ in too_far), 1.0),
        )
        if profile is None:
            return Seeds(tuple(near), tuple(far), (), frozenset(unwanted), too_many)
        known = self._reader().opinions(profile)
        taste = recommend.taste_of(known, time.time())
        given = ids | against
        room = max(0, recommend.MOST_SPEAK - len(near))
        likes_left = recommend.speakers([id_ for id_ in taste.likes if id_ not in given], room)
        near += self._first_known(space, likes_left, room)
        read = {q.like.id for q in near if q.like}
        unwanted |= {int(id_, 16) for id_ in likes_left if id_ not in read}
        weights = dict.fromkeys(taste.skips, recommend.SKIP_WEIGHT) | dict.fromkeys(taste.dislikes, 1.0)
        weights = {id_: weight for id_, weight in weights.items() if id_ not in given}
        more = list[Query]()
        if len(weights) > recommend.MOST_SPEAK:
            too_many |= {int(id_, 16): weight for id_, weight in weights.items()}
        else:
            more = self._known(space, list(weights))
        counts = [1.0] * len(far) + [weights[q.like.id] for q in more if q.like]
        if not near:
            raise InputError(
                f"nothing to go by: profile {profile!r} likes nothing that is here; say so with `soundkin like`, "
                "or give likes"
            )
        played = {int(id_, 16): opinion.played for id_, opinion in known.items() if opinion.played}
        return Seeds(tuple(near), (*far, *more), tuple(counts), frozenset(unwanted), too_many, played)

    def _given(
        self, asked: Iterable[str | os.PathLike[str] | Track], space: Space
    ) -> tuple[list[Query], list[str]]:
        """Return queries for the tracks that are given; of very many for some, and the ids of the others."""
        given, ids, silent = list(asked), list[str](), list[str]()
        for q in given:
            if isinstance(q, str) and _ID.fullmatch(q):
                ids.append(q)
            else:
                ids.append(track.id if (track := self._named(q)) else "")
        if len(given) > recommend.MOST_SPEAK:
            room = max(0, recommend.MOST_SPEAK - ids.count(""))
            order = recommend.speakers([id_ for id_ in dict.fromkeys(ids) if id_], room)
            # one may be no id, or not in the space yet: then each is looked at
            with contextlib.suppress(NotFound):
                self._reader().vectors_of(order[room:], space.id)
                silent = order[room:]
        asking = set(ids).difference(silent)
        known = {query.like.id: query for query in self._known(space, sorted(asking)) if query.like}
        return [
            known[id_] if id_ in known else self._query(q, space)
            for q, id_ in zip(given, ids, strict=True)
            if id_ in asking
        ], silent

    def _first_known(self, space: Space, ids: Sequence[str], n: int) -> list[Query]:
        """Return queries for the first n of some tracks that are in the library and in the space."""
        found = list[Query]()
        for start in range(0, len(ids), max(n, 1)):
            if len(found) >= n:
                break
            found += self._known(space, ids[start : start + n])
        return found[:n]

    def _known(self, space: Space, ids: Sequence[str]) -> list[Query]:
        """Return queries for those tracks that are in the library and in the space."""
        found = self._reader().tracks_with_vectors(ids, space.id)
        return [Query(_unit(vector), track) for track, vector in found if vector.any()]

    def _outside(self, path: str, space: Space, passage: Passage | None = None) -> Query:
        """Embed a file, or a passage of it, for a query; the library keeps nothing of it."""
        if space == TASTE:
            raise NotFound(
                "taste is learned from plays, not heard, and of this track none has been: "
                "`soundkin taste train`, or ask in another space"
            )
        try:
            status = os.stat(path)
        except OSError as error:
            raise NotFound(f"{printable(path)} has no vector in {space.id}, and: {error.strerror}") from error
        task = Task(FileState(path, status.st_size, status.st_mtime_ns))
        names, listening = [self._encoder_source(space.encoder)], passage or Listening.named(space.listening)
        # In a worker, as in a scan: a file that hangs or crashes a decoder must not take the asker with it.
        outcome = self._listener(task, names, listening)
        if isinstance(outcome, Failure):
            raise DecodeError(f"{printable(path)}: {outcome.reason}")
        assert isinstance(outcome, Embedded)
        if replace(space, listening=listening.name).id not in outcome.vectors:
            raise _of_another_version(space)
        (vector,), ((starts, windows),) = outcome.vectors.values(), outcome.windows.values()
        return Query(vector, to_track(outcome, "", 0.0), windows, starts, fingerprint=outcome.fingerprint)

    # ---- the index

    def _current_index(self) -> Index:
        """Return an index that reflects the record as it is now; the record itself where there can be none."""
        with self._guard:
            return self._followed_index()

    def _followed_index(self) -> Index:
        record = self._reader()
        if self._fallback is None or time.monotonic() >= self._try_again:
            try:
                self._index = self._real_index(record)
                self._fallback = None
                return self._index
            except StoreError as error:  # held by another process, or the disk is full or cannot be written
                if self._is_remote:
                    raise
                log.info("searching the record itself: %s", error)
                self._close_index()
                self._try_again = time.monotonic() + _TRY_AGAIN_SECONDS
        try:
            self._fallback = self._fallback or _record_index(record)
            catch_up(self._fallback, record)
        except RebuildNeeded:  # an older copy of the record was put in its place
            self._fallback = _record_index(record)
        return self._fallback

    def _real_index(self, record: Record) -> Index:
        try:
            self._index = self._index or open_index(self._where, **self._server(record))
            catch_up(self._index, record)
        except RebuildNeeded as error:
            self._close_index()
            if not self._is_remote and _is_large(record):
                self._builder.begin()
                raise StoreError(f"{error}; that is under way") from error
            log.info("building the index: %s", error)
            self._rebuild(record)
            self._index = open_index(self._where, **self._server(record))
            catch_up(self._index, record)
        return self._index

    def _server(self, record: Record) -> dict[str, Any]:
        """Say how to reach the index on a server; several libraries may share one, each with its own collection."""
        if not self._is_remote:
            return {}
        return {"collection": f"soundkin-{record.uuid[:8]}"}

    def _drop_foreign_index(self, record: Record) -> None:
        """Forget an index that is ahead of an old copy of the record, before new changes take the same numbers."""
        if self._is_remote:
            # And a server that cannot be reached is told of now, not after hours of scanning.
            with contextlib.suppress(RebuildNeeded):
                open_index(self._where, **self._server(record)).close()
            if record.revision:
                self._current_index()
        elif (state := read_state(self.folder / "index")) and is_foreign(state.mark, record):
            self._close_index()
            shutil.rmtree(self.folder / "index", ignore_errors=True)

    def _close_index(self) -> None:
        if self._index is not None:
            with contextlib.suppress(StoreError):  # what could not be written is in the record
                self._index.close()
            self._index = None

    def _rebuild(self, record: Record) -> None:
        if self._is_remote or not _is_large(record):
            rebuild_from(self.place, self._where, **self._server(record))
        else:
            self._builder.run()

    def _renew_index(self, changed: int = 0) -> None:
        """After a change: bring the index up to date, and rebuild it when much of it is outside the graph.

        After one of very many tracks: with a graph that is built once, at the end.
        """
        record = self._reader()
        if changed >= _SMALL and self._is_remote:
            self._close_index()  # one that stands where the load began would take all of it again
            with (
                contextlib.suppress(RebuildNeeded),
                open_index(self._where, **self._server(record)) as index,
                index.loading(),
            ):
                catch_up(index, record)
        known = None if self._is_remote else read_state(self.folder / "index")
        if known and known.mark == Mark(record.uuid, record.revision):
            return  # seen without opening it, which a large one takes a second for
        most = _most_outside(record)
        if self._is_remote or not _is_large(record):
            anew = False
        else:  # what is far behind is not caught up with first
            anew = (
                known is None
                or is_foreign(known.mark, record)
                or record.revision - known.mark.revision >= most
            )
        if anew or self._current_index().outside_graph() >= most:
            self._close_index()
            try:
                self._rebuild(record)
                self._try_again = 0.0
            except StoreError as error:  # the index there is as true as before, only slower
                log.warning("%s", error)


def _is_large(record: Record) -> bool:
    return record.count(Where()) >= _SMALL


def _most_outside(record: Record) -> int:
    """Return how many points outside the graph are too many."""
    return max(_SMALL, record.count(Where()) // _OUTSIDE)


def _record_index(record: Record) -> RecordIndex:
    return RecordIndex(record, lambda where: record.ids(where_of(where)))


def _known(record: Record, spaces: Sequence[str], retry: bool) -> dict[FileState, set[str]]:
    """Return in which of some spaces a record has vectors of files, or knows that there are none to be had."""
    files = record.files()
    known = {path: set(spaces) for path in files}
    for space in {space.id for space in record.spaces()}.intersection(spaces):
        for path in record.missing(space):
            known[path].discard(space)
    for space in set(spaces) - {space.id for space in record.spaces()}:
        for have in known.values():
            have.discard(space)
    out = {FileState(path, files[path].size, files[path].mtime_ns): have for path, have in known.items()}
    if not retry:
        failed = record.failed_files()
        out |= {FileState(path, *state): set(spaces) for path, state in failed.items()}
    return out


def _of_another_version(space: Space) -> ModelError:
    return ModelError(
        f"the vectors of {space.id} were made by another version of {space.encoder!r}; "
        "index the library again to bring them up to date"
    )


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


def _run(report: ScanReport, elapsed: float, jobs: int | None, used: float) -> Run:
    """Say what a scan cost; its workers have ended, so the system has counted them."""
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
    memory = sum(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return Run(
        time.time(), report.added + report.updated, report.failed, round(report.audio_seconds, 1), round(elapsed, 1),
        round(_cpu_seconds() - used, 1), memory * unit, jobs or cores(),
    )  # fmt: skip


def _called(spaces: list[Space], name: str | None) -> list[Space]:
    """Return the spaces that a name means: an id, an encoder, or the beginning of one encoder's name."""
    if name is None:
        return spaces
    wanted = found[1].name if (found := find(name)) else name
    exact = [s for s in spaces if name == s.id or s.encoder in (name, wanted)]
    begins = {s.encoder for s in spaces if s.encoder.startswith(name)} if name else set()
    return exact or [s for s in spaces if len(begins) == 1 and s.encoder in begins]


def _listen_once(task: Task, names: list[str], listening: Listening) -> Outcome:
    """Embed one file in a worker that ends with it."""
    ((_, outcome),) = embed_files([task], names, listening, jobs=1)
    return outcome


def _unit(vector: Array) -> Array:
    return vector / np.float32(max(math.sqrt(float(vector @ vector)), 1e-12))


def _changes(roots: list[str], stop: Any) -> Iterator[list[str]]:
    """Yield the paths that change, and an empty list when nothing has for a second."""
    import watchfiles

    try:
        for changes in watchfiles.watch(
            *roots, watch_filter=None, debounce=2000, step=200, stop_event=stop, rust_timeout=1000,
            yield_on_timeout=True,
        ):  # fmt: skip
            yield [path for _, path in changes]
    except (OSError, RuntimeError) as error:  # the second is the root of the package's own
        raise InputError(f"the system cannot watch {', '.join(map(printable, roots))}: {error}") from error


def _nearest_folder(path: str, roots: list[str]) -> str:
    """Return the nearest folder that still holds audio, up to the root that the path was seen from."""
    while path not in roots and not (os.path.isdir(path) and holds_audio(path)):
        path = os.path.dirname(path)
    return path


def _topmost(folders: Iterable[str]) -> Iterator[str]:
    """Leave out folders inside other ones."""
    last: str | None = None
    for folder in sorted(folders, key=lambda path: path.split(os.sep)):  # "a", "a/b", and only then "a b"
        if last is None or not is_below(folder, [last]):
            last = folder
            yield folder
