"""Building the index of a large library in a process of its own, while questions are answered without it."""

import logging
import pickle
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from soundkin import workers
from soundkin.errors import StoreError
from soundkin.index import IndexLocked
from soundkin.index.generations import being_built

if TYPE_CHECKING:
    from soundkin.index.settings import QdrantSettings

log = logging.getLogger(__name__)

# What made a build fail, a full disk say, is still there the moment after.
_TRY_AGAIN_SECONDS = 600.0
# The engine holds the interpreter's lock for most of a build: only another process keeps this one responsive.
_KIND = re.compile(r"^soundkin[\w.]*: ")  # of an error of ours, in the last line of a traceback
_LOCKED = f"{IndexLocked.__module__}.{IndexLocked.__qualname__}: "
_CODE = """
import os, pickle, sys
from soundkin.index.follow import rebuild_from
if hasattr(os, "nice"):
    os.nice(int(sys.argv[1]))
record_at, where, server = pickle.load(sys.stdin.buffer)
rebuild_from(record_at, where, **server)
"""


class Builder:
    """Builds the index of one library from its record, in another process.

    Parameters
    ----------
    record_at : str or Path
        Where its record is, for `Record.open`.
    where : Path or QdrantSettings
        The index: a folder, or a Qdrant server.
    """

    def __init__(self, record_at: str | Path, where: "Path | QdrantSettings") -> None:
        self._record_at, self._where = record_at, where
        self._server: dict[str, Any] = {}
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._failed = float("-inf")  # when, on the monotonic clock
        self._told = False

    def begin(self, **server: Any) -> None:
        """See to it that the index is being built, by whatever process, and do not wait for it.

        It goes on when this process ends, so that somebody who only asks one question at a time has an index at last;
        and it gives way to other programs. What made it fail is logged, and it is tried again after a while.

        Parameters
        ----------
        **server
            As in `rebuild`.

        Raises
        ------
        StoreError
            No process can be started.
        """
        if not self._guard.acquire(blocking=False):  # another thread waits for a build
            return
        try:
            self._server = server
            self._begin()
        finally:
            self._guard.release()

    def _begin(self) -> None:
        if self._process is not None:
            return
        if time.monotonic() - self._failed < _TRY_AGAIN_SECONDS:
            return
        # what is on a server says so to the process that wants to build it, too
        if not (isinstance(self._where, Path) and being_built(self._where)):
            self._start(10)
        if not self._told:
            log.warning("the index is being built; until it is there, answers take longer")
            self._told = True

    def run(self) -> None:
        """Build the index, and wait for it.

        Raises
        ------
        IndexLocked
            Another process is building it.
        StoreError
            It could not be built; the one there is as it was.
        """
        with self._guard:
            if self._process is None:
                self._start(0)
            assert self._process is not None
            self._process.wait()
            self._ended()

    def _start(self, nice: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        start = workers.python(_CODE, str(nice))
        # in private: what stands behind a command, everybody on the machine can read
        told = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        pickle.dump((self._record_at, self._where, self._server), told)
        told.seek(0)
        try:
            self._process = subprocess.Popen(
                **start,
                stdin=told,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=nice > 0,
            )
        except OSError as error:
            self._failed = time.monotonic()
            raise StoreError(f"the index could not be built: {error.strerror}") from error
        finally:
            told.close()
        if nice:
            threading.Thread(target=self._put_away, args=(self._process,), daemon=True).start()

    def _put_away(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for a process that nobody else waits for, and tell what it failed with."""
        process.wait()
        with self._guard:
            if self._process is process:
                try:
                    self._ended()
                except IndexLocked as error:  # it began the moment before
                    log.info("%s", error)
                except StoreError as error:
                    log.warning("%s", error)

    def _ended(self) -> None:
        """Put away a process that has ended, and raise what it failed with."""
        process, errors, self._process, self._errors = self._process, self._errors, None, None
        if process is None or errors is None:
            return
        with errors:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
        if process.returncode:
            self._failed = time.monotonic()
            last = lines[-1] if lines else f"exit status {process.returncode}"
            why = _KIND.sub("", last)
            raise (
                IndexLocked(why)
                if last.startswith(_LOCKED)
                else StoreError(f"the index could not be built: {why}")
            )
