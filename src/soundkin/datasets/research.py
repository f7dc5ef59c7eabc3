"""Readers of data sets that research uses, each in the layout it is given out in."""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soundkin.datasets.items import Content, Item, Problem, audio_below, distinct, known
from soundkin.errors import InputError

_GTZAN_GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
_GTZAN_NAME = re.compile(r"([a-z]+)\.(\d{5})\.(au|wav|mp3|flac)$")
_GTZAN_EACH = 100
# The descriptions of albums and artists in FMA are web pages.
_LARGEST_FIELD = 1 << 26
_FMA_SETS = {"fma_small": {"small"}, "fma_medium": {"small", "medium"}, "fma_large": None, "fma_full": None}


def ludwig(folder: Path) -> Content:
    """Read Ludwig: ``labels.json`` as DynamoDB exports it, ``mp3/GENRE/ID.mp3``.

    Parameters
    ----------
    folder : Path
        Holds both.
    """
    file = folder / "labels.json"
    if not file.is_file():
        return Content([])
    try:
        rows = json.loads(file.read_text("utf-8-sig"))["tracks"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{file} is not labels of Ludwig: wanted {{"tracks": {{ID: ...}}}} ({error})'
        ) from error
    audio = audio_below(folder / "mp3")
    place = {Path(path).stem: path for path in audio}
    items, problems = [], []
    for name, row in rows:
        label = _plain({"M": row}) if isinstance(row, dict) else {}
        if not label:
            problems.append(Problem("labels are empty", name))
            label = {}
        genre = known(label.get("genre"))
        path = place.get(name) or os.fspath(folder / "mp3" / (genre or "unknown") / f"{name}.mp3")
        genre = genre or (known(Path(path).parent.name) if name in place else "")
        more = [*_listed(label.get("subgenres")), *_listed(label.get("otherSubgenres"))]
        # "latin---salsa": the parent is not another genre of the track, but part of the name
        genres = distinct([genre, *(text.rpartition("---")[2] for text in more)])
        items.append(Item(path, known(label.get("name")), known(label.get("artist")), "", genres))
    return Content(items, problems, audio)


def _plain(value: Any) -> Any:
    """Undo DynamoDB's typed JSON: {"S": "x"} is "x", {"L": [...]} a list, {"NULL": true} nothing."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in ("S", "N", "BOOL"):
            return inner
        if kind == "NULL":
            return None
        if kind in ("L", "SS", "NS"):
            return [_plain(each) for each in inner or []]
        if kind == "M":
            return {name: _plain(each) for name, each in (inner or {}).items()}
    return value


def _listed(value: Any) -> list[str]:
    return [known(each) for each in value] if isinstance(value, list) else [known(value)]


def fma(folder: Path) -> Content:
    """Read FMA: ``tracks.csv`` with its three header rows, and ``fma_small/000/000002.mp3``.

    Parameters
    ----------
    folder : Path
        Holds ``fma_metadata`` and one or more of ``fma_small``, ``fma_medium``, ``fma_large``, ``fma_full``; or
        ``tracks.csv`` and the numbered folders themselves.
    """
    file = next(
        (f for f in (folder / "fma_metadata" / "tracks.csv", folder / "tracks.csv") if f.is_file()), None
    )
    if file is None:
        return Content([])
    roots = {folder / name: subset for name, subset in _FMA_SETS.items() if (folder / name).is_dir()}
    audio = [path for root in roots or [folder] for path in audio_below(root)]
    place = {int(Path(path).stem): path for path in audio if Path(path).stem.isdigit()}
    names = _fma_genres(file.with_name("genres.csv"))
    subsets = list(roots.values())
    wanted = None if None in subsets else set().union(*(subset for subset in subsets if subset))
    items = []
    for number, row in _fma_rows(file):
        # Which files should be there depends on which subsets are: others are no loss.
        if number not in place and (not roots or (wanted is not None and row["set.subset"] not in wanted)):
            continue
        root = next(iter(roots), folder)
        path = place.get(number) or os.fspath(root / f"{number:06}"[:3] / f"{number:06}.mp3")
        numbers = re.findall(r"\d+", row["track.genres"])
        genres = distinct([row["track.genre_top"], *(names.get(int(n), "") for n in numbers)])
        split = {"training": "train"}.get(row["set.split"], row["set.split"])
        album = known(row["album.title"])
        items.append(Item(path, known(row["track.title"]), known(row["artist.name"]), album, genres, split))
    return Content(items, [], audio)


def _fma_rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each track, and its columns as "group.name"."""
    with _large_fields(), open(file, newline="", encoding="utf-8-sig", errors="replace") as text:
        rows = csv.reader(text)
        groups, names, first = next(rows, []), next(rows, []), next(rows, [])
        columns = [f"{group}.{name}" for group, name in zip(groups, names, strict=False)]
        needed = {
            "track.title",
            "track.genre_top",
            "track.genres",
            "artist.name",
            "album.title",
            "set.subset",
            "set.split",
        }
        if first[:1] != ["track_id"] or not needed <= set(columns):
            raise InputError(
                f"{file} has not the three header rows of FMA's tracks.csv; take the one of fma_metadata.zip"
            )
        for row in rows:
            if row and row[0].isdigit():
                yield int(row[0]), dict(zip(columns, row, strict=False))


