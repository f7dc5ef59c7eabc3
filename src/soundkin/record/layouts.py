"""Maps of the tracks: where each stands in the plane, kept so that a track stays where people remember it.

A layout is derived from vectors, and may be deleted; it changes no revision, and the index knows nothing of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.record.connection import Connection

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """Tracks in the plane.

    Parameters
    ----------
    ids : list of str
        n track ids.
    places : float32 (n, 2)
        Where they are; the scale means nothing.
    method, space : str
        What laid them out; the id of the space.
    anchors : int
        How many tracks the layout was computed from; the others were placed among them.
    """

    ids: list[str]
    places: Array
    method: str
    space: str
    anchors: int


class LayoutTables(Connection):
    """The part of a record that holds layouts; see `Record`."""

    def layout(self, space: str, method: str, seed: int) -> Layout | None:
        """Return a layout that is kept.

        Parameters
        ----------
        space, method : str
            Space id; what laid it out.
        seed : int
            Of the method.

        Returns
        -------
        Layout or None
            None when there is none, also when what is kept makes no sense.
        """
        rows = self._rows(
            "SELECT anchors, ids, places FROM layouts WHERE space = ? AND method = ? AND seed = ?",
            (space, method, seed),
        )
        if not rows:
            return None
        anchors, ids, places = rows[0]
        if len(ids) % 8 or len(ids) != len(places):
            return None
        names = [f"{number:016x}" for number in np.frombuffer(ids, "<u8").tolist()]
        where = np.frombuffer(places, "<f4").reshape(-1, 2).astype(np.float32)
        return Layout(names, where, method, space, anchors) if np.isfinite(where).all() else None

    def keep_layout(self, layout: Layout, seed: int) -> None:
        """Keep a layout in place of the one of its space, method and seed.

        Parameters
        ----------
        layout : Layout
            To keep.
        seed : int
            Of the method.

        Raises
        ------
        StoreError
            The record cannot be written.
        """
        ids = np.array([int(name, 16) for name in layout.ids], "<u8").tobytes()
        places = np.ascontiguousarray(layout.places, "<f4").tobytes()
        with self._note():
            self._db.execute(
                "INSERT INTO layouts (space, method, seed, anchors, ids, places) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (space, method, seed) DO UPDATE "
                "SET anchors = excluded.anchors, ids = excluded.ids, places = excluded.places",
                (layout.space, layout.method, seed, layout.anchors, ids, places),
            )
