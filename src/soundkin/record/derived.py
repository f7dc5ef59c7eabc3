"""Vectors that are made from what is in the record, not from audio: they are replaced as a whole.

Their space stays the same when they are made again, so that whoever asks in it goes on; all of them change at once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Space
from soundkin.record.vectors import VectorTables

Array = NDArray[np.float32]


class DerivedTables(VectorTables):
    """The part of a record that keeps vectors, and replaces derived ones; see `Record`."""

    def replace_vectors(self, space: Space, ids: Sequence[str], vectors: Array) -> None:
        """Put vectors in place of all that a space has.

        Parameters
        ----------
        space : Space
            Known or new; no scan fills it.
        ids : sequence of str
            n track ids.
        vectors : float32 (n, d)
            Finite, in the same order.

        Raises
        ------
        NotFound
            A track is unknown.
        StoreError
            The shape or values of the vectors are wrong, or the record cannot be written.
        """
        with self.transaction():
            self.add_space(space, active=False)
            (number,) = self._db.execute("SELECT number FROM spaces WHERE id = ?", (space.id,)).fetchone()
            old = self._db.execute("SELECT track FROM vectors WHERE space = ?", (number,)).fetchall()
            self._db.execute("DELETE FROM vectors WHERE space = ?", (number,))
            for (track,) in old:  # also those that get no new one change
                self._db.execute(
                    "UPDATE tracks SET revision = ? WHERE number = ?", (self._next_revision(), track)
                )
            self.add_vectors(space.id, ids, vectors)
