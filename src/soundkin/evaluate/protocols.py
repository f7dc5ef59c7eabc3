"""What is asked: who asks, what is right, what may not be answered.

album       Every track looks for the others of its album.
artist      Every track looks for those of its artist on other albums; its own album may not be answered, because an
            album shares its production as well.
genre       Every track looks for tracks of its genres by other artists; its own artist may not be answered
            (Flexer & Schnitzer, 2010: without this, genre figures mostly measure the artist). Gain is graded: the
            Jaccard index of the two sets of genres.
same-track  Half of the windows of every track look for the other half among those of all tracks.

Those that ask with something else than a track are in files of their own: `taste`, `words`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from soundkin.evaluate.labels import UNKNOWN, Labels, sizes
from soundkin.evaluate.pairs import Members, Pairs

Ints = NDArray[np.int64]
Which = Callable[[Ints], Pairs]

# With fewer questions, or labels, the figures are an anecdote.
LEAST_QUESTIONS, LEAST_LABELS = 10, 2


@dataclass(frozen=True)
class Task:
    """A question that many tracks ask of the same candidates.

    Parameters
    ----------
    protocol, question : str
        Its name; what is asked, in words.
    candidates : int64 (n,)
        The tracks to choose from, as numbers of what the labels describe. All that follows counts among these.
    asking : int64 (q,)
        The candidates that ask.
    right : callable
        Some of the askers, int64 (b,) -> the right answers of each, with their gains; none of them is barred.
    barred : callable
        The same -> the candidates that may not be answered.
    label : int64 (n,)
        By which the neighbours vote, and figures are averaged over labels as well; empty where there is none.
    groups : int64 (n,)
        Tracks that succeed and fail together.
    told : dict of str to int
        Counts for people: labels, groups, tracks left out.
    figures : tuple of str
        What a row shows where there is no label, with {k} for the length of a list; the first is what systems are
        compared by.
    sampled : bool
        Whether only some ask of those who could.
    """

    protocol: str
    question: str
    candidates: Ints
    asking: Ints
    right: Which
    barred: Which
    label: Ints
    groups: Ints
    told: dict[str, int] = field(default_factory=dict)
    figures: tuple[str, ...] = ()
    sampled: bool = False


class Unmeasurable(Exception):
    """A protocol says nothing about this collection; the message says why."""

    @classmethod
    def because(cls, notes: list[str]) -> "Unmeasurable":
        """Make it of what was noted; the notes are cleared, so that nothing is said twice."""
        reason = "; ".join(notes)
        notes.clear()
        return cls(reason)


def album_task(labels: Labels, least: int = 2) -> Task:
    """Ask every track for the others of its album.

    Parameters
    ----------
    labels : Labels
        Of the collection.
    least : int
        Tracks an album must have for its tracks to ask; all albums are candidates.

    Raises
    ------
    Unmeasurable
        Too few albums or tracks.
    """
    n, album = len(labels), labels.album
    asking = np.flatnonzero(sizes(album) >= max(least, 2))
    told = {"albums": len(np.unique(album[asking])), "tracks_of_smaller_albums": n - len(asking)}
    _check(asking, told["albums"], f"albums of {max(least, 2)} or more tracks", n)
    return Task(
        "album", "does a track find the others of its album?", np.arange(n), asking,
        _same(album, np.arange(n)), Pairs.each, album, album, told,
    )  # fmt: skip


def artist_task(labels: Labels, least: int = 2) -> Task:
    """Ask every track for others of its artist, on other albums.

    Parameters
    ----------
    labels : Labels
        Of the collection.
    least : int
        Tracks an artist must have for them to ask.

    Raises
    ------
    Unmeasurable
        Too few artists with two albums.
    """
    known = np.flatnonzero(labels.artist != UNKNOWN)
    if not len(known):
        raise Unmeasurable("no track has an artist in its tags")
    artist, album = labels.artist[known], labels.album[known]
    releases = np.unique(np.stack([artist, album]), axis=1)
    asking = np.flatnonzero((np.bincount(releases[0])[artist] >= 2) & (sizes(artist) >= least))
    told = {
        "artists": len(np.unique(artist[asking])),
        "tracks_without_artist": len(labels) - len(known),
        "tracks_of_artists_with_one_album": len(known) - len(asking),
    }
    _check(asking, told["artists"], "artists with two or more albums", len(labels))
    return Task(
        "artist", "does a track find its artist on other albums?", known, asking,
        _same(artist, album), _all_of(album), artist, artist, told,
    )  # fmt: skip


def genre_task(labels: Labels, least: int = 2) -> Task:
    """Ask every track for tracks of its genres, by other artists.

    Parameters
    ----------
    labels : Labels
        Of the collection. A track without an artist counts as its album's.
    least : int
        Tracks a genre must have for them to ask.

    Raises
    ------
    Unmeasurable
        Too few genres that several artists share.
    """
    known = np.flatnonzero(labels.genres.any(axis=1))
    if not len(known):
        raise Unmeasurable("no track has a genre in its tags")
    track, genre = np.nonzero(labels.genres[known])
    who, album = labels.artist[known], labels.album[known]
    who = np.where(who == UNKNOWN, who.max(initial=0) + 1 + album, who)
    tracks = np.bincount(genre, minlength=labels.genres.shape[1])
    sharing = np.bincount(np.unique(np.stack([genre, who[track]]), axis=1)[0], minlength=len(tracks))
    useful = (sharing >= 2) & (tracks >= least)
    asking = np.unique(track[useful[genre]])
    told = {
        "genres": int(useful.sum()),
        "tracks_without_genre": len(labels) - len(known),
        "tracks_of_genres_with_one_artist": len(known) - len(asking),
    }
    _check(asking, told["genres"], "genres that two or more artists share", len(labels))
    # What a track is called when it is called one thing: its rarest genre.
    rarest = np.lexsort((genre, tracks[genre], track))
    main = genre[rarest[np.searchsorted(track, np.arange(len(known)))]]
    return Task(
        "genre", "does a track find its genres by other artists?", known, asking, _sharing(track, genre, who),
        _all_of(who), main, who, told,
    )  # fmt: skip


def same_track_task(labels: Labels) -> Task:
    """Ask half of every track for its other half.

    Parameters
    ----------
    labels : Labels
        Of the collection; all its tracks have two halves.

    Raises
    ------
    Unmeasurable
        Too few tracks.
    """
    n = len(labels)
    told = {"albums": len(np.unique(labels.album))}
    _check(np.arange(n), n, "tracks of two or more windows", n)
    return Task(
        "same-track", "does one half of a track find the other?", np.arange(n), np.arange(n),
        Pairs.each, lambda rows: Pairs.none(len(rows)), np.empty(0, np.int64), labels.album, told,
        ("hit@1", "hit@{k}", "MRR"),
    )  # fmt: skip


def _all_of(labels: Ints) -> Which:
    """Find all candidates with the label of who asks, itself among them."""
    members = Members(labels)
    return lambda rows: members.of(labels[rows])


def _same(labels: Ints, barred: Ints) -> Which:
    """Find the candidates with the same label, but for those with the same other label."""
    alike = _all_of(labels)

    def right(rows: Ints) -> Pairs:
        found = alike(rows)
        return found.kept(barred[found.item] != barred[rows[found.question]])

    return right


def _sharing(track: Ints, genre: Ints, who: Ints) -> Which:
    """Find the candidates that share genres with who asks, but for the same artist's; gain is the Jaccard index.

    Parameters
    ----------
    track, genre : int64 (m,)
        A genre of a candidate each.
    who : int64 (n,)
        Their artists.
    """
    genres, tracks, count = Members(track, genre), Members(genre, track), np.bincount(track)
    n = len(who)

    def right(rows: Ints) -> Pairs:
        own = genres.of(rows)
        found = tracks.of(own.item)  # one that shares two genres is there twice
        pairs, both = np.unique(own.question[found.question] * n + found.item, return_counts=True)
        question, item = np.divmod(pairs, n)
        every = Pairs(len(rows), question, item, both / (count[rows[question]] + count[item] - both))
        return every.kept(who[item] != who[rows[question]])

    return right


def _check(asking: Ints, labels: int, what: str, tracks: int) -> None:
    if len(asking) < LEAST_QUESTIONS or labels < LEAST_LABELS:
        raise Unmeasurable(
            f"{len(asking)} of {tracks} tracks belong to {what}, and there are {labels} of those; a figure that means "
            f"something needs {LEAST_QUESTIONS} tracks and {LEAST_LABELS} of those at least"
        )
