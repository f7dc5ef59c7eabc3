"""What runs on the machines of a Ray cluster.

The unit of work is a part: some dozens of files, whose results appear as one Parquet file or not at all. Ray tries a
part again when its actor, its machine or its connection dies; a part that is there already is not made again. The unit
of blame is a file: a decoder that crashes or hangs takes down the child process of its actor, which ends that file; and
should a file kill even the actor, the ledger knows which one it was at, and gives it up after a few deaths.
"""

import os
import pickle
import queue
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from soundkin import workers
from soundkin.cluster.child import Look
from soundkin.cluster.parts import EMBEDDED, Done, Settled, settled_in, settled_of, write_part
from soundkin.cluster.places import Place
from soundkin.embed import (
    Embedded,
    Embedder,
    Failure,
    FileState,
    Listenings,
    Outcome,
    Same,
    Space,
    Task,
    patience,
)
from soundkin.embed.embedder import Elsewhere, Heard
from soundkin.errors import ModelError, SoundkinError
from soundkin.workers import Lost

# A file during which its actor died so often is given up: once or twice the machine may have been the reason.
MOST_DEATHS = 3
# What an encoder apart takes in one go, across tracks.
_SECONDS_AT_ONCE = 320.0

EMBEDDING, HEARING = "soundkin.cluster.child:embedding", "soundkin.cluster.child:hearing"


@dataclass(frozen=True)
class Job:
    """What all actors of a run are told.

    Parameters
    ----------
    where : str
        Of the results.
    names : tuple of str
        Encoders.
    listening : Listening, or mapping of str to Listening, optional
        As for `embed.Embedder`.
    spaces : tuple of Space
        Which these make on the machine that asks.
    device : str
        Where encoders run.
    nice : bool
        Give way to other programs.
    heavy : bool
        There are published networks among the encoders.
    seconds : float or None
        A file may take so long; None for what is usual.
    factory, ear_factory : str
        Of the child that embeds, and of the one that decodes for encoders elsewhere.
    apart : tuple of str
        Encoders that run in actors of their own, on GPUs.
    elsewhere : mapping
        What those are to hear, see `embed.Embedder`.
    """

    where: str
    names: tuple[str, ...]
    listening: Listenings
    spaces: tuple[Space, ...]
    device: str = "auto"
    nice: bool = True
    heavy: bool = False
    seconds: float | None = None
    factory: str = EMBEDDING
    ear_factory: str = HEARING
    apart: tuple[str, ...] = ()
    elsewhere: Elsewhere | None = None

    def limit(self, asked: Look | Task) -> float:
        """Return how many seconds a question to a child may take."""
        return self.seconds or patience(Task(asked.file), self.heavy)


@dataclass(frozen=True)
class Part:
    """Files to embed together.

    Parameters
    ----------
    name : str
        Of the Parquet file.
    files : tuple of (FileState, tuple of str)
        Each with the ids of the spaces that it lacks.
    """

    name: str
    files: tuple[tuple[FileState, tuple[str, ...]], ...]


class Ledger:
    """The one actor that all others ask: who embeds a content, and which files have killed.

    Parameters
    ----------
    where : str
        Of the results: what they have is embedded by nobody. So should this actor itself die, and Ray start it again,
        it knows all but what is being embedded at that moment.
    """

    def __init__(self, where: str) -> None:
        self._owners: dict[str, dict[str, str]] = {}  # content -> space -> path
        for one in settled_in(Place(where)):
            if one.outcome == EMBEDDED:
                self._owners.setdefault(one.content, {}).update(dict.fromkeys(one.spaces, ""))
        self._at: dict[str, str] = {}
        self._deaths: Counter[str] = Counter()

    def begin(self, work: str, paths: Sequence[str]) -> tuple[bool, dict[str, str]]:
        """Note that work on a part begins; tell whether it has died before, and which files are given up."""
        # With their contents, where these are known: files with the same bytes count on them.
        died = work in self._at
        if died and self._at[work]:
            self._deaths[self._at[work]] += 1
        self._at[work] = ""
        return died, {path: self._claimed(path) for path in paths if self._deaths[path] >= MOST_DEATHS}

    def _claimed(self, path: str) -> str:
        """Return the content that a path has claimed; "" for none."""
        return next((content for content, owners in self._owners.items() if path in owners.values()), "")

    def at(self, work: str, path: str) -> None:
        """Note which file of a part is looked at now."""
        self._at[work] = path

    def end(self, work: str) -> None:
        """Note that a part is done."""
        self._at.pop(work, None)

    def claim(self, content: str, path: str, spaces: Sequence[str]) -> tuple[str, ...]:
        """Return the spaces in which nobody else embeds a content: they are for this path now."""
        owners = self._owners.setdefault(content, {})
        return tuple(space for space in spaces if owners.setdefault(space, path) == path)


