"""Likes and recommendations, from the door: the commands and `Library`, on real files."""

import datetime
import json
from collections import Counter

import numpy as np
import pytest

from soundkin import cli
from soundkin.audio import Passage
from soundkin.errors import InputError, NotFound
from soundkin.library import Library
from soundkin.recommend import Variety


@pytest.fixture
def run(capsys):
    """Return a function that runs a command in this process: (exit status, stdout, stderr)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call


@pytest.fixture
def home(library):
    return ["--library", library.folder]


def ids(hits):
    return [hit.id for hit in hits]


def names(library, n):
    """Return n tracks that words name, and no others: none that has a copy."""
    tracks = library.tracks()
    titles = [t.title for t in tracks]
    return [t for t in tracks if t.title and titles.count(t.title) == 1][:n]


def test_what_was_said_is_what_is_recommended_from(run, home, library):
    a, b, c, *_ = names(library, 5)
    assert run("like", f"{a.artist} {a.title}", b.id, *home) == (
        0, f"liked: {a.artist} - {a.title}\nliked: {b.artist} - {b.title}\n", "",
    )  # fmt: skip
    code, out, _ = run("dislike", c.path, "--json", *home)
    assert (code, json.loads(out)) == (0, {"profile": "default", "kind": "dislike", "tracks": [c.id]})
    code, out, err = run("recommend", "-k", 6, "--json", *home)
    assert (code, err) == (0, "")
    hits = json.loads(out)["hits"]
    assert [hit["id"] for hit in hits] == ids(library.recommend(profile="default", k=6))
    assert [hit["id"] for hit in hits] == ids(library.recommend([a, b], [c], k=6))
    assert not {a.id, b.id, c.id} & {hit["id"] for hit in hits}
    assert {hit["follows"] for hit in hits} <= {a.id, b.id}
    assert all(hit["moments"] and hit["reasons"] for hit in hits)


def test_played_skipped_and_taken_back(run, home, library):
    a, b, c, *_ = names(library, 5)
    run("played", a.id, "--at", "2026-01-02T03:04", *home)
    run("played", a.id, b.id, *home)
    run("skip", c.id, *home)
    run("like", b.id, *home)
    run("unlike", b.id, *home)
    # where nothing is liked, what was played stands in for it; a skip pushes a little
    assert {hit.follows for hit in library.recommend(profile="default", k=8)} == {a.id, b.id}
    _, out, _ = run("profile", "export", *home)
    history = json.loads(out)["history"]
    assert [(row["kind"], row["track"]) for row in history] == [
        ("play", a.id), ("play", a.id), ("play", b.id), ("skip", c.id), ("like", b.id), ("unlike", b.id),
    ]  # fmt: skip
    assert history[0]["at"] == pytest.approx(datetime.datetime(2026, 1, 2, 3, 4).timestamp())
    assert history[0]["content"] == a.content
    assert run("played", a.id, "--at", "yesterday", *home)[0] == 1


def test_profiles_by_command(run, home, library):
    a = names(library, 1)[0]
    assert run("profile", "create", "Ana María 🎧", *home) == (0, "made the profile Ana María 🎧\n", "")
    code, _, err = run("profile", "create", "Ana María 🎧", *home)
    assert (code, "already" in err) == (1, True)
    assert run("like", a.id, "--profile", "Ana María 🎧", *home)[0] == 0
    code, _, err = run("like", a.id, "--profile", "Ana Maria", *home)
    assert (code, "nearest: Ana María" in err) == (1, True)
    code, out, _ = run("profile", "list", "--json", *home)
    assert [(row["name"], row["likes"]) for row in json.loads(out)] == [("default", 0), ("Ana María 🎧", 1)]
    assert "forgot 1 mark" in run("profile", "delete", "Ana María 🎧", *home)[1]
    assert run("profile", "delete", "Ana María 🎧", *home)[0] == 1
    assert run("profile", "create", *home)[0] == 2
    assert run("profile", "create", "a\nb", *home)[0] == 1


def test_nothing_to_go_by(run, home):
    code, out, err = run("recommend", *home)
    assert (code, out) == (1, "")
    assert "nothing to go by" in err
    assert "soundkin like" in err


def test_liked_and_disliked_at_once(run, home, library):
    a, b, *_ = names(library, 2)
    code, _, err = run("recommend", "--like", a.id, "--like", b.id, "--dislike", a.path, *home)
    assert (code, "both liked and disliked" in err) == (1, True)
    # the line goes before the profile, and of a profile the last word counts
    run("like", a.id, b.id, *home)
    line = library.recommend([], [a], profile="default", k=5)
    assert ids(line) == ids(library.recommend([b], [a], k=5))
    run("dislike", a.id, *home)
    assert ids(library.recommend(profile="default", k=5)) == ids(line)


def test_a_like_that_is_not_indexed_is_heard_on_the_fly(shared, made):
    original = shared.find(made.tracks[0][0])
    outside, inside = shared.recommend([made.outside], k=5), shared.recommend([original], k=5)
    assert original.id not in ids(outside)  # it is a copy of the like
    assert len(set(ids(outside)) & set(ids(inside))) >= 4
    with pytest.raises(InputError, match="both"):
        shared.recommend([made.outside], [made.outside])
    with pytest.raises(NotFound):
        shared.recommend(["no such track at all"])


def test_when_all_is_filtered_out_the_filter_to_drop_is_named(run, home, library):
    a = names(library, 1)[0]
    code, out, err = run(
        "recommend", "--like", a.id, "--filter", "duration<1", "--filter", "year>=1900", "--json", *home
    )
    assert (code, json.loads(out)["hits"]) == (0, [])
    assert "without 'duration<1' some do" in err
    code, _, err = run("similar", a.id, "--filter", "duration<1", "--filter", "year>=2900", *home)
    assert "leave out 'duration<1' and 'year>=2900'" in err


def test_the_filter_to_drop_depends_on_who_asks(run, home, library):
    """Everything that passes is liked already; another filter leaves nothing for anyone."""
    a, b, c, *_ = names(library, 3)
    library.create_profile("me")
    library.feedback("like", [a, b], "me")
    library.feedback("dislike", [c], "me")
    who = ["--profile", "me", *home]
    code, out, err = run("recommend", *who, "--filter", "liked")
    assert (code, out) == (0, "no other track in the library passes\n")
    assert err == "only what was asked with, liked or disliked passes; without 'liked' some do\n"
    err = run("recommend", *who, "--filter", "disliked or liked", "--filter", "year>=1900")[2]
    assert "without 'disliked or liked' some do" in err
    err = run("recommend", *who, "--filter", "liked", "--filter", "duration<1")[2]
    assert "no track passes: leave out 'liked' and 'duration<1'" in err
    err = run("similar", a.id, *who, "--filter", "liked", "--filter", "not liked")[2]
    assert "without 'liked' or without 'not liked' some do" in err
    err = run("playlist", "--mood", "calm", "--mood", "energetic", *home)[2]
    assert "without mood 'calm' or without mood 'energetic' some do" in err


def test_many_likes_are_spoken_for_by_some(library, monkeypatch):
    """Whoever likes more than may speak gets nothing back that is liked, and a new like is felt at once."""
    monkeypatch.setattr("soundkin.recommend.MOST_SPEAK", 4)
    tracks = names(library, 16)
    library.feedback("like", tracks[:9], at=1.0)
    library.feedback("like", tracks[9:10], at=2.0)
    library.feedback("dislike", tracks[10:16], at=1.0)
    hits = library.recommend(profile="default", k=30)
    assert not {track.id for track in tracks} & {hit.id for hit in hits}
    assert len({hit.follows for hit in hits}) <= 4
    known = library._seeds((), (), "default", library.space())
    assert tracks[9].id in {query.like.id for query in known.likes}
    assert (len(known.likes), len(known.unwanted), len(known.far)) == (4, 6, 6)
    gone = [track.path for track in tracks[:8]]
    library.remove(gone)  # those that are left speak, whoever went
    assert len(library._seeds((), (), "default", library.space()).likes) == 2


def test_many_likes_that_come_with_a_question_are_spoken_for_as_well(library, monkeypatch):
    monkeypatch.setattr("soundkin.recommend.MOST_SPEAK", 4)
    tracks = names(library, 16)
    said = [tracks[0].path, tracks[1].id, f"{tracks[2].artist} {tracks[2].title}", *tracks[3:9]]
    hits = library.recommend(said, tracks[9:16], k=30)
    assert not {track.id for track in tracks} & {hit.id for hit in hits}
    assert len({hit.follows for hit in hits}) <= 4
    known = library._seeds(said, tracks[9:16], None, library.space())
    assert [len(known.likes), len(known.unwanted), len(known.dislikes), len(known.far)] == [4, 5, 4, 3]
    assert {tracks[0].id, tracks[1].id} <= {
        query.like.id for query in known.likes
    }  # the first that are named
    with pytest.raises(InputError, match="both liked and disliked"):
        library.recommend(said, tracks[8:16])
    with pytest.raises(NotFound, match="nothing in the library matches 'ffffffffffffffff'"):
        library.recommend([*said, "f" * 16])


def test_k_beyond_the_library_gives_all_of_it(shared, made):
    a = shared.find(made.tracks[3][0])
    hits = shared.recommend([a], k=1000)
    copies = sum(map(len, made.copies.values()))
    assert len(hits) == len(shared.tracks()) - 1 - copies  # of each recording one file


def test_variety_from_the_command_is_that_of_the_library(run, home, library):
    a = names(library, 1)[0]
    _, out, _ = run(
        "recommend", "--like", a.id, "-k", 9, "--per-artist", 1, "--diversity", 0.5, "--json", *home
    )
    hits = json.loads(out)["hits"]
    assert [h["id"] for h in hits] == ids(
        library.recommend([a], k=9, variety=Variety(per_artist=1, diversity=0.5))
    )
    artists = [h["artist"] for h in hits if h["artist"]]
    assert len(set(artists)) == len(artists)


def test_discover_leaves_what_was_just_played_to_the_end(library):
    a, *_ = names(library, 1)
    library.feedback("like", [a])
    plain = library.recommend(profile="default", k=5)
    library.feedback("play", [plain[0].id])
    assert ids(library.recommend(profile="default", k=5))[0] == plain[0].id
    assert plain[0].id not in ids(library.recommend(profile="default", k=5, discover=True))


# ---- moments


def test_a_moment_of_a_track_is_near_the_track_that_has_it(shared, made):
    """A moment of a file outside is a moment of its original, which the library has."""
    original = shared.find(made.tracks[0][0])
    family = {original.id, *(shared.find(p).id for p in made.copies[made.tracks[0][0]])}
    hits = shared.similar(made.outside, 4, at=1.0, seconds=4)
    assert {hit.id for hit in hits} == family  # asked for a moment, copies are answers
    inside = shared.similar(original, 3, at=1.0, seconds=4)
    assert {hit.id for hit in inside} == family - {original.id}


def test_moments_that_are_not_there(shared, made, run):
    track = shared.find(made.tracks[3][0])
    with pytest.raises(InputError, match="only 6 s long"):
        shared.similar(track, at=60)
    with pytest.raises(InputError, match="wanted"):
        shared.similar(track, at=-1)
    with pytest.raises(InputError, match="no moments"):
        shared.similar(np.ones(128, np.float32), at=1)
    assert run("similar", track.id, "--at", "soon", "--library", made.library)[0] == 2
    code, out, _ = run(
        "similar", track.id, "--at", "0:02", "--seconds", 2, "--json", "--library", made.library
    )
    assert (code, json.loads(out)["at"]) == (0, 2.0)


def test_the_table_of_moments_says_where_and_how_alike_they_are(run, made, home, library):
    track = library.tracks()[0]
    best = [hit.moments[0] for hit in library.similar(track, 4, moments=True)]
    status, out, err = run("similar", track.id, "--moments", "-k", 4, *home)
    assert status == 0
    assert "ordered by the nearest moment" in err
    rows = [line.split()[:4] for line in out.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert rows == [
        [str(i), f"{m.cosine:.3f}", f"0:{round(m.here):02}", f"0:{round(m.there):02}"]
        for i, m in enumerate(best, 1)
    ]


def test_the_command_says_why(run, made):
    code, out, _ = run("similar", made.tracks[3][0], "-k", 2, "--why", "--library", made.library)
    assert code == 0
    assert " is like " in out


@pytest.mark.parametrize(
    ("begin", "length", "duration", "starts"),
    [
        (0, 10, 100, [0, 7 / 3, 14 / 3, 7]),  # four of 3 s, from its beginning to its end
        (90, 10, 95, [90, 92]),  # the track ends first
        (5, 3, 100, [5]),
        (5, 2, 100, [5]),
        (99.8, 10, 100, []),
        (200, 10, 100, []),
    ],
)
def test_a_passage_is_heard_whole(begin, length, duration, starts):
    got = Passage(None, 3.0, begin, length).starts(duration)
    assert got == pytest.approx(starts)


@pytest.mark.parametrize(("begin", "length"), [(-1, 10), (0, 0.1), (float("nan"), 10), (0, float("inf"))])
def test_passages_that_cannot_be(begin, length):
    with pytest.raises(InputError, match="a moment of"):
        Passage(None, 3.0, begin, length)


# ---- the two places of an index


def test_recommend_is_the_same_on_a_server(library):
    from qdrant_client import QdrantClient

    seeds = names(library, 4)
    with Library.open(library.folder, qdrant=QdrantClient(":memory:")) as remote:
        for strategy in ("agreement", "best", "sum", "average"):
            here = library.recommend(seeds[:3], seeds[3:], k=8, strategy=strategy)
            there = remote.recommend(seeds[:3], seeds[3:], k=8, strategy=strategy)
            assert ids(here) == ids(there)


def test_a_file_that_is_not_indexed_is_no_mystery(run, home, made):
    status, _, err = run("like", made.outside, *home)
    assert status == 1
    assert f"index it first, with `soundkin index {made.outside}`" in err
    assert "there is no file /nowhere/x.mp3" in run("similar", "/nowhere/x.mp3", *home)[2]


def test_words_that_are_nearly_a_title_find_it(run, home, library):
    title = min((track.path, track.title) for track in library.tracks() if track.title)[1]
    misspelled = title[:3] + title[4:]  # one letter left out
    status, _, err = run("similar", misspelled, *home)
    assert status == 1
    assert title in err.partition("nearest: ")[2]


def test_taking_back_what_was_never_said_says_so(run, home, library):
    track = library.tracks()[0]
    assert run("unlike", track.id, *home)[1].startswith("was not liked or disliked: ")
    run("like", track.id, *home)
    assert run("unlike", track.id, *home)[1].startswith("no longer liked or disliked: ")


def test_what_is_still_to_come_was_not_played(run, home, library):
    status, _, err = run("played", library.tracks()[0].id, "--at", "2999-01-01", *home)
    assert (status, "still to come" in err) == (1, True)
    assert library.history() == []


def test_an_exported_profile_goes_on_in_another_library(run, home, library, made, tmp_path):
    titles = Counter(track.title for track in library.tracks())  # copies share theirs, or have none
    a, b, c = [track for track in library.tracks() if track.title and titles[track.title] == 1][:3]
    run("profile", "create", "Ana", *home)
    run("like", a.id, b.id, "--profile", "Ana", *home)
    run("played", c.id, "--at", "2024-02-03", "--profile", "Ana", *home)
    exported = json.loads(run("profile", "export", "Ana", *home)[1])
    exported["history"][0] |= {
        "track": "f" * 16,
        "content": "",
        "path": "/other" + exported["history"][0]["path"],
    }
    exported["history"][1] |= {"track": "e" * 16, "content": "", "path": ""}
    exported["history"].append(exported["history"][2] | {
        "track": "d" * 16, "content": "", "path": "/x/y.mp3", "artist": "", "title": "no such thing", "album": "",
    })  # fmt: skip
    (tmp_path / "ana.json").write_text(json.dumps(exported))
    said = [(one.track, one.kind, round(one.at)) for one in library.history("Ana")]
    run("profile", "delete", "Ana", *home)
    status, out, err = run("import", tmp_path / "ana.json", *home)
    assert status == 0
    assert "3 new marks of 4 for the profile Ana" in out
    assert "no such thing" in err
    assert [(one.track, one.kind, round(one.at)) for one in library.history("Ana")] == said
    again = json.loads(run("import", tmp_path / "ana.json", "--json", *home)[1])
    assert (again["new"], again["known"], again["lost"]) == (0, 3, ["no such thing"])
    assert len(library.history("Ana")) == len(said)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"profile": "x", "history": [{}]}', '{"profile": "x", "history": 3}']
)
def test_what_is_no_profile_is_not_imported(run, home, tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    status, _, err = run("import", tmp_path / "x.json", *home)
    assert (status, "is no exported profile" in err) == (1, True)


def test_nothing_to_import_names_what_could_be(run, home, tmp_path):
    err = run("import", tmp_path / "x.mp3", *home)[2]
    assert all(suffix in err for suffix in (".npz", ".m3u8", ".json"))
    assert ".m3u8" not in run("export", tmp_path / "x.mp3", *home)[2]
