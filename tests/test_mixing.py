"""What the library and the command do with paths, radios, mixes and duplicates, on real files."""

import itertools
import json
import sqlite3

import numpy as np
import pytest
from made import copied
from test_cli import run  # noqa: F401  (a fixture)

from soundkin import playlists
from soundkin.errors import InputError, NotFound
from soundkin.library import Library
from soundkin.recommend import Variety
from soundkin.recommend.versions import RECORDING
from soundkin.record import Record


def test_duplicates_are_the_copies_that_were_made(shared, made):
    groups = [group for group in shared.duplicates() if group.kind == RECORDING]
    expected = {frozenset(map(str, (original, *copies))) for original, copies in made.copies.items()}
    assert {frozenset(track.path for track in group.tracks) for group in groups} == expected
    for group in groups:
        for pair in group.pairs:
            assert pair.evidence == ("the same bytes",) or pair.fingerprint > 0.85


def test_fingerprints_that_are_missing_are_told_and_made(library, made, run):  # noqa: F811
    tracks = library.tracks()
    with sqlite3.connect(library.folder / "record.sqlite") as db:
        db.execute("DELETE FROM fingerprints WHERE track < 4")
    before = library.vectors()
    home = ["--library", str(library.folder)]
    assert "3 tracks without a fingerprint" in run("duplicates", *home)[2]
    assert "3 tracks without a fingerprint" in run("status", *home)[1]
    assert run("index", str(made.music), "--jobs", "1", *home)[0] == 0
    assert library.without_fingerprint() == 3  # not without being asked to: it takes as long as new files
    assert run("index", str(made.music), "--fingerprints", "--jobs", "1", *home)[0] == 0
    assert library.without_fingerprint() == 0
    assert "without a fingerprint" not in run("status", *home)[1]
    after = library.vectors()
    assert after[0] == before[0]
    assert np.allclose(after[1], before[1], atol=1e-5)
    assert [track.id for track in library.tracks()] == [track.id for track in tracks]


def test_similar_hides_copies_or_names_them(shared, made):
    (original, copies), *_ = made.copies.items()
    hidden = {hit.path for hit in shared.similar(original, 10)}
    assert hidden.isdisjoint(map(str, copies))
    shown = shared.similar(original, 10, versions=True)
    named = {hit.path for hit in shown if "the same recording" in hit.reasons}
    assert named == set(map(str, copies))
    assert {hit.path for hit in shown if hit.similarity == 1} == named


def test_path_between_words_and_a_file_from_elsewhere(shared, made):
    end = made.tracks[5][0]
    hits = shared.path(made.outside, end, 6).hits
    assert (hits[0].path, hits[-1].path) == (str(made.outside), str(end))
    assert len({hit.path for hit in hits}) == 6
    own = {str(made.tracks[0][0]), *map(str, made.copies[made.tracks[0][0]])}
    assert own.isdisjoint(hit.path for hit in hits[1:])  # copies of what it begins with


def test_path_to_a_copy_is_refused(shared, made):
    original, copies = next(iter(made.copies.items()))
    with pytest.raises(InputError, match="same recording"):
        shared.path(original, copies[-1])


def test_radio_of_a_profile_remembers(library, made):
    library.create_profile("me")
    first, second = (path for path, _ in made.tracks[2:4])
    library.feedback("like", [first], "me")
    library.feedback("dislike", [second], "me")
    queue = library.radio(profile="me")
    a, b = next(queue), next(queue)
    queue.skip()
    assert str(second) not in {a.path, b.path}
    said = [(event.kind, event.track) for event in library.history("me")][2:]
    assert said == [("play", a.id), ("play", b.id), ("skip", b.id)]
    before = len(library.history("me"))
    list(itertools.islice(library.radio(profile="me", remember=False), 3))
    assert len(library.history("me")) == before