class _Line:
    """One child process, asked one thing at a time; it is replaced when it dies."""

    def __init__(self, factory: str, arguments: tuple[Any, ...], job: Job) -> None:
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._folder = tempfile.mkdtemp(prefix="soundkin-ray-")
        asked = iter(self._asked.get, None)
        self._answers = workers.run(factory, (*arguments, self._folder), asked, 1, job.limit, job.nice)

    def ask(self, asked: Look | Task) -> Any:
        self._asked.put(asked)
        _, answer = next(self._answers)
        if isinstance(answer, Lost):
            return Failure(asked.file, answer.kind, answer.reason)
        return answer

    def __del__(self) -> None:
        self._asked.put(None)  # the thread that waits for it lets go of the child
        shutil.rmtree(self._folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove the copy of a file that is not on this machine."""
        for name in os.listdir(self._folder):
            os.unlink(os.path.join(self._folder, name))


class _Worker:
    """What the actors have in common.

    What may be missing on a machine is made at the first part: what a constructor raises, Ray wraps in pages of text.
    """

    def __init__(self, job: Job, ledger: Any) -> None:
        self._job, self._ledger = job, ledger

    @cached_property
    def _place(self) -> Place:
        return Place(self._job.where)

    def _ask_ledger(self, method: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self._ledger, method).remote(*arguments))

    def _begin(self, work: str, part: Part) -> tuple[bool, dict[str, str]]:
        return self._ask_ledger("begin", work, [file.path for file, _ in part.files])

    def _through(self, line: _Line, part: Part, work: str) -> Iterator[tuple[Done | Heard, Task, str]]:
        """Look at the files of a part one by one; yield what the child makes of them."""
        _, given_up = self._begin(work, part)
        for file, lacking in part.files:
            task, content = Task(file, lacking=lacking), ""
            if file.path in given_up:
                outcome: Any = _given_up(file)
                content = given_up[file.path]
            else:
                self._ask_ledger("at", work, file.path)
                outcome = line.ask(Look(file))
            if isinstance(outcome, str):
                content = outcome
                mine = self._ask_ledger("claim", content, file.path, lacking)
                outcome = Same(file, content)
                if mine:
                    task = replace(task, lacking=mine)
                    outcome = line.ask(task)
            line.clear()
            yield outcome, task, content

    def _write(self, part: Part, rows: Sequence[Done]) -> list[Settled]:
        wanted = {space.id for space in self._job.spaces}
        for row in rows:
            if isinstance(row.outcome, Embedded) and set(row.outcome.vectors) - wanted:
                raise ModelError(
                    f"a worker makes vectors of the space {min(set(row.outcome.vectors) - wanted)}, wanted "
                    f"{', '.join(sorted(wanted))}: install the same soundkin and weights on every machine"
                )
        write_part(self._place, part.name, rows, self._job.spaces, time.time())
        return [row.settled for row in rows]


class Embedding(_Worker):
    """Decodes and encodes: all that a part needs, in one actor.

    Parameters
    ----------
    job : Job
        What to do.
    ledger : actor handle
        Of a `Ledger`.
    """

    def __init__(self, job: Job, ledger: Any) -> None:
        super().__init__(job, ledger)
        self._line = _Line(job.factory, (job.names, job.listening, job.device), job)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Embed a part."""
        return {"settled": [_told(self._do, pickle.loads(part)) for part in batch["part"]]}

    def _do(self, part: Part) -> tuple[str, list[Settled]]:
        if self._place.exists(part.name):  # an actor died between writing it and saying so
            return part.name, settled_of(self._place, part.name)
        looked = self._through(self._line, part, part.name)
        settled = self._write(part, [_done(outcome, content, task) for outcome, task, content in looked])
        self._ask_ledger("end", part.name)
        return part.name, settled


class Hearing(_Worker):
    """Decodes for encoders that are apart.

    Parameters
    ----------
    job : Job
        What to do.
    ledger : actor handle
        Of a `Ledger`.
    """

    def __init__(self, job: Job, ledger: Any) -> None:
        super().__init__(job, ledger)
        light = tuple(name for name in job.names if name not in job.apart)
        self._line = _Line(job.ear_factory, (light, job.listening, job.elsewhere), job)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Decode a part."""
        return {"heard": [_told(self._do, pickle.loads(part)) for part in batch["part"]]}

    def _do(self, part: Part) -> tuple[Part, list[tuple[Any, Task, str]]]:
        if self._place.exists(part.name):
            return part, []
        work = f"{part.name} heard"
        heard = list(self._through(self._line, part, work))
        self._ask_ledger("end", work)
        return part, heard


class Encoding(_Worker):
    """Encodes what others decoded, in batches across tracks.

    Parameters
    ----------
    job : Job
        What to do.
    ledger : actor handle
        Of a `Ledger`.
    """

    def __init__(self, job: Job, ledger: Any) -> None:
        super().__init__(job, ledger)
        self._line: _Line | None = None

    @cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self._job.apart, self._job.listening, self._job.device)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Encode a part, and write it."""
        return {"settled": [_told(self._encode, pickle.loads(heard)) for heard in batch["heard"]]}

    def _encode(self, told: Any) -> tuple[str, list[Settled]]:
        if isinstance(told, SoundkinError):  # of the actor that decodes
            raise told
        return self._do(*told)

    def _do(self, part: Part, heard: list[tuple[Any, Task, str]]) -> tuple[str, list[Settled]]:
        if self._place.exists(part.name):
            return part.name, settled_of(self._place, part.name)
        died, given_up = self._begin(part.name, part)
        rows: dict[str, Done] = {}
        waiting: list[tuple[Task, Heard]] = []
        contents = {task.file.path: content for _, task, content in heard}
        for outcome, task, content in heard:
            path = task.file.path
            if path in given_up:
                outcome = _given_up(task.file)
            if isinstance(outcome, Heard):
                waiting.append((task, outcome))
                continue
            if outcome is None:  # too long to be handed over
                self._ask_ledger("at", part.name, path)
                outcome = self._whole(task)
            rows[path] = _done(outcome, content, task)
        # After a death each is encoded alone, so that the next death has a name.
        for some in _in_batches(waiting, 0.0 if died else _SECONDS_AT_ONCE):
            if died:
                self._ask_ledger("at", part.name, some[0][0].file.path)
            for task, outcome in self._embedder.together(some):
                rows[task.file.path] = _done(outcome, contents[task.file.path], task)
        settled = self._write(part, [rows[file.path] for file, _ in part.files])
        self._ask_ledger("end", part.name)
        return part.name, settled

    def _whole(self, task: Task) -> Outcome:
        """Embed a track that is too long to be handed over."""
        if self._line is None:
            arguments = self._job.names, self._job.listening, self._job.device
            self._line = _Line(self._job.factory, arguments, self._job)
        looked = self._line.ask(Look(task.file))
        outcome: Outcome = looked if isinstance(looked, Failure) else self._line.ask(task)
        self._line.clear()
        return outcome


def _given_up(file: FileState) -> Failure:
    return Failure(file, "crash", f"{MOST_DEATHS} workers died while they were at it")


def _told(work: Callable[[Any], Any], given: Any) -> bytes:
    """Return what work makes of something, or the error that it raises on purpose: Ray hands over no causes."""
    try:
        return pickle.dumps(work(given))
    except SoundkinError as error:
        return pickle.dumps(error)


def _done(outcome: Any, content: str, task: Task) -> Done:
    return Done(outcome, content, tuple(task.lacking))


def _in_batches(waiting: Sequence[tuple[Task, Heard]], seconds: float) -> Iterator[list[tuple[Task, Heard]]]:
    some: list[tuple[Task, Heard]] = []
    for one in waiting:
        some.append(one)
        if sum(heard.seconds for _, heard in some) >= seconds:
            yield some
            some = []
    if some:
        yield some
