"""Soundkin recommends music by how it sounds.

    from soundkin import Library

    library = Library.open("my-library")
    library.add(["~/Music"])
    library.similar("words of a title")

Names are imported when they are first used, so that ``import soundkin`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soundkin.embed import Space
    from soundkin.encoders import ENCODERS, load_encoder
    from soundkin.errors import (
        DecodeError,
        InputError,
        MissingExtra,
        ModelError,
        NotFound,
        SoundkinError,
        StoreError,
    )
    from soundkin.library import Ambiguous, Library
    from soundkin.recommend import Hit, Moment, Variety
    from soundkin.record import Track
    from soundkin.scan import Progress, ScanOptions, ScanReport

_HOME = {
    "Space": "embed",
    **dict.fromkeys(("ENCODERS", "load_encoder"), "encoders"),
    **dict.fromkeys(
        (
            "DecodeError",
            "InputError",
            "MissingExtra",
            "ModelError",
            "NotFound",
            "SoundkinError",
            "StoreError",
        ),
        "errors",
    ),
    **dict.fromkeys(("Ambiguous", "Library"), "library"),
    **dict.fromkeys(("Progress", "ScanOptions", "ScanReport"), "scan"),
    **dict.fromkeys(("Hit", "Moment", "Variety"), "recommend"),
    "Track": "record",
}

__all__ = [
    "ENCODERS",
    "Ambiguous",
    "DecodeError",
    "Hit",
    "InputError",
    "Library",
    "MissingExtra",
    "ModelError",
    "Moment",
    "NotFound",
    "Progress",
    "ScanOptions",
    "ScanReport",
    "SoundkinError",
    "Space",
    "StoreError",
    "Track",
    "Variety",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"soundkin.{_HOME[name]}"), name)
    raise AttributeError(f"module 'soundkin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
