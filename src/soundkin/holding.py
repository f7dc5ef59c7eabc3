"""What a library holds open: its record, and the index that follows it.

Whoever opens the index applies what the record has gained since. While it is built or filled, or where another process
holds it, the answer comes from the vectors in the record, exactly, only slower.
"""

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundkin.errors import InputError, NotFound, StoreError
from soundkin.filters import where_of
from soundkin.index import Index, IndexLocked, Mark, RebuildNeeded, open_index
from soundkin.index.building import Builder
from soundkin.index.follow import catch_up, is_foreign, rebuild_from
from soundkin.index.generations import read_state
from soundkin.index.recorded import RecordIndex
from soundkin.index.settings import QdrantCollection, QdrantLayout, QdrantSettings
from soundkin.record import Record
from soundkin.record.database import Place
from soundkin.record.listing import Where

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

log = logging.getLogger(__name__)

# Up to here searching without a graph is as fast as with one, and building it not worth a process of its own.
_SMALL = 10_000
# An index is built anew when one in so many of its points is outside the graph: at a million tracks that costs less
# than half of what embedding those took.
_OUTSIDE = 50
# How long answers come from the record after the index could not be had, before it is tried again.
_TRY_AGAIN_SECONDS = 10.0


class Holding:
    """The record and the index of one library, each opened when it is first needed. Threads may share it.

    Parameters
    ----------
    place : Path or str
        Where the record is, for `Record.open`.
    folder : Path
        Of the index.
    server : QdrantSettings or QdrantClient, optional
        What holds the index instead of the folder.

    Attributes
    ----------
    where : Path, QdrantSettings or QdrantClient
        What holds the index.
    """

    def __init__(
        self, place: Place, folder: Path, server: "QdrantSettings | QdrantClient | None" = None
    ) -> None:
        self.place = place
        self.where: Path | QdrantSettings | QdrantClient = server or folder
        self._folder = folder
        self._is_remote = server is not None
        self._guard = threading.RLock()  # of what is opened and brought up to date on demand
        self._record: Record | None = None
        self._index: Index | None = None
        self._fallback: RecordIndex | None = None  # while the index cannot be had
        # None: a client that is ready cannot be handed to another process
        self._builder = Builder(place, self.where) if isinstance(self.where, (Path, QdrantSettings)) else None
        self._try_again = 0.0  # when to look for the index again, on the monotonic clock

    def record(self) -> Record:
        """Return the record, open for reading."""
        with self._guard:
            if self._record is None:
                self._record = Record.open(self.place)
            return self._record

    @contextlib.contextmanager
    def writing(self) -> Iterator[Record]:
        """Open the record to change its tracks; an index that knows of a later one is forgotten first."""
        with Record.open(self.place, write=True) as record:
            self._drop_foreign(record)
            yield record

    def index(self) -> Index:
        """Return an index that reflects the record as it is now; the record itself where there can be none."""
        with self._guard:
            return self._followed_index()

    def renew(self, changed: int = 0) -> None:
        """After a change: bring the index up to date, and rebuild it when much of it is outside the graph.

        Parameters
        ----------
        changed : int
            How many tracks; after very many its graph is built once, at the end.
        """
        record = self.record()
        if changed >= _SMALL and self._is_remote:
            self._close_index()  # one that stands where the load began would take all of it again
            try:
                with open_index(self.where, **self._server(record)) as index, index.loading():
                    catch_up(index, record)
            except RebuildNeeded:
                with contextlib.suppress(IndexLocked):  # another server builds it
                    self._rebuild(record)
        known = None if self._is_remote else read_state(self._folder)
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
        if anew or self.index().outside_graph() >= most:
            self._close_index()
            try:
                self._rebuild(record)
                self._try_again = 0.0
            except IndexLocked as error:
                log.info("%s", error)
            except StoreError as error:  # the index there is as true as before, only slower
                log.warning("%s", error)

    def tidy(self) -> bool:
        """Build the index anew when much was added since it was built; see `Library.tidy`."""
        record = self.record()
        if self.index().outside_graph() < _most_outside(record):
            return False
        self._rebuild(record)
        with self._guard:
            self._close_index()
        return True

    def collection(self) -> QdrantCollection | None:
        """Ask the Qdrant server how the collection is; see `Library.collection`."""
        if isinstance(self.where, Path):
            return None
        from soundkin.index.server import open_collection

        with open_collection(self.where, **self._server(self.record())) as index:
            return index.state()

    def lay_out(self, layout: QdrantLayout | None) -> QdrantCollection:
        """Make the collection anew beside the one that answers, as `layout` says; see `Library.lay_out`."""
        if isinstance(self.where, Path):
            raise InputError("the index of this library is a folder; name a Qdrant server, with --qdrant URL")
        try:
            record = self.record()
        except NotFound:  # before the first scan: the record is what gives the collection its name
            Record.open(self.place, write=True).close()
            record = self.record()
        rebuild_from(self.place, self.where, layout=layout, **self._server(record))
        with self._guard:
            self._close_index()
        if record.revision:
            self.index()  # what the record has gained meanwhile
        state = self.collection()
        assert state is not None
        return state

    def close(self) -> None:
        """Let go of the files."""
        with self._guard:
            self._close_index()
            self._fallback = None
            if self._record is not None:
                self._record.close()
            self._record = None

    def _followed_index(self) -> Index:
        record = self.record()
        if self._fallback is None or time.monotonic() >= self._try_again:
            try:
                self._index = self._real_index(record)
                self._fallback = None
                return self._index
            except StoreError as error:  # held by another process, or the disk is full or cannot be written
                if self._is_remote and not isinstance(error, IndexLocked):
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
            self._index = self._index or open_index(self.where, **self._server(record))
            since = self._index.mark.revision if self._index.mark else 0
            if record.revision - since >= _SMALL and self._index.is_loading():
                raise IndexLocked("another process fills the index")
            catch_up(self._index, record)
        except RebuildNeeded as error:
            self._close_index()
            if self._builder and _is_large(record):
                self._builder.begin(**self._server(record))
                raise IndexLocked(f"{error}; that is under way") from error
            log.info("building the index: %s", error)
            self._rebuild(record)
            self._index = open_index(self.where, **self._server(record))
            catch_up(self._index, record)
        return self._index

    def _server(self, record: Record) -> dict[str, Any]:
        """Say how to reach the index on a server; several libraries may share one, each with its own collection."""
        if not self._is_remote:
            return {}
        return {"collection": f"soundkin-{record.uuid[:8]}"}

    def _drop_foreign(self, record: Record) -> None:
        """Forget an index that is ahead of an old copy of the record, before new changes take the same numbers."""
        if self._is_remote:
            # And a server that cannot be reached is told of now, not after hours of scanning.
            with contextlib.suppress(RebuildNeeded):
                open_index(self.where, **self._server(record)).close()
            if record.revision:
                self.index()
        elif (state := read_state(self._folder)) and is_foreign(state.mark, record):
            self._close_index()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _close_index(self) -> None:
        if self._index is not None:
            with contextlib.suppress(StoreError):  # what could not be written is in the record
                self._index.close()
            self._index = None

    def _rebuild(self, record: Record) -> None:
        if self._is_remote or not (self._builder and _is_large(record)):
            rebuild_from(self.place, self.where, **self._server(record))
        else:
            self._builder.run()


def _is_large(record: Record) -> bool:
    return record.count(Where()) >= _SMALL


def _most_outside(record: Record) -> int:
    """Return how many points outside the graph are too many."""
    return max(_SMALL, record.count(Where()) // _OUTSIDE)


def _record_index(record: Record) -> RecordIndex:
    return RecordIndex(record, lambda where: record.ids(where_of(where)))
