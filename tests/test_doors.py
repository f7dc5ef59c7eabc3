"""Library, command and API give the same answers to the same questions: one suite, three doors."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pytest
from made import copied
from serving import API, client_of

from soundkin import cli
from soundkin.errors import SoundkinError
from soundkin.library import Library
from soundkin.record import Record
from soundkin.record.feedback import Feedback


@dataclass(frozen=True)
class Question:
    """What is asked: a method of the library with its arguments, the words of the command, and the request."""

    call: str
    arguments: dict[str, Any]
    words: tuple[str, ...]
    route: str
    body: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    copy = copied(made.library, tmp_path_factory.mktemp("doors") / "library")
    with Library.open(copy) as library:
        tracks = library.tracks()
        library.create_profile("Ana")
        rng = np.random.default_rng(0)
        with Record.open_to_note(copy) as record:
            record.add_events(
                [
                    (f"p{p}", Feedback(track.id, "play", 1e9 + 1000 * i))
                    for p in range(12)
                    for i, track in enumerate(tracks)
                    if rng.random() < 0.5
                ]
            )
        library.train_taste()
        for kind, some in (
            ("like", tracks[2:5]),
            ("dislike", tracks[7:8]),
            ("skip", tracks[9:10]),
            ("play", tracks[:4]),
        ):
            library.feedback(kind, some, "Ana", at=1.7e9)
    return copy


@pytest.fixture(scope="module")
def direct(folder):
    with Library.open(folder) as library:
        yield library


@pytest.fixture(scope="module")
def client(folder):
    with client_of(folder) as opened:
        yield opened


def in_order(library):
    """In one order on every run, which ids are not; copies last."""
    return sorted(library.tracks(), key=lambda track: ("copies" in track.path, track.path))


@pytest.fixture(scope="module")
def names(shared):
    """Stand-ins for what the questions below name."""
    tracks = in_order(shared)
    titled = next(t for t in tracks if sum(o.title == t.title for o in tracks) == 1 and t.title)
    return {
        "a": tracks[0].id, "b": tracks[4].id, "c": tracks[11].id, "words": f"{titled.artist} {titled.title}",
        "many": next(t.artist for t in tracks if t.artist and sum(o.artist == t.artist for o in tracks) > 1),
        "genre": next(t.genres[0] for t in tracks if t.genres), "space": shared.space("descriptors").id,
    }  # fmt: skip


def filled(value, names):
    """Put what stands for a name in its place."""
    if isinstance(value, str):
        return value.format(**names) if "{" in value else value
    if isinstance(value, dict):
        return {key: filled(inner, names) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(filled(inner, names) for inner in value)
    return value


def similar(query, *words, text=None, **more):
    asked = {"k": 6} | more
    options = [part for pair in (("-k", str(asked["k"])), *words) for part in pair]
    return Question(
        "similar",
        {"query": query} | asked,
        ("similar", query, *options),
        "/similar",
        {"query": query} | asked,
    )


QUESTIONS = {
    "by id": similar("{a}"),
    "by words": similar("{words}"),
    "filtered": similar(
        "{a}", ("--filter", "duration>1"), ("--filter", "genre={genre}"), filters=["duration>1", "genre={genre}"]
    ),
    "nothing left": similar("{a}", ("--filter", "year>2900"), filters=["year>2900"]),
    "liked by Ana": similar("{a}", ("--filter", "liked"), ("--profile", "Ana"), filters=["liked"], profile="Ana"),
    "another space": similar("{a}", ("--space", "descriptors"), space="descriptors"),
    "a space by its id": similar("{a}", ("--space", "{space}"), space="{space}"),
    "two spaces": similar("{b}", ("--space", "cnn+descriptors"), space="cnn+descriptors"),
    "by moments": similar("{b}", ("--moments",), moments=True),
    "with versions": similar("{a}", ("--versions",), versions=True),
    "a moment": similar("{a}", ("--at", "1"), ("--seconds", "3"), at=1.0, seconds=3.0),
    "recommend": Question(
        "recommend", {"likes": ["{a}", "{words}"], "dislikes": ["{c}"], "k": 5},
        ("recommend", "--like", "{a}", "--like", "{words}", "--dislike", "{c}", "-k", "5"),
        "/recommend", {"likes": ["{a}", "{words}"], "dislikes": ["{c}"], "k": 5},
    ),
    "recommend by sound and taste": Question(
        "recommend", {"likes": ["{a}", "{b}"], "k": 5, "hybrid": True},
        ("recommend", "--like", "{a}", "--like", "{b}", "-k", "5", "--hybrid"),
        "/recommend", {"likes": ["{a}", "{b}"], "k": 5, "hybrid": True},
    ),
    "recommend to Ana": Question(
        "recommend", {"profile": "Ana", "k": 5, "strategy": "best", "filters": ["not liked"]},
        ("recommend", "--profile", "Ana", "-k", "5", "--strategy", "best", "--filter", "not liked"),
        "/recommend", {"profile": "Ana", "k": 5, "strategy": "best", "filters": ["not liked"]},
    ),
    "path": Question(
        "path", {"start": "{a}", "end": "{c}", "n": 6}, ("path", "{a}", "{c}", "-n", "6"),
        "/path", {"start": "{a}", "end": "{c}", "n": 6},
    ),
    "another path": Question(
        "path", {"start": "{a}", "end": "{b}", "n": 5, "seed": 3}, ("path", "{a}", "{b}", "-n", "5", "--seed", "3"),
        "/path", {"start": "{a}", "end": "{b}", "n": 5, "seed": 3},
    ),
    "radio": Question(
        "radio", {"query": "{a}", "seed": 2, "remember": False}, ("radio", "{a}", "-n", "5", "--seed", "2"),
        "/radio", {"queries": ["{a}"], "n": 5, "seed": 2},
    ),
    "a mix": Question(
        "mix", {"likes": ["{b}"], "moods": ["calm"], "n": 4},
        ("playlist", "--like", "{b}", "--mood", "calm", "-n", "4"),
        "/mix", {"likes": ["{b}"], "moods": ["calm"], "n": 4},
    ),
}  # fmt: skip

ERRORS = {
    "nothing matches": similar("no such song"),
    "several match": similar("{many}"),
    "an unknown field": similar("{a}", ("--filter", "colour=red"), filters=["colour=red"]),
    "half a filter": similar("{a}", ("--filter", "year>"), filters=["year>"]),
    "an unknown space": similar("{a}", ("--space", "openl3"), space="openl3"),
    "a moment after the end": similar("{a}", ("--at", "5000"), at=5000.0),
    "moments of two spaces": similar(
        "{a}", ("--space", "cnn+descriptors"), ("--moments",), space="cnn+descriptors", moments=True
    ),
    "nobody reads": Question(
        "similar", {"text": "slow piano"}, ("similar", "--text", "slow piano"), "/similar", {"text": "slow piano"}
    ),
    "liked and disliked": Question(
        "recommend", {"likes": ["{a}"], "dislikes": ["{a}"]}, ("recommend", "--like", "{a}", "--dislike", "{a}"),
        "/recommend", {"likes": ["{a}"], "dislikes": ["{a}"]},
    ),
    "nobody of that name": Question(
        "recommend", {"profile": "Bob"}, ("recommend", "--profile", "Bob"), "/recommend", {"profile": "Bob"}
    ),
    "a path to itself": Question(
        "path", {"start": "{a}", "end": "{a}"}, ("path", "{a}", "{a}"), "/path", {"start": "{a}", "end": "{a}"}
    ),
    "an unknown mood": Question(
        "mix", {"moods": ["mauve"]}, ("playlist", "--mood", "mauve"), "/mix", {"moods": ["mauve"]}
    ),
}  # fmt: skip


def hits_of(found):
    """Return the hits of whatever a method returns, five of a radio."""
    if hasattr(found, "hits"):
        return found.hits
    return found if isinstance(found, list) else [hit for hit, _ in zip(found, range(5), strict=False)]


SHOWN = (
    "id",
    "title",
    "artist",
    "album",
    "duration",
    "similarity",
    "cosine",
    "reasons",
    "follows",
    "close",
    "there",
)


def shown(hit):
    """Return what all doors say of a hit, numbers as precise as they are printed."""
    plain = {name: hit[name] for name in SHOWN}
    plain["reasons"] = list(plain["reasons"])
    plain["moments"] = [
        tuple(round(m[name], 3) for name in ("here", "there", "seconds", "cosine")) for m in hit["moments"]
    ]
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in plain.items()}


def command(words, folder, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--library", str(folder), "--json"])
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_doors_give_the_same_answer(direct, folder, client, names, capsys, name):
    asked = QUESTIONS[name]
    found = getattr(direct, asked.call)(**filled(asked.arguments, names))
    answer = [shown(asdict(hit)) for hit in hits_of(found)]
    code, out, _ = command(filled(asked.words, names), folder, capsys)
    assert code == 0
    printed = json.loads(out)
    sent = client.post(API + asked.route, json=filled(asked.body, names))
    assert sent.status_code == 200, sent.text
    assert [shown(hit) for hit in printed["hits"]] == answer
    assert [shown(hit) for hit in sent.json()["hits"]] == answer
    assert bool(answer) == (name != "nothing left")
    assert [hit["rank"] for hit in sent.json()["hits"]] == list(range(1, len(answer) + 1))
    for what in ("space", "jumps"):
        if what in printed:
            assert sent.json()[what] == printed[what]


def test_the_doors_hear_the_same_in_a_file(direct, folder, client, made, capsys):
    answer = [shown(asdict(hit)) for hit in direct.similar(made.outside, k=6)]
    code, out, _ = command(("similar", str(made.outside), "-k", "6"), folder, capsys)
    assert code == 0
    with made.outside.open("rb") as file:
        sent = client.post(
            f"{API}/similar/upload", files={"file": (made.outside.name, file)}, data={"k": "6"}
        )
    assert [shown(hit) for hit in json.loads(out)["hits"]] == answer
    assert [shown(hit) for hit in sent.json()["hits"]] == answer


@pytest.mark.parametrize("name", ERRORS)
def test_the_doors_refuse_with_the_same_words(direct, folder, client, names, capsys, name):
    asked = ERRORS[name]
    with pytest.raises(SoundkinError) as refused:
        hits_of(getattr(direct, asked.call)(**filled(asked.arguments, names)))
    code, out, err = command(filled(asked.words, names), folder, capsys)
    sent = client.post(API + asked.route, json=filled(asked.body, names))
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == f"error: {refused.value}"
    assert sent.json()["error"]["message"] == str(refused.value)
    assert 400 <= sent.status_code < 500
    choices = getattr(refused.value, "choices", None)
    if choices:
        assert [one["id"] for one in sent.json()["error"]["choices"]] == [track.id for track in choices][:20]
        assert all(track.id in err for track in choices[:10])


def test_what_is_said_at_one_door_is_known_at_the_others(direct, folder, client, shared, capsys):
    a, b, c = (track.id for track in in_order(shared)[12:15])
    direct.create_profile("Eve")
    direct.feedback("like", [a], "Eve")
    assert command(("like", b, "--profile", "Eve"), folder, capsys)[0] == 0
    client.post(f"{API}/feedback", json={"kind": "dislike", "tracks": [c], "profile": "Eve"})
    wanted = {a: "like", b: "like", c: "dislike"}
    assert direct.verdicts("Eve") == wanted
    sent = client.get(f"{API}/profiles/Eve/history").json()
    assert {one["track"]: one["kind"] for one in sent} == wanted
    printed = json.loads(command(("profile", "export", "Eve"), folder, capsys)[1])
    assert {one["track"]: one["kind"] for one in printed["history"]} == wanted
