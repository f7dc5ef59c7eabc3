"""What was written elsewhere, found in a library: playlists, and profiles of other libraries. `Library` inherits it."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from soundkin import exchange, playlists
from soundkin.errors import SoundkinError
from soundkin.noting import Noting
from soundkin.recommend.neighbours import is_copy_of, tracks_of
from soundkin.recommend.pieces import split_title
from soundkin.record import Record, Track
from soundkin.record.feedback import Feedback, clean_name
from soundkin.record.rows import fold

_TAG_SECONDS = 5.0  # what the length in a list may be off, for tags to name a track


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of a playlist, and what it is in the library.

    Parameters
    ----------
    entry : playlists.Entry
        As it is written.
    track : Track or None
        None when the library does not have it.
    by : str
        "path", "tags" or "sound"; "" when it was not found.
    """

    entry: playlists.Entry
    track: Track | None
    by: str


@dataclass(frozen=True, slots=True)
class ImportedProfile:
    """What became of a profile of another library.

    Parameters
    ----------
    profile : str
        What it is called here.
    marks : int
        What the file says: likes, plays and so on.
    new, known : int
        How many of them were written down, and how many had been before.
    lost : tuple of str
        Tracks that are not in the library, by their titles; what was said of them is left out.
    """

    profile: str
    marks: int
    new: int
    known: int
    lost: tuple[str, ...]


class Finding(Noting):
    """Entries of playlists and marks of other libraries, and which tracks of this one they mean."""

    def find_list(self, path: str | os.PathLike[str], space: str | None = None) -> list[Found]:
        """Find the tracks of a playlist in the library: by path, then by tags, then by sound.

        Parameters
        ----------
        path : path-like
            An M3U8, XSPF or JSPF file.
        space : str, optional
            Where to listen for files that the library does not know.

        Returns
        -------
        list of Found
            One for each entry, in their order.

        Raises
        ------
        InputError
            The file cannot be read, or is no playlist.
        """
        entries = playlists.read(path)
        by_name = self._names()
        return [self._find_entry(entry, by_name, space) for entry in entries]

    def import_profile(self, path: str | os.PathLike[str], profile: str | None = None) -> ImportedProfile:
        """Take in what a profile said in another library: its tracks are found by contents, path, then tags.

        Parameters
        ----------
        path : path-like
            What `soundkin profile export` printed.
        profile : str, optional
            Who said it; default as it was called there. Made when there is none; else it learns what it did not know.

        Returns
        -------
        ImportedProfile
            What became of it. A second time changes nothing.

        Raises
        ------
        InputError
            The file is not there or no profile, or the name is unusable.
        StoreError
            The disk is full, or the folder cannot be written.
        """
        said_by, marks = exchange.read_profile(path)
        who, record = said_by if profile is None else profile, self._reader()
        by_name, contents = self._names(), {track.content: track.id for track in record.tracks()}
        found = {mark.track: self._find_mark(mark, by_name, contents) for mark in marks}
        here = [Feedback(id_, mark.kind, mark.at) for mark in marks if (id_ := found[mark.track])]
        if clean_name(who) not in {one.name for one in self.profiles()}:
            self.create_profile(who)
        with Record.open_to_note(self.place) as writable:
            new = writable.add_history(who, here)
        lost = dict.fromkeys(mark.title or mark.path or mark.track for mark in marks if not found[mark.track])
        return ImportedProfile(who, len(marks), new, len(here) - new, tuple(lost))

    # ---- inside

    def _find_mark(
        self, mark: exchange.Mark, by_name: dict[str, list[tuple[str, str]]], contents: dict[str, str]
    ) -> str:
        """Return the id of the track that a mark is about, "" when it is not here."""
        if mark.content and mark.content in contents:
            return contents[mark.content]
        entry = playlists.Entry(
            mark.path, (mark.path,) if mark.path else (), mark.title, mark.artist, mark.album,
            recording_mbid=mark.recording_mbid,
        )  # fmt: skip
        track = self._by_path(entry, by_name) or self._by_tags(entry)
        return track.id if track else ""

    def _names(self) -> dict[str, list[tuple[str, str]]]:
        """Return ids and paths by the folded name of the file."""
        by_name = defaultdict[str, list[tuple[str, str]]](list)
        for id_, there in self._reader().paths().items():
            by_name[fold(Path(there).name)].append((id_, there))
        return by_name

    def _by_path(self, entry: playlists.Entry, by_name: dict[str, list[tuple[str, str]]]) -> Track | None:
        record = self._reader()
        for path in entry.paths:
            track = record.by_path(path) or record.by_path(os.path.realpath(path))
            if track is not None:
                return track
        for path in entry.paths:  # the folder of music is elsewhere now
            same = [(_common(path, there), id_) for id_, there in by_name.get(fold(Path(path).name), ())]
            best = max(same, default=(0, ""))
            if best[0] > 1 and sum(n == best[0] for n, _ in same) == 1:
                return record.track(best[1])
        return None

    def _find_entry(
        self, entry: playlists.Entry, by_name: dict[str, list[tuple[str, str]]], space: str | None
    ) -> Found:
        track = self._by_path(entry, by_name)
        if track is not None:
            return Found(entry, track, "path")
        track = self._by_tags(entry)
        if track is not None:
            return Found(entry, track, "tags")
        for path in entry.paths:
            if os.path.isfile(path):
                track = self._by_sound(path, space)
                return Found(entry, track, "sound" if track else "")
        return Found(entry, None, "")

    def _by_tags(self, entry: playlists.Entry) -> Track | None:
        record = self._reader()
        if not entry.title:
            return None
        piece, artist = split_title(entry.title), fold(entry.artist)
        found = [
            track
            for track in record.search(f"{entry.artist} {piece[0]}")
            if split_title(track.title) == piece
            and artist in ("", fold(track.artist), fold(track.album_artist))
        ]
        if entry.recording_mbid:
            found = [t for t in found if t.recording_mbid == entry.recording_mbid] or found
        if entry.album:
            found = [t for t in found if fold(t.album) == fold(entry.album)] or found
        if entry.duration is not None:
            length = entry.duration
            near = sorted(found, key=lambda t: (abs(t.duration - length), t.id))
            return near[0] if near and abs(near[0].duration - length) <= _TAG_SECONDS else None
        return found[0] if found and (artist or len(found) == 1) else None

    def _by_sound(self, path: str, space: str | None) -> Track | None:
        try:
            chosen = self.space(space)
            query = self._outside(path, chosen)
        except SoundkinError:  # no audio, or its encoder is gone: then it is not found
            return None
        found = self._current_index().search(chosen.id, query.vector, 10)
        tracks = tracks_of(self._reader(), [number for number, _ in found])
        copies = (
            tracks[number]
            for number, cosine in found
            if number in tracks and is_copy_of(self._reader(), chosen, query, tracks[number], cosine)
        )
        return next(copies, None)


def _common(a: str, b: str) -> int:
    """Count the last parts that two paths have in common, whatever their case."""
    parts = zip(reversed(Path(a).parts), reversed(Path(b).parts), strict=False)
    n = 0
    for one, other in parts:
        if fold(one) != fold(other):
            break
        n += 1
    return n
