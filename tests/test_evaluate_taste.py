"""Likes that are hidden and looked for, and words as questions: in made libraries whose answers are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_evaluate import D, made_of, only, value, write

from soundkin import cli
from soundkin.encoders import unit
from soundkin.errors import InputError, ModelError, NotFound
from soundkin.evaluate import FROM_VECTORS, PROTOCOLS, Options, evaluate, taste
from soundkin.library import Library
from soundkin.recommend import STRATEGIES
from soundkin.tags import Tags


def two_kinds(folder: Path, n: int = 60, alike: int = 15, encoder: str = "made") -> Library:
    """Tracks of which the first few sound alike, and all others like nothing else; five to an artist."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, D))
    rows[:alike] = rows[0] + 0.2 * rng.standard_normal((alike, D))
    tags = [Tags(artist=f"Artist {i // 5}", album=f"Album {i}", title=f"{i:02}") for i in range(n)]
    return write(folder, tags, {encoder: unit(rows.astype(np.float32))}, apart=10.0)


def tracks_of(library: Library) -> list[Any]:
    return sorted(library.tracks(), key=lambda track: track.title)


def test_hidden_likes_that_sound_alike_are_found(tmp_path: Path) -> None:
    library = two_kinds(tmp_path)
    tracks = tracks_of(library)
    library.feedback("like", tracks[:10])
    library.create_profile("other")
    library.feedback("like", [*tracks[:3], tracks[40]], "other")  # too few to be asked about
    table = only(library, "taste")
    # each of ten is hidden once; five others sound like it, so it is among the first ten whatever their order
    assert (table.questions, table.told["profiles"], table.told["likes_hidden"]) == (10, 1, 10)
    for strategy in STRATEGIES:
        assert value(table, f"made {strategy}", "recall@10") == 1, strategy
        assert value(table, f"made {strategy}", "P@10") == pytest.approx(0.1)
    assert value(table, "random", "recall@10") == pytest.approx(10 / 51, abs=1e-6)
    # three of the ten are liked by the other: only the 40th stands beside them, and nine are known
    assert value(table, "popularity", "hit@10") == pytest.approx(
        (3 + 7 * 9 / 50) / 10, abs=1e-6
    )  # else one of the 50 that are left, at 9 places
    # the four others of the hidden one's artist are known, five by the other artist are too, so it comes first
    assert value(table, "same artist", "P@1") == 1
    assert value(table, "best possible", "NDCG@10") == 1
    assert any("fewer than 5 profiles" in note for note in table.notes)


def test_dislikes_are_given_and_no_answer(tmp_path: Path) -> None:
    library = two_kinds(tmp_path)
    tracks = tracks_of(library)
    library.feedback("like", tracks[:10])
    library.feedback("dislike", tracks[10:14])
    table = only(library, "taste", strategies=("agreement",), k=5)
    assert [row.system for row in table.rows][:2] == ["made agreement", "made agreement, varied"]
    # of the alike ones only the 14th is left beside the hidden one, and what is disliked is barred for everyone
    assert value(table, "random", "recall@5") == pytest.approx(5 / 47, abs=1e-6)


def test_plays_stand_for_likes_where_there_are_none(tmp_path: Path) -> None:
    library = two_kinds(tmp_path)
    tracks = tracks_of(library)
    library.feedback("play", [*tracks[:10], *tracks[:10]])
    library.feedback("skip", [tracks[30]])
    table = only(library, "taste", strategies=("best",))
    assert table.told["likes_hidden"] == 10
    assert value(table, "made best", "recall@10") == 1


def test_many_profiles_are_what_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taste, "MOST_QUESTIONS", 40)
    library = two_kinds(tmp_path)
    tracks = tracks_of(library)
    rng = np.random.default_rng(1)
    for number in range(6):
        library.create_profile(f"p{number}")
        library.feedback("like", [tracks[i] for i in rng.permutation(15)[:10]], f"p{number}")
    table = only(library, "taste", strategies=("best", "average"))
    assert (table.questions, table.told["profiles"]) == (40, 6)
    assert any("6 groups" in note for note in table.notes)
    first, second = table.rows[:2]
    assert (first.system, first.p, second.system) == ("made best", None, "made average")
    assert second.p is not None
    only_two = only(library, "taste", strategies=("best",), profiles=("p3", "p4"))
    assert (only_two.questions, only_two.told["profiles"]) == (20, 2)
    # the same seed hides the same
    assert only(library, "taste", strategies=("best",)).rows[0].figures == first.figures