def test_what_profile_said_can_be_filtered_by(library, made):
    library.create_profile("me")
    tracks = [library.find(path) for path, _ in made.tracks[:6]]
    library.feedback("like", tracks[1:3], "me")
    library.feedback("dislike", tracks[3:4], "me")
    library.feedback("play", tracks[4:6], "me")
    ask = tracks[20 % len(tracks)]

    def found(expression, profile="me"):
        return {hit.id for hit in library.similar(ask, 50, expression, profile=profile)}

    assert found("liked") == {t.id for t in tracks[1:3]} - {ask.id}
    assert found("disliked or played") == {t.id for t in tracks[3:6]} - {ask.id}
    everything = found("duration>0")
    assert found("never-played") == everything - {t.id for t in tracks[4:6]}
    assert found("liked", None) == set()  # the default profile is somebody else
    with pytest.raises(NotFound, match="no profile"):
        found("liked", "nobody")


def test_filters_by_path(shared, made):
    copies = {path for some in made.copies.values() for path in some}
    ask = made.tracks[10][0]
    found = {hit.path for hit in shared.similar(ask, 50, "path=music/copies")}
    assert found == set(map(str, copies))
    assert not any("copies" in hit.path for hit in shared.similar(ask, 50, "path!=*/copies/*"))
    with pytest.raises(InputError, match="nearest: copies"):
        shared.similar(ask, 5, "path=copis")


def test_a_mix_of_a_mood_keeps_to_it(shared):
    energies = sorted(track.energy for track in shared.tracks() if track.energy is not None)
    by_id = {track.id: track for track in shared.tracks()}
    hits = shared.mix(moods=["calm"], n=5)
    assert len(hits) == 5
    assert all(by_id[hit.id].energy <= energies[int(0.3 * len(energies)) + 1] for hit in hits)
    assert len({hit.id for hit in hits}) == 5


def test_a_mix_fills_its_length(shared, made):
    likes = [made.tracks[0][0]]
    total = sum(hit.duration for hit in shared.mix(likes, length=40))
    assert abs(total - 40) <= 4  # tracks are of about 6 s
    assert len(shared.mix(likes, n=3)) == 3


def test_a_seed_makes_another_mix(shared, made):
    def ids(seed):
        return [hit.id for hit in shared.mix([made.tracks[0][0]], n=8, seed=seed)]

    assert ids(1) == ids(1)
    assert len({tuple(ids(seed)) for seed in range(4)}) > 1


def test_clusters_hold_every_track_once(shared):
    found = shared.clusters()
    ids = [track.id for cluster in found for track in cluster.tracks]
    assert sorted(ids) == sorted(track.id for track in shared.tracks())
    one = {track.id for track in found[0].tracks}
    assert {hit.id for hit in shared.mix(cluster=1, n=4)} <= one
    with pytest.raises(InputError, match="cluster 99"):
        shared.mix(cluster=99)


def test_a_mix_of_a_cluster_groups_the_library_once_until_it_changes(library, monkeypatch):
    grouped = []

    def noted(self, space=None, count=None, seed=0):
        grouped.append(space)
        return clusters(self, space, count, seed)

    clusters = Library.clusters
    monkeypatch.setattr(Library, "clusters", noted)
    first = clusters(library)[0].tracks
    for seed in (0, 1):
        assert {hit.id for hit in library.mix(cluster=1, n=4, seed=seed)} <= {track.id for track in first}
    assert len(grouped) == 1
    assert library.remove([first[0].path]) == 1
    assert {hit.id for hit in library.mix(cluster=1, n=4)} <= {
        track.id for track in clusters(library)[0].tracks
    }
    assert len(grouped) == 2


