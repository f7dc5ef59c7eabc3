"""What training starts from: the tracks of a library, how they sound, and who played them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Space
from soundkin.record import Record, Track
from soundkin.taste.cold import NOBODY, unit
from soundkin.taste.history import History, read
from soundkin.taste.learning import Collection

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Gathered:
    """All of it.

    Parameters
    ----------
    tracks : list of Track
        n of them.
    collection : Collection
        Their vectors, artists and albums, in that order.
    history : History
        Who played them.
    """

    tracks: list[Track]
    collection: Collection
    history: History


def gather(record: Record, space: Space) -> Gathered:
    """Read what training needs.

    Parameters
    ----------
    record : Record
        Of the library.
    space : Space
        Where sound is compared.

    Returns
    -------
    Gathered
        Of all tracks; those without a vector in the space have zeros.

    Raises
    ------
    InputError
        There is too little to learn from.
    """
    tracks = list(record.tracks())
    place = {track.id: i for i, track in enumerate(tracks)}
    history = read(record, place)
    ids, vectors = record.vectors(space.id)
    sound = np.zeros((len(tracks), space.dims), np.float32)
    here = [i for i, id_ in enumerate(ids) if id_ in place]
    sound[[place[ids[i]] for i in here]] = vectors[here]
    names = [track.album_artist or track.artist for track in tracks]
    albums = (
        f"{name}|{track.album}" if track.album else "" for name, track in zip(names, tracks, strict=True)
    )
    return Gathered(tracks, Collection(unit(sound), numbered(names), numbered(albums)), history)


def numbered(names: Iterable[str]) -> Ints:
    """Give the same number to the same names, whatever their case, and `NOBODY` to empty ones; int64 (n,)."""
    known: dict[str, int] = {}
    return np.array(
        [known.setdefault(name.casefold(), len(known)) if name else NOBODY for name in names], np.int64
    )
