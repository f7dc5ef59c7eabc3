import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from soundkin import scan
from soundkin.audio import DEFAULT_LISTENING
from soundkin.embed import Embedded, Failure, FileState, Same, Space, Task
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import InputError
from soundkin.record import FileRow, Record, writer_now
from soundkin.scan import Scan, ScanOptions, holds_audio, plan, printable, roots_of, walk
from soundkin.tags import Tags

SPACE = Space("fake", "0", "none", 1.0, 1.0, DEFAULT_LISTENING.name, "mean", 4)


def touch(path, content=b"x"):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def names(found, root):
    return [os.path.relpath(path, root) for path in found.files]


# ---- walk


def test_walk_lists_audio_by_suffix_in_alphabetical_order(tmp_path):
    for name in ("b/2.flac", "b/1.mp3", "a.OGG", "a.txt", "cover.jpg", "b/c/x.wv", "z.m4a"):
        touch(tmp_path / name)
    assert names(walk([str(tmp_path)]), tmp_path) == ["a.OGG", "z.m4a", "b/1.mp3", "b/2.flac", "b/c/x.wv"]


def test_walk_passes_over_what_is_hidden(tmp_path):
    for name in ("._song.mp3", ".hidden/song.mp3", ".mp3", "song.mp3"):
        touch(tmp_path / name)
    assert names(walk([str(tmp_path)]), tmp_path) == ["song.mp3"]


def test_a_root_may_be_hidden_and_a_file_of_any_name(tmp_path):
    inside, odd = touch(tmp_path / ".music" / "a.mp3"), touch(tmp_path / "noise.xyz")
    found = walk([str(tmp_path / ".music"), odd])
    assert list(found.files) == [inside, odd]
    assert found.files[odd] == FileState(odd, 1, os.stat(odd).st_mtime_ns)


def test_walk_ends_in_spite_of_links_that_lead_back(tmp_path):
    song = touch(tmp_path / "b" / "song.mp3")
    os.symlink("..", tmp_path / "b" / "up")
    os.symlink(".", tmp_path / "b" / "here")
    assert list(walk([str(tmp_path)]).files) == [song]


def test_a_folder_is_known_by_its_own_name_whatever_links_to_it(tmp_path):
    song = touch(tmp_path / "zed" / "song.mp3")
    os.symlink("zed", tmp_path / "all")
    assert list(walk([str(tmp_path)]).files) == [song]


def test_walk_follows_links_out_of_the_root(tmp_path):
    touch(tmp_path / "elsewhere" / "a.mp3")
    touch(tmp_path / "b.mp3")
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "root" / "folder")
    os.symlink(tmp_path / "b.mp3", tmp_path / "root" / "file.mp3")
    assert names(walk([str(tmp_path / "root")]), tmp_path / "root") == ["file.mp3", "folder/a.mp3"]


def test_what_is_there_but_no_file_is_a_failure(tmp_path):
    os.symlink("nowhere.mp3", tmp_path / "dangling.mp3")
    os.symlink("loop.mp3", tmp_path / "loop.mp3")
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "folder.mp3").mkdir()
    inside = touch(tmp_path / "folder.mp3" / "a.mp3")
    found = walk([str(tmp_path)])
    assert list(found.files) == [inside]
    told = {os.path.basename(failure.file.path): failure for failure in found.failures}
    assert told.keys() == {"dangling.mp3", "loop.mp3", "pipe.mp3"}
    assert told["dangling.mp3"].kind == "vanished"
    assert told["loop.mp3"].kind == "unreadable"
    assert told["pipe.mp3"].reason == "not a regular file"


def deny(monkeypatch, folder):
    """Make a folder unreadable, also for root."""
    real_scandir, real_lstat = os.scandir, os.lstat

    def scandir(path="."):
        if os.fspath(path) == folder:
            raise PermissionError(13, "Permission denied", folder)
        return real_scandir(path)

    def lstat(path, **keywords):
        if os.fspath(path).startswith(folder + os.sep):
            raise PermissionError(13, "Permission denied", path)
        return real_lstat(path, **keywords)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "lstat", lstat)