def test_every_command_has_the_same_clusters(run, shared, home, tmp_path):  # noqa: F811
    def told(*command):
        status, out, err = run(*command, "--json", *home)
        assert status == 0
        return json.loads(out), err

    wanted = [
        {"number": c.number, "name": c.name, "tracks": [t.id for t in c.tracks]} for c in shared.clusters()
    ]
    assert [one["number"] for one in wanted] == list(range(1, len(wanted) + 1))
    document, err = told("clusters", "--playlists", tmp_path / "lists")
    assert document["clusters"] == wanted
    assert "numbers the groups" not in err
    assert told("playlist", "--clusters")[0] == wanted
    hits = told("playlist", "--cluster", len(wanted), "-n", 3)[0]["hits"]
    assert {hit["id"] for hit in hits} <= set(wanted[-1]["tracks"])
    assert sorted(file.name[:3] for file in (tmp_path / "lists").iterdir()) == [
        f"{i + 1:02} " for i in range(len(wanted))
    ]
    coloured = told("map", tmp_path / "m.html", "--color", "cluster", "--method", "pca", "--seed", 5)[0][
        "tracks"
    ]
    names = {id_: f"{one['number']} {one['name']}" for one in wanted for id_ in one["tracks"]}
    assert {one["id"]: one["label"] for one in coloured} == names
    for other in (["--count", 4], ["--seed", 1], ["--method", "hdbscan"]):
        assert (
            "`playlist --cluster` numbers the groups of `soundkin clusters` without"
            in told("clusters", *other)[1]
        )
    assert len(told("clusters", "--count", 4)[0]["clusters"]) == 4
    assert run("clusters", "--count", 4, "--method", "hdbscan", *home)[0] == 2


@pytest.mark.parametrize(
    ("wanted", "said"),
    [({}, "nothing to make"), ({"moods": ["x"]}, "mood 'x'"), ({"moods": ["calm"], "length": -1.0}, "above 0"),
     ({"moods": ["calm"], "n": 0}, "above 0"), ({"profile": "default"}, "nothing to go by")],
)  # fmt: skip
def test_mixes_of_nothing_are_refused(shared, wanted, said):
    with pytest.raises(InputError, match=said):
        shared.mix(**wanted)


# ---- commands


@pytest.fixture
def home(made):
    return ["--library", made.library]


def test_path_command(run, home, made, tmp_path):  # noqa: F811
    ends = made.tracks[2][0], made.tracks[9][0]
    status, out, _ = run("path", *ends, "-n", 5, "-o", tmp_path / "p.xspf", "--json", *home)
    hits = json.loads(out)["hits"]
    assert status == 0
    assert [hits[0]["path"], hits[-1]["path"]] == list(map(str, ends))
    assert [entry.paths[0] for entry in playlists.read(tmp_path / "p.xspf")] == [hit["path"] for hit in hits]
    status, _, err = run("path", *ends, "-n", 5, "--filter", "year>2099", *home)
    assert (status, "a jump" in err or "only 2 tracks" in err) == (0, True)


def test_radio_command(run, home, made):  # noqa: F811
    status, out, _ = run("radio", made.tracks[2][0], "-n", 5, "--json", *home)
    assert status == 0
    assert len({hit["id"] for hit in json.loads(out)["hits"]}) == 5
    assert run("radio", made.tracks[2][0], *home)[0] == 0


def test_playlist_command(run, home, tmp_path):  # noqa: F811
    status, out, err = run("playlist", "--mood", "calm", "--length", "30s", "-o", tmp_path / "m.m3u8", *home)
    assert status == 0
    assert "tracks, 0:" in out
    assert "wrote" in err
    assert playlists.read(tmp_path / "m.m3u8")
    status, out, _ = run("playlist", "--clusters", "--json", *home)
    assert sum(len(cluster["tracks"]) for cluster in json.loads(out)) == 30
    assert run("playlist", "--length", "soon", "--mood", "calm", *home)[0] == 2
    assert run("playlist", *home)[0] == 1


def test_duplicates_command(run, home, made):  # noqa: F811
    status, out, _ = run("duplicates", "--json", "--kind", "recording", *home)
    groups = json.loads(out)
    assert status == 0
    assert sorted(len(group["tracks"]) for group in groups) == sorted(
        1 + len(c) for c in made.copies.values()
    )
    status, out, _ = run("duplicates", *home)
    assert status == 0
    assert "fingerprints fit" in out