def _fma_genres(file: Path) -> dict[int, str]:
    if not file.is_file():
        return {}
    with open(file, newline="", encoding="utf-8-sig") as text:
        rows = csv.DictReader(text)
        return {int(row["genre_id"]): row["title"] for row in rows if (row.get("genre_id") or "").isdigit()}


@contextmanager
def _large_fields() -> Iterator[None]:
    old = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(old)


def gtzan(folder: Path) -> Content:
    """Read GTZAN: ``GENRE/GENRE.00000.wav``, in the folder or in ``genres``, ``genres_original`` or ``Data`` below.

    Parameters
    ----------
    folder : Path
        Of the data set.
    """
    places = [folder, folder / "genres", folder / "genres_original", folder / "Data" / "genres_original"]
    root = next((p for p in places if any((p / genre).is_dir() for genre in _GTZAN_GENRES)), None)
    if root is None:
        return Content([])
    audio = audio_below(root)
    items, there = [], set()
    for path in audio:
        match = _GTZAN_NAME.fullmatch(os.path.basename(path))
        if match and match[1] in _GTZAN_GENRES:
            there.add((match[1], int(match[2])))
            items.append(Item(path, genres=(match[1],)))
    missing = [
        f"{genre}.{number:05}"
        for genre in _GTZAN_GENRES
        for number in range(_GTZAN_EACH)
        if (genre, number) not in there
    ]
    return Content(items, [Problem("file is missing", name) for name in missing], audio)


def mtg_jamendo(folder: Path) -> Content:
    """Read MTG-Jamendo: its TSV files, which tell of tracks again and again, and the audio in numbered folders.

    Parameters
    ----------
    folder : Path
        Holds TSV files (or is one), and audio beside them, in ``audio`` or in ``audio-low``.
    """
    files = [folder] if folder.is_file() else sorted({*folder.glob("*.tsv"), *folder.glob("data/*.tsv")})
    base = folder.parent if folder.is_file() else folder
    audio = {os.path.relpath(path, root): path for root in _jamendo_roots(base) for path in audio_below(root)}
    tracks: dict[str, Item] = {}
    problems = []
    for file in files:
        split = re.search(r"split-?\d+[-/](train|validation|test)", file.as_posix())
        for number, row in enumerate(_tsv(file), 1):
            if number == 1 and row[:4] == ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH"]:
                continue
            if len(row) < 6 or not row[0].startswith("track_"):
                if row and number > 1:
                    problems.append(Problem("line is no track", f"{file.name}:{number}"))
                continue
            old = tracks.get(row[0])
            path = (
                audio.get(row[3]) or audio.get(row[3].replace(".mp3", ".low.mp3")) or os.fspath(base / row[3])
            )
            tags = [*(old.genres if old else ()), *row[5:]]
            name = split[1] if split else old.split if old else ""
            tracks[row[0]] = Item(path, "", row[1], row[2], tuple(dict.fromkeys(tags)), name)
    items = [
        Item(t.path, t.title, t.artist, t.album, _jamendo_genres(t.genres), t.split) for t in tracks.values()
    ]
    return Content(items, problems, sorted(audio.values()) if items else [])


def _jamendo_roots(base: Path) -> list[Path]:
    named = [place for place in (base / "audio", base / "audio-low") if place.is_dir()]
    return named or [base]


def _jamendo_genres(tags: Iterable[str]) -> tuple[str, ...]:
    """Take the genres; of a track that has none, its other tags."""
    pairs = [tag.partition("---") for tag in tags]
    genres = [name for kind, _, name in pairs if kind == "genre"]
    return distinct(genres or [name or kind for kind, _, name in pairs])


def _tsv(file: Path) -> Iterator[list[str]]:
    with open(file, encoding="utf-8-sig", newline=None) as text:
        for line in text:
            yield line.rstrip("\n").split("\t")
