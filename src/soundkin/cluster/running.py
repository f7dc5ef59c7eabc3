"""A run: list files, give parts of them to the actors of a Ray cluster, note what came of them.

On CPUs one actor both decodes and encodes: what passes between the two would be fifty times as much as what comes out,
and benchmarks/bench_ray.py prints what it costs. Where Ray has GPUs and an encoder can use one, actors with a GPU each
encode in batches what actors without decode, as the scan of one machine does it.
"""

import contextlib
import hashlib
import logging
import os
import pickle
import socket
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from soundkin.audio import DEFAULT_LISTENING
from soundkin.cluster.actors import EMBEDDING, HEARING, Embedding, Encoding, Hearing, Job, Ledger, Part
from soundkin.cluster.parts import (
    COPY,
    EMBEDDED,
    FAILED,
    MANIFEST,
    PARTS,
    Done,
    Settled,
    arrow,
    settled_in,
    write_manifest,
    write_part,
)
from soundkin.cluster.places import Place, listed
from soundkin.embed import Embedder, Failure, FileState, Listenings, Space, is_light
from soundkin.encoders import DEFAULT
from soundkin.errors import InputError, MissingExtra, SoundkinError, StoreError
from soundkin.scan import Progress
from soundkin.spaces import spaces_of

# So many files at most make a part: half a minute of work on one core, which is what a killed worker costs.
_MOST_FILES = 64
# What was decoded waits in memory, so a part of it is smaller: 16 tracks of 15 minutes at 16 kHz are 0.9 GB.
_MOST_FILES_APART = 16
_PARTS_PER_WORKER = 8  # at least, so that all are busy to the end
_BLOCKS = 10_000
_NOTED = 20_000  # files that one file of the manifest is about

_OF_THE_FILE = ("vanished", "unreadable")  # such failures say nothing of a copy
_KNOCK_SECONDS = 10.0

# The children of the actors; tests put others here.
factories = {"embedding": EMBEDDING, "hearing": HEARING}


@dataclass(frozen=True)
class ClusterOptions:
    """How to embed on a Ray cluster.

    Parameters
    ----------
    encoders : tuple of str
        Names or folders, which have to be on every machine; the default when none is given.
    listening : Listening, or mapping of str to Listening, optional
        As for `embed.Embedder`.
    address : str or None
        Of the cluster: "host:port", "auto"; None starts one on this machine alone.
    jobs : int or None
        Actors; None for one per CPU that Ray has.
    device : str
        Where encoders run.
    nice : bool
        Give way to other programs.
    retry : bool
        Try again what failed.
    time_limit : float or None
        Seconds a file may take; None for a minute, and a second more per 200 kB.
    apart : bool or None
        Decode and encode in different actors; None when Ray has GPUs and an encoder is a published network.
    """

    encoders: tuple[str, ...] = ()
    listening: Listenings = None
    address: str | None = None
    jobs: int | None = None
    device: str = "auto"
    nice: bool = True
    retry: bool = False
    time_limit: float | None = None
    apart: bool | None = None


@dataclass
class ClusterReport:
    """What a run did.

    Parameters
    ----------
    out : str
        Where the results are.
    found : int
        Audio files there are.
    embedded, copies, failed, damaged : int
        Of this run: files embedded; those with the bytes of another, which are not embedded again; those that failed;
        those embedded for what can be heard of them.
    settled, known_bad : int
        Files that earlier runs have embedded, or tried in vain.
    audio_seconds, elapsed, starting : float
        Length of what was embedded; seconds the whole run took; and until the first part was done.
    """

    out: str
    found: int = 0
    embedded: int = 0
    copies: int = 0
    failed: int = 0
    damaged: int = 0
    settled: int = 0
    known_bad: int = 0
    audio_seconds: float = 0.0
    elapsed: float = 0.0
    starting: float = 0.0


