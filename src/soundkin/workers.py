"""Processes that may hang or crash without harm: one task lost, never the run.

Audio files come from anywhere, and decoders are C. So a task runs in a child process with a time limit; a child that
hangs is killed, one that dies is replaced, and either way the task ends as a `Lost` with its reason.

Why not a library's pool: `concurrent.futures` breaks as a whole when a child dies; pools built on `multiprocessing`
import the caller's main module in every child, which runs a script twice unless it has a ``__main__`` guard, and nobody
should need one to index a folder from a notebook or a ten-line script.
"""

import contextlib
import importlib
import logging
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import IO, Any

from soundkin.errors import SoundkinError

log = logging.getLogger(__name__)

_START_SECONDS = 120.0
_STARTS = 3
# One thread per process: the processes are the parallelism, and more threads would only fight over the cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Settings of the environment that keep matrix products to one thread, when they are there before numpy is."""
_PARENT_CHECK_SECONDS = 2.0


@dataclass(frozen=True)
class Lost:
    """A task that ended without a result.

    Parameters
    ----------
    kind : str
        "timeout" or "crash".
    reason : str
        One line.
    """

    kind: str
    reason: str


def python(code: str, *arguments: str) -> dict[str, Any]:
    """Say how to start a Python that imports what this process imports, and nothing else.

    The current folder is often full of music, and a `queue.py` that lies there must not run in our place: so ``-P``.

    Parameters
    ----------
    code : str
        What to run.
    *arguments : str
        Its ``sys.argv[1:]``.

    Returns
    -------
    dict
        Arguments of `subprocess.Popen`.
    """
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    return {
        "args": [sys.executable, "-P", "-c", code, *arguments],
        "env": {**os.environ, "PYTHONPATH": path},
    }


