"""Sound and pictures of tracks, made in workers and kept in a bounded folder."""

import asyncio
import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio.to_thread

from soundkin import workers
from soundkin.errors import NotFound
from soundkin.record import Track
from soundkin.serve.pool import Pool

SIZES = (96, 320, 960)
_CACHE_BYTES = 2 << 30
_WORKERS, _WAITING = 2, 64
_PATIENCE_SECONDS = 120.0
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
# What browsers play as it is: the codec and the suffix together, for a container says little.
_PLAYED = {
    "mp3": {".mp3": "audio/mpeg"},
    "flac": {".flac": "audio/flac"},
    "vorbis": {".ogg": "audio/ogg", ".oga": "audio/ogg"},
    "opus": {".opus": "audio/ogg", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".webm": "audio/webm"},
    "aac": {".m4a": "audio/mp4", ".mp4": "audio/mp4", ".m4b": "audio/mp4", ".aac": "audio/aac"},
    "wav": {".wav": "audio/wav"},
}


class Media:
    """What a player shows and plays.

    Parameters
    ----------
    folder : Path
        What is made is kept here, 2 GB at most; made when it is needed. Where it cannot be written, a folder of the
        system's that goes with us is taken instead.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spare: tempfile.TemporaryDirectory[str] | None = None
        arguments = ("soundkin.serve.media_work", "work", ())
        self.pool = Pool(
            "soundkin.serve.pool:numbered", arguments, _WORKERS, _WAITING, lambda task: _PATIENCE_SECONDS
        )
        self._making: dict[str, asyncio.Task[Path | None]] = {}

    async def audio(self, track: Track) -> tuple[str, str]:
        """Find or make what browsers play.

        Parameters
        ----------
        track : Track
            One of the library's.

        Returns
        -------
        (str, str)
            A file, and its media type.

        Raises
        ------
        NotFound
            The file is gone, or holds nothing that can be played.
        Busy
            Too much is being made already.
        """
        if not await anyio.to_thread.run_sync(_is_file, track.path):
            raise NotFound(f"the file of {track.id} is gone")
        suffix = Path(track.path).suffix.lower()
        if played := _PLAYED.get(track.format, {}).get(suffix):
            return track.path, played
        made = await self._kept(f"{track.content}.flac", lambda out: self._flac(track.path, out))
        if made is None:
            raise NotFound(f"the file of {track.id} cannot be played")
        return os.fspath(made), "audio/flac"

    async def cover(self, track: Track, size: int) -> bytes:
        """Return the cover of a track as JPEG, `size` pixels at most, or nothing when it has none.

        Parameters
        ----------
        track : Track
            One of the library's.
        size : int
            One of `SIZES`.

        Returns
        -------
        bytes
            Empty when neither the file nor its folder has a picture; that is kept, too.

        Raises
        ------
        NotFound
            Looking for it took too long, or more than a worker has.
        Busy
            Too much is being made already.
        """
        name = f"{track.content}-{_folder_stamp(track.path)}-{size}.jpg"
        made = await self._kept(name, lambda out: self._bytes(out, "cover", track.path, str(size)))
        if made is None:
            raise NotFound(f"whether the track {track.id} has a cover cannot be seen")
        return await anyio.to_thread.run_sync(made.read_bytes)

    async def peaks(self, track: Track) -> bytes:
        """Return the shape of a track's sound, see `media_work.peaks`; raise NotFound when it cannot be read."""
        made = await self._kept(f"{track.content}.peaks", lambda out: self._bytes(out, "peaks", track.path))
        data = await anyio.to_thread.run_sync(made.read_bytes) if made else b""
        if not data:
            raise NotFound(f"the file of {track.id} cannot be read")
        return data

    def close(self) -> None:
        """End the workers."""
        self.pool.close()
        if self._spare is not None:
            self._spare.cleanup()

    async def _kept(self, name: str, make: Callable[[str], Awaitable[bool]]) -> Path | None:
        """Return the file of that name, made by `make` unless it is there; who asks meanwhile waits with us."""
        target = self._folder / name
        if await anyio.to_thread.run_sync(_touched, target):
            return target
        if name not in self._making:
            task = self._making[name] = asyncio.create_task(self._make(name, make))
            task.add_done_callback(lambda _: self._making.pop(name, None))
        return await asyncio.shield(self._making[name])  # a listener who leaves does not spoil it for others

    async def _make(self, name: str, make: Callable[[str], Awaitable[bool]]) -> Path | None:
        try:
            partial = self._begun()
        except OSError as error:
            if self._spare is not None or error.errno not in _READ_ONLY:
                raise
            self._spare = tempfile.TemporaryDirectory(prefix="soundkin-cache-")
            self._folder = Path(self._spare.name)
            partial = self._begun()
        target = Path(partial).with_name(name)
        try:
            if not await make(partial):
                return None
            os.replace(partial, target)
            await anyio.to_thread.run_sync(_trim, target.parent, _CACHE_BYTES)
            return target
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)

    def _begun(self) -> str:
        """Make an empty file in our folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self._folder, prefix="part-")
        os.close(handle)
        return partial

    async def _ask(self, *task: str) -> Any:
        return await asyncio.wrap_future(self.pool.submit(task))

    async def _flac(self, path: str, out: str) -> bool:
        return await self._ask("flac", path, out) is True

    async def _bytes(self, out: str, *task: str) -> bool:
        data = await self._ask(*task)
        if isinstance(data, workers.Lost):
            return False
        await anyio.to_thread.run_sync(Path(out).write_bytes, data or b"")
        return True


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _folder_stamp(path: str) -> str:
    """Say when the folder of a file changed last: its picture may have come or gone."""
    try:
        return f"{os.stat(os.path.dirname(path)).st_mtime_ns:x}"
    except OSError:
        return "0"


def _touched(path: Path) -> bool:
    """Mark a file as used, if it is there."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True


def _trim(folder: Path, most: int) -> None:
    """Delete what was not used for longest until a folder holds `most` bytes."""
    found = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            state = entry.stat(follow_symlinks=False)
            if not entry.name.startswith("part-"):
                found.append((state.st_mtime_ns, state.st_size, entry.path))
    held = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if held <= most:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
            held -= size
