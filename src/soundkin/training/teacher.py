"""A teacher: what another, larger network says about the training tracks.

The student learns to foretell it from its features, beside the contrastive loss. The teacher is needed while
training only; neither its weights nor its vectors are part of the encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Standard scores beyond this are outliers, and would outweigh everything else in a squared error.
_LARGEST = 4.0


@dataclass(frozen=True)
class Teacher:
    """Vectors of a teacher for some windows of each training track.

    Parameters
    ----------
    starts : sequence of int (windows,)
        Per track, the frames where the windows begin.
    vectors : sequence of float32 (windows, d)
        Per track, what the teacher says; standard scores.
    """

    starts: Sequence[NDArray[np.int64]]
    vectors: Sequence[Array]

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return int(self.vectors[0].shape[1])

    @classmethod
    def of(cls, starts: Sequence[NDArray[np.int64]], vectors: Sequence[Array]) -> "Teacher":
        """Make a teacher from raw vectors: they are turned into standard scores and clipped at 4."""
        every = np.concatenate(list(vectors))
        mean, deviation = every.mean(0), every.std(0) + 1e-6
        scores = [np.clip((v - mean) / deviation, -_LARGEST, _LARGEST).astype(np.float32) for v in vectors]
        return cls(starts, scores)

    def pick(self, which: NDArray[np.int64], random: np.random.Generator) -> tuple[list[int], Array]:
        """Choose one window of each of some tracks; return where they start, and the vectors (n, d)."""
        windows = [int(random.integers(len(self.starts[i]))) for i in which]
        pairs = list(zip(which, windows, strict=True))
        return [int(self.starts[i][w]) for i, w in pairs], np.stack([self.vectors[i][w] for i, w in pairs])
