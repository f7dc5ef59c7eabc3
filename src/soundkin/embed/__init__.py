"""A track, or many, -> window vectors and track vectors in named spaces.

A file is opened once: hashed, its tags read, its excerpts decoded, described and given to every encoder of the run.
Encoders may hear different excerpts; where these overlap, they are decoded once.
In a scan this happens in worker processes, and what goes wrong with a file comes back as a `Failure`, never as an
exception.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial

from soundkin import workers
from soundkin.audio import DEFAULT_LISTENING
from soundkin.embed.embedder import Elsewhere, Embedder, Heard, Listenings, listening_of, space_of
from soundkin.embed.files import content_hash, is_gone, is_url
from soundkin.embed.values import Embedded, Failure, FileState, Outcome, Same, Space, Task
from soundkin.encoders import find

__all__ = [
    "Embedded", "Embedder", "Failure", "FileState", "Listenings", "Outcome", "Same", "Space", "Task", "content_hash",
    "cores", "ears", "embed_files", "is_gone", "is_light", "is_url", "listening_of", "patience", "space_of", "worker",
]  # fmt: skip

log = logging.getLogger(__name__)


# A file may take a minute, and a second more per 200 kB, far more than the slowest format
# needs: benchmarks/bench_indexing.py prints seconds a track.
_BASE_SECONDS, _BYTES_PER_SECOND = 60.0, 200_000
# A published network may do a thousand times the work of the built-in one, and need more memory for it.
_PATIENCE_WITH_NETWORKS = 20.0
_TASK_BYTES, _NETWORK_TASK_BYTES = 1 << 30, 6 << 30
# What a GPU encodes in one go, across tracks, and how many tracks may wait for that.
_SECONDS_ACROSS, _WAITING = 320.0, 4


def embed_files(
    tasks: Iterable[Task],
    names: Sequence[str],
    listening: Listenings = DEFAULT_LISTENING,
    jobs: int | None = None,
    nice: bool = False,
    device: str = "auto",
) -> Generator[tuple[Task, Outcome], None, None]:
    """Embed many files in worker processes.

    On a CPU each worker has its own copy of the encoders. On a GPU there is one copy, in this process: it encodes what
    the workers decode, in batches across tracks.

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
        As for `Embedder`.

    Yields
    ------
    tuple of (Task, Embedded or Same or Failure)
        In the order they end.

    Raises
    ------
    SoundkinError
        The encoders cannot be loaded, or the workers cannot start.
    """
    jobs = jobs or cores()
    heavy = [name for name in names if not is_light(name)]
    on_gpu = bool(heavy) and device != "cpu" and jobs > 1 and _device(device) != "cpu"
    route = partial(_through_one, heavy=heavy) if on_gpu else _in_workers
    with contextlib.closing(route(tasks, names, listening, jobs, nice, device)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, workers.Lost):
                outcome = Failure(task.file, outcome.kind, outcome.reason)
            if isinstance(outcome, Failure):  # said here, because nobody sees what a worker logs
                told = f"{outcome.reason}\n{outcome.detail}".strip()
                log.debug("%r: %s: %s", task.file.path, outcome.kind, told)
            yield task, outcome


def _device(device: str) -> str:
    from soundkin.encoders.torch_tools import device_in_use

    return device_in_use(device)


_Outcomes = Generator[tuple[Task, Outcome | workers.Lost], None, None]


def _in_workers(
    tasks: Iterable[Task], names: Sequence[str], listening: Listenings, jobs: int, nice: bool, device: str
) -> _Outcomes:
    """Embed in workers, each with its own encoders."""
    limit = partial(patience, heavy=not all(map(is_light, names)))
    arguments = tuple(names), listening, device
    return workers.run("soundkin.embed:worker", arguments, tasks, jobs, limit, nice)


def _through_one(
    tasks: Iterable[Task], names: Sequence[str], listening: Listenings, jobs: int, nice: bool, device: str,
    heavy: Sequence[str],
) -> _Outcomes:  # fmt: skip
    """Decode in workers, and encode what they heard with the one copy of the heavy encoders that is here.

    Encoders of ours stay in the workers. What is too long to be handed over goes the ordinary way at the end.
    """
    here = Embedder(heavy, listening, device)
    elsewhere = {
        id_: (here.listenings[id_], getattr(encoder, "rate", None)) for id_, encoder in here.encoders.items()
    }
    light = tuple(name for name in names if name not in heavy)
    opened = workers.run(
        "soundkin.embed:ears", (light, listening, elsewhere), tasks, jobs, patience, nice, waiting=_WAITING
    )
    waiting: list[tuple[Task, Heard]] = []
    long: list[Task] = []
    with contextlib.closing(opened):
        for task, outcome in opened:
            if outcome is None:
                long.append(task)
            elif not isinstance(outcome, Heard):
                yield task, outcome
            else:
                waiting.append((task, outcome))
                if sum(heard.seconds for _, heard in waiting) >= _SECONDS_ACROSS:
                    yield from here.together(waiting)
                    waiting.clear()
    yield from here.together(waiting) if waiting else ()
    del here  # its memory on the device is for the worker that comes
    if long:
        yield from _in_workers(long, names, listening, 1, nice, device)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_light(name: str) -> bool:
    """Tell whether an encoder is one of ours: built in, or a folder of its kind."""
    found = find(name)
    return found is None or found[0].is_built_in


def ears(
    names: tuple[str, ...], listening: Listenings, elsewhere: Elsewhere
) -> Callable[[Task], Outcome | Heard | None]:
    """Make a worker that decodes for encoders elsewhere; what is too long for that, it gives back as None.

    Parameters
    ----------
    names : tuple of str
        Encoders that run in the worker itself.
    listening : Listening, or mapping of str to Listening, optional
        As for `Embedder`.
    elsewhere : mapping
        As for `Embedder`.

    Returns
    -------
    callable
        For `workers.run`; the process has a limit of memory from now on.
    """
    embedder = Embedder(names, listening, "cpu", elsewhere)
    workers.limit_memory(_TASK_BYTES)
    return embedder.opened


def worker(names: tuple[str, ...], listening: Listenings, device: str) -> Callable[[Task], Outcome]:
    """Make a worker that embeds.

    Parameters
    ----------
    names : tuple of str
        Names or folders of encoders.
    listening : Listening, or mapping of str to Listening, optional
        As for `Embedder`.
    device : str
        As for `Embedder`.

    Returns
    -------
    callable
        For `workers.run`; the process has a limit of memory from now on.
    """
    embedder = Embedder(names, listening, device)
    if all(encoder.device == "cpu" for encoder in embedder.encoders.values()):
        # The driver of a GPU reserves far more addresses than it ever uses; anything else may be held to a limit.
        workers.limit_memory(_TASK_BYTES if all(map(is_light, names)) else _NETWORK_TASK_BYTES)
    return embedder.file


def patience(task: Task, heavy: bool = False) -> float:
    """Say how many seconds a file may take.

    Parameters
    ----------
    task : Task
        The file.
    heavy : bool
        For published networks, too.

    Returns
    -------
    float
        Seconds, far more than any file that can be embedded needs.
    """
    return (_BASE_SECONDS + task.file.size / _BYTES_PER_SECOND) * (_PATIENCE_WITH_NETWORKS if heavy else 1.0)
