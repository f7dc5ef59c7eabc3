"""How fast the server answers, and how much memory it takes, with a library of 100,000 tracks.

    python benchmarks/bench_serve.py --check

The library is made up, as in bench_recommend.py, but in the space of the built-in encoder, so that uploads can be
heard. It starts `soundkin serve` as a process of its own, and asks it from this one over loopback: similar at 50
requests a second for 60 s, then recommend at 10 a second, then uploads, then similar while files are uploaded. Requests
begin when they are due, whether or not those before have been answered, and what is timed begins when they are due: a
server that stalls cannot hide it. The client takes a part of the machine, which a real one would not.

Memory is the resident set of the server process at its end; and of all of it with its workers, which end when they are
idle.
"""

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import Bystanders, Targets, table, write_audio
from filling import fill
from served import running

from soundkin.embed import Embedder
from soundkin.encoders import DEFAULT
from soundkin.library import Library

RATE, RECOMMEND_RATE = 50.0, 10.0
_THREADS = 16
_UPLOADS = 5
_SONG_SECONDS = 240


class Server:
    """A server process, and how to ask it."""

    def __init__(self, address: str, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.host, port = address.removeprefix("http://").split(":")
        self.port = int(port)

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def memory(self) -> tuple[float, float]:
        """Return the MB of the server, and of it with its workers: what is shared counts in each."""
        pids = [self._process.pid]
        for task in Path(f"/proc/{pids[0]}/task").iterdir():
            pids += [int(pid) for pid in (task / "children").read_text().split()]
        held = [_resident(pid) for pid in pids]
        return held[0], sum(held)

    def faults(self) -> int:
        """Return how often the server has had to wait for a page of a file that was not in memory."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[9])  # majflt, the twelfth field of proc(5), counted from the third


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def post(connection: http.client.HTTPConnection, path: str, body: object) -> bytes:
    """Ask, and return the answer."""
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {data[:200]!r}")
    return data


def load(
    server: Server,
    seconds: float,
    ask: Callable[[http.client.HTTPConnection, int], object],
    rate: float = RATE,
) -> Sequence[float]:
    """Ask `rate` times a second; milliseconds from when each was due to its answer, in no order."""
    due = [i / rate for i in range(int(seconds * rate))]
    begin, waited = time.monotonic() + 0.2, list[float]()
    numbers, guard = iter(range(len(due))), threading.Lock()

    def work() -> None:
        connection = server.connect()
        while True:
            with guard:
                number = next(numbers, None)
            if number is None:
                return
            time.sleep(max(0.0, begin + due[number] - time.monotonic()))
            ask(connection, number)
            waited.append((time.monotonic() - begin - due[number]) * 1000)

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waited


def upload(server: Server, song: bytes) -> float:
    """Send a file and return the seconds to its answer."""
    edge = "soundkin-bench"
    head = f'--{edge}\r\ncontent-disposition: form-data; name="file"; filename="song.mp3"\r\n\r\n'
    body = head.encode() + song + f"\r\n--{edge}--\r\n".encode()
    connection, begin = server.connect(), time.monotonic()
    connection.request(
        "POST", "/api/v1/similar/upload", body, {"content-type": f"multipart/form-data; boundary={edge}"}
    )
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise SystemExit(f"upload: {answer.status} {data[:200]!r}")
    return time.monotonic() - begin


def song() -> bytes:
    """Make a song of four minutes: noise whose loudness comes and goes, which an mp3 cannot shrink to nothing."""
    dice, rate = np.random.default_rng(0), 44_100
    time_ = np.arange(_SONG_SECONDS * rate, dtype=np.float32) / rate
    noise = dice.normal(0, 0.1, (len(time_), 2)).astype(np.float32) * (1 + np.sin(time_)[:, None]) / 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "song.mp3"
        write_audio(path, noise, rate, "libmp3lame", 192_000)
        return path.read_bytes()


def measure(server: Server, ids: list[str], seconds: float, targets: Targets) -> None:
    """Ask everything, and print it."""
    dice = random.Random(0)
    asked = [dice.sample(ids, 8) for _ in range(2000)]

    def similar(connection: http.client.HTTPConnection, number: int) -> object:
        return post(connection, "/api/v1/similar", {"query": asked[number % 2000][0], "k": 10})

    def recommend(connection: http.client.HTTPConnection, number: int) -> object:
        likes = asked[number % 2000]
        return post(connection, "/api/v1/recommend", {"likes": likes[:5], "dislikes": likes[5:6], "k": 20})

    warm = server.connect()
    for number in range(10):
        similar(warm, number)
        recommend(warm, number)
    file, rows = song(), list[Sequence[object]]()
    others = Bystanders()

    def row(name: str, load: Callable[[], Sequence[float]]) -> float:
        before = server.faults()
        waited = load()
        p50, p90, p99 = np.percentile(waited, [50, 90, 99])
        missed = server.faults() - before
        rows.append((name, len(waited), float(p50), float(p90), float(p99), max(waited), missed))
        return float(p99)

    slowest = row("similar", lambda: load(server, seconds, similar))
    targets.at_most("similar, p99", slowest, 25, " ms")
    slowest = row("recommend", lambda: load(server, seconds / 2, recommend, RECOMMEND_RATE))
    targets.at_most("recommend, p99", slowest, 60, " ms")
    quiet = others.cores()
    first = upload(server, file)  # it starts the worker
    taken = [upload(server, file) for _ in range(_UPLOADS)]
    targets.at_most("upload of 4 minutes, median", float(np.median(taken)), 2, " s")
    done = threading.Event()

    def keep_uploading() -> None:
        while not done.is_set():
            upload(server, file)

    uploads = threading.Thread(target=keep_uploading)
    uploads.start()
    row("similar while uploads run", lambda: load(server, seconds / 4, similar))
    done.set()
    uploads.join()
    own, together = server.memory()
    targets.at_most("memory of the server", own, 700, " MB")
    table(("requests", "n", "p50 ms", "p90 ms", "p99 ms", "longest ms", "waits for a disk"), rows)
    print(f"first upload, which starts the worker: {first:.2f} s; the next ones: {max(taken):.2f} s at most")
    print(f"memory with workers: {together:.0f} MB; cores busy with others: {quiet:.2f}\n")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-n", type=int, default=100_000, help="tracks")
    parser.add_argument("--folder", type=Path, help="where the made-up library is kept for the next run")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    options = parser.parse_args()
    targets = Targets()
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as folder:
        home = options.folder or Path(folder)
        if not (home / "record.sqlite").exists():
            fill(home, options.n, 0, Embedder([DEFAULT]).spaces[0])
        with Library.open(home) as library:
            ids, _ = library.vectors()
            library.similar(ids[0])  # the index is there before the server starts
        print(f"{len(ids)} tracks, {os.cpu_count()} cores\n")
        with running(home) as (address, process):
            measure(Server(address, process), ids, options.seconds, targets)
    return targets.finish(options.check)


if __name__ == "__main__":
    sys.exit(main())