def test_a_folder_that_cannot_be_read_is_a_failure_and_the_rest_is_found(tmp_path, monkeypatch):
    touch(tmp_path / "closed" / "a.mp3")
    song = touch(tmp_path / "open" / "b.mp3")
    deny(monkeypatch, str(tmp_path / "closed"))
    found = walk([str(tmp_path)])
    assert list(found.files) == [song]
    (failure,) = found.failures
    assert (failure.file.path, failure.kind) == (str(tmp_path / "closed"), "unreadable")
    assert failure.reason == "Permission denied"


@pytest.mark.parametrize(
    "name",
    [b"latin-\xe9-\xff.mp3", b"line\nbreak.mp3", "🎵 é.mp3".encode(), b"n" * 251 + b".mp3", b"-rf.mp3"],
)
def test_odd_names_are_found_as_they_are(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    Path(os.fsdecode(path)).write_bytes(b"x")
    assert [os.fsencode(p) for p in walk([str(tmp_path)]).files] == [path]


def test_overlapping_roots_give_each_file_and_each_failure_once(tmp_path):
    song = touch(tmp_path / "a" / "song.mp3")
    os.symlink("nowhere.mp3", tmp_path / "a" / "dangling.mp3")
    found = walk([str(tmp_path), str(tmp_path / "a"), song])
    assert list(found.files) == [song]
    assert len(found.failures) == 1


def test_roots_are_absolute_and_must_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "music").mkdir()
    assert roots_of(["music", "~/music"]) == [str(tmp_path / "music")] * 2
    with pytest.raises(InputError, match=r"no such file or folder: .*nothing\\nhere"):
        roots_of(["nothing\nhere"])


def test_holds_audio(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    touch(tmp_path / "a" / "notes.txt")
    assert not holds_audio(str(tmp_path))
    assert not holds_audio(str(tmp_path / "missing"))
    touch(tmp_path / "a" / "b" / "x.mp3")
    assert holds_audio(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/m/é 🎵.mp3", "/m/é 🎵.mp3"),
        ("/m/a\nb\x1b[31m.mp3", "/m/a\\nb\\x1b[31m.mp3"),
        (os.fsdecode(b"/m/\xff.mp3"), "/m/\\udcff.mp3"),
    ],
)
def test_printable_escapes_what_a_terminal_would_obey(path, shown):
    assert printable(path) == shown


# ---- plan


def found_of(*states):
    return scan.Found({state.path: state for state in states})


def state(path, size=5, mtime=1):
    return FileState(path, size, mtime)


def row(content, size=5, mtime=1):
    return FileRow("0" * 16, size, mtime, content)


def test_plan_of_an_empty_record_is_everything():
    todo = plan(found_of(state("/m/a.mp3"), state("/m/b.mp3")), ["/m"], {}, {}, {})
    assert todo == scan.Plan(tasks=[Task(state("/m/a.mp3")), Task(state("/m/b.mp3"))])


def test_plan_tells_unchanged_from_changed():
    files = {"/m/same.mp3": row("c1"), "/m/size.mp3": row("c2"), "/m/date.mp3": row("c3")}
    found = found_of(state("/m/same.mp3"), state("/m/size.mp3", size=6), state("/m/date.mp3", mtime=2))
    todo = plan(found, ["/m"], files, {}, {})
    assert todo.unchanged == 1
    assert todo.tasks == [
        Task(state("/m/size.mp3", size=6), ("c2",)),
        Task(state("/m/date.mp3", mtime=2), ("c3",)),
    ]
    assert todo.gone == []


def test_plan_leaves_known_bad_files_until_they_change():
    failed = {"/m/bad.mp3": (5, 1), "/m/better.mp3": (5, 1)}
    todo = plan(found_of(state("/m/bad.mp3"), state("/m/better.mp3", mtime=2)), ["/m"], {}, failed, {})
    assert todo.known_bad == 1
    assert todo.tasks == [Task(state("/m/better.mp3", mtime=2))]


def test_plan_sees_that_a_known_file_has_recovered():
    files, failed = {"/m/a.mp3": row("c1")}, {"/m/a.mp3": (0, 0)}
    todo = plan(found_of(state("/m/a.mp3")), ["/m"], files, failed, {})
    assert (todo.unchanged, todo.recovered, todo.tasks) == (1, [state("/m/a.mp3")], [])


