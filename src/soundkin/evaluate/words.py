"""Do words find what they name? Tags as questions, for encoders that read as well as hear."""

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders import find
from soundkin.errors import ModelError
from soundkin.evaluate.collection import Collection
from soundkin.evaluate.pairs import Members, Pairs
from soundkin.evaluate.protocols import Task, Unmeasurable
from soundkin.evaluate.systems import System, bounds, listener, popular

LEAST_TAGS = 5
QUESTION = "{} music"
_FIGURES = ("P@{k}", "P@1", "R-prec", "mAP", "MRR", "NDCG@{k}", "recall@{k}", "hit@{k}")


def described(
    collection: Collection, named: bool, least: int, notes: list[str]
) -> tuple[Task, list[System], NDArray[np.int64]]:
    """Ask for every genre in words.

    Parameters
    ----------
    collection : Collection
        The tracks.
    named : bool
        Whether its spaces were named; else all spaces of the library that understand words answer.
    least : int
        Tracks a genre must have to be asked for.
    notes : list of str
        Gets a line for what must be known.

    Returns
    -------
    task : Task
        A question per genre.
    systems : list of System
        Every space that reads, and the baselines.
    which : int64
        Numbers of the tracks to choose from: those that have a genre, and a vector in all these spaces.

    Raises
    ------
    Unmeasurable
        No space understands words, or there are too few genres.
    """
    spaces = collection.spaces
    if not named:
        spaces = [s for s in collection.record.spaces() if (known := find(s.encoder)) and known[0].reads]
    if not spaces:
        raise Unmeasurable(
            "no space of this library understands words: `soundkin index PATHS --encoder clap` makes one"
        )
    vectors = {space.id: dict(zip(*collection.record.vectors(space.id), strict=True)) for space in spaces}
    tags = collection.labels.genres
    has = [all(track.id in each for each in vectors.values()) for track in collection.tracks]
    which = np.flatnonzero(tags.any(axis=1) & np.array(has, bool))
    tags = tags[which]
    asked = np.flatnonzero((tags.sum(axis=0) >= least) & ~tags.all(axis=0))
    if len(asked) < LEAST_TAGS:
        raise Unmeasurable(
            f"{len(asked)} genres have {least} or more of the {len(which)} tracks with a genre, and not all of them; "
            f"a figure that means something needs {LEAST_TAGS}"
        )
    words = [QUESTION.format(collection.labels.names["genre"][i]) for i in asked]
    answering = []
    for space in spaces:
        try:
            encoder = collection.library.embedder(space).encoders[space.id]
            questions = np.stack([encoder.text(each) for each in words])
        except ModelError as error:
            notes.append(f"{space.id}: {error}")
            continue
        rows = np.stack([vectors[space.id][collection.tracks[i].id] for i in which])
        answering.append(listener(collection.name(space), rows, questions))
    if not answering:
        raise Unmeasurable.because(notes)
    task = _task(tags[:, asked].T)
    notes.append(
        f'asked for "{words[0]}", "{words[1]}" and so on; right is a track whose tags have the genre; popularity is '
        "the number of tracks by an artist; same artist and descriptors know no words, and are not here"
    )
    random, best = bounds(len(which))
    return task, [*answering, random, popular(collection.labels.take(which)), best], which


def _task(right: NDArray[np.bool_]) -> Task:
    count, n = right.shape
    members = Members(*np.nonzero(right))
    return Task(
        "text", "do words find the tracks of a genre?", np.arange(n), np.arange(count), members.of,
        lambda rows: Pairs.none(len(rows)), np.empty(0, np.int64), np.arange(count), {"genres": count}, _FIGURES,
    )  # fmt: skip
