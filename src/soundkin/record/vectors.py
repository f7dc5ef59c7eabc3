"""What tracks sound like: their vectors and windows in every space, and their fingerprints."""

import os
import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from soundkin.embed import Embedded, Space
from soundkin.errors import NotFound, StoreError
from soundkin.fingerprint import LEAST_SECONDS
from soundkin.record.connection import Connection
from soundkin.record.database import Database, Place
from soundkin.record.rows import COLUMNS, Array, Track, floats, from_row, storable

_Windows = tuple[npt.NDArray[np.float32], npt.NDArray[np.float16]]  # starts and vectors, as they are stored


class VectorTables(Connection):
    """The part of a record that holds spaces, vectors, windows and fingerprints; see `Record`."""

    def __init__(self, place: Place, db: Database, allowed: str) -> None:
        super().__init__(place, db, allowed)
        self._known: dict[str, tuple[int, Space]] = {}  # they never change, nor go

    def add_space(self, space: Space, active: bool = True) -> None:
        """Make a space known, so that its vectors are accepted.

        Parameters
        ----------
        space : Space
            New, known or deactivated.
        active : bool
            True makes it active. False is for vectors from elsewhere: a known space stays as it is, a new one
            is not active.
        """
        with self._change():
            self._db.execute(
                "INSERT INTO spaces (id, json, created, active) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET active = CASE WHEN excluded.active = 1 THEN 1 ELSE spaces.active END",
                (space.id, space.to_json(), time.time(), int(active)),
            )

    def deactivate(self, space_id: str) -> None:
        """Say that no more vectors of a space will come; those there are stay.

        Parameters
        ----------
        space_id : str
            A known space.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        with self._change():
            number, _ = self._space(space_id)
            self._db.execute("UPDATE spaces SET active = 0 WHERE number = ?", (number,))

    def add_vectors(self, space_id: str, ids: Sequence[str], vectors: Sequence[npt.ArrayLike] | Array) -> int:
        """Give tracks vectors that were made elsewhere; a track that has one in the space keeps it.

        Parameters
        ----------
        space_id : str
            A known space.
        ids : sequence of str
            n track ids.
        vectors : float32 (n, d)
            Finite, in the same order.

        Returns
        -------
        int
            Number of tracks that had none and got one.

        Raises
        ------
        NotFound
            The space or a track is unknown.
        StoreError
            The shape or values of the vectors are wrong.
        """
        added = 0
        with self._change():
            space = self._space(space_id)
            for id_, vector in zip(ids, vectors, strict=True):
                found = self._db.execute("SELECT number FROM tracks WHERE id = ?", (id_,)).fetchone()
                if found is None:
                    raise NotFound(f"no track has the id {id_!r}: put it before its vectors")
                values = space[0], found[0], _checked(space, vector).tobytes()
                sql = "INSERT INTO vectors VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
                if self._db.execute(sql, values).rowcount:
                    revision = self._next_revision()
                    self._db.execute("UPDATE tracks SET revision = ? WHERE number = ?", (revision, found[0]))
                    added += 1
        return added

    def spaces(self) -> list[Space]:
        """Return every known space, oldest first.

        Returns
        -------
        list of Space
            Active or not.
        """
        return [space for _, space in self._spaces().values()]

    def active_spaces(self) -> list[Space]:
        """Return the spaces that new tracks are embedded in, oldest first.

        Returns
        -------
        list of Space
            Those added and not deactivated.
        """
        rows = self._rows("SELECT json FROM spaces WHERE active = 1 ORDER BY number")
        return [Space.from_json(row[0]) for row in rows]

    def vectors(self, space_id: str) -> tuple[list[str], Array]:
        """Return every vector of a space.

        Parameters
        ----------
        space_id : str
            A known space.

        Returns
        -------
        ids : list of str
            Of the n tracks that have a vector, sorted.
        vectors : float32 (n, d)
            In the same order.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        with self._snapshot():
            number, space = self._space(space_id)
            ids = self._rows("SELECT id, number FROM tracks ORDER BY id")
            place = {track: i for i, (_, track) in enumerate(ids)}
            out = np.empty((len(ids), space.dims), np.float32)
            held = np.zeros(len(ids), bool)
            for rows in self._db.batches("SELECT track, vector FROM vectors WHERE space = ?", (number,)):
                places = [place[track] for track, _ in rows]
                out[places] = np.frombuffer(b"".join([blob for _, blob in rows]), "<f4").reshape(
                    len(rows), -1
                )
                held[places] = True
        if held.all():
            return [id_ for id_, _ in ids], out
        return [id_ for (id_, _), there in zip(ids, held, strict=True) if there], out[held]

    def vector(self, track_id: str, space_id: str) -> Array:
        """Return one track's vector.

        Parameters
        ----------
        track_id, space_id : str
            A track, and a space it was embedded in.

        Returns
        -------
        float32 (d,)
            As it was put.

        Raises
        ------
        NotFound
            The space is unknown, or the track has no vector in it.
        """
        ((blob,),) = self._of_track("v.vector", "vectors", track_id, space_id)
        return floats(blob)

    def vectors_of(self, ids: Sequence[str], space_id: str) -> Array:
        """Return the vectors of some tracks.

        Parameters
        ----------
        ids : sequence of str
            Tracks that have a vector in the space.
        space_id : str
            A known space.

        Returns
        -------
        float32 (n, d)
            In the order of `ids`.

        Raises
        ------
        NotFound
            The space is unknown, or a track has no vector in it.
        """
        number, space = self._space(space_id)
        found: dict[str, bytes] = {}
        for start in range(0, len(ids), 500):
            chunk = list(ids[start : start + 500])
            rows = self._rows(
                "SELECT t.id, v.vector FROM tracks t CROSS JOIN vectors v "
                f"WHERE v.space = ? AND v.track = t.number AND t.id IN (?{', ?' * (len(chunk) - 1)})",
                (number, *chunk),
            )
            found.update(rows)
        missing = next((id_ for id_ in ids if id_ not in found), None)
        if missing is not None:
            raise NotFound(f"track {missing!r} has no vectors in the space {space_id!r}: index it again")
        joined = b"".join([found[id_] for id_ in ids])
        return np.frombuffer(joined, "<f4").astype(np.float32).reshape(len(ids), space.dims)

    def tracks_with_vectors(self, ids: Sequence[str], space_id: str) -> list[tuple[Track, Array]]:
        """Return those of some tracks that are there and have a vector in a space.

        Parameters
        ----------
        ids : sequence of str
            Track ids.
        space_id : str
            A known space.

        Returns
        -------
        list of (Track, float32 (d,))
            By id.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        number, _ = self._space(space_id)
        found: dict[str, tuple[Track, Array]] = {}
        for start in range(0, len(ids), 500):
            chunk = list(ids[start : start + 500])
            rows = self._rows(
                f"SELECT {COLUMNS}, v.vector FROM tracks t CROSS JOIN vectors v "
                f"WHERE v.space = ? AND v.track = t.number AND t.id IN (?{', ?' * (len(chunk) - 1)})",
                (number, *chunk),
            )
            found.update((row[0], (from_row(row[:-1]), floats(row[-1]))) for row in rows)
        return [found[id_] for id_ in sorted(found)]

    def sample(self, space_id: str, most: int) -> Array:
        """Return the vectors of tracks that stand for all.

        Parameters
        ----------
        space_id : str
            A known space.
        most : int
            At most so many.

        Returns
        -------
        float32 (n, d)
            Those with the smallest ids. Ids are digests of the music: the choice is as good as drawn by lot, the same
            in every copy of a library, and changes little as it grows.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        number, space = self._space(space_id)
        rows = self._rows(
            "SELECT v.vector FROM tracks t CROSS JOIN vectors v "
            "WHERE v.space = ? AND v.track = t.number ORDER BY t.id LIMIT ?",
            (number, most),
        )
        return (
            np.frombuffer(b"".join([row[0] for row in rows]), "<f4")
            .astype(np.float32)
            .reshape(-1, space.dims)
        )

    def size(self, space_id: str) -> int:
        """Return how many tracks have a vector in a space.

        Parameters
        ----------
        space_id : str
            A known space.

        Returns
        -------
        int
            Their number.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        number, _ = self._space(space_id)
        return int(self._rows("SELECT count(*) FROM vectors WHERE space = ?", (number,))[0][0])

    def windows(self, track_id: str, space_id: str) -> tuple[Array, Array]:
        """Return one track's windows.

        Parameters
        ----------
        track_id, space_id : str
            A track, and a space it was embedded in.

        Returns
        -------
        starts : float32 (w,)
            Seconds.
        vectors : float32 (w, d)
            Kept with 11 significant bits.

        Raises
        ------
        NotFound
            The space is unknown, or the track has no windows in it.
        """
        ((starts, blob),) = self._of_track("v.starts, v.vectors", "windows", track_id, space_id)
        times = floats(starts)
        return times, np.frombuffer(blob, "<f2").astype(np.float32).reshape(len(times), -1)

    def missing(self, space_id: str) -> list[str]:
        """Return the files that have no vector in a space.

        Parameters
        ----------
        space_id : str
            A known space.

        Returns
        -------
        list of str
            Paths, in the order in which they came into the record.

        Raises
        ------
        NotFound
            The space is unknown.
        """
        number, _ = self._space(space_id)
        rows = self._rows(
            "SELECT path FROM tracks t WHERE NOT EXISTS "
            "(SELECT 1 FROM vectors WHERE space = ? AND track = t.number) ORDER BY number",
            (number,),
        )
        return [os.fsdecode(row[0]) for row in rows]

    def fingerprints(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the fingerprints of tracks, see `fingerprint`.

        Parameters
        ----------
        ids : sequence of str
            Track ids.

        Returns
        -------
        dict of str to bytes
            Without those of tracks that have none: imported, or indexed by an older Soundkin.
        """
        found: dict[str, bytes] = {}
        for start in range(0, len(ids), 500):
            chunk = list(map(storable, ids[start : start + 500]))
            found |= self._rows(
                "SELECT t.id, f.bytes FROM tracks t JOIN fingerprints f ON f.track = t.number "
                f"WHERE t.id IN (?{', ?' * (len(chunk) - 1)})",
                chunk,
            )
        return found

    def add_fingerprints(self, fingerprints: Mapping[str, bytes]) -> int:
        """Give tracks fingerprints that were made elsewhere; a track that has one keeps it.

        Parameters
        ----------
        fingerprints : mapping of str to bytes
            By track id; tracks that are not there are passed over.

        Returns
        -------
        int
            How many got one.
        """
        with self._change():
            done = self._db.executemany(
                "INSERT INTO fingerprints SELECT number, ? FROM tracks WHERE id = ? ON CONFLICT DO NOTHING",
                [(bytes_, storable(id_)) for id_, bytes_ in fingerprints.items()],
            )
            return max(0, int(done.rowcount))  # -1 of none at all

    def without_fingerprint(self) -> list[str]:
        """Return the files of tracks without a fingerprint that are long enough to have one.

        Returns
        -------
        list of str
            Paths, in the order in which they came into the record.
        """
        rows = self._rows(
            "SELECT path FROM tracks t WHERE duration > ? AND NOT EXISTS "
            "(SELECT 1 FROM fingerprints WHERE track = t.number) ORDER BY number",
            (LEAST_SECONDS,),
        )
        return [os.fsdecode(row[0]) for row in rows]

    def _spaces(self) -> dict[str, tuple[int, Space]]:
        rows = self._rows("SELECT id, number, json FROM spaces ORDER BY number")
        return {id_: (number, Space.from_json(text)) for id_, number, text in rows}

    def _space(self, space_id: str) -> tuple[int, Space]:
        if space_id in self._known:
            return self._known[space_id]
        self._known = spaces = self._spaces()
        if space_id not in spaces:
            raise NotFound(f"the library has no space {space_id!r}: it has {', '.join(spaces) or 'none yet'}")
        return spaces[space_id]

    def _of_track(self, what: str, table: str, track_id: str, space_id: str) -> list[tuple[bytes, ...]]:
        number, _ = self._space(space_id)
        rows = self._rows(
            f"SELECT {what} FROM tracks t JOIN {table} v ON v.space = ? AND v.track = t.number "
            "WHERE t.id = ?",
            (number, track_id),
        )
        if not rows:
            raise NotFound(f"track {track_id!r} has no {table} in the space {space_id!r}: index it again")
        return rows

    def _checked(self, embedded: Embedded) -> tuple[dict[int, Array], dict[int, _Windows]]:
        """Return vectors and windows as they are stored, by number of space, or refuse them."""
        spaces = self._spaces()
        vectors = {_number(spaces, s): _checked(spaces[s], v) for s, v in embedded.vectors.items()}
        windows = {_number(spaces, s): _checked_windows(spaces[s], *w) for s, w in embedded.windows.items()}
        return vectors, windows

    def _add_vectors(self, track: int, vectors: dict[int, Array], windows: dict[int, _Windows]) -> None:
        self._db.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?)", [(s, track, v.tobytes()) for s, v in vectors.items()]
        )
        self._db.executemany(
            "INSERT INTO windows VALUES (?, ?, ?, ?)",
            [(s, track, starts.tobytes(), w.tobytes()) for s, (starts, w) in windows.items()],
        )

    def _drop_vectors(self, track: int, spaces: set[int] | None = None) -> None:
        """Delete a track's vectors and windows of some spaces, or of all."""
        numbers = [number for number, _ in self._spaces().values()] if spaces is None else spaces
        for table in ("vectors", "windows"):
            self._db.executemany(
                f"DELETE FROM {table} WHERE space = ? AND track = ?", [(number, track) for number in numbers]
            )

    def _keep_fingerprint(self, track: int, fingerprint: bytes, same: bool) -> None:
        """Store a fingerprint; without one, that of the same content stays and that of another one goes."""
        if fingerprint:
            self._db.execute(
                "INSERT INTO fingerprints VALUES (?, ?) ON CONFLICT (track) DO UPDATE SET bytes = excluded.bytes",
                (track, fingerprint),
            )
        elif not same:
            self._db.execute("DELETE FROM fingerprints WHERE track = ?", (track,))


