"""Tables of one's own: a manifest, and the folders of Hugging Face's `datasets`."""

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soundkin.datasets.items import Content, Item, Problem, audio_below, distinct, known
from soundkin.errors import InputError, MissingExtra

COLUMNS = ("path", "title", "artist", "album", "genres", "split")
SEPARATOR = "; "
# What people call the columns; the first is ours.
_ALIASES = {
    "path": ("path", "file_name", "filename", "file", "filepath", "file_path", "audio"),
    "title": ("title", "name", "track", "track_title"),
    "artist": ("artist", "artist_name", "performer"),
    "album": ("album", "release", "album_title"),
    "genres": ("genres", "genre", "subgenres", "label", "labels", "tags", "class"),
    "split": ("split", "subset", "fold"),
}
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SPLITS = {
    alias: split
    for split, aliases in {
        "train": ("train", "training"),
        "validation": ("validation", "valid", "val", "dev"),
        "test": ("test", "testing", "eval", "evaluation"),
    }.items()
    for alias in aliases
}


def manifest(file: Path) -> Content:
    """Read a table with a row per track.

    Parameters
    ----------
    file : Path
        ``.csv``, ``.tsv``, ``.json`` (a list of objects, or an object of lists), ``.jsonl`` or ``.parquet``. Paths
        in it are absolute, or relative to it.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder; wanted a .csv, .tsv, .json, .jsonl or .parquet file")
    return _content(file, ())


def audiofolder(folder: Path) -> Content:
    """Read a folder with ``metadata.csv``, ``.jsonl`` or ``.parquet``; without one, folders are labels.

    Parameters
    ----------
    folder : Path
        Of the data set; folders below it may be splits.
    """
    found = sorted(path for name in _METADATA for path in folder.rglob(name))
    audio = audio_below(folder)
    if found:
        read = [_content(file, file.parent.relative_to(folder).parts) for file in found]
        return Content(
            [i for each in read for i in each.items], [p for each in read for p in each.problems], audio
        )
    items = []
    for path in audio:
        parts = Path(path).relative_to(folder).parts[:-1]
        split = next((_SPLITS[part.lower()] for part in parts if part.lower() in _SPLITS), "")
        label = next((part for part in reversed(parts) if part.lower() not in _SPLITS), "")
        items.append(Item(path, genres=distinct([label]), split=split))
    return Content(items, [], audio)


def _content(file: Path, folders: tuple[str, ...]) -> Content:
    items, problems = [], []
    split = next((_SPLITS[part.lower()] for part in folders if part.lower() in _SPLITS), "")
    for number, row in enumerate(_rows(file), 1):
        given = {str(name).strip().lower(): value for name, value in row.items() if name is not None}
        named = {
            ours: next((given[a] for a in known_as if a in given), None)
            for ours, known_as in _ALIASES.items()
        }
        path = _path(named["path"])
        if not path:
            problems.append(Problem("row without a path", f"{file.name}: row {number}"))
            continue
        genres = [genre for name in _ALIASES["genres"] for genre in _several(given.get(name))]
        items.append(Item(
            os.path.normpath(os.path.join(file.parent, path)), known(named["title"]), known(named["artist"]),
            known(named["album"]), distinct(genres), known(named["split"]) or split,
        ))  # fmt: skip
    return Content(items, problems)


def _path(value: Any) -> str:
    if isinstance(value, dict):  # a column of audio, as the library stores it
        value = value.get("path")
    return str(value).strip() if value is not None else ""


def _several(value: Any) -> list[str]:
    """Return the names in a cell: a list, or text with semicolons or bars between them."""
    if value is None or isinstance(value, dict):
        return []
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        return [str(each) for each in value]
    text = str(value).strip()
    if text.startswith("["):
        try:
            return [str(each) for each in json.loads(text.replace("'", '"'))]
        except ValueError:
            text = text.strip("[]")
    return re.split(r"[;|]", text)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    suffix = file.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            with open(file, newline="", encoding="utf-8-sig", errors="surrogateescape") as text:
                yield from csv.DictReader(text, delimiter="\t" if suffix == ".tsv" else ",")
        elif suffix in (".jsonl", ".ndjson"):
            with open(file, encoding="utf-8-sig") as text:
                yield from (_object(json.loads(line), file) for line in text if line.strip())
        elif suffix == ".json":
            yield from _objects(json.loads(file.read_text("utf-8-sig")), file)
        elif suffix == ".parquet":
            yield from _parquet(file)
        else:
            raise InputError(
                f"{file} is no table that is known; wanted .csv, .tsv, .json, .jsonl or .parquet"
            )
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file} is damaged or of another kind: {error}") from error


def _objects(document: Any, file: Path) -> list[dict[str, Any]]:
    if isinstance(document, dict) and document and all(isinstance(v, list) for v in document.values()):
        names, columns = list(document), list(document.values())
        if len({len(column) for column in columns}) > 1:
            raise InputError(f"{file} has columns of different lengths; wanted a list of objects")
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if not isinstance(document, list):
        raise InputError(
            f"{file} holds {type(document).__name__}; wanted a list of objects, or an object of lists"
        )
    return [_object(each, file) for each in document]


def _object(value: Any, file: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{file} has a row that is no object: {str(value)[:40]}")
    return value


def _parquet(file: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra(f"{file} is Parquet: pip install 'soundkin[parquet]'") from error
    try:
        return list(parquet.read_table(file).to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file} is no Parquet that can be read: {error}") from error