def embed_with_ray(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: ClusterOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    known: Mapping[FileState, Collection[str]] | None = None,
) -> ClusterReport:
    """Embed files on a Ray cluster, and leave the results as Parquet files; see `cluster.parts`.

    What earlier runs have left there is not made again: a run that was killed goes on where it stopped.

    Parameters
    ----------
    paths : sequence of path-like
        Files and folders, which every machine has to see; or URLs.
    out : path-like
        Folder or URL of the results, which every machine can write to.
    options : ClusterOptions, optional
        How.
    progress : callable, optional
        Called with a `Progress` after every part.
    known : mapping, optional
        Ids of the spaces in which a file is not wanted again.

    Returns
    -------
    ClusterReport
        What happened; the results say which files failed, and why.

    Raises
    ------
    InputError
        A path is not there, the results are damaged, or the address is one of a Ray Client.
    MissingExtra
        A package is not installed.
    ModelError
        An encoder cannot be loaded.
    StoreError
        The results cannot be written, or the cluster cannot be reached.
    """
    begin = time.monotonic()
    options = options or ClusterOptions()
    if "://" in (options.address or ""):
        raise InputError(
            f"address {options.address!r}; wanted HOST:PORT, or auto, on a machine of the cluster: Ray Data does not "
            "run through a Ray Client"
        )
    arrow()
    names = options.encoders or (DEFAULT,)
    if options.listening == DEFAULT_LISTENING:  # the best for each
        options = replace(options, listening=None)
    spaces = tuple(spaces_of(names, options.listening))
    run = _Run(Place(os.fspath(out)), names, spaces, options, progress)
    run.embed([os.fspath(path) for path in paths], known or {})
    run.report.elapsed = time.monotonic() - begin
    return run.report


