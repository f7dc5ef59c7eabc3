"""Workers that stay: tasks from many requests, a short queue, and a refusal when it is full.

The work itself is done by `workers.run`: in child processes with a time limit, which may hang or crash without harm.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from soundkin import workers
from soundkin.audio import Listening
from soundkin.embed import Embedder, Failure, Outcome, Task
from soundkin.errors import SoundkinError

_IDLE_SECONDS = 600.0  # after so long without a task the workers end, and give their memory back
_BASE_SECONDS, _BYTES_PER_SECOND = 60.0, 2e6
_TASK_BYTES = 4 << 30
_MOST_KNOWN = 4


class Busy(SoundkinError):
    """Too much is asked for at once.

    Parameters
    ----------
    message : str
        One line.
    wait : int
        Seconds after which it is worth asking again.
    """

    def __init__(self, message: str, wait: int = 5) -> None:
        super().__init__(message)
        self.wait = wait


class Pool:
    """Worker processes that start with the first task, and end when there was none for a while.

    Parameters
    ----------
    factory : str
        As for `workers.run`.
    arguments : tuple
        Its arguments.
    jobs : int
        How many workers.
    most : int
        How many tasks may wait or run.
    patience : callable
        Seconds that a task may take, given the task.
    """

    def __init__(
        self, factory: str, arguments: tuple[Any, ...], jobs: int, most: int, patience: Callable[[Any], float]
    ) -> None:
        self._how = factory, arguments
        self._jobs, self._most, self._patience = jobs, most, patience
        self._guard = threading.Lock()
        self._waiting: queue.Queue[tuple[int, Any] | None] = queue.Queue()
        self._futures: dict[int, Future[Any]] = {}
        self._number, self._runs, self._closed = 0, False, False

    @property
    def load(self) -> int:
        """How many tasks wait or run."""
        return len(self._futures)

    def submit(self, task: Any) -> "Future[Any]":
        """Have a task done.

        Parameters
        ----------
        task : picklable
            For the workers.

        Returns
        -------
        Future
            Of the result or a `workers.Lost`.

        Raises
        ------
        Busy
            The queue is full, or the server is stopping.
        """
        with self._guard:
            if self._closed or len(self._futures) >= self._most:
                raise Busy(f"{len(self._futures)} files are being worked on already: try again in a moment")
            self._number += 1
            future = self._futures[self._number] = Future[Any]()
            self._waiting.put((self._number, task))
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="soundkin-pool", daemon=True).start()
        return future

    def close(self) -> None:
        """End the workers; what is under way is refused."""
        with self._guard:
            self._closed = True
            left, self._futures = self._futures, {}
            for _ in range(self._jobs):
                self._waiting.put(None)
        for future in left.values():
            future.set_exception(Busy("the server is stopping"))

    def _run(self) -> None:
        """Feed the workers until they are idle for long; then, or after an error, the next task starts new ones."""
        while True:
            try:
                done = workers.run(
                    *self._how,
                    self._tasks(),
                    self._jobs,
                    lambda numbered: self._patience(numbered[1]),
                    nice=True,  # a question that takes milliseconds does not wait for a file that takes seconds
                )
                for (number, _), result in done:
                    self._settle(number, result)
            except Exception as error:  # it cannot start, or a bug of ours: all who wait should know
                for number in list(self._futures):
                    self._settle(number, error)
            with self._guard:
                if self._closed or self._waiting.empty():
                    self._runs = False
                    return

    def _tasks(self) -> Iterator[tuple[int, Any]]:
        while not self._closed:
            try:
                task = self._waiting.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                return
            if task is None:
                return
            yield task

    def _settle(self, number: int, result: Any) -> None:
        with self._guard:
            future = self._futures.pop(number, None)
        if future is None:
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def numbered(module: str, name: str, arguments: tuple[Any, ...]) -> Callable[[tuple[int, Any]], Any]:
    """Make the function of one task of a `Pool`, in a worker: `module`:`name`, called with `arguments`, makes it."""
    import importlib

    work = getattr(importlib.import_module(module), name)(*arguments)
    return lambda task: work(task[1])


class Ears(Pool):
    """Workers that embed one file at a time, for questions; they keep the encoders they have used.

    Parameters
    ----------
    jobs : int
        How many workers.
    most : int
        How many files may wait or be listened to.
    """

    def __init__(self, jobs: int, most: int) -> None:
        arguments = ("soundkin.serve.pool", "ears", ())
        super().__init__("soundkin.serve.pool:numbered", arguments, jobs, most, _patience)

    def listen(self, task: Task, names: list[str], listening: Listening) -> Outcome:
        """Embed a file; the `listener` of a `Library`.

        Parameters
        ----------
        task : Task
            The file.
        names : list of str
            Encoders.
        listening : Listening
            How they hear.

        Returns
        -------
        Outcome
            What came of it.

        Raises
        ------
        Busy
            Too many files at once.
        """
        outcome = self.submit((task, tuple(names), listening)).result()
        if isinstance(outcome, workers.Lost):
            return Failure(task.file, outcome.kind, outcome.reason)
        heard: Outcome = outcome
        return heard


def ears() -> Callable[[tuple[Task, tuple[str, ...], Listening]], Outcome]:
    """Make the function that embeds, in a worker."""
    workers.limit_memory(_TASK_BYTES)
    known: dict[tuple[tuple[str, ...], Listening], Embedder] = {}  # the one used last stands last

    def listen(asked: tuple[Task, tuple[str, ...], Listening]) -> Outcome:
        task, names, listening = asked
        embedder = known.pop((names, listening), None) or Embedder(names, listening)
        known[names, listening] = embedder
        if len(known) > _MOST_KNOWN:
            del known[next(iter(known))]
        return embedder.file(task)

    return listen


def _patience(asked: tuple[Task, tuple[str, ...], Listening]) -> float:
    return _BASE_SECONDS + asked[0].file.size / _BYTES_PER_SECOND
