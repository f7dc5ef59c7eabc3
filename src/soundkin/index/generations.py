"""Generations of an index folder: which one counts, what it reflects, and how the next one takes its place.

A folder holds generations: `edge-0003/` is a shard of the engine (`shard/`) plus `state.json`. The newest one
is the index. The next one is built under another name, and one rename makes it the newest: there is no moment
without a whole index, and nothing to repair after a crash. This file needs no engine: a process can look
before it opens.
"""

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from soundkin.errors import SoundkinError, StoreError
from soundkin.index import IndexLocked, RebuildNeeded
from soundkin.index.points import LAYOUT, Mark

log = logging.getLogger(__name__)

_LOCK = "build.lock"
_GENERATION = re.compile(r"edge-(\d{4,})(\.building|\.old)?")


@dataclass(frozen=True, slots=True)
class State:
    """What a generation says of itself.

    Parameters
    ----------
    engine : str
        Name and version of the engine that wrote it.
    generation : str
        Name of its folder.
    mark : Mark
        What it reflects.
    spaces : dict of str to int
        Space id -> dimensions.
    optimized : int
        Number of points when it was last optimized; points added since are searched one by one.
    """

    engine: str
    generation: str
    mark: Mark
    spaces: dict[str, int]
    optimized: int


def read_state(folder: Path) -> State | None:
    """Read what the newest generation in a folder says of itself, without opening it.

    Parameters
    ----------
    folder : Path
        Folder of the index.

    Returns
    -------
    State or None
        None if there is no generation, or none that this version of the engine wrote: `rebuild`.

    Raises
    ------
    StoreError
        The folder cannot be read.
    """
    with one_line(folder):
        complete = {number: path for number, suffix, path in _generations(folder) if not suffix}
    if not complete:
        return None
    newest = complete[max(complete)]
    try:
        saved = json.loads((newest / "state.json").read_bytes())
        mark = Mark(str(saved["record"]), int(saved["revision"]))
        spaces = {str(space): int(dims) for space, dims in saved["spaces"].items()}
        state = State(saved["engine"], newest.name, mark, spaces, int(saved["optimized"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("index %s: %s has no readable state (%s)", folder, newest.name, error)
        return None
    return state if state.engine == engine_version() else None


@contextlib.contextmanager
def next_generation(folder: Path, in_use: Callable[[Path], bool]) -> Iterator[Path]:
    """Build the next generation of an index aside; it takes its place when the block ends without an error.

    Parameters
    ----------
    folder : Path
        Folder of the index; made if it is not there.
    in_use : callable
        Whether somebody has a generation open; those that are not are removed.

    Yields
    ------
    Path
        An empty folder, named like the generation plus ".building". The block must leave a shard and a state.

    Raises
    ------
    IndexLocked
        Another process is building in this folder.
    StoreError
        The folder cannot be written.
    """
    lock = FileLock(folder / _LOCK)
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise IndexLocked(f"index {folder}: another process is rebuilding it; wait for that") from None
    try:
        _sweep(folder, in_use)
        with one_line(folder):
            number = 1 + max((number for number, _, _ in _generations(folder)), default=0)
            aside = folder / f"edge-{number:04d}.building"
            aside.mkdir()
        try:
            yield aside
            with one_line(folder):
                aside.rename(aside.with_suffix(""))
                _sync(folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _sweep(folder, in_use)
    finally:
        lock.release()


def being_built(folder: Path) -> bool:
    """Tell whether a process is building the next generation of an index.

    Parameters
    ----------
    folder : Path
        Folder of the index.

    Returns
    -------
    bool
        It may be ready, or have failed, the moment after.
    """
    lock = FileLock(folder / _LOCK)
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # nothing was ever built here, or nothing can be
        return False


def write_state(generation: Path, state: State) -> None:
    """Save what a generation says of itself, whole or not at all.

    Parameters
    ----------
    generation : Path
        Its folder.
    state : State
        What it says.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    content = {
        "engine": state.engine,
        "generation": state.generation,
        "record": state.mark.record,
        "revision": state.mark.revision,
        "spaces": state.spaces,
        "optimized": state.optimized,
    }
    aside = generation / "state.json.new"
    with one_line(generation):
        with aside.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(generation / "state.json")
        _sync(generation)


def engine_version() -> str:
    """Name the engine, its version and the payload it is filled with, as in `State.engine`.

    Returns
    -------
    str
        Like "qdrant-edge 0.9.0, payload 1f3a9c02, graph 3". The last counts how graphs have been set up.
    """
    return f"qdrant-edge {version('qdrant-edge-py')}, payload {LAYOUT}, graph 3"


@contextlib.contextmanager
def one_line(folder: Path) -> Iterator[None]:
    """Turn what the engine (bare `Exception`) and the file system raise into a `StoreError` of one line.

    Parameters
    ----------
    folder : Path
        What the error is about.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    RebuildNeeded
        The engine panicked, as it does over damaged files.
    StoreError
        The block raised something else that is not ours.
    """
    try:
        yield
    except SoundkinError:
        raise
    except BaseException as error:
        line = " ".join(str(error).split())
        # a panic in Rust is no Exception, so that nobody catches it by accident, and has no class to import
        if type(error).__name__ == "PanicException":
            raise RebuildNeeded(f"index {folder}: damaged ({line}); rebuild it from the record") from error
        if not isinstance(error, Exception):
            raise
        raise StoreError(f"index {folder}: {line}") from error


def _generations(folder: Path) -> list[tuple[int, str, Path]]:
    """List number, suffix ("", ".building" or ".old") and path of all that is or was a generation."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        name = _GENERATION.fullmatch(path.name)
        if name:
            found.append((int(name[1]), name[2] or "", path))
    return found


def _sweep(folder: Path, in_use: Callable[[Path], bool]) -> None:
    """Remove what crashed builds left, and old generations that nobody has open. Wants the build lock."""
    generations = _generations(folder)
    newest = max((number for number, suffix, _ in generations if not suffix), default=0)
    for number, suffix, path in generations:
        if suffix:
            shutil.rmtree(path, ignore_errors=True)
        elif number < newest and not in_use(path):
            # the new name first: nobody can open it half removed
            with contextlib.suppress(OSError):
                shutil.rmtree(path.rename(path.with_suffix(".old")), ignore_errors=True)


def _sync(folder: Path) -> None:
    """Put the names in a folder beyond a power cut, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