def test_too_little_feedback_is_said(tmp_path: Path) -> None:
    library = two_kinds(tmp_path)
    assert "0 tracks" in only(library, "taste").reason
    library.feedback("like", tracks_of(library)[:6])
    table = only(library, "taste")
    assert table.rows == []
    assert "6 tracks with vectors are liked" in table.reason
    with pytest.raises(NotFound, match="no profile"):
        only(library, "taste", profiles=("nobody",))
    with pytest.raises(InputError, match="no strategy"):
        Options(("taste",), strategies=("nonsense",))


def test_the_command_compares_strategies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = two_kinds(tmp_path)
    library.feedback("like", tracks_of(library)[:10])
    library.close()
    with pytest.raises(SystemExit) as exited:
        cli.main(
            f"evaluate --library {tmp_path} --protocol taste --strategy agreement,average --json".split()
        )
    assert not exited.value.code
    (table,) = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in table["rows"]] == [
        "made agreement", "made average", "made agreement, varied", "random", "popularity", "same artist",
        "best possible",
    ]  # fmt: skip
    assert table["headline"] == "NDCG@10"


def test_the_names_of_the_command_are_those_of_python() -> None:
    options = {param.name: param for param in cli.cli.commands["evaluate"].params}
    for name, known in (("protocols", PROTOCOLS), ("strategies", STRATEGIES)):
        assert ", ".join(known) in str(vars(options[name])["help"])
    assert PROTOCOLS[: len(FROM_VECTORS)] == FROM_VECTORS


# ---- words


class Reader:
    """An encoder that puts the name of a genre where its tracks are, if it is told to."""

    def __init__(self, centres: dict[str, Any], spoilt: bool) -> None:
        self._centres, self._spoilt = centres, spoilt

    def text(self, words: str) -> Any:
        name = words.removesuffix(" music")
        rng = np.random.default_rng(len(name))
        return unit(rng.standard_normal(D).astype(np.float32)) if self._spoilt else self._centres[name]


def six_genres(folder: Path, encoder: str, monkeypatch: pytest.MonkeyPatch, spoilt: bool = False) -> Library:
    rng = np.random.default_rng(0)
    centres = {f"genre {i}": unit(rng.standard_normal(D).astype(np.float32)) for i in range(6)}
    tags = [Tags(artist=f"{i % 4}", genres=(f"genre {i % 6}",)) for i in range(60)] + [Tags()] * 3
    rows = [centres[tag.genres[0]] if tag.genres else np.ones(D) for tag in tags]
    noisy = np.array(rows, np.float32) + 0.01 * rng.standard_normal((63, D)).astype(np.float32)
    library = write(folder, tags, {encoder: unit(noisy)})
    (space,) = library.status().spaces

    def embedder(self: Library, asked: Any) -> Any:
        assert asked.id == space[0].id
        return type("Embedder", (), {"encoders": {asked.id: Reader(centres, spoilt)}})()

    monkeypatch.setattr(Library, "embedder", embedder)
    return library


def test_words_find_what_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = only(six_genres(tmp_path, "clap", monkeypatch), "text")
    assert (table.questions, table.candidates, table.headline) == (6, 60, "P@10")  # three have no genre
    for column in ("P@10", "R-prec", "mAP", "MRR", "NDCG@10", "recall@10"):
        assert value(table, "clap", column) == pytest.approx(1), column
    assert value(table, "random", "P@10") == pytest.approx(1 / 6, abs=1e-6)


def test_words_that_mean_nothing_find_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = only(six_genres(tmp_path, "made", monkeypatch, spoilt=True), "text", spaces=("made",))
    assert value(table, "made", "mAP") < 0.6
    assert value(table, "best possible", "mAP") == 1


def test_a_space_without_words_says_so(tmp_path: Path) -> None:
    library = made_of(tmp_path, [Tags(artist=f"{i}", genres=(f"{i % 6}",)) for i in range(60)])
    assert "no space of this library understands words" in only(library, "text").reason
    assert "made" in only(library, "text", spaces=("made",)).reason


def test_a_built_in_space_names_the_one_that_reads(shared: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    from soundkin.evaluate import words

    monkeypatch.setattr(words, "LEAST_TAGS", 2)
    reason = only(shared, "text", spaces=("cnn",)).reason
    assert "understands no words" in reason
    assert "clap" in reason
    with pytest.raises(ModelError):
        shared.embedder(shared.space("cnn")).encoders[shared.space("cnn").id].text("x")


def test_too_few_genres_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = six_genres(tmp_path, "clap", monkeypatch)
    (table,) = evaluate(library, Options(("text",), least=11))
    assert "0 genres have 11 or more of the 60 tracks" in table.reason


def test_words_have_their_own_baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = only(six_genres(tmp_path, "clap", monkeypatch), "text")
    assert [row.system for row in table.rows] == ["clap", "random", "popularity", "best possible"]
