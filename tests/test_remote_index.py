"""One collection on a Qdrant server, and several servers of Soundkin that fill it, change it and ask it at once."""

import threading
import time
from typing import Any

import pytest
from qdrant_http import FakeQdrant, fake_qdrant

from soundkin.embed import FileState
from soundkin.index import open_index, rebuild
from soundkin.index.follow import catch_up, dims_of, rebuild_from
from soundkin.index.points import LAYOUT, Mark
from soundkin.index.recorded import RecordIndex
from soundkin.index.server import ServerIndex
from soundkin.library import Library
from soundkin.record import Record


def alias_of(library: Library) -> str:
    with Record.open(library.folder) as record:
        return f"soundkin-{record.uuid[:8]}"


def collections(fake: FakeQdrant) -> list[str]:
    return sorted(one.name for one in fake.local.get_collections().collections)


def stored(fake: FakeQdrant, name: str) -> list[str]:
    """Return the ids of all points of a collection, as the record writes them."""
    points, _ = fake.local.scroll(name, limit=10_000)
    return sorted(f"{point.id:016x}" for point in points)


def answers(library: Library) -> list[list[str]]:
    """Ask one question of each kind, with and without a filter."""
    first, second, *_ = sorted(library.tracks(), key=lambda track: track.path)
    lists = (
        library.similar(first),
        library.similar(second, filters=f"format={first.format}"),
        library.recommend([first, second]),
    )
    return [[hit.id for hit in hits] for hits in lists]


def is_recorded(library: Library) -> bool:
    return isinstance(library._current_index(), RecordIndex)


def look_again(library: Library) -> None:
    library._held._try_again = time.monotonic()


def whole(fake: FakeQdrant, library: Library) -> None:
    """Hold a server to one collection behind the alias, with each track in it once."""
    (name,) = collections(fake)
    (alias,) = fake.local.get_aliases().aliases
    assert (alias.alias_name, alias.collection_name) == (alias_of(library), name)
    assert stored(fake, name) == sorted(track.id for track in library.tracks())


# ---- while the collection cannot be had


def test_while_another_server_builds_the_collection_the_record_answers(
    fake: FakeQdrant, library: Library
) -> None:
    building = f"{alias_of(library)}-0001"
    fake.local.create_collection(building, vectors_config={}, metadata={"building": time.time()})
    with Library.open(library.folder, fake.url) as served:
        assert answers(served) == answers(library)
        assert is_recorded(served)
        fake.local.update_collection(building, metadata={"building": 0.0})  # it was killed
        look_again(served)
        assert answers(served) == answers(library)
        assert not is_recorded(served)
    whole(fake, library)


