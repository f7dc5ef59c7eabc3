"""What is meant by a question: spaces, tracks, files, moments, words, filters, likes. `Library` inherits it.

A question comes as people put it; here it becomes what `recommend` and the record take.
"""

import contextlib
import difflib
import math
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundkin import recommend
from soundkin.audio import MIN_SECONDS, Listening, Passage, is_audio_name
from soundkin.embed import Embedded, Embedder, Failure, FileState, Outcome, Space, Task, embed_files
from soundkin.encoders import DEFAULT, ENCODERS, find
from soundkin.errors import DecodeError, InputError, NotFound
from soundkin.filters import Filter, Values, glob, parse
from soundkin.holding import Holding
from soundkin.index import Index
from soundkin.keeping import Encoders, of_another_version
from soundkin.recommend import Closeness, Query, Seeds
from soundkin.record import Record, Track, writer_of
from soundkin.record.database import shown
from soundkin.record.feedback import DEFAULT_PROFILE
from soundkin.record.listing import Where
from soundkin.record.rows import fold, to_track
from soundkin.scan import absolute, printable
from soundkin.taste.serving import SPACE as TASTE

Array = NDArray[np.float32]
Asked = str | os.PathLike[str] | Track
Filters = str | Sequence[str] | Filter | None
Listener = Callable[[Task, list[str], Listening], Outcome]

_MANY_TITLES = 100_000
_ID = re.compile("[0-9a-f]{16}")  # of a track


class Ambiguous(NotFound):
    """Words that match several tracks.

    Parameters
    ----------
    message : str
        One line.
    choices : list of Track
        What they match.
    """

    def __init__(self, message: str, choices: list[Track]) -> None:
        super().__init__(message)
        self.choices = choices


