"""Workers that stay: what they do with tasks that hang, crash or come too fast; and answers that take long."""

import os
import threading
import time
from contextlib import contextmanager

import pytest
from serving import until

from soundkin import workers
from soundkin.audio import DEFAULT_LISTENING
from soundkin.embed import Embedded, Failure, FileState, Task
from soundkin.errors import InputError, NotFound, SoundkinError
from soundkin.library import Library
from soundkin.serve import jobs, pool


def worker():
    """Make a worker's function: what tasks here ask of it."""

    def work(task):
        what, value = task
        if what == "hang":
            time.sleep(value)
        elif what == "wait":
            until(lambda: os.path.exists(value))
        elif what == "die":
            os._exit(value)
        return os.getpid() if what == "who" else value

    return work


@contextmanager
def workers_of_one():
    made = pool.Pool(
        "soundkin.serve.pool:numbered",
        ("test_serve_pool", "worker", ()),
        1,
        4,
        lambda task: 0.5 if task[0] == "hang" else 120.0,
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def some():
    with workers_of_one() as made:
        yield made


@pytest.fixture
def own():
    """Workers that the test may end."""
    with workers_of_one() as made:
        yield made


def test_workers_stay_for_the_next_task(some):
    pids = {some.submit(("who", 0)).result(60) for _ in range(6)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_what_hangs_or_crashes_is_lost_alone(some):
    hung, died, fine = some.submit(("hang", 3600)), some.submit(("die", 3)), some.submit(("is", "fine"))
    assert fine.result(60) == "fine"
    assert died.result(60).kind == "crash"
    assert hung.result(60).kind == "timeout"
    assert some.submit(("is", "on")).result(60) == "on"
    assert some.load == 0


def test_a_full_queue_refuses(some, tmp_path):
    waiting = [some.submit(("wait", str(tmp_path / "go"))) for _ in range(4)]
    with pytest.raises(pool.Busy, match="4 files are being worked on"):
        some.submit(("is", 1))
    (tmp_path / "go").touch()
    for one in waiting:
        one.result(60)
    assert some.submit(("is", 1)).result(60) == 1


@pytest.mark.slow
def test_idle_workers_end_and_come_again(own, monkeypatch):
    monkeypatch.setattr(pool, "_IDLE_SECONDS", 0.3)
    others = {t for t in threading.enumerate() if t.name == "soundkin-pool"}
    first = own.submit(("who", 0)).result(60)
    until(lambda: {t for t in threading.enumerate() if t.name == "soundkin-pool"} <= others)
    assert own.submit(("who", 0)).result(60) != first


def test_a_pool_that_closes_lets_nobody_wait(own, tmp_path):
    waiting = own.submit(("wait", str(tmp_path / "go")))
    own.close()
    with pytest.raises(pool.Busy, match="stopping"):
        waiting.result(60)
    (tmp_path / "go").touch()
    with pytest.raises(pool.Busy):
        own.submit(("is", 1))


def test_workers_that_cannot_start_say_so_to_all_who_wait():
    broken = pool.Pool("soundkin.serve.pool:numbered", ("no_such_module", "x", ()), 1, 4, lambda task: 60.0)
    with pytest.raises(SoundkinError, match="cannot start"):
        broken.submit(1).result(60)
    broken.close()


def test_ears_hear_what_a_library_hears(made, shared):
    heard = pool.Ears(1, 2)
    try:
        status = made.outside.stat()
        task = Task(FileState(str(made.outside), status.st_size, status.st_mtime_ns))
        outcome = heard.listen(task, ["cnn"], DEFAULT_LISTENING)
        assert isinstance(outcome, Embedded)
        (vector,) = outcome.vectors.values()
        assert float(vector @ shared.hear(made.outside, "cnn").vector) == pytest.approx(1, abs=1e-5)
        bad = heard.listen(Task(FileState(os.devnull, 0, 0)), ["cnn"], DEFAULT_LISTENING)
        assert isinstance(bad, Failure)
    finally:
        heard.close()


# ---- answers that take long


class Future:
    """Ends when told to."""

    def __init__(self):
        self.callbacks = []

    def add_done_callback(self, callback):
        self.callbacks.append(callback)

    def end(self, result):
        self.result, self.exception = (lambda: result), lambda: None
        for callback in self.callbacks:
            callback(self)


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """Jobs whose tasks end when the test says."""
    made, begun = jobs.Jobs(tmp_path), []

    def submit(task):
        begun.append(Future())
        return begun[-1]

    monkeypatch.setattr(made._pool, "submit", submit)
    return made, begun


def test_an_answer_is_kept_and_renewed_when_the_library_has_changed(slow, monkeypatch):
    made, begun = slow
    now = [1000.0]
    monkeypatch.setattr("soundkin.serve.jobs.time.monotonic", lambda: now[0])
    assert made.get(1, "clusters", "x") is None
    assert made.get(1, "clusters", "x") is None
    assert len(begun) == 1  # it is being made once
    begun[0].end("first")
    assert made.get(1, "clusters", "x") == "first"
    assert made.get(2, "clusters", "x") == "first"  # a scan goes on: not with every track that comes
    assert len(begun) == 1
    now[0] += 31
    assert made.get(2, "clusters", "x") == "first"
    begun[1].end("second")
    assert made.get(2, "clusters", "x") == "second"
    now[0] += 99
    assert made.get(2, "clusters", "x") == "second"
    assert len(begun) == 2


def test_what_went_wrong_is_said_to_who_asks(slow):
    made, begun = slow
    made.get(1, "map", "x", "tsne")
    begun[0].end(InputError("too few"))
    with pytest.raises(InputError, match="too few"):
        made.get(1, "map", "x", "tsne")
    made.get(1, "duplicates", "x")
    begun[1].end(workers.Lost("timeout", "no result after 9 s"))
    with pytest.raises(SoundkinError, match="duplicates could not be made: no result after 9 s"):
        made.get(1, "duplicates", "x")


def test_a_worker_hands_errors_back(tmp_path):
    work = jobs.work({"folder": str(tmp_path / "nothing")})
    assert isinstance(work(("clusters", "x")), NotFound)


@pytest.mark.parametrize(
    ("kept", "count", "there", "method"),
    [
        (set(), 100, {"openTSNE"}, "tsne"), (set(), 100, set(), "pca"), (set(), 100_000, {"openTSNE"}, "tsne"),
        (set(), 300_000, {"openTSNE"}, "pca"),
        (set(), 100_000, {"openTSNE", "umap"}, "umap"), ({"tsne"}, 100_000, {"openTSNE"}, "tsne"),
        ({"umap"}, 100, {"openTSNE", "umap"}, "umap"), ({"tsne"}, 100, set(), "pca"),
    ],
)  # fmt: skip
def test_the_best_map_this_machine_can_make(tmp_path, monkeypatch, kept, count, there, method):
    monkeypatch.setattr("soundkin.explore.projection.kept", lambda folder, space: kept)
    monkeypatch.setattr(jobs, "find_spec", lambda name: name in there or None)
    assert jobs.best_method(tmp_path, "x", count) == method


# ---- a library that several threads ask, and its index


def test_threads_ask_one_library_at_once(library):
    ids, _ = library.vectors()
    alone = {id_: [hit.id for hit in library.similar(id_)] for id_ in ids}
    library.close()
    wrong: list[object] = []
    with Library.open(library.folder) as again:

        def ask(begin: int) -> None:
            for id_ in ids[begin::3]:
                try:
                    if [hit.id for hit in again.similar(id_)] != alone[id_]:
                        wrong.append(id_)
                except Exception as error:
                    wrong.append(error)

        threads = [threading.Thread(target=ask, args=(begin,)) for begin in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_an_index_is_built_anew_when_much_is_outside_its_graph(library, monkeypatch):
    ids, _ = library.vectors()
    before = [hit.id for hit in library.similar(ids[0])]
    assert library.tidy() is False
    monkeypatch.setattr("soundkin.holding._SMALL", 1)
    monkeypatch.setattr(type(library._current_index()), "outside_graph", lambda self: 5)
    generations = {path.name for path in (library.folder / "index").iterdir()}
    assert library.tidy() is True
    assert {path.name for path in (library.folder / "index").iterdir()} != generations
    assert [hit.id for hit in library.similar(ids[0])] == before
