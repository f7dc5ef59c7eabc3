"""A scan that the server starts: in a process of its own, watched by whoever wants to.

The child writes one line of JSON for each step to its stdout; a thread of the server reads them.
"""

import contextlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from soundkin import workers
from soundkin.errors import SoundkinError
from soundkin.library import Library
from soundkin.record import writer_now
from soundkin.record.database import in_words
from soundkin.scan import Progress, ScanOptions
from soundkin.serve.models import ScanState

log = logging.getLogger(__name__)

_STEP_SECONDS = 0.25
_PATIENCE_SECONDS = 20.0
_TOLD = ("added", "updated", "moved", "removed", "unchanged", "failed", "audio_seconds", "elapsed")


class Conflict(SoundkinError):
    """What is asked for does not fit what is."""


class Scanning:
    """The scan of one library.

    Parameters
    ----------
    library : Library
        Which.
    music : sequence of str
        Folders to look into; without any, no scan can be started.
    after : callable
        Called when a scan has ended.
    """

    def __init__(self, library: Library, music: Sequence[str], after: Callable[[], None]) -> None:
        self._library, self._music, self._after = library, [os.path.abspath(path) for path in music], after
        self._guard = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._told: dict[str, Any] = {"state": "idle"}
        self._stopped = False

    @property
    def folders(self) -> list[str]:
        """What a scan looks into."""
        return list(self._music)

    def state(self) -> ScanState:
        """Return where the scan stands."""
        running = self._child is not None
        writer = {} if running else writer_now(self._library.place)
        told: dict[str, Any] = dict(self._told)
        if writer:
            told = {**writer.get("scan", {}), "state": "elsewhere", "message": in_words(writer)}
        return ScanState(
            can_start=bool(self._music) and not running and not writer, folders=self._music, **told
        )

    def start(self) -> ScanState:
        """Begin a scan.

        Returns
        -------
        ScanState
            Where it stands.

        Raises
        ------
        Conflict
            One is running, or there is nothing to scan.
        """
        with self._guard:
            if self._child is not None:
                raise Conflict("a scan is running already")
            if not self._music:
                raise Conflict("the server knows no folders to scan: start it with soundkin serve FOLDER")
            start = workers.python("from soundkin.serve.scanning import main; main()", *self._music)
            self._child = subprocess.Popen(
                **start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
            assert self._child.stdin is not None
            with (
                contextlib.suppress(OSError),
                self._child.stdin as told,
            ):  # passwords are for nobody else to see
                pickle.dump(self._library.opened_with, told)
            self._told, self._stopped = {"state": "running"}, False
            threading.Thread(
                target=self._read, args=(self._child,), name="soundkin-scan", daemon=True
            ).start()
        return self.state()

    def stop(self) -> ScanState:
        """End the scan soon; what is done is kept."""
        child = self._child
        if child is not None:
            self._stopped = True
            with contextlib.suppress(OSError):
                child.send_signal(signal.SIGINT)
        return self.state()

    def close(self) -> None:
        """End the scan now."""
        child = self._child
        if child is None:
            return
        self.stop()
        try:
            child.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()

    def _read(self, child: "subprocess.Popen[bytes]") -> None:
        assert child.stdout is not None
        end: dict[str, Any] = {"state": "failed"}
        for line in child.stdout:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if "state" in told:
                    end = told
                else:
                    self._told = {**self._told, **told}
        code = child.wait()
        # Whoever hears of the end asks at once what there is now.
        self._after()
        with self._guard:
            if self._stopped:
                end = {"state": "stopped"}
            elif end == {"state": "failed"}:
                end["message"] = f"the scan ended with status {code}"
            self._told = {**self._told, **end}
            self._child = None


def main() -> None:
    """Be the child: scan the library that stdin tells of for the folders in `argv`."""
    music = sys.argv[1:]
    last = 0.0

    def step(at: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _STEP_SECONDS:
            last = time.monotonic()
            _tell(asdict(at))

    try:
        with Library.open(**pickle.load(sys.stdin.buffer)) as library:
            report = library.add(music, ScanOptions(), step)
        _tell({"state": "done", **{name: getattr(report, name) for name in _TOLD}})
    except SoundkinError as error:
        _tell({"state": "failed", "message": str(error)})
    except KeyboardInterrupt:
        _tell({"state": "stopped"})


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()
