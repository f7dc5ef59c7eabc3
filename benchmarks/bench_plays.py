"""Reads a history of gigabytes: in a memory that does not grow, and how fast.

    python benchmarks/bench_plays.py                  an export of ListenBrainz of 3 GB
    python benchmarks/bench_plays.py --gigabytes 0.05 --tracks 500

Three of five rows are of tracks that are in the library; one of a thousand each is broken, in other letters than the
file, or in the future. The file and the library are made in a temporary folder (`TMPDIR`), and deleted.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from common import Targets, table  # isort: skip - it pins threads before numpy
import numpy as np

from soundkin.embed import Embedded, FileState
from soundkin.encoders.descriptors import Analysis
from soundkin.library import Library
from soundkin.record import Record
from soundkin.tags import Tags

_BEGAN = 1_200_000_000  # seconds since 1970
_BLOCK = 10_000


def made_library(folder: Path, n: int) -> None:
    """Write a library of n tracks that have names, and nothing that could be heard."""
    with Record.open(folder, write=True) as record, record.batch(5000, 60):
        for i in range(n):
            tags = Tags(f"Piece {i}", f"Artist {i // 12}", f"Album {i // 12}")
            file = FileState(f"/music/{i // 12}/{i}.flac", 1, 1)
            record.put(Embedded(file, f"{i:032x}", 200.0, 44100, 2, "flac", tags, Analysis()))


def made_history(file: Path, size: int, tracks: int) -> dict[str, int]:
    """Write a history of so many bytes; return its rows, and how many of them can be used and are in the library."""
    rng = np.random.default_rng(0)
    told = {"rows": 0, "found": 0}
    filler = {"submission_client": "a player", "music_service": "files.example", "origin_url": "x" * 200,
              "artist_mbids": ["a" * 36], "tags": ["one", "two", "three"], "duration_ms": 200_000}  # fmt: skip
    with file.open("wb") as out:
        while out.tell() < size:
            which = rng.integers(0, tracks * 5 // 3, _BLOCK)
            rows = []
            for place, i in enumerate(which.tolist()):
                at = _BEGAN + 30 * (told["rows"] + place)
                odd = (told["rows"] + place) % 1000
                about = {
                    "artist_name": f"Artist {i // 12}",
                    "track_name": f"Piece {i}",
                    "additional_info": filler,
                }
                text = json.dumps(
                    {
                        "listened_at": 30_000_000_000 if odd == 1 else at,
                        "inserted_at": at,
                        "track_metadata": about,
                    }
                )
                encoded = text.encode()
                if odd == 2:
                    encoded = encoded[: len(encoded) // 2]
                elif odd == 3:
                    encoded = encoded.replace(b"Piece", b"Pi\xe8ce")
                rows.append(encoded)
                told["found"] += i < tracks and odd not in (1, 2)
            out.write(b"\n".join(rows) + b"\n")
            told["rows"] += _BLOCK
    return told


def resident() -> float:
    """Return the memory of this process now, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("no VmRSS: this needs Linux")


def main() -> int:
    """Make a history, read it, and say what that took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--tracks", type=int, default=20_000, help="of the library")
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    asked = parser.parse_args()
    targets, seen = Targets(), list[tuple[int, float]]()
    with tempfile.TemporaryDirectory(prefix="soundkin-plays-") as name:
        folder, file = Path(name) / "library", Path(name) / "listens.jsonl"
        made_library(folder, asked.tracks)
        made = made_history(file, int(asked.gigabytes * 1e9), asked.tracks)
        size = file.stat().st_size / 1e9
        with Library.open(folder) as library:
            before, began = time.process_time(), time.perf_counter()
            report = library.import_plays(file, progress=lambda rows: seen.append((rows, resident())))
            used, wall = time.process_time() - before, time.perf_counter() - began
        record = sum(one.stat().st_size for one in folder.iterdir() if one.is_file()) / 1e9
    print(
        f"{size:.2f} GB, {report.rows} rows: {wall:.0f} s, {used:.0f} CPU s, {report.rows / used:.0f} rows/CPU s"
    )
    print(f"10 GB at this rate: {used * 10 / size / 60:.0f} CPU minutes; the record has {record:.2f} GB then")
    refused = ", ".join(f"{n} {reason}" for reason, n in report.refused.items())
    print(
        f"{report.new} marks, {report.unmatched} rows of {report.tracks_unmatched} others; left out: {refused}\n"
    )
    shares = (0.1, 0.25, 0.5, 0.75, 1.0)
    at = [seen[min(len(seen) - 1, int(share * len(seen)))] for share in shares]
    table(("rows read", "memory, MB"), [[rows, f"{mb:.0f}"] for rows, mb in at])
    targets.at_least("rows found of those that are there", sum(report.matched.values()) / made["found"], 1)
    targets.at_most("memory at the end", max(mb for _, mb in seen), 400, " MB")
    targets.at_most(
        "memory gained after a tenth of the file", max(mb for _, mb in seen) - at[0][1], 60, " MB"
    )
    return targets.finish(asked.check)


if __name__ == "__main__":
    raise SystemExit(main())
