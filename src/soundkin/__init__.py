"""Soundkin recommends music by how it sounds.

    from soundkin import Library

    library = Library.open("my-library")
    library.add(["~/Music"])
    library.similar("words of a title")

Names are imported when they are first used, so that ``import soundkin`` costs next to nothing. Whatever `Library`
returns has its name here, for annotations.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soundkin.asking import Ambiguous
    from soundkin.browsing import Facet
    from soundkin.cluster import ClusterOptions, ClusterReport, LoadReport
    from soundkin.embed import Embedder, Failure, Space
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
    from soundkin.exchange import ImportReport
    from soundkin.finding import Found, ImportedProfile
    from soundkin.index.settings import QdrantCollection, QdrantLayout, QdrantSettings
    from soundkin.library import Library, Status
    from soundkin.playlists import Entry
    from soundkin.plays import PlaysReport, Unmatched
    from soundkin.recommend import Closeness, Hit, Moment, Query, Variety
    from soundkin.recommend.clusters import Cluster
    from soundkin.recommend.journeys import Journey
    from soundkin.recommend.radio import Radio
    from soundkin.recommend.versions import Group, Pair
    from soundkin.record import Track
    from soundkin.record.feedback import Feedback, Profile
    from soundkin.scan import Progress, ScanOptions, ScanReport

_HOME = {
    "Ambiguous": "asking",
    "Facet": "browsing",
    **dict.fromkeys(("Embedder", "Failure", "Space"), "embed"),
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
    "ImportReport": "exchange",
    **dict.fromkeys(("QdrantCollection", "QdrantLayout", "QdrantSettings"), "index.settings"),
    **dict.fromkeys(("ClusterOptions", "ClusterReport", "LoadReport"), "cluster"),
    **dict.fromkeys(("Library", "Status"), "library"),
    **dict.fromkeys(("Found", "ImportedProfile"), "finding"),
    "Cluster": "recommend.clusters",
    "Entry": "playlists",
    **dict.fromkeys(("PlaysReport", "Unmatched"), "plays"),
    **dict.fromkeys(("Closeness", "Hit", "Moment", "Query", "Variety"), "recommend"),
    "Journey": "recommend.journeys",
    "Radio": "recommend.radio",
    **dict.fromkeys(("Group", "Pair"), "recommend.versions"),
    "Track": "record",
    **dict.fromkeys(("Feedback", "Profile"), "record.feedback"),
    **dict.fromkeys(("Progress", "ScanOptions", "ScanReport"), "scan"),
}

__all__ = [
    "ENCODERS",
    "Ambiguous",
    "Closeness",
    "Cluster",
    "ClusterOptions",
    "ClusterReport",
    "DecodeError",
    "Embedder",
    "Entry",
    "Facet",
    "Failure",
    "Feedback",
    "Found",
    "Group",
    "Hit",
    "ImportReport",
    "ImportedProfile",
    "InputError",
    "Journey",
    "Library",
    "LoadReport",
    "MissingExtra",
    "ModelError",
    "Moment",
    "NotFound",
    "Pair",
    "PlaysReport",
    "Profile",
    "Progress",
    "QdrantCollection",
    "QdrantLayout",
    "QdrantSettings",
    "Query",
    "Radio",
    "ScanOptions",
    "ScanReport",
    "SoundkinError",
    "Space",
    "Status",
    "StoreError",
    "Track",
    "Unmatched",
    "Variety",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"soundkin.{_HOME[name]}"), name)
    raise AttributeError(f"module 'soundkin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
