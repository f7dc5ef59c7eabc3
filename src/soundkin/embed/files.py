"""Whether it is the same file, and whether it is there."""

import hashlib
import os
import re
import stat

from soundkin.errors import DecodeError


def content_hash(path: str | os.PathLike[str]) -> str:
    """Return half the SHA-256 of a file's bytes, 32 hex digits.

    Parameters
    ----------
    path : path-like
        A regular file.

    Raises
    ------
    DecodeError
        Not a regular file.
    OSError
        It cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would hang at open
        raise DecodeError("not a regular file")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def is_url(path: str) -> bool:
    """Tell the URL of a file in a bucket or on a server from the path of one here."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def is_gone(path: str) -> bool:
    """Tell what is not there from what cannot be seen now: only the first may be forgotten.

    Parameters
    ----------
    path : str
        Absolute, or a URL.

    Returns
    -------
    bool
        False also for a broken link, and for what cannot be looked at, as what is behind a URL.
    """
    if is_url(path):
        return False
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
