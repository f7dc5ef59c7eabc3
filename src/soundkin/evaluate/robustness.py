"""What a re-encode, a shift or another level does to a vector: files are made on the fly, heard, and thrown away.

A track that comes back as another file of the same recording should keep its place: its vector should be close to the
one in the record, and the nearest of all tracks should be the track itself.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin import workers
from soundkin.embed import Space, cores
from soundkin.encoders import unit
from soundkin.errors import DecodeError, ModelError
from soundkin.evaluate.collection import Collection
from soundkin.evaluate.confidence import intervals, paired
from soundkin.evaluate.protocols import LEAST_QUESTIONS, Unmeasurable
from soundkin.evaluate.tables import Row, Table, figure, rounded
from soundkin.library import Library
from soundkin.scan import printable

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Change = Callable[[Array, int], tuple[Array, int]]  # (n, channels), Hz -> the same, changed
Heard = dict[str, dict[str, Array]]  # variant -> space id -> vector

CLOSE = 0.98
SHIFT_SECONDS = 1.2
# Longer ones are passed over: all of a track, and changed copies of it, are in memory at once.
LONGEST = 600.0
_MP3_BITS, _MP3_MOST_HZ = 96_000, 48_000
_PATIENCE = 600.0
_NAMED = 5
_CHANNELS = 2
HEADLINE = f"cosine >= {CLOSE}"


def _gain(db: float) -> Change:
    return lambda y, rate: (y * np.float32(10 ** (db / 20)), rate)


def _resampled(to: int) -> Change:
    def change(y: Array, rate: int) -> tuple[Array, int]:
        import soxr

        if rate == to:
            return y, rate
        return np.asarray(soxr.resample(y, rate, to, quality="HQ"), np.float32), to

    return change


def _other_channels(y: Array, rate: int) -> tuple[Array, int]:
    """Give mono for stereo, and two equal channels for mono."""
    return (y.mean(axis=1, keepdims=True) if y.shape[1] > 1 else np.repeat(y, 2, axis=1)), rate


# All are written as float WAV, but for the last.
_MP3 = "mp3, 96 kbit/s"
CHANGES: dict[str, Change] = {
    f"shifted by {SHIFT_SECONDS} s": lambda y, rate: (y[round(SHIFT_SECONDS * rate) :], rate),
    "6 dB louder": _gain(6.0),
    "6 dB softer": _gain(-6.0),
    "44.1 kHz": _resampled(44_100),
    "48 kHz": _resampled(48_000),
    "22.05 kHz": _resampled(22_050),
    "mono for stereo, stereo for mono": _other_channels,
    _MP3: lambda y, rate: (y, rate) if rate <= _MP3_MOST_HZ else _resampled(44_100)(y, rate),
}


def heard_again(
    collection: Collection, tracks: int, seed: int = 0, report: Callable[[int, int], None] | None = None
) -> Table:
    """Measure how vectors stand up to changes that do not change the music.

    Parameters
    ----------
    collection : Collection
        Of tracks whose files are there.
    tracks : int
        How many are tried, drawn at random.
    seed : int
        Of the draw, and of intervals.
    report : callable, optional
        Called with tracks done and in all.

    Returns
    -------
    Table
        For each space a row per change, one for all changes together, and one for the nearest other track: what a
        cosine means without it.

    Raises
    ------
    Unmeasurable
        Fewer than ten tracks can be tried, or no encoder is here.
    """
    notes: list[str] = []
    spaces = [space for space in collection.compared() if _is_here(collection.library, space, notes)]
    if not spaces:
        raise Unmeasurable.because(notes)
    drawn = _drawn(collection, tracks, seed)
    paths = [collection.tracks[i].path for i in drawn]
    heard, failed = _heard(collection.library, spaces, paths, report)
    tried = [i for i in drawn if collection.tracks[i].path in heard]
    if len(tried) < LEAST_QUESTIONS:
        why = next(iter(failed.values()), "there are no more files")
        raise Unmeasurable(f"{len(tried)} tracks could be heard again, {LEAST_QUESTIONS} are needed: {why}")
    rows: list[Row] = []
    first: Floats | None = None
    for space in spaces:
        found = [heard[collection.tracks[i].path] for i in tried]
        of_space, cosine = _rows(collection, space, np.array(tried), found, seed, first)
        rows, first = rows + of_space, cosine if first is None else first
    for change in CHANGES:
        there = sum(change in each for each in heard.values())
        if there < len(heard):
            notes.append(f"{change}: {there} tracks, the others have that rate already")
    told = {"albums": len(np.unique(collection.labels.album[tried])), "files_not_heard": len(failed)}
    notes += [f"not heard: {printable(path)}: {why}" for path, why in list(failed.items())[:_NAMED]]
    notes.append(
        "intervals: 95 %, bootstrap over albums; changed tracks are written as files and heard like any other, "
        "so what is 6 dB louder clips where there is no room"
    )
    return Table(
        "robustness", "does a track keep its place when its file changes?", "", len(tried), len(collection.tracks),
        told | collection.left_out, HEADLINE, rows, notes,
    )  # fmt: skip


def _is_here(library: Library, space: Space, notes: list[str]) -> bool:
    try:
        library.embedder(space)
    except ModelError as error:
        notes.append(str(error))
        return False
    return True


def _drawn(collection: Collection, tracks: int, seed: int) -> list[int]:
    able = [i for i, t in enumerate(collection.tracks) if t.duration <= LONGEST and os.path.exists(t.path)]
    chosen = np.random.default_rng(seed).permutation(len(able))[:tracks]
    return sorted(able[i] for i in chosen)


def _heard(
    library: Library, spaces: Sequence[Space], paths: Sequence[str], report: Callable[[int, int], None] | None
) -> tuple[dict[str, Heard], dict[str, str]]:
    """Hear all changes of all files in worker processes; return the vectors, and why a file gave none."""
    heard: dict[str, Heard] = {}
    failed: dict[str, str] = {}
    arguments = (library.opened_with, tuple(space.id for space in spaces))
    answers = workers.run(
        "soundkin.evaluate.robustness:_worker",
        arguments,
        paths,
        min(cores(), max(1, len(paths))),
        lambda path: _PATIENCE,
    )
    with contextlib.closing(answers):
        for done, (path, answer) in enumerate(answers, 1):
            if isinstance(answer, workers.Lost):
                failed[path] = answer.reason
            elif isinstance(answer, str):
                failed[path] = answer
            else:
                heard[path] = answer
            if report:
                report(done, len(paths))
    return heard, failed


def _worker(opens: dict[str, Any], space_ids: tuple[str, ...]) -> Callable[[str], Heard | str]:
    library = Library.open(**opens)
    embedders = [library.embedder(library.space(space_id)) for space_id in space_ids]

    def hear(path: str) -> Heard | str:
        try:
            y, rate = read_all(path)
            return {
                name: {
                    space_id: encoder.embed(file, listening=embedder.listenings[space_id])
                    for embedder in embedders
                    for space_id, encoder in embedder.encoders.items()
                }
                for name, file in changed(y, rate)
            }
        except (DecodeError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    return hear


def read_all(path: str) -> tuple[Array, int]:
    """Decode a whole file.

    Parameters
    ----------
    path : str
        Any audio file.

    Returns
    -------
    y : float32 (n, 1 or 2)
        More channels are mixed.
    rate : int
        Hz.

    Raises
    ------
    DecodeError
        It holds no audio.
    OSError, ValueError
        FFmpeg cannot read it.
    """
    import soundfile

    try:
        y, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, UnicodeEncodeError):
        y, rate = _decoded(path)
    if not len(y):
        raise DecodeError("nothing of it can be decoded")
    return (
        y if y.shape[1] <= _CHANNELS else np.repeat(y.mean(axis=1, keepdims=True), _CHANNELS, axis=1)
    ), int(rate)


def _decoded(path: str) -> tuple[Array, int]:
    """Decode with FFmpeg what libsndfile does not know."""
    import av

    with av.open(path, metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise DecodeError("it holds no audio")
        stream: Any = container.streams.audio[0]
        layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        to_float = av.AudioResampler(format="fltp", layout=layout, rate=stream.codec_context.sample_rate)
        frames = (part for frame in container.decode(stream) for part in to_float.resample(frame))
        blocks = [part.to_ndarray() for part in (*frames, *to_float.resample(None))]
        y = np.concatenate(blocks, axis=1).T if blocks else np.empty((0, 1), np.float32)
        return np.ascontiguousarray(y), int(stream.codec_context.sample_rate)


def changed(y: Array, rate: int) -> Iterable[tuple[str, str]]:
    """Make the changed files of a track, one at a time; each is gone when the next one is asked for.

    Parameters
    ----------
    y : float32 (n, channels)
        The track.
    rate : int
        Hz.

    Yields
    ------
    tuple of (str, str)
        Name of the change, and path of the file. A rate that the track has already is left out.
    """
    import soundfile

    with tempfile.TemporaryDirectory(prefix="soundkin-") as folder:
        for name, change in CHANGES.items():
            other, other_rate = change(y, rate)
            if other is not y or name == _MP3:
                path = os.path.join(folder, "changed.mp3" if name == _MP3 else "changed.wav")
                if name == _MP3:
                    write_mp3(path, other, other_rate)
                else:
                    soundfile.write(path, other, other_rate, subtype="FLOAT")
                yield name, path
                os.remove(path)


def write_mp3(path: str, y: Array, rate: int, bits: int = _MP3_BITS) -> None:
    """Write a track as mp3.

    Parameters
    ----------
    path : str
        Where to.
    y : float32 (n, 1 or 2)
        The track.
    rate : int
        Hz, at most 48,000.
    bits : int
        Per second.
    """
    import av

    layout = "mono" if y.shape[1] == 1 else "stereo"
    with av.open(path, "w", format="mp3") as container:
        stream: Any = container.add_stream("libmp3lame", rate=rate, layout=layout)
        stream.bit_rate = bits
        for first in range(0, len(y), 1 << 16):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(y[first : first + (1 << 16)].T), "fltp", layout
            )
            frame.sample_rate, frame.pts = rate, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _rows(
    collection: Collection,
    space: Space,
    tried: NDArray[np.int64],
    heard: Sequence[Heard],
    seed: int,
    first: Floats | None,
) -> tuple[list[Row], Floats]:
    """Return the rows of a space, compared with the cosines of the first one, and its own, (changes + 1, tracks)."""
    every = unit(collection.vectors(space))
    groups = collection.labels.album[tried]
    name = collection.name(space)
    own = every[tried]
    similar = own @ every.T
    similar[np.arange(len(tried)), tried] = -np.inf
    cosine = np.full((len(CHANGES) + 1, len(tried)), np.nan)
    found = np.full_like(cosine, np.nan)
    for place, change in enumerate(CHANGES):
        for row, vectors in enumerate(heard):
            if change in vectors:
                vector = unit(vectors[change][space.id])
                cosine[place, row] = vector @ own[row]
                # of equal ones any is right: copies of a recording
                found[place, row] = every[tried[row]] @ vector >= (every @ vector).max() - 1e-6
    cosine[-1], found[-1] = np.nanmin(cosine[:-1], axis=0), np.nanmin(found[:-1], axis=0)
    names = [*CHANGES, "all of these"]
    baseline = space not in collection.spaces
    out = []
    for place, what in enumerate(names):
        there = ~np.isnan(cosine[place])
        if not there.any():
            continue
        made = _row(f"{name}: {what}", cosine[place], found[place], groups, seed, baseline)
        if first is not None:
            close, before = (np.asarray(c[place][there] >= CLOSE, np.float64) for c in (cosine, first))
            difference, p = paired(close[:, None], before, groups[there], seed)
            made = replace(made, difference=rounded(difference[0]), p=rounded(p[0]))
        out.append(made)
    nearest = similar.max(axis=1).astype(np.float64)
    return [*out, _row(f"{name}: the nearest other track", nearest, None, groups, seed, True)], cosine


def _row(
    name: str, cosine: Floats, found: Floats | None, groups: NDArray[np.int64], seed: int, baseline: bool
) -> Row:
    there = ~np.isnan(cosine)
    values = [cosine[there] >= CLOSE, cosine[there], *([] if found is None else [found[there]])]
    columns = np.stack([np.asarray(v, np.float64) for v in values], axis=1)
    figures = [figure(*each) for each in zip(*intervals(columns, groups[there], seed), strict=True)]
    named = dict(zip([HEADLINE, "cosine", "found first"], figures, strict=False))
    named["5 % are below"] = figure(float(np.quantile(cosine[there], 0.05)))
    return Row(name, baseline, named)
