"""How tracks come into a library and go: scans, watching, Ray, imports, removal. `Library` inherits it."""

import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from soundkin import exchange
from soundkin.asking import Asking
from soundkin.audio import Listening
from soundkin.cluster import ClusterOptions, ClusterReport, LoadReport, embed_with_ray, load, sources_of
from soundkin.embed import FileState, cores, is_gone
from soundkin.errors import InputError, NotFound, StoreError
from soundkin.record import Record
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
from soundkin.spaces import spaces_of

log = logging.getLogger(__name__)


class Filling(Asking):
    """What changes the tracks of a library."""

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
        with self._held.writing() as record:
            names, listening = self._encoders.settings(
                record.active_spaces(), options.encoders, options.listening
            )
            refused: PruneRefused | None = None
            try:
                report = Scan(record, names, listening, options, progress).run(roots)
            except PruneRefused as error:
                refused, report = error, error.report
            if report.added or report.updated:
                record.keep_run(_run(report, time.monotonic() - begin, options.jobs, used))
        self._held.renew()
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
        waiting, trouble, went = set(roots), "", False  # what changed before the watch began
        for changed in _changes(roots, stop):
            # The library may lie inside the music: its own files must not start a scan, which would change them.
            seen = [path for path in changed if not (path + os.sep).startswith(own)]
            if all(is_below(path, roots) for path in seen):
                waiting.update(_nearest_folder(path, roots) for path in seen)
            else:  # macOS calls what is behind a link by its own name
                waiting.update(roots)
            if not waiting:
                continue
            went = went or any(map(is_gone, seen))
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
            news = (done.added, done.updated, done.moved, done.failed, done.removed, went and done.gone)
            went = False
            if report and any(news):
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
        with self._held.writing() as record:
            removed = record.remove(ids=sorted(ids), paths=sorted(failed))
        self._held.renew()
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
        with self._held.writing() as record:
            report = exchange.merge(
                record, content, not record.active_spaces() and self._encoders.makes(content.space)
            )
        if report.vectors or report.added:
            self._held.renew()
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
            names, listening = self._encoders.settings(record.active_spaces(), options.encoders, heard)
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
        with self._held.writing() as record:
            others = bool(record.active_spaces())
            report = load(record, sources, lambda space: not others and self._encoders.makes(space), progress)
        self._held.renew(report.added + report.updated)
        return report


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