class Asking:
    """A library that is open, and understands questions.

    Parameters
    ----------
    folder : Path
        Of the library.
    held : Holding
        Its record and index.
    listener : callable, optional
        What embeds files for questions, see `Library`.
    """

    def __init__(self, folder: Path, held: Holding, listener: Listener | None = None) -> None:
        self.folder, self.place = folder, held.place
        self._held = held
        self._encoders = Encoders(folder)
        self._listener = listener or _listen_once
        # each with the revision of the record it is true of
        self._counted: tuple[int, dict[str, int]] = (-1, {})  # vectors in each space
        self._valued: dict[str, tuple[int, Values]] = {}
        self._closeness: dict[str, tuple[int, Closeness]] = {}
        self._members: dict[
            str, tuple[int, list[frozenset[int]]]
        ] = {}  # of each cluster of a space, at a revision

    def scanning(self) -> str:
        """Say that another process is filling this library, for the end of a message that something is not in it.

        Returns
        -------
        str
            Begins with a semicolon; empty when nobody is.
        """
        writer = writer_of(self.place)
        return f"; {writer} is filling this library, ask again when it is done" if writer else ""

    def space(self, name: str | None = None) -> Space:
        """Choose a space.

        Parameters
        ----------
        name : str, optional
            A space id, or the name of an encoder, or how its name begins if no other one begins like that.

        Returns
        -------
        Space
            Of those that match, the one that most tracks have; so a new encoder takes over when it has caught up.

        Raises
        ------
        NotFound
            No space matches.
        """
        record = self._reader()
        # what is learned from plays answers only when it is asked for
        spaces = _called([s for s in record.spaces() if name is not None or s != TASTE], name)
        if not spaces:
            known = ", ".join(s.id for s in record.spaces())
            if not known:
                raise NotFound(f"nothing is indexed in {shown(self.place)} yet{self.scanning()}")
            raise NotFound(f"no space {name!r} in this library; there is: {known}")
        if len(spaces) == 1:
            return spaces[0]
        counts = self._vectors_in_spaces()
        order = {space.id: place for place, space in enumerate(spaces)}
        active = {space.id for space in record.active_spaces()}

        def rank(space: Space) -> tuple[int, bool, bool, int]:
            return counts.get(space.id, 0), space.encoder == DEFAULT, space.id in active, order[space.id]

        best = max(spaces, key=rank)
        # What a successor lacks may never come, for files go and fail: then it is as full as it can be.
        heirs = [s for s in spaces if s.id in active and s.encoder == best.encoder and counts.get(s.id)]
        full = [s for s in heirs if best.id not in active and self._is_full(s)]
        return max(full, key=rank, default=best)

    def find(self, query: str | os.PathLike[str], files: bool = True) -> Track:
        """Find the one track that a query names.

        Parameters
        ----------
        query : str or path-like
            An id, a path, or words of title, artist, album or file name.
        files : bool
            False takes nothing for a path: for questions from people who must not ask what is on this disk.

        Returns
        -------
        Track
            The track.

        Raises
        ------
        NotFound
            Nothing matches.
        Ambiguous
            Several tracks match; it lists them.
        """
        record, text = self._reader(), os.fspath(query)
        with contextlib.suppress(NotFound, InputError):
            return record.track(text)
        if files and (track := record.by_path(absolute(text))) is not None:
            return track
        matches = record.search(text)
        if not matches:
            raise NotFound(self._no_match(text))
        exact = [t for t in matches if fold(text) in (fold(t.name), fold(f"{t.artist} {t.name}"))]
        choices = exact or matches
        if len(choices) > 1:
            raise Ambiguous(f"{printable(text)!r} matches several tracks: say which", choices)
        return choices[0]

    def named(self, query: Asked) -> Track | None:
        """Tell which track of the library a question means.

        Parameters
        ----------
        query : str, path-like or Track
            As `similar` takes it.

        Returns
        -------
        Track or None
            None for a file that the library does not have.

        Raises
        ------
        NotFound, Ambiguous
            It names nothing, or several tracks.
        InputError
            It is a folder.
        """
        if isinstance(query, Track):
            return query
        path = absolute(query)
        if os.path.isfile(path) and self._reader().by_path(path) is None:
            return None
        # A word may happen to be the name of a folder here; what is written like a path means the folder.
        if os.path.isdir(path) and (os.sep in os.fspath(query) or os.fspath(query)[:1] in (".", "~")):
            raise InputError(
                f"{printable(path)} is a folder: ask with one file, an id, or words of artist and title"
            )
        return self.find(query)

    def asked(self, names: str | None = None, text: str | None = None) -> list[Space]:
        """Choose the spaces of a question.

        Parameters
        ----------
        names : str, optional
            As for `space`; several are joined by ``+``.
        text : str, optional
            Words that are the question: then it is one space, whose encoder understands them.

        Returns
        -------
        list of Space
            At least one, none twice.

        Raises
        ------
        NotFound
            A name matches no space, or no space understands words.
        """
        if text is not None:
            return [self._reading_space(names)]
        return list(dict.fromkeys(map(self.space, names.split("+") if names else (None,))))

    def closeness(self, space: Space) -> Closeness:
        """Return what similarities are usual in a space of this library.

        Parameters
        ----------
        space : Space
            One of the library's.

        Returns
        -------
        Closeness
            Learned from a sample; again when the library has grown or shrunk by a twentieth.
        """
        record = self._reader()
        revision = record.revision
        seen, known = self._closeness.get(space.id, (-1, None))
        if known is not None and seen == revision:
            return known
        tracks = record.size(space.id)
        if known is None or abs(tracks - known.tracks) * 20 > known.tracks:
            rows = record.sample(space.id, recommend.SAMPLE)
            rows = rows[rows.any(axis=1)]
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            info = ENCODERS.get(space.encoder)
            known = Closeness.of(rows, tracks, info.usual if info else None)
        self._closeness[space.id] = revision, known
        return known

    def hear(self, query: Asked, space: str | None = None) -> Query:
        """Return what a query is in a space; a file outside the library is embedded, and nothing of it is kept.

        Parameters
        ----------
        query : str, path-like or Track
            An id, a file (in the library or not), words, or a track.
        space : str, optional
            A space id or the name of an encoder; default the one that answers queries.

        Returns
        -------
        Query
            Vector, windows, and what is known of the track; its id is "" when it is not in the library.

        Raises
        ------
        NotFound, Ambiguous
            It names nothing, or several tracks.
        DecodeError
            The file is not audio.
        ModelError
            The encoder that made the space is no longer here.
        """
        return self._query(query, self.space(space))

    def embedder(self, space: Space) -> Embedder:
        """Return what embeds into a space of this library.

        Parameters
        ----------
        space : Space
            One of the library's.

        Returns
        -------
        Embedder
            Of this space alone; made once.

        Raises
        ------
        ModelError
            The encoder that made the space is no longer here.
        """
        return self._encoders.embedder(space)

    # ---- inside

    def _reader(self) -> Record:
        return self._held.record()

    def _current_index(self) -> Index:
        """Return an index that reflects the record as it is now; the record itself where there can be none."""
        return self._held.index()

    def _no_match(self, text: str) -> str:
        """Say why a query names nothing, and what to do about it."""
        path, shown = absolute(text), printable(text)
        if os.path.isfile(path):
            command = f"soundkin index {shlex.quote(printable(path))}"
            return f"{shown} is not in the library: index it first, with `{command}`{self.scanning()}"
        if text[:1] in (os.sep, "~") or (os.sep in text and is_audio_name(text)):
            return f"there is no file {printable(path)}, nor does the library know one by that path{self.scanning()}"
        near = "; nearest: " + ", ".join(map(printable, names)) if (names := self._names_like(text)) else ""
        return f"nothing in the library matches {shown!r}: no id, no file, no words{near}{self.scanning()}"

    def _names_like(self, text: str) -> list[str]:
        """Return up to three artists or titles, of a large library artists, that are spelled much like some words."""
        # to compare a million titles takes ten seconds
        fields = ("artist",) if self._reader().count(Where()) > _MANY_TITLES else ("artist", "title")
        names = {fold(name): name for field in fields for name in self._reader().distinct(field)}
        return [names[near] for near in difflib.get_close_matches(fold(text), names, 3)]

    def _vectors_in_spaces(self) -> dict[str, int]:
        """Count the vectors of each space, once for each revision of the record: it reads through all of them."""
        revision, known = self._reader().revision, self._counted
        if known[0] != revision:
            known = self._counted = revision, self._reader().counts().vectors
        return known[1]

    def _is_full(self, space: Space) -> bool:
        record = self._reader()
        failed = record.failed_files()
        return all(path in failed or not os.path.exists(path) for path in record.missing(space.id))

    def _reading_space(self, name: str | None) -> Space:
        """Choose a space whose encoder understands words."""
        if name is not None:
            return self.space(name)
        readers = {
            s.encoder for s in self._reader().spaces() if (found := find(s.encoder)) and found[0].reads
        }
        if not readers:
            raise NotFound(
                "no space of this library understands words: `soundkin index PATHS --encoder clap` makes one"
            )
        counts = {reader: self._reader().counts().vectors.get(self.space(reader).id, 0) for reader in readers}
        return self.space(max(sorted(counts), key=counts.__getitem__))

    def _filter(self, filters: Filters, profile: str | None = None) -> Filter | None:
        """Read filters; `liked` and its like are resolved to tracks now, for they change all the time."""
        if filters is None or isinstance(filters, Filter):
            return filters
        record = self._reader()

        def known(name: str) -> Sequence[str]:
            if name == "path":
                return sorted({part for path in record.paths().values() for part in Path(path).parts[1:-1]})
            return self._values("genre" if name == "subgenre" else name)

        def ids_of(name: str, value: str) -> frozenset[int]:
            if name == "path":
                passes = glob(os.path.expanduser(value))
                return frozenset(int(id_, 16) for id_, path in record.paths().items() if passes(path))
            return frozenset(int(id_, 16) for id_ in record.tracks_that_are(name, profile or DEFAULT_PROFILE))

        return parse([filters] if isinstance(filters, str) else filters, known, ids_of)

    def _values(self, field: str) -> Values:
        """Return the values that a field has; of a large library they take longer than a question."""
        revision = self._reader().revision
        if self._valued.get(field, (-1, ()))[0] != revision:
            self._valued[field] = revision, Values(self._reader().distinct(field))
        return self._valued[field][1]

    def _query(self, query: Asked | Query | Array, space: Space) -> Query:
        if isinstance(query, Query):
            return query
        if isinstance(query, np.ndarray):
            return Query(query)
        track = self.named(query)
        if track is None:
            assert not isinstance(query, Track)
            return self._outside(absolute(query), space)
        try:
            record = self._reader()
            return recommend.with_windows(
                record, space, Query(_unit(record.vector(track.id, space.id)), track)
            )
        except NotFound:
            # The space is still being filled, and this track is not there yet.
            return self._outside(track.path, space)

    def _described(self, text: str, space: Space) -> Query:
        if not text.strip():
            raise InputError("the text is empty; wanted words for what it should sound like")
        return Query(self.embedder(space).encoders[space.id].text(text), is_text=True)

    def _moment(self, query: Asked | Query | Array, space: Space, at: float, seconds: float) -> Query:
        """Embed a moment of a track, in the library or not."""
        if isinstance(query, Query | np.ndarray):
            raise InputError("a vector has no moments: give a file, an id, words or a track")
        hop = min(seconds, Listening.named(space.listening).seconds)
        passage = Passage(None, max(hop, MIN_SECONDS), at, seconds)
        if not isinstance(query, Track):
            path = absolute(query)
            is_outside = os.path.isfile(path) and self._reader().by_path(path) is None
            query = path if is_outside else self.find(query)
        if isinstance(query, Track) and at > query.duration - MIN_SECONDS:
            raise InputError(
                f"a moment at {at:g} s: {printable(query.title or query.path)} is only {query.duration:.0f} s long"
            )
        path = query.path if isinstance(query, Track) else query
        moment = self._outside(path, space, passage)
        like = query if isinstance(query, Track) else moment.like
        return Query(moment.vector, like, moment.windows, moment.starts, whole=False)

    def _seeds(
        self,
        likes: Iterable[Asked],
        dislikes: Iterable[Asked],
        profile: str | None,
        space: Space,
    ) -> Seeds:
        """Bring together what is liked and disliked here and by a profile; what is given here goes first."""
        (near, silent), (far, too_far) = self._given(likes, space), self._given(dislikes, space)
        ids = {*silent, *(q.like.id or q.like.content for q in near if q.like)}
        against = {*too_far, *(q.like.id or q.like.content for q in far if q.like)}
        if both := ids & against:
            twice = min(both)
            name = next((q.like.name for q in near if q.like and twice in (q.like.id, q.like.content)), twice)
            raise InputError(f"{printable(name)} is both liked and disliked: leave one out")
        unwanted, too_many = (
            {int(id_, 16) for id_ in silent},
            dict.fromkeys((int(id_, 16) for id_ in too_far), 1.0),
        )
        if profile is None:
            return Seeds(tuple(near), tuple(far), (), frozenset(unwanted), too_many)
        known = self._reader().opinions(profile)
        taste = recommend.taste_of(known, time.time())
        given = ids | against
        room = max(0, recommend.MOST_SPEAK - len(near))
        likes_left = recommend.speakers([id_ for id_ in taste.likes if id_ not in given], room)
        near += self._first_known(space, likes_left, room)
        read = {q.like.id for q in near if q.like}
        unwanted |= {int(id_, 16) for id_ in likes_left if id_ not in read}
        weights = dict.fromkeys(taste.skips, recommend.SKIP_WEIGHT) | dict.fromkeys(taste.dislikes, 1.0)
        weights = {id_: weight for id_, weight in weights.items() if id_ not in given}
        more = list[Query]()
        if len(weights) > recommend.MOST_SPEAK:
            too_many |= {int(id_, 16): weight for id_, weight in weights.items()}
        else:
            more = self._known(space, list(weights))
        counts = [1.0] * len(far) + [weights[q.like.id] for q in more if q.like]
        if not near:
            raise InputError(
                f"nothing to go by: profile {profile!r} likes nothing that is here; say so with `soundkin like`, "
                "or give likes"
            )
        played = {int(id_, 16): opinion.played for id_, opinion in known.items() if opinion.played}
        return Seeds(tuple(near), (*far, *more), tuple(counts), frozenset(unwanted), too_many, played)

    def _given(self, asked: Iterable[Asked], space: Space) -> tuple[list[Query], list[str]]:
        """Return queries for the tracks that are given; of very many for some, and the ids of the others."""
        given, ids, silent = list(asked), list[str](), list[str]()
        for q in given:
            if isinstance(q, str) and _ID.fullmatch(q):
                ids.append(q)
            else:
                ids.append(track.id if (track := self.named(q)) else "")
        if len(given) > recommend.MOST_SPEAK:
            room = max(0, recommend.MOST_SPEAK - ids.count(""))
            order = recommend.speakers([id_ for id_ in dict.fromkeys(ids) if id_], room)
            # one may be no id, or not in the space yet: then each is looked at
            with contextlib.suppress(NotFound):
                self._reader().vectors_of(order[room:], space.id)
                silent = order[room:]
        asking = set(ids).difference(silent)
        known = {query.like.id: query for query in self._known(space, sorted(asking)) if query.like}
        return [
            known[id_] if id_ in known else self._query(q, space)
            for q, id_ in zip(given, ids, strict=True)
            if id_ in asking
        ], silent

    def _first_known(self, space: Space, ids: Sequence[str], n: int) -> list[Query]:
        """Return queries for the first n of some tracks that are in the library and in the space."""
        found = list[Query]()
        for start in range(0, len(ids), max(n, 1)):
            if len(found) >= n:
                break
            found += self._known(space, ids[start : start + n])
        return found[:n]

    def _known(self, space: Space, ids: Sequence[str]) -> list[Query]:
        """Return queries for those tracks that are in the library and in the space."""
        found = self._reader().tracks_with_vectors(ids, space.id)
        return [Query(_unit(vector), track) for track, vector in found if vector.any()]

    def _outside(self, path: str, space: Space, passage: Passage | None = None) -> Query:
        """Embed a file, or a passage of it, for a query; the library keeps nothing of it."""
        if space == TASTE:
            raise NotFound(
                "taste is learned from plays, not heard, and of this track none has been: "
                "`soundkin taste train`, or ask in another space"
            )
        try:
            status = os.stat(path)
        except OSError as error:
            raise NotFound(f"{printable(path)} has no vector in {space.id}, and: {error.strerror}") from error
        task = Task(FileState(path, status.st_size, status.st_mtime_ns))
        names, listening = [self._encoders.source(space.encoder)], passage or Listening.named(space.listening)
        # In a worker, as in a scan: a file that hangs or crashes a decoder must not take the asker with it.
        outcome = self._listener(task, names, listening)
        if isinstance(outcome, Failure):
            raise DecodeError(f"{printable(path)}: {outcome.reason}")
        assert isinstance(outcome, Embedded)
        if replace(space, listening=listening.name).id not in outcome.vectors:
            raise of_another_version(space)
        (vector,), ((starts, windows),) = outcome.vectors.values(), outcome.windows.values()
        return Query(vector, to_track(outcome, "", 0.0), windows, starts, fingerprint=outcome.fingerprint)


def _called(spaces: list[Space], name: str | None) -> list[Space]:
    """Return the spaces that a name means: an id, an encoder, or the beginning of one encoder's name."""
    if name is None:
        return spaces
    wanted = found[1].name if (found := find(name)) else name
    exact = [s for s in spaces if name == s.id or s.encoder in (name, wanted)]
    begins = {s.encoder for s in spaces if s.encoder.startswith(name)} if name else set()
    return exact or [s for s in spaces if len(begins) == 1 and s.encoder in begins]


def _listen_once(task: Task, names: list[str], listening: Listening) -> Outcome:
    """Embed one file in a worker that ends with it."""
    ((_, outcome),) = embed_files([task], names, listening, jobs=1)
    return outcome


def _unit(vector: Array) -> Array:
    return vector / np.float32(max(math.sqrt(float(vector @ vector)), 1e-12))
