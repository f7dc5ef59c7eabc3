import os
import signal
import subprocess
import sys
import time

import pytest

from soundkin import workers
from soundkin.errors import ModelError, SoundkinError


def make_task(greeting):
    """What runs in the worker: misbehaves on request."""

    def task(what):
        if what == "hang":
            time.sleep(600)
        if what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "exit":
            os._exit(3)
        if what == "print":
            os.write(1, b"noise that a C library writes to stdout")
        if what == "raise":
            raise ValueError("broken")
        return f"{greeting} {what}"

    return task


def refuse_to_start():
    raise RuntimeError("no licence for this planet")


def killed_at_start(folder, times):
    """Be killed while starting, as often as asked."""
    starts = len(os.listdir(folder))
    with open(os.path.join(folder, str(starts)), "x"):
        pass
    if starts < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return make_task("hello")


def refuse_in_words():
    raise ModelError("weights are not here")


FACTORY = f"{__name__}:make_task"


def run(tasks, seconds=30.0, jobs=2):
    return sorted(workers.run(FACTORY, ("hello",), tasks, jobs, lambda task: seconds), key=str)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))


def test_every_task_comes_back_once():
    tasks = [str(i) for i in range(50)]
    assert run(tasks) == sorted((task, f"hello {task}") for task in tasks)


def test_a_crash_costs_one_task():
    results = dict(run(["a", "crash", "b", "exit", "c"]))
    assert results["a"] == "hello a"
    assert results["b"] == "hello b"
    assert results["c"] == "hello c"
    assert results["crash"].kind == "crash"
    assert "signal 11" in results["crash"].reason
    assert "exit status 3" in results["exit"].reason


def test_a_hang_is_cut_short_and_costs_one_task():
    begin = time.monotonic()
    results = dict(run(["hang", "a", "b"], seconds=2.0))
    assert time.monotonic() - begin < 120
    assert results["hang"].kind == "timeout"
    assert results["a"] == "hello a"


def test_what_c_code_prints_does_not_reach_the_answers():
    assert run(["print"]) == [("print", "hello print")]


def test_an_exception_is_our_bug_and_is_raised():
    with pytest.raises(SoundkinError, match="ValueError: broken"):
        run(["raise"])


def test_workers_that_cannot_start_are_reported_with_the_cause():
    with pytest.raises(SoundkinError, match="no licence for this planet"):
        list(workers.run(f"{__name__}:refuse_to_start", (), ["a"], 1, lambda task: 5.0))


def test_a_worker_killed_while_it_starts_is_started_again(tmp_path):
    def done(times):
        folder = tmp_path / str(times)
        folder.mkdir()
        factory = f"{__name__}:killed_at_start"
        return list(workers.run(factory, (str(folder), times), ["a"], 1, lambda task: 30.0))

    assert done(2) == [("a", "hello a")]
    with pytest.raises(SoundkinError, match="cannot start: killed by signal 9; run: soundkin doctor"):
        done(99)


def test_what_a_factory_says_is_passed_on_as_it_is():
    with pytest.raises(ModelError, match=r"^weights are not here$"):
        list(workers.run(f"{__name__}:refuse_in_words", (), ["a"], 1, lambda task: 5.0))


def test_a_file_in_the_current_folder_does_not_run_in_place_of_a_module(tmp_path, monkeypatch):
    (tmp_path / "tempfile.py").write_text("raise SystemExit('not the tempfile that was meant')")
    monkeypatch.chdir(tmp_path)
    assert [answer for _, answer in run(["a"], jobs=1)] == ["hello a"]


def test_a_system_that_starts_no_process_is_one_line(monkeypatch):
    def refuse(**how):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(SoundkinError, match="cannot start: Resource temporarily unavailable"):
        run(["a"])


def test_tasks_are_taken_lazily():
    taken = []

    def tasks():
        for i in range(1000):
            taken.append(i)
            yield str(i)

    results = workers.run(FACTORY, ("hello",), tasks(), 1, lambda task: 30.0)
    next(results)
    time.sleep(0.5)
    assert len(taken) < 20
    results.close()


def children(pid):
    listing = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listing.stdout.split()]


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_children_of_a_killed_parent_leave_even_while_they_hang():
    script = (
        "from soundkin import workers\n"
        f"list(workers.run({FACTORY!r}, ('hello',), ['hang', 'hang'], 2, lambda task: 600.0))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        deadline = time.monotonic() + 60
        while len(found := children(parent.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1.5)
        assert len(found) == 2
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 60
    while not all(map(gone, found)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert all(map(gone, found))