def run(
    factory: str,
    arguments: tuple[Any, ...],
    tasks: Iterable[Any],
    jobs: int,
    timeout: Callable[[Any], float],
    nice: bool = False,
    waiting: int | None = None,
) -> Generator[tuple[Any, Any], None, None]:
    """Run tasks in worker processes; yield them as they end.

    Parameters
    ----------
    factory : str
        "package.module:function"; called once in every worker with `arguments`, returns the function of one task.
    arguments : tuple
        Pickled.
    tasks : iterable
        Consumed lazily, a few ahead of the workers; each is pickled.
    jobs : int
        Number of workers.
    timeout : callable
        Seconds a task may take, given the task.
    nice : bool
        Give way to other programs.
    waiting : int, optional
        How many results may wait to be taken before the workers pause; default 4 per worker.

    Yields
    ------
    tuple
        (task, its result or `Lost`), in the order they end.

    Raises
    ------
    SoundkinError
        The workers cannot start; or what the factory says of that.
    """
    feed = _Feed(tasks)
    results: queue.Queue[Any] = queue.Queue(maxsize=waiting or 4 * jobs)
    threads = [_Supervisor((factory, arguments, nice), feed, results, timeout) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            item = results.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        feed.close()
        for thread in threads:
            thread.stop()
        while any(thread.is_alive() for thread in threads):
            with contextlib.suppress(queue.Empty):  # a supervisor may be waiting to hand over a result
                results.get(timeout=0.05)


class _Feed:
    """Tasks handed out to threads one by one."""

    def __init__(self, tasks: Iterable[Any]) -> None:
        self._tasks = iter(tasks)
        self._lock = threading.Lock()
        self._closed = False

    def next(self) -> tuple[bool, Any]:
        """Return (True, task), or (False, None) at the end."""
        with self._lock:
            if not self._closed:
                for task in self._tasks:
                    return True, task
            return False, None

    def close(self) -> None:
        with self._lock:
            self._closed = True


class _Killed(SoundkinError):
    """A worker was killed while it started, as the system does when memory is short."""


class _Supervisor(threading.Thread):
    """A thread that owns one child: feeds it, times it, replaces it when it dies."""

    def __init__(
        self,
        setup: tuple[Any, ...],
        feed: _Feed,
        results: "queue.Queue[Any]",
        timeout: Callable[[Any], float],
    ) -> None:
        super().__init__(daemon=True)
        self._setup = setup
        self._feed, self._results, self._timeout = feed, results, timeout
        self._child: _Child | None = None
        self._stopped = False

    def run(self) -> None:
        """Work until the tasks end; errors of ours go to the consumer."""
        try:
            while not self._stopped:
                more, task = self._feed.next()
                if not more:
                    break
                self._results.put((task, self._do(task)))
        except BaseException as error:
            self._results.put(error)
        finally:
            if self._child is not None:
                self._child.bury()
            self._results.put(None)

    def _do(self, task: Any) -> Any:
        if self._child is None:
            self._child = self._new_child()
        if self._stopped:  # while the child started, so that `stop` did not see it
            self._child.end()
        seconds = self._timeout(task)
        answer = self._child.ask(task, seconds)
        if answer is None:
            lost = self._child.post_mortem(seconds)
            self._child = None
            return lost
        if self._child.timed_out:  # just after it answered
            self._child.bury()
            self._child = None
        ok, value = answer
        if not ok:
            log.debug("a worker failed:\n%s", value)
            raise SoundkinError(f"a worker failed, which is a bug: {value.strip().splitlines()[-1]}")
        return value

    def _new_child(self) -> "_Child":
        for _ in range(_STARTS - 1):
            with contextlib.suppress(_Killed):
                return _Child(self._setup)
        return _Child(self._setup)

    def stop(self) -> None:
        """End the child, if there is one; the thread buries it."""
        self._stopped = True
        child = self._child
        if child is not None:
            child.end()


class _Child:
    """One worker process and the pipes to it."""

    def __init__(self, setup: tuple[Any, ...]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        start = python("from soundkin.workers import _serve; _serve()")
        start["env"] |= ONE_THREAD
        try:
            self._process = subprocess.Popen(
                **start,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is for the parent, which stops its children in order
            )
        except OSError as error:  # no memory, or too many processes
            self._errors.close()
            raise SoundkinError(
                f"a worker process cannot start: {error.strerror}; run: soundkin doctor"
            ) from error
        self.timed_out = False
        started = self.ask(setup, _START_SECONDS)
        if started is None:
            code = self._process.wait()
            words = self._last_words()
            self.bury()
            if self.timed_out:
                words = f"not ready after {_START_SECONDS:.0f} s"
            elif code < 0:
                raise _Killed(
                    f"a worker process cannot start: killed by signal {-code}; run: soundkin doctor"
                )
            raise SoundkinError(f"a worker process cannot start: {words}; run: soundkin doctor")
        if not started[0]:  # weights that are not here, a device that is not there: the factory's own words
            self.bury()
            raise started[1]

    def ask(self, message: Any, seconds: float) -> tuple[bool, Any] | None:
        """Send a message, wait for the answer; None when the child died or was killed for taking too long."""
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            pickle.dump(message, self._process.stdin, protocol=5)
            self._process.stdin.flush()
            answer: tuple[bool, Any] = pickle.load(self._process.stdout)
            return answer
        except (EOFError, OSError, pickle.UnpicklingError, ValueError):
            return None
        finally:
            timer.cancel()
            timer.join()  # it may be killing the child right now

    def post_mortem(self, seconds: float) -> Lost:
        """Bury a child that gave no answer, and say why."""
        self._process.wait()
        if self.timed_out:
            lost = Lost("timeout", f"no result after {seconds:.0f} s; the decoder was stopped")
        else:
            code = self._process.returncode
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            lost = Lost("crash", f"the decoder crashed ({how}) {self._last_words()}".strip())
        self.bury()
        return lost

    def _expire(self) -> None:
        self.timed_out = True
        self.end()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    def end(self) -> None:
        """Kill the process; any thread may."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def bury(self) -> None:
        """Kill the process and close its pipes; only for the thread that uses them."""
        self.end()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()


def _serve() -> None:
    """Be a worker: the main function of the child process."""
    requests, answers = sys.stdin.buffer, _private_stdout()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    factory, arguments, nice = pickle.load(requests)
    if nice and hasattr(os, "nice"):
        os.nice(10)
    module, _, name = factory.partition(":")
    try:
        work = getattr(importlib.import_module(module), name)(*arguments)
    except SoundkinError as error:
        _answer(answers, False, error)
        return
    _answer(answers, True, None)
    while True:
        try:
            task = pickle.load(requests)
        except EOFError:
            return
        try:
            _answer(answers, True, work(task))
        except Exception:
            _answer(answers, False, traceback.format_exc())


def _answer(answers: IO[bytes], ok: bool, value: Any) -> None:
    pickle.dump((ok, value), answers, protocol=5)
    answers.flush()


def _private_stdout() -> IO[bytes]:
    """Keep the answer pipe to ourselves: what C libraries print goes to stderr."""
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return private


def limit_memory(task_bytes: int) -> None:
    """Let the tasks of this worker have `task_bytes` more than it has now; for its factory to call.

    Files exist whose headers make a decoder ask for far more than the machine has.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):  # not every platform counts address space
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + task_bytes, resource.RLIM_INFINITY))


def _die_with_parent() -> None:
    """Leave when the parent is gone, even in the middle of a task that hangs."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)
