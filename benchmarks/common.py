"""What the benchmarks share: a table, targets, clocks, and audio files of every format."""

import os
import resource
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import _one_thread  # noqa: F401 - it must come before numpy
import numpy as np
from numpy.typing import NDArray

from soundkin import synth
from soundkin.audio import excerpts_of, is_audio_name
from soundkin.fingerprint import BANDS, FRONT, MOMENTS, fingerprint, pieces_of
from soundkin.record import Record

Array = NDArray[np.float32]

# A machine on which others use less of one core than this is called idle.
IDLE = 0.15

_PYTHONPATH = str(Path(__file__).parents[1] / "src")


@dataclass
class Targets:
    """Figures with what was promised of them."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    missed: int = 0

    def at_most(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Note a figure that may be `limit` at most."""
        self._note(name, value, f"<= {limit:g}{unit}", unit, value <= limit)

    def at_least(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Note a figure that must be `limit` at least."""
        self._note(name, value, f">= {limit:g}{unit}", unit, value >= limit)

    def _note(self, name: str, value: float, wanted: str, unit: str, met: bool) -> None:
        self.rows.append((name, f"{value:.4g}{unit}", wanted, "yes" if met else "NO"))
        self.missed += not met

    def finish(self, check: bool) -> int:
        """Print all, and return the exit status: 1 when `check` is set and a target was missed."""
        table(("target", "measured", "wanted", "met"), self.rows)
        return int(check and self.missed > 0)


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table, its columns aligned."""
    cells = [list(titles), *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(titles))]
    for i, row in enumerate(cells):
        aligned = [row[0].ljust(widths[0]), *[c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]]
        print(f"| {' | '.join(aligned)} |")
        if i == 0:
            print(f"|{'|'.join('-' * (w + 2) for w in widths)}|")
    print(flush=True)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cpu_of(work: Callable[..., Any], *arguments: Any) -> float:
    """Return the CPU seconds of this process that ``work(*arguments)`` takes."""
    begin = time.process_time()
    work(*arguments)
    return time.process_time() - begin


def children_seconds() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Bystanders:
    """How many cores other programs kept busy meanwhile: without this a wall-clock figure says little.

    Where the system does not tell (no ``/proc/stat``), the answer is nan.
    """

    def __init__(self) -> None:
        self._begin, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def cores(self) -> float:
        """Return the average since this was made."""
        elapsed = max(time.monotonic() - self._begin, 1e-3)
        return max(0.0, (_busy_seconds() - self._busy - (_own_seconds() - self._own)) / elapsed)


@dataclass
class Runs:
    """Timed runs of child processes.

    On a busy machine the wall clock measures the other programs; then targets look at CPU seconds, which are what
    one process would take on an idle core (but for waits for a disk), and say so.
    """

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def run(self, command: Sequence[str], **variables: str) -> str:
        """Run a command, time it, return what it printed."""
        others, begin, before = Bystanders(), time.monotonic(), children_seconds()
        done = subprocess.run(command, env={**environment(), **variables}, stdout=subprocess.PIPE, check=True)
        self.walls.append(time.monotonic() - begin)
        self.cpus.append(children_seconds() - before)
        self.busy.append(others.cores())
        return done.stdout.decode()

    def row(self, name: str) -> list[object]:
        """Return cells for the titles `Runs.TITLES`."""
        seconds = min(self.walls), statistics.median(self.walls), statistics.median(self.cpus)
        return [name, *[f"{s:.3f}" for s in seconds], f"{statistics.median(self.busy):.2f}"]

    def judge(self, targets: Targets, name: str, limit: float) -> None:
        """Note the median wall-clock or, when others kept cores busy, CPU seconds."""
        idle = not statistics.median(self.busy) > IDLE
        value = statistics.median(self.walls if idle else self.cpus)
        targets.at_most(f"{name}, {'wall' if idle else 'CPU'} seconds", value, limit, " s")

    TITLES: ClassVar = ("", "wall s, least", "wall s, median", "CPU s, median", "cores busy with others")


