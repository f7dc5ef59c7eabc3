"""Which spaces encoders make, told without loading those that were loaded before.

To load a published encoder takes seconds, and a scan that finds nothing new needs its name only. So what a loaded one
said of itself is kept in the cache of downloads, with the state of its files and of the code here; it counts as long
as both are as they were.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from soundkin.audio import Listening
from soundkin.embed import Embedder, Listenings, Space, listening_of, space_of
from soundkin.encoders import FOLDER_FILES, find, load_encoder, weights

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent
# The code by which a space may change though its weights do not.
_CODE = ("encoders/*.py", "decoding.py", "audio.py", "features.py", "embed/*.py")


def spaces_of(names: Sequence[str], listening: Listenings = None, device: str = "auto") -> list[Space]:
    """Name the spaces that encoders make.

    Parameters
    ----------
    names : sequence of str
        Names or folders of encoders.
    listening : Listening, or mapping of str to Listening, optional
        As for `embed.Embedder`.
    device : str
        Where they are to run.

    Returns
    -------
    list of Space
        In the order of `names`.

    Raises
    ------
    ModelError
        An encoder is not here, or cannot be loaded, or the device is not here.
    MissingExtra
        What runs it is not installed.
    """
    if device not in (
        "auto",
        "cpu",
    ):  # a device asked for by name has to be there, whether or not it is needed
        return Embedder(names, listening, device).spaces
    found = []
    for name in names:
        own = own_space(name)
        heard = listening_of(name, listening, Listening.named(own.listening))
        found.append(replace(own, listening=heard.name))
    return found


def own_space(name: str) -> Space:
    """Name the space of an encoder that hears as it does best; see `spaces_of`."""
    files = _files(name)
    state = _state(files) if files else ""
    key = hashlib.sha256((name if find(name) else os.path.abspath(name)).encode()).hexdigest()[:16]
    folder = weights.cache_folder() / "spaces"
    known = weights.read_manifest(folder).get(key) if state else None
    if isinstance(known, dict) and known.get("state") == state:
        return Space.from_json(known["space"])
    encoder = load_encoder(name)
    space = space_of(encoder, encoder.listening)
    if state:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            weights.note(folder, {key: {"state": state, "space": space.to_json()}})
        except OSError as error:  # then it is loaded the next time, too
            log.info("%s cannot be written: %s", folder, error)
    return space


def _files(name: str) -> list[Path]:
    """Return the files that make an encoder what it is; none for one that is quickly loaded, or not here."""
    if found := find(name):
        info = found[0]
        if info.hub:
            return sorted(info.hub.folder.glob("*")) if info.hub.is_here() else []
        if all(map(weights.is_here, info.files)):
            return [weights.weights_folder() / part for file in info.files for part in file.parts]
        return []
    return [Path(os.path.abspath(name)) / part for part in FOLDER_FILES]


def _state(files: Iterable[Path]) -> str:
    """Tell files from their earlier selves, and the code here from what it was; "" when one cannot be seen."""
    try:
        return hashlib.sha256(f"{_stamps(files)} {_code()}".encode()).hexdigest()[:16]
    except OSError:
        return ""


@cache
def _code() -> str:
    return _stamps(sorted(path for pattern in _CODE for path in _PACKAGE.glob(pattern)))


def _stamps(files: Iterable[Path]) -> str:
    status = ((path, os.stat(path)) for path in files)
    return ";".join(f"{path}|{s.st_size}|{s.st_mtime_ns}" for path, s in status)
