"""Data sets: where the audio is, what is known of it, what is missing, and what may be done with it.

Nothing is downloaded. A data set that lies on disk is read in its own layout, checked, and can be written as a
manifest: a table with a row per track, which `soundkin evaluate --labels` takes in place of tags.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from soundkin.audio import is_audio_name
from soundkin.datasets import research, tables
from soundkin.datasets.items import Content, Item, Problem
from soundkin.errors import InputError
from soundkin.filters import counted

__all__ = ["DATASETS", "Content", "DataSet", "Item", "Problem", "Read", "labels", "read", "write_manifest"]


@dataclass(frozen=True)
class DataSet:
    """An entry of the registry.

    Parameters
    ----------
    read : callable
        Folder or file -> `Content`, unchecked.
    about, layout : str
        One line each for people: what it is; what lies where.
    licence, citation : str
        Of labels and audio; whom to name.
    """

    read: Callable[[Path], Content]
    about: str
    layout: str
    licence: str
    citation: str


DATASETS: dict[str, DataSet] = {
    "ludwig": DataSet(
        research.ludwig,
        "11,293 excerpts of 30 s with genre and subgenres",
        "labels.json, mp3/GENRE/ID.mp3",
        "none is stated in the files, see its page on Kaggle; the excerpts are of commercial recordings",
        "J. Ruiz: Ludwig Music Dataset (Moods and Subgenres). Kaggle.",
    ),
    "fma": DataSet(
        research.fma,
        "Free Music Archive: up to 106,574 tracks of 16,341 artists with genres",
        "fma_metadata/tracks.csv (and genres.csv), fma_small/000/000002.mp3",
        "labels CC BY 4.0; each track has its own licence, in tracks.csv",
        "M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson: FMA: A Dataset for Music Analysis. ISMIR 2017.",
    ),
    "gtzan": DataSet(
        research.gtzan,
        "1,000 excerpts of 30 s of ten genres; artists unknown, some recordings more than once",
        "genres/GENRE/GENRE.00000.au or .wav (or genres_original/)",
        "none was given; the excerpts are of commercial recordings",
        "G. Tzanetakis, P. Cook: Musical genre classification of audio signals. IEEE Transactions on Speech and Audio "
        "Processing 10(5), 2002. Its faults: B. L. Sturm, arXiv:1306.1461.",
    ),
    "mtg-jamendo": DataSet(
        research.mtg_jamendo,
        "55,701 full tracks with tags of genre, instrument, mood and theme",
        "autotagging*.tsv, and 14/214.mp3 (or 14/214.low.mp3) beside them, in audio/ or in audio-low/",
        "labels CC BY-NC-SA 4.0; each track has its own Creative Commons licence",
        "D. Bogdanov, M. Won, P. Tovstogan, A. Porter, X. Serra: The MTG-Jamendo Dataset for Automatic Music Tagging. "
        "ML4MD Workshop, ICML 2019.",
    ),
    "manifest": DataSet(
        tables.manifest,
        "a table of your own",
        "a .csv, .tsv, .json, .jsonl or .parquet file with a column path; and title, artist, album, genres, split",
        "yours to know",
        "",
    ),
    "audiofolder": DataSet(
        tables.audiofolder,
        "a folder as the library `datasets` of Hugging Face reads it",
        "metadata.csv, .jsonl or .parquet with a column file_name, per folder; or LABEL/FILE, or SPLIT/LABEL/FILE",
        "see the card of the data set",
        "",
    ),
}


@dataclass(frozen=True)
class Read:
    """A data set that was read and checked.

    Parameters
    ----------
    name : str
        Of `DATASETS`.
    folder : str
        Where it was looked for.
    items : list of Item
        Tracks with labels whose file is there.
    listed : int
        Tracks that the labels tell of, there or not.
    problems : list of Problem
        What is missing or wrong.
    """

    name: str
    folder: str
    items: list[Item]
    listed: int
    problems: list[Problem] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Count the problems by kind."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())

    def names(self, what: str) -> dict[str, int]:
        """Count the tracks of each "artist", "album", "split" or "genre", however spelled, the most frequent first."""
        if what == "genre":
            found = Counter(genre for item in self.items for genre in item.genres)
        else:
            found = Counter(value for item in self.items if (value := str(getattr(item, what))))
        return dict(counted(found).most_common())


def read(name: str, path: str | os.PathLike[str]) -> Read:
    """Read a data set and check it.

    Parameters
    ----------
    name : str
        Of `DATASETS`.
    path : path-like
        Its folder; of a manifest, the file.

    Returns
    -------
    Read
        What is there, and what is not.

    Raises
    ------
    InputError
        No data set has this name, the path does not exist, or there is nothing of this layout.
    MissingExtra
        Parquet came, and pyarrow is not installed.
    """
    if name not in DATASETS:
        raise InputError(f"no data set is called {name!r}; there are {', '.join(DATASETS)}")
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise InputError(f"{place} does not exist; wanted {DATASETS[name].layout}")
    try:
        content = DATASETS[name].read(place)
    except OSError as error:
        raise InputError(f"{error.filename or place} cannot be read: {error.strerror or error}") from error
    if not content.items:
        raise InputError(f"there is no track of {name} in {place}; wanted {DATASETS[name].layout}")
    return _checked(name, place, content)


def _checked(name: str, place: Path, content: Content) -> Read:
    problems, items, seen = list(content.problems), [], set()
    for item in content.items:
        try:
            size = os.stat(item.path).st_size
        except OSError:
            problems.append(Problem("file is missing", item.path))
            continue
        if item.path in seen:
            problems.append(Problem("listed twice", item.path))
        elif not size:
            problems.append(Problem("file is empty", item.path))
        elif not is_audio_name(item.path):
            problems.append(Problem("no audio by its name", item.path))
        else:
            items.append(item)
            if not item.genres and not item.artist:
                problems.append(Problem("neither genre nor artist", item.path))
        seen.add(item.path)
    unlabelled = [p for p in content.audio if p not in seen]
    problems += [Problem("file has no labels", path) for path in unlabelled]
    return Read(name, os.fspath(place), items, len(content.items), problems)


def write_manifest(path: str | os.PathLike[str], found: Read) -> int:
    """Write the tracks that are there as a manifest.

    Parameters
    ----------
    path : path-like
        A CSV file, to create or replace.
    found : Read
        What `read` gave.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        It cannot be written.
    """
    try:
        with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(tables.COLUMNS)
            for item in found.items:
                genres = tables.SEPARATOR.join(item.genres)
                writer.writerow([item.path, item.title, item.artist, item.album, genres, item.split])
    except OSError as error:
        raise InputError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    return len(found.items)


def labels(path: str | os.PathLike[str]) -> dict[str, Item]:
    """Read a manifest as labels: path of a file, absolute, to what is known of it.

    Parameters
    ----------
    path : path-like
        As `write_manifest` writes, or any other manifest.

    Raises
    ------
    InputError
        It does not exist, or is no manifest.
    """
    return {item.path: item for item in read("manifest", path).items}