class _Run:
    """One run."""

    def __init__(
        self,
        place: Place,
        names: tuple[str, ...],
        spaces: tuple[Space, ...],
        options: ClusterOptions,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._place, self._names, self._spaces, self._options = place, names, spaces, options
        self._progress, self._at = progress, Progress()
        self.report = ClusterReport(place.where)
        # Names hold for one run: another that tries again what failed must not find it done. They sort as runs do.
        self._began, self._salt = time.strftime("%Y%m%dT%H%M%S", time.gmtime()), uuid.uuid4().hex
        self._new: list[Settled] = []  # not yet in the manifest
        self._new_parts: list[str] = []
        self._copies: list[Settled] = []
        self._failures: dict[str, Failure] = {}  # by content

    def embed(self, paths: list[str], known: Mapping[FileState, Collection[str]]) -> None:
        found = listed(paths)
        self.report.found = len(found.files) + len(found.failures)
        covered, failed = self._earlier()
        tasks = []
        for file in found.files.values():
            have = {*covered.get(file, ()), *known.get(file, ())}
            lacking = tuple(space.id for space in self._spaces if space.id not in have)
            if not lacking:
                self.report.settled += 1
            elif failed.get(file, set()).issuperset(lacking) and not self._options.retry:
                self.report.known_bad += 1
            else:
                tasks.append((file, lacking))
        self._note_failures([f for f in found.failures if f.file not in failed or self._options.retry])
        self.report.known_bad += sum(f.file in failed and not self._options.retry for f in found.failures)
        self._at.total = self._at.done + len(tasks)
        begin = time.monotonic()
        if tasks:
            # Before the work, not after it, one wants to know that results cannot be written.
            write_manifest(self._place, f"{MANIFEST}/begun.parquet", [], [])
            # Ray tells on stdout which workers died; that is for the answer alone.
            with contextlib.redirect_stdout(sys.stderr), _ray(self._options) as ray:
                for name, settled in self._outcomes(ray, tasks):
                    self.report.starting = self.report.starting or time.monotonic() - begin
                    self._take(name, settled)
                    self._at.elapsed = time.monotonic() - begin
                    if self._progress:
                        self._progress(self._at)
        self._settle_copies()
        self._note(all_=True)

    def _earlier(self) -> tuple[dict[FileState, set[str]], dict[FileState, set[str]]]:
        """Return in which spaces files have been embedded, and in which they failed, by earlier runs."""
        covered: dict[FileState, set[str]] = defaultdict(set)
        failed: dict[FileState, set[str]] = defaultdict(set)
        contents: dict[str, set[str]] = defaultdict(set)
        copies = []
        for one in settled_in(self._place):
            if one.outcome == EMBEDDED:
                covered[one.file].update(one.spaces)
                contents[one.content].update(one.spaces)
            elif one.outcome == FAILED:
                failed[one.file].update(one.spaces)
            else:
                copies.append(one)
        for one in copies:  # that of which it is a copy may not have been finished
            covered[one.file].update(contents[one.content].intersection(one.spaces))
        return covered, failed

    def _outcomes(
        self, ray: Any, tasks: list[tuple[FileState, tuple[str, ...]]]
    ) -> Iterator[tuple[str, list[Settled]]]:
        """Let Ray Data stream the parts through its actors."""
        from ray.data import ActorPoolStrategy

        resources = ray.cluster_resources()
        job, jobs, gpus = self._job(int(resources.get("CPU", 1)), int(resources.get("GPU", 0)))
        ledger = _ledger(ray, self._place.where)
        parts = list(self._parts(tasks, jobs, bool(job.apart)))
        rows = [{"part": pickle.dumps(part)} for part in parts]
        # A part is an argument of one call, no more: a worker that dies costs that part, and those waiting move on.
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS))
        shared: dict[str, Any] = {"batch_size": 1, "fn_constructor_args": (job, ledger)}

        def pool(size: int, ahead: int) -> Any:
            return ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=ahead)

        jobs = min(jobs, len(parts))
        if job.apart:
            data = data.map_batches(Hearing, compute=pool(jobs, 1), num_cpus=1, **shared)
            some = {"num_gpus": 1} if gpus else {"num_cpus": 1}
            data = data.map_batches(
                Encoding, compute=pool(min(max(gpus, 1), len(parts)), 2), **some, **shared
            )
        else:
            data = data.map_batches(Embedding, compute=pool(jobs, 1), num_cpus=1, **shared)
        for row in data.iter_rows():
            told = pickle.loads(row["settled"])
            if isinstance(told, SoundkinError):
                raise told
            yield told

    def _job(self, cpus: int, gpus: int) -> tuple[Job, int, int]:
        """Return what the actors are told, how many decode, and how many GPUs encode."""
        options = self._options
        jobs = options.jobs or max(cpus, 1)
        heavy = tuple(name for name in self._names if not is_light(name))
        job = Job(
            self._place.where, self._names, options.listening, self._spaces, options.device, options.nice, bool(heavy),
            options.time_limit, factories["embedding"], factories["hearing"],
        )  # fmt: skip
        if options.apart is False or (
            options.apart is None and not (heavy and gpus and options.device != "cpu")
        ):
            return job, jobs, 0
        apart = heavy or self._names
        here = Embedder(apart, options.listening, "cpu")
        elsewhere = {
            id_: (here.listenings[id_], getattr(encoder, "rate", None))
            for id_, encoder in here.encoders.items()
        }
        if not gpus:  # the one that encodes takes a CPU, too
            if cpus < 2:
                raise InputError(
                    f"apart=True on {cpus} CPU; wanted two, one to decode and one to encode: leave apart out"
                )
            jobs = max(1, min(jobs, cpus - 1))
        return replace(job, apart=apart, elsewhere=elsewhere), jobs, gpus if options.device != "cpu" else 0

    def _parts(
        self, tasks: list[tuple[FileState, tuple[str, ...]]], jobs: int, apart: bool
    ) -> Iterator[Part]:
        most = _MOST_FILES_APART if apart else _MOST_FILES
        size = max(1, min(most, -(-len(tasks) // (_PARTS_PER_WORKER * jobs))))
        for start in range(0, len(tasks), size):
            files = tuple(tasks[start : start + size])
            yield Part(self._name(PARTS, files), files)

    def _take(self, name: str, settled: list[Settled]) -> None:
        report = self.report
        for one in settled:
            report.embedded += one.outcome == EMBEDDED
            report.copies += one.outcome == COPY
            report.failed += one.outcome == FAILED
            report.damaged += one.damaged
            report.audio_seconds += one.seconds
            if one.outcome == COPY:
                self._copies.append(one)
            elif one.failure is not None and one.content and one.failure.kind not in _OF_THE_FILE:
                self._failures[one.content] = one.failure
        self._at.done += len(settled)
        self._at.failed, self._at.audio_seconds = report.failed, report.audio_seconds
        self._new.extend(settled)
        self._new_parts.append(name)
        self._note()

    def _note(self, all_: bool = False) -> None:
        """Write into the manifest what is not yet there."""
        if len(self._new) >= _NOTED or (all_ and self._new_parts):
            write_manifest(self._place, self._name(MANIFEST, self._new_parts), self._new, self._new_parts)
            self._new, self._new_parts = [], []

    def _note_failures(self, failures: Sequence[Failure], contents: Sequence[str] = ()) -> None:
        """Write failures of files that no actor has seen."""
        if not failures:
            return
        ids = tuple(space.id for space in self._spaces)
        known = contents or [""] * len(failures)
        rows = [Done(one, content, ids) for one, content in zip(failures, known, strict=True)]
        name = self._name(PARTS, [row.settled for row in rows])
        write_part(self._place, name, rows, self._spaces, time.time())
        self._take(name, [row.settled for row in rows])

    def _name(self, folder: str, about: object) -> str:
        """Name a file after what it is about: whoever makes it again makes the same."""
        text = f"{self._salt} {about!r}".encode("utf-8", "surrogateescape")
        return f"{folder}/{self._began}-{hashlib.sha256(text).hexdigest()[:24]}.parquet"

    def _settle_copies(self) -> None:
        """Say of copies of what failed that they failed, too: the same bytes fail in the same way."""
        lost = [one for one in self._copies if one.content in self._failures]
        self.report.copies -= len(lost)
        failures = [replace(self._failures[one.content], file=one.file) for one in lost]
        self._note_failures(failures, [one.content for one in lost])


@contextlib.contextmanager
def _ray(options: ClusterOptions) -> Iterator[Any]:
    """Connect to a cluster, or start one that only this machine can reach; leave it as it was."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machines
    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # what it says of a dead worker, it says to its logs
    if options.address is None:
        # Read when Ray is imported: its ports are then those of the loopback alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra(
            "--engine ray needs Ray, which is not installed: pip install 'soundkin[ray]'"
        ) from error
    if ray.is_initialized():  # by whoever called
        _be_quiet(ray)
        yield ray
        return
    if options.address is not None:
        _knock(options.address)
    here: dict[str, Any] = (
        {"num_cpus": options.jobs, "include_dashboard": False} if options.address is None else {}
    )
    try:
        ray.init(
            options.address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            **here,
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        where = (
            f"reach the Ray cluster at {options.address}" if options.address else "start Ray on this machine"
        )
        raise StoreError(f"cannot {where}: {reason}") from error
    try:
        _be_quiet(ray)
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise StoreError when nobody answers at an address: Ray itself would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not host:  # "auto", and others that Ray looks up
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(f"cannot reach the Ray cluster at {address}: {reason}; is it running?") from error


def _be_quiet(ray: Any) -> None:
    """Leave the terminal to our own progress; Ray keeps its logs in files."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _ledger(ray: Any, where: str) -> Any:
    """Start the ledger where this process is: as long as a run lives, so does its machine."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor = ray.remote(Ledger).options(
        num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here
    )  # fmt: skip
    return actor.remote(where)