def _busy_seconds() -> float:
    try:
        fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    except OSError:
        return float("nan")
    idle, waiting = fields[3], fields[4]
    return (sum(fields[:8]) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    return time.process_time() + children_seconds()


class Prints:
    """Fingerprints of tracks that nobody made, of the pieces of tracks that somebody did.

    Parameters
    ----------
    pieces : sequence of list of int8 (frames, BANDS)
        Of each track.
    """

    def __init__(self, pieces: Sequence[list[NDArray[np.int8]]]) -> None:
        self._pieces = pieces

    @classmethod
    def made(cls, seed: int, tracks: int = 24, seconds: float = 60.0) -> Self:
        """Take those of music as the demo's."""
        taken = []
        for track in synth.plan(tracks, seconds, seed):
            sound = synth.render(track, FRONT.rate)
            heard = excerpts_of(sound, FRONT.rate, MOMENTS)
            taken.append(
                fingerprint(
                    [piece for one in heard for piece in pieces_of(one, len(sound) / FRONT.rate, MOMENTS)]
                )
            )
        return cls([_taken_apart(print_) for print_ in taken])

    @classmethod
    def of(cls, library: Path) -> Self:
        """Take those of a library."""
        with Record.open(library) as record:
            prints = record.fingerprints(list(record.paths()))
        return cls([_taken_apart(prints[id_]) for id_ in sorted(prints)])

    def draw(self, rng: np.random.Generator, seconds: float) -> bytes:
        """Return one for a track of such a length: the pieces of some track in another order."""
        pieces = self._pieces[int(rng.integers(len(self._pieces)))]
        starts = MOMENTS.starts(seconds)
        order = rng.permutation(len(pieces))[: len(starts)].tolist()
        heads = b"".join(
            struct.pack("<fB", start, len(pieces[i])) for start, i in zip(starts, order, strict=False)
        )
        return struct.pack("<BB", 1, len(order)) + heads + b"".join(pieces[i].tobytes() for i in order)


def _taken_apart(print_: bytes) -> list[NDArray[np.int8]]:
    """Return the pieces of a fingerprint."""
    counts = [print_[2 + 5 * i + 4] for i in range(print_[1])]
    levels = np.frombuffer(print_, np.int8, offset=2 + 5 * len(counts)).reshape(-1, BANDS)
    return np.split(levels, np.cumsum(counts)[:-1])


def audio_files(folder: Path) -> list[Path]:
    """List the audio files below a folder, sorted."""
    return sorted(p for p in folder.rglob("*") if is_audio_name(p.name) and p.is_file())


def environment() -> dict[str, str]:
    """Return the environment for a child process that runs the same Soundkin."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (_PYTHONPATH, os.environ.get("PYTHONPATH")))),
    }


def read_all(path: Path) -> tuple[Array, int]:
    """Read a whole file with all its channels: float32 (n, channels), Hz."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples, int(rate)


def write_audio(path: Path, samples: Array, rate: int, codec: str, bit_rate: int = 0) -> None:
    """Encode a file.

    Parameters
    ----------
    path : Path
        Its suffix chooses the container.
    samples : float32 (n, channels)
        One or two channels.
    rate : int
        Hz; Opus is always written at 48 kHz.
    codec : str
        "vorbis", or one of FFmpeg's encoders: "libmp3lame", "libopus", "aac", "flac", ...
    bit_rate : int
        Bits per second; of vorbis and the lossless ones ignored.
    """
    if codec == "vorbis":  # FFmpeg's own encoder of it is an experiment
        import soundfile

        with soundfile.SoundFile(path, "w", rate, samples.shape[1], format="OGG", subtype="VORBIS") as file:
            for first in range(0, len(samples), 1 << 16):  # libsndfile overflows its stack on more at once
                file.write(samples[first : first + (1 << 16)])
        return
    import av

    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=48_000 if codec == "libopus" else rate, layout=layout)
        if bit_rate:
            stream.bit_rate = bit_rate
        container.metadata.update({"title": path.stem, "artist": "somebody"})
        for first in range(0, len(samples), 1 << 16):
            block = np.ascontiguousarray(samples[first : first + (1 << 16)].T)
            frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
            frame.sample_rate, frame.pts = rate, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