def test_plan_offers_gone_contents_of_the_same_size_to_new_and_changed_files():
    files = {"/m/old.mp3": row("moved"), "/m/other.mp3": row("big", size=9), "/m/over.mp3": row("was")}
    found = found_of(state("/m/new.mp3"), state("/m/over.mp3", mtime=2))
    todo = plan(found, ["/m"], files, {}, {})
    assert todo.tasks == [
        Task(state("/m/new.mp3"), ("moved",)),
        Task(state("/m/over.mp3", mtime=2), ("was", "moved")),
    ]
    assert todo.gone == ["/m/old.mp3", "/m/other.mp3"]
    assert todo.homeless == {"moved": ["/m/old.mp3"], "big": ["/m/other.mp3"]}


def test_plan_follows_moves_from_outside_the_roots_but_calls_only_theirs_gone():
    files = {"/elsewhere/old.mp3": row("moved")}
    todo = plan(found_of(state("/m/new.mp3")), ["/m"], files, {}, {})
    assert todo.tasks == [Task(state("/m/new.mp3"), ("moved",))]
    assert todo.gone == []


def test_a_root_is_no_prefix_of_its_neighbour():
    files = {"/music2/a.mp3": row("c1"), "/music/a.mp3": row("c2")}
    assert plan(scan.Found(), ["/music"], files, {}, {}).gone == ["/music/a.mp3"]


def test_plan_embeds_what_lacks_a_vector_even_when_unchanged():
    files = {"/m/a.mp3": row("c1"), "/m/gone.mp3": row("c2")}
    lacking = {"/m/a.mp3": ("space",), "/m/gone.mp3": ("space",)}
    todo = plan(found_of(state("/m/a.mp3"), state("/m/b.mp3")), ["/m"], files, {}, lacking)
    assert todo.tasks == [Task(state("/m/a.mp3"), lacking=("space",)), Task(state("/m/b.mp3"))]
    assert todo.homeless == {}


def test_plan_embeds_in_every_space_what_has_changed():
    files = {"/m/a.mp3": row("c1")}
    todo = plan(found_of(state("/m/a.mp3", mtime=2)), ["/m"], files, {}, {"/m/a.mp3": ("one of them",)})
    assert todo.tasks == [Task(state("/m/a.mp3", mtime=2))]


def test_tracks_below_a_folder_that_cannot_be_read_are_not_gone(tmp_path, monkeypatch):
    files = {touch(tmp_path / "closed" / "a.mp3"): row("c1"), str(tmp_path / "gone.mp3"): row("c2")}
    deny(monkeypatch, str(tmp_path / "closed"))
    todo = plan(scan.Found(), [str(tmp_path)], files, {}, {})
    assert todo.gone == [str(tmp_path / "gone.mp3")]


# ---- scan, with an encoder that only hashes


class FakeEmbedder:
    """Stands in for the pipeline: a content is a vector, "bad" fails; counts what it was asked to embed."""

    def __init__(self):
        self.embedded = []

    def spaces_of(self, names, listening, device):
        return [SPACE]

    def embed_files(self, tasks, names, listening, jobs, nice, device):
        for task in tasks:
            yield task, self.file(task)

    def file(self, task):
        try:
            data = Path(task.file.path).read_bytes()
        except OSError:
            return Failure(task.file, "vanished", "gone")
        content = hashlib.sha256(data).hexdigest()[:32]
        if content in task.known:
            return Same(task.file, content)
        self.embedded.append((task.file.path, data))
        if data.startswith(b"bad"):
            return Failure(task.file, "decode", "bad")
        return Embedded(
            task.file, content, 1.0, 8000, 1, "wav", Tags(), Analysis(), {SPACE.id: vector_of(data)}, {}
        )