def test_a_large_collection_is_built_aside_and_the_record_answers(
    fake: FakeQdrant, library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("soundkin.holding._SMALL", 1)
    with Library.open(library.folder, fake.url) as served:
        assert answers(served) == answers(library)
        assert is_recorded(served)
        until = time.monotonic() + 60
        while is_recorded(served) and time.monotonic() < until:
            look_again(served)
            time.sleep(0.05)
        assert answers(served) == answers(library)
        assert not is_recorded(served)
    whole(fake, library)
    assert "could not be built" not in caplog.text


def test_while_another_server_fills_the_collection_the_record_answers(
    fake: FakeQdrant, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundkin.holding._SMALL", 1)
    alias = alias_of(library)
    with Record.open(library.folder) as record:
        rebuild(fake.url, Mark(record.uuid, 0), dims_of(record), [], collection=alias)
    (name,) = collections(fake)
    fake.indexing[name] = 0
    fake.local.update_collection(name, metadata={"payload": LAYOUT, "building": time.time()})
    with Library.open(library.folder, fake.url) as served:
        assert answers(served) == answers(library)
        assert is_recorded(served)
        assert stored(fake, name) == []
        fake.indexing[name] = 10_000  # the other one is done, and had not read to the end
        look_again(served)
        assert answers(served) == answers(library)
        assert not is_recorded(served)
    whole(fake, library)


# ---- several at once


def test_two_servers_that_fill_an_empty_one_at_once_make_one_collection(
    fake: FakeQdrant, library: Library
) -> None:
    """Whichever step of the first the second comes in between, with all it does."""
    expected, alias = answers(library), alias_of(library)
    rebuild_from(library.folder, fake.url, collection=alias)
    steps = len(fake.requests)
    assert steps > 10
    for step in range(0, steps, 5):
        with fake_qdrant() as server, Library.open(library.folder, server.url) as second:
            told: list[Any] = []
            between = lambda: told.append(answers(second))  # noqa: B023, E731
            server.trouble = [None] * step + [between]
            with Library.open(library.folder, server.url) as first:
                assert answers(first) == expected
            assert told == [expected]
            look_again(second)
            assert answers(second) == expected
            assert not is_recorded(second)
            whole(server, library)


def test_a_server_that_follows_the_record_while_another_builds_anew_is_not_disturbed(
    fake: FakeQdrant, library: Library
) -> None:
    """Whichever step of the one the alias moves in between, and the collection it was at goes."""
    alias = alias_of(library)
    with Record.open(library.folder) as record:
        for step in range(100):
            rebuild(fake.url, Mark(record.uuid, 0), dims_of(record), [], collection=alias)
            fake.trouble = [None] * step + [lambda: rebuild_from(library.folder, fake.url, collection=alias)]
            with open_index(fake.url, collection=alias) as index:
                catch_up(index, record)
            whole(fake, library)
            if fake.trouble:  # it was done before
                break
        else:
            raise AssertionError("there is no end to its steps")


def test_many_threads_that_fill_an_empty_one_at_once_make_one_collection(
    fake: FakeQdrant, library: Library
) -> None:
    expected, all_there = answers(library), threading.Barrier(4)
    told: list[Any] = []

    def ask() -> None:
        with Library.open(library.folder, fake.url) as served:
            all_there.wait(60)
            told.append(answers(served))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == [expected] * 4
    with Library.open(library.folder, fake.url) as served:
        assert answers(served) == expected
    whole(fake, library)


@pytest.mark.parametrize("change", ["remove", "move"])
def test_the_slower_of_two_servers_does_not_bring_back_what_was(
    change: str, fake: FakeQdrant, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read a track, another server removes it or moves its file, and only then the slower one writes it."""
    alias, track = alias_of(library), library.tracks()[0]
    with Record.open(library.folder) as record:
        rebuild(fake.url, Mark(record.uuid, 0), dims_of(record), [], collection=alias)
        slow, quick = (open_index(fake.url, collection=alias) for _ in range(2))
        write, begun = ServerIndex._upsert, list[bool]()

        def slowly(index: ServerIndex, points: Any) -> None:
            if index is slow and not begun:
                begun.append(True)
                with Record.open(library.folder, write=True) as changing:
                    if change == "remove":
                        changing.remove([track.id])
                    else:
                        changing.move(track.path, FileState("/elsewhere.mp3", 5, 1))
                catch_up(quick, record)
            write(index, points)

        monkeypatch.setattr(ServerIndex, "_upsert", slowly)
        catch_up(slow, record)
        assert begun
        slow.close()
        quick.close()
        whole(fake, library)
        (name,) = collections(fake)
        if change == "move":
            (point,) = fake.local.retrieve(name, [int(track.id, 16)])
            assert point.payload["file"] == "/elsewhere.mp3"  # type: ignore[index]


def test_a_server_catches_up_in_the_end_while_another_process_writes_on_and_on(
    fake: FakeQdrant, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it has read what changed, something else has; what is left comes with the next question."""
    track, write, rounds = library.tracks()[0], ServerIndex._upsert, list[str]()

    def slowly(index: ServerIndex, points: Any) -> None:
        write(index, points)
        before, after = rounds[-1] if rounds else track.path, f"/elsewhere/{len(rounds)}.mp3"
        rounds.append(after)
        assert len(rounds) < 100, "it does not end"
        with Record.open(library.folder, write=True) as changing:
            changing.move(before, FileState(after, 5, 1))

    with Record.open(library.folder) as record:
        rebuild(fake.url, Mark(record.uuid, 0), dims_of(record), [], collection=alias_of(library))
        with open_index(fake.url, collection=alias_of(library)) as index:
            with monkeypatch.context() as busy:
                busy.setattr(ServerIndex, "_upsert", slowly)
                catch_up(index, record)
            assert index.mark is not None
            assert 0 < index.mark.revision < record.revision
            catch_up(index, record)
            assert index.mark == Mark(record.uuid, record.revision)
    (name,) = collections(fake)
    (point,) = fake.local.retrieve(name, [int(track.id, 16)])
    assert point.payload["file"] == rounds[-1]  # type: ignore[index]


def test_a_server_that_is_far_behind_goes_on_where_the_alias_stands_now(
    fake: FakeQdrant, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody asked it, the collection was made anew, the one it knew is gone, and very much has changed."""
    monkeypatch.setattr("soundkin.holding._SMALL", 1)
    rebuild_from(library.folder, fake.url, collection=alias_of(library))
    with Library.open(library.folder, fake.url) as served:
        answers(served)
        assert not is_recorded(served)
        rebuild_from(library.folder, fake.url, collection=alias_of(library))
        with Record.open(library.folder, write=True) as changing:
            changing.remove([library.tracks()[0].id])
        assert answers(served) == answers(library)
        assert not is_recorded(served)
    whole(fake, library)