def _number(spaces: dict[str, tuple[int, Space]], space_id: str) -> int:
    if space_id not in spaces:
        raise StoreError(f"vectors of the unknown space {space_id!r} came: add_space() it before its vectors")
    return spaces[space_id][0]


def _checked(numbered: tuple[int, Space], vector: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return a track vector as it is stored, or refuse what is not of the space."""
    space = numbered[1]
    out = _finite(space, vector)
    if out.shape != (space.dims,):
        raise StoreError(
            f"a vector of shape {out.shape} came for the space {space.id}, which has ({space.dims},)"
        )
    return out


def _checked_windows(numbered: tuple[int, Space], starts: npt.ArrayLike, vectors: npt.ArrayLike) -> _Windows:
    """Return windows as they are stored; their width is the encoder's own, since pooling may change it."""
    windows, times = _finite(numbered[1], vectors), np.asarray(starts, "<f4")
    if windows.ndim != 2 or times.shape != windows.shape[:1]:
        raise StoreError(
            f"starts of shape {times.shape} came for windows of shape {windows.shape}: wanted (w,), (w, d)"
        )
    limit = np.finfo(np.float16).max
    if windows.size and np.abs(windows).max() > limit:
        raise StoreError(f"a window vector beyond {limit} came for the space {numbered[1].id}: scale it down")
    return times, windows.astype("<f2")


def _finite(space: Space, vectors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    out = np.asarray(vectors, "<f4")
    if not np.isfinite(out).all():
        raise StoreError(
            f"a vector with NaN or infinity came for the space {space.id}: wanted finite numbers"
        )
    return out