def vector_of(data):
    rng = np.random.default_rng(list(data))
    vector = rng.standard_normal(SPACE.dims).astype(np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture
def fake(monkeypatch):
    stub = FakeEmbedder()
    monkeypatch.setattr(scan, "spaces_of", stub.spaces_of)
    monkeypatch.setattr(scan, "embed_files", stub.embed_files)
    return stub


def run_scan(library, roots, **options):
    with Record.open(library, write=True) as record:
        return Scan(record, ["fake"], DEFAULT_LISTENING, ScanOptions(**options)).run(roots_of(roots))


def files_of(library):
    with Record.open(library) as record:
        return record.files()


def failures_of(library):
    with Record.open(library) as record:
        return {row.failure.file.path: row.failure for row in record.failures()}


@pytest.fixture
def place(tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    return music, tmp_path / "library"


def test_copies_that_move_together_all_keep_their_ids(place, fake):
    music, library = place
    for name in ("a/1.wav", "a/2.wav"):
        touch(music / name, b"twin")
    run_scan(library, [music])
    before = {row.track_id for row in files_of(library).values()}
    os.rename(music / "a", music / "b")
    fake.embedded.clear()
    report = run_scan(library, [music])
    assert (report.moved, report.gone, fake.embedded) == (2, 0, [])
    after = files_of(library)
    assert set(after) == {str(music / "b/1.wav"), str(music / "b/2.wav")}
    assert {row.track_id for row in after.values()} == before


def test_a_file_moved_and_copied_is_one_move_and_one_new_track(place, fake):
    music, library = place
    touch(music / "a.wav", b"one")
    run_scan(library, [music])
    (old,) = files_of(library).values()
    shutil.copy(music / "a.wav", music / "c.wav")
    os.rename(music / "a.wav", music / "b.wav")
    report = run_scan(library, [music])
    assert (report.moved, report.added, report.gone) == (1, 1, 0)
    ids = {row.track_id for row in files_of(library).values()}
    assert len(ids) == 2
    assert old.track_id in ids


def test_a_file_moved_over_another_takes_its_track_along(place, fake):
    music, library = place
    touch(music / "a.wav", b"aaa")
    touch(music / "b.wav", b"bbb")
    run_scan(library, [music])
    moving = files_of(library)[str(music / "b.wav")].track_id
    os.utime(music / "b.wav", ns=(1, 1))
    os.replace(music / "b.wav", music / "a.wav")
    fake.embedded.clear()
    run_scan(library, [music])
    assert fake.embedded == []
    assert {path: row.track_id for path, row in files_of(library).items()} == {str(music / "a.wav"): moving}


def test_failures_pass(place, fake, monkeypatch):
    music, library = place
    touch(music / "closed" / "a.wav", b"aaa")
    run_scan(library, [music])
    with monkeypatch.context() as denied:
        deny(denied, str(music / "closed"))
        for _ in range(2):
            report = run_scan(library, [music], prune=True)
            assert (report.gone, report.removed) == (0, 0)
    assert failures_of(library).keys() == {str(music / "closed")}
    assert len(files_of(library)) == 1
    assert run_scan(library, [music]).unchanged == 1
    assert failures_of(library) == {}


def test_a_known_file_that_could_not_be_seen_for_a_while_is_no_failure_afterwards(place, fake):
    music, library = place
    path = touch(music / "a.wav", b"aaa")
    run_scan(library, [music])
    with Record.open(library, write=True) as record:
        record.fail(Failure(FileState(path, 0, 0), "unreadable", "Input/output error"))
    run_scan(library, [music])
    assert failures_of(library) == {}


def test_a_bad_file_is_tried_once_and_again_when_it_changes_or_on_retry(place, fake):
    music, library = place
    path = touch(music / "a.wav", b"bad")
    assert run_scan(library, [music]).failed == 1
    second = run_scan(library, [music])
    assert (second.failed, second.known_bad, len(fake.embedded)) == (0, 1, 1)
    assert run_scan(library, [music], retry=True).failed == 1
    assert len(fake.embedded) == 2
    touch(path, b"good now")
    assert run_scan(library, [music]).added == 1
    assert failures_of(library) == {}


def test_a_bad_file_that_goes_is_forgotten(place, fake):
    music, library = place
    path = touch(music / "a.wav", b"bad")
    run_scan(library, [music])
    os.remove(path)
    run_scan(library, [music])
    assert failures_of(library) == {}


def test_a_track_whose_file_broke_and_then_went_stays_until_pruned(place, fake):
    music, library = place
    path = touch(music / "a.wav", b"good")
    touch(music / "b.wav", b"also good")
    run_scan(library, [music])
    touch(path, b"bad")
    run_scan(library, [music])
    os.remove(path)
    assert run_scan(library, [music]).gone == 1
    assert path in files_of(library)
    assert run_scan(library, [music], prune=True).removed == 1
    assert path not in files_of(library)
    assert failures_of(library) == {}


def test_prune_never_empties_a_root_even_when_another_one_is_full(place, fake):
    music, library = place
    touch(music / "disk" / "a.wav", b"a")
    touch(music / "usb" / "b.wav", b"b")
    roots = [music / "disk", music / "usb"]
    run_scan(library, roots)
    os.remove(music / "usb" / "b.wav")
    with pytest.raises(InputError, match=r"no audio below .*usb.* 1 tracks there: is the disk mounted\?"):
        run_scan(library, roots, prune=True)
    assert len(files_of(library)) == 2
    assert run_scan(library, [music], prune=True).removed == 1


def test_progress_counts_every_file_once(place, fake):
    music, library = place
    for i in range(3):
        touch(music / f"{i}.wav", b"%d" % i)
    touch(music / "x.wav", b"bad")
    told = []
    with Record.open(library, write=True) as record:
        Scan(
            record, ["fake"], DEFAULT_LISTENING, ScanOptions(), lambda at: told.append((at.total, at.done, at.failed))
        ).run([str(music)])  # fmt: skip
    assert told == [(4, 1, 0), (4, 2, 0), (4, 3, 0), (4, 4, 1)]


def test_others_see_how_far_it_is_from_its_begin_to_its_end(place, fake, monkeypatch):
    monkeypatch.setattr(scan, "_SAY_SECONDS", 0.0)
    music, library = place
    for i in range(3):
        touch(music / f"{i}.wav", b"%d" % i)
    seen, embed_files = [], fake.embed_files

    def look(*_):
        said = writer_now(library)["scan"]
        seen.append((said["total"], said["done"]))

    def looking(*given):
        look()
        yield from embed_files(*given)

    monkeypatch.setattr(scan, "embed_files", looking)
    with Record.open(library, write=True) as record:
        Scan(record, ["fake"], DEFAULT_LISTENING, ScanOptions(), look).run([str(music)])
        assert seen == [(3, 0), (3, 1), (3, 2), (3, 3)]
        assert writer_now(library)["scan"] == {}
        (library / "writer.json").unlink()
        record.say({"done": 1})  # nobody can be told, which stops nobody


@pytest.mark.slow
def test_a_scan_of_10_000_known_files_takes_less_than_5_seconds(place, fake):
    music, library = place
    for i in range(10_000):
        if i % 10 == 0:
            (music / str(i // 10)).mkdir()
        (music / str(i // 10) / f"{i}.mp3").write_bytes(b"%d" % i)
    with Record.open(library, write=True) as record, record.batch(every=5000, seconds=60):
        record.add_space(SPACE)
        for file in walk([str(music)]).files.values():
            record.put(fake.file(Task(file)))
    fake.embedded = []
    begin = time.process_time()
    report = run_scan(library, [music])
    assert time.process_time() - begin < 5
    assert (report.unchanged, fake.embedded) == (10_000, [])


class Folder(RuleBasedStateMachine):
    """A folder in which anything happens between scans; the record must equal a model kept beside it."""

    NAMES = st.sampled_from([f"{folder}{i}.wav" for folder in ("", "a/") for i in range(3)])
    CONTENTS = st.sampled_from([b"one", b"two", b"six", b"longer", b"bad", b"bad too"])

    def __init__(self):
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.fake = FakeEmbedder()
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(scan, "spaces_of", self.fake.spaces_of)
        patch.setattr(scan, "embed_files", self.fake.embed_files)
        home = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.music, self.library = home / "music", home / "library"
        self.music.mkdir()
        self.clock = 1
        self.tracks = {}  # name -> (id, content, mtime)
        self.bad = {}  # name -> mtime at the last failure

    def teardown(self):
        self.stack.close()

    def write(self, name, content, mtime):
        path = touch(self.music / name, content)
        os.utime(path, ns=(mtime, mtime))

    def later(self):
        self.clock += 1
        return self.clock

    def on_disk(self):
        paths = sorted(path for path in self.music.rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.music)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths
        }

    @rule(name=NAMES, content=CONTENTS)
    def add_or_change(self, name, content):
        self.write(name, content, self.later())

    @rule(name=NAMES)
    def give_a_new_date(self, name):
        if name in (disk := self.on_disk()):
            self.write(name, disk[name][0], self.later())

    @rule(name=NAMES)
    def delete(self, name):
        (self.music / name).unlink(missing_ok=True)

    @rule(name=NAMES, to=NAMES)
    def move(self, name, to):
        if name in (disk := self.on_disk()) and to != name:
            (self.music / name).unlink()
            # over another file it gets a date of its own: same name, size and date would mean the same file
            self.write(to, disk[name][0], self.later() if to in disk or to in self.tracks else disk[name][1])

    @rule(prune=st.booleans(), retry=st.booleans())
    def scan(self, prune, retry):
        disk = self.on_disk()
        prune = prune and bool(disk)  # the guard against an unmounted disk has a test of its own
        gone = {name: track for name, track in self.tracks.items() if name not in disk}
        homeless = defaultdict(list)  # content -> ids
        for track_id, content, _ in gone.values():
            homeless[content].append(track_id)
        embedded: list[Any] = []
        ids: dict[str, Any] = {}
        moves: Counter[Any] = Counter()
        for name, (content, mtime) in disk.items():
            track = self.tracks.get(name)
            if self.bad.get(name) == (content, mtime) and not retry:
                ids.update({name: {track[0]}} if track else {})
                continue
            if track and track[1] == content:
                ids[name] = {track[0]}
            elif moves[content] < len(homeless[content]):
                moves[content] += 1
                ids[name] = set(homeless[content])
            else:
                embedded.append((str(self.music / name), content))
                if content.startswith(b"bad"):
                    self.bad[name] = content, mtime
                    ids.update({name: {track[0]}} if track else {})
                    continue
                ids[name] = {track[0]} if track else None
            self.bad.pop(name, None)
        stays = Counter() if prune else Counter(track[1] for track in gone.values()) - moves

        self.fake.embedded = []
        run_scan(self.library, [self.music], prune=prune, retry=retry)

        assert Counter(self.fake.embedded) == Counter(embedded)
        with Record.open(self.library) as record:
            tracks = {os.path.relpath(track.path, self.music): track for track in record.tracks()}
            vectors = dict(zip(*record.vectors(SPACE.id), strict=True))
        before, self.tracks = self.tracks, {}
        for name, track in tracks.items():
            content, mtime = disk.get(name, before.get(name, (0, 0, 0))[1:])
            if self.bad.get(name) == (content, mtime):  # a bad file does not take its track away
                content, mtime = before[name][1:]
            assert track.content == hashlib.sha256(content).hexdigest()[:32]
            assert (track.size, track.mtime_ns) == (len(content), mtime)
            np.testing.assert_array_equal(vectors[track.id], vector_of(content))
            self.tracks[name] = track.id, content, mtime
        assert {name for name in tracks if name in disk} == ids.keys()
        assert all(tracks[name].id in wanted for name, wanted in ids.items() if wanted)
        assert Counter(self.tracks[name][1] for name in tracks if name not in disk) == stays
        for name in [name for name in self.bad if name not in disk and name not in tracks]:
            del self.bad[name]
        failed = {
            os.path.relpath(path, self.music): row.file for path, row in failures_of(self.library).items()
        }
        assert {name: (file.size, file.mtime_ns) for name, file in failed.items()} == {
            name: (len(content), mtime) for name, (content, mtime) in self.bad.items()
        }

    @rule()
    def scan_twice(self):
        self.scan(False, False)
        self.fake.embedded = []
        report = run_scan(self.library, [self.music])
        assert self.fake.embedded == []
        assert report.unchanged + report.known_bad == report.found


# A scan is what is tested, and the disk sets the pace, not hypothesis.
SLOW_DISK = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


class TestFolder(Folder.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(SLOW_DISK, max_examples=25, stateful_step_count=20)


@pytest.mark.slow
class TestFolderAtLength(Folder.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(SLOW_DISK, max_examples=150, stateful_step_count=30)
