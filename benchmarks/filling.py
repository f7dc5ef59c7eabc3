"""Made-up libraries of any size: their records are filled as a scan fills them, without a file to listen to."""

from collections.abc import Iterable
from pathlib import Path

from common import Prints  # isort: skip - it pins threads before numpy
import numpy as np
from numpy.typing import NDArray

from soundkin.embed import Embedded, FileState, Space
from soundkin.encoders.descriptors import Analysis
from soundkin.record import Record
from soundkin.tags import Tags

DIMS, WINDOWS = 128, 12
SPACE = Space("made", "0" * 64, "none", 3.0, 3.0, "12x3s", "mean", DIMS)
_AT_ONCE = 50_000


def clustered(n: int, dims: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make unit vectors (n, d) and the cluster of each, like music's: 300 clusters in 32 dimensions, bent into d."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(300, size=n)
    latent = rng.normal(size=(300, 32))[cluster] + 0.35 * rng.normal(size=(n, 32))
    bent = rng.normal(size=(32, dims)) / np.sqrt(32)
    rows = np.empty((n, dims), np.float32)
    for first in range(0, n, _AT_ONCE):  # a million at once would take 4 GB
        part = latent[first : first + _AT_ONCE]
        some = np.tanh(part @ bent) + 0.05 * rng.normal(size=(len(part), dims))
        rows[first : first + _AT_ONCE] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return rows, cluster


def fill(
    folder: Path | str,
    n: int,
    seed: int,
    space: Space = SPACE,
    real: Path | None = None,
    whole: bool = True,
    files: Iterable[FileState] | None = None,
) -> tuple[list[str], NDArray[np.int64]]:
    """Make the record of a library: ids in order, and the cluster of each.

    Not `whole`, it has no windows and fingerprints, which are nine tenths of a record and in no question's way; the
    fingerprints are those of a `real` library or of the demo's music. `files` are what it takes for the tracks' files.
    """
    prints = (Prints.of(real) if real else Prints.made(seed)) if whole else None
    rows, cluster = clustered(n, space.dims, seed)
    rng = np.random.default_rng(seed + 1)  # not that of the clusters, or the years would go along with them
    year = rng.integers(1950, 2030, size=n)
    starts = np.arange(WINDOWS, dtype=np.float32) * 15
    noise = rng.normal(size=(64, WINDOWS, space.dims)).astype(np.float32) * 0.05
    nowhere = (FileState(f"/music/{i // 12}/{i}.mp3", 1, 1) for i in range(n))
    ids = []
    with Record.open(folder, write=True) as record:
        record.add_space(space)
        with record.batch(every=20_000, seconds=1e9):
            for i, (row, file) in enumerate(zip(rows, files or nowhere, strict=True)):
                tags = Tags(
                    title=f"track {i}", artist=f"artist {i // 12}", album=f"album {i // 12}",
                    genres=(f"genre {cluster[i] % 10}", f"style {cluster[i] % 100}"), year=int(year[i]),
                )  # fmt: skip
                analysis = Analysis(bpm=60.0 + i % 120, key="", energy=(i % 100) / 100, loudness=-14.0)
                seconds = float(rng.uniform(120, 420))
                made = Embedded(
                    file, f"{i:032x}", seconds, 44100, 2, "mp3", tags, analysis, {space.id: row},
                    {space.id: (starts, row + noise[i % 64])} if whole else {},
                    fingerprint=prints.draw(rng, seconds) if prints else b"",
                )  # fmt: skip
                ids.append(record.put(made))
    return ids, cluster


def tiny_files(music: Path, n: int) -> Iterable[FileState]:
    """Write n files that nobody can listen to, in folders of albums; an album's are one on the disk."""
    first = music
    for i in range(n):
        path = music / f"artist {i // 120}" / f"album {i // 12}" / f"{i:05}.mp3"
        if i % 12 == 0:
            path.parent.mkdir(parents=True)
            path.write_bytes(b"no music")
            first = path
        else:
            path.hardlink_to(first)
        status = path.stat()
        yield FileState(str(path), status.st_size, status.st_mtime_ns)