def test_similar_versions_command(run, home, made):  # noqa: F811
    original = next(iter(made.copies))
    document = json.loads(run("similar", original, "--versions", "--json", *home)[1])
    assert any("the same recording" in hit["reasons"] for hit in document["hits"])


def test_old_libraries_without_fingerprints_still_tell_copies(made, tmp_path):
    import sqlite3

    copied(made.library, tmp_path / "library")
    with sqlite3.connect(tmp_path / "library" / "record.sqlite") as db:
        db.execute("DELETE FROM fingerprints")
    with Library.open(tmp_path / "library") as library:
        groups = [group for group in library.duplicates() if group.kind == RECORDING]
        assert len(groups) == len(made.copies)
        hits = library.similar(next(iter(made.copies)), 5, variety=Variety())
        assert not {hit.path for hit in hits} & {str(p) for p in next(iter(made.copies.values()))}


def test_radio_on_a_terminal_does_what_is_said(library, made, monkeypatch):
    import click

    from soundkin.cli.journeys import _listen

    answers = iter(["", "l", "s", "d", "x", "q"])
    monkeypatch.setattr(click, "prompt", lambda *_, **__: next(answers) or "n")
    queue = library.radio(made.tracks[2][0], profile="default")
    heard = _listen(queue)
    said = [(event.kind, event.track) for event in library.history() if event.kind != "play"]
    # next; like, and then skip the same; dislike; what is no answer is asked again; quit
    assert said == [("like", heard[1].id), ("skip", heard[1].id), ("dislike", heard[2].id)]
    assert len(heard) == 4


def test_what_filters_ask_for_is_what_opinions_say(library, made):
    tracks = [library.find(path) for path, _ in made.tracks[:8]]
    said = [
        ("like", 0),
        ("like", 1),
        ("unlike", 1),
        ("dislike", 2),
        ("like", 2),
        ("like", 3),
        ("dislike", 3),
        ("play", 4),
    ]
    for at, (kind, i) in enumerate([*said, ("play", 0), ("skip", 5)], 1):
        library.feedback(kind, [tracks[i]], at=float(at))
    with Record.open(library.folder) as record:
        opinions = record.opinions("default")
        for what, expected in {"liked": {0, 2}, "disliked": {3}, "played": {0, 4}}.items():
            ids = set(record.tracks_that_are(what, "default"))
            assert ids == {tracks[i].id for i in expected}
            holds = {
                id_
                for id_, opinion in opinions.items()
                if (opinion.plays if what == "played" else opinion.verdict == what.removesuffix("d"))
            }
            assert ids == holds


def test_a_radio_that_cannot_begin_says_which_filter_to_drop(run, home, shared):  # noqa: F811
    status, _, err = run("radio", shared.tracks()[0].id, "-n", 3, "--filter", "bpm>5000", *home)
    assert status == 0
    assert "without 'bpm>5000' some do" in err


def test_similarity_is_shown_where_it_is_to_something(run, home, shared):  # noqa: F811
    assert "similarity" not in run("playlist", "--cluster", 1, "-n", 3, *home)[1]
    assert "similarity" in run("playlist", "--like", shared.tracks()[0].id, "-n", 3, *home)[1]
    assert "with what a track follows" in run("radio", shared.tracks()[0].id, "-n", 3, *home)[2]


@pytest.mark.parametrize("length", ["0min", "0", "0:00", "-5min", "soon"])
def test_a_length_is_above_nothing(run, home, length):  # noqa: F811
    status, _, err = run("playlist", "--cluster", 1, "--length", length, *home)
    assert (status, "is no length" in err) == (2, True)


def test_duplicates_say_why_of_each_copy_once(run, home, made):  # noqa: F811
    out = run("duplicates", "--kind", "recording", *home)[1]
    assert out.count("fingerprints fit") + out.count("the same bytes") == sum(map(len, made.copies.values()))
