"""A name is one name, however its tracks spell it, wherever people see names counted or shown together."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_record import SPACE, song

from soundkin.browsing import Facet
from soundkin.datasets import Read
from soundkin.datasets.items import Item
from soundkin.encoders import unit
from soundkin.evaluate.labels import labels_of
from soundkin.explore.pages import colouring
from soundkin.filters import common_spelling, counted, folded
from soundkin.library import Library
from soundkin.recommend.clusters import describe
from soundkin.recommend.reasons import reasons
from soundkin.record import Record
from soundkin.serve.jobs import map_of

# "Łódź" as one letter each, and as letters with marks that follow them; "Rock" is the most frequent of its spellings
GENRES = ["rock", "Rock", "Rock", "ROCK", "Rock", "jazz", "Jazz", "jazz"]
ARTISTS = ["Łódź", "ŁO\u0301DZ\u0301", "łódź", "Łódź", "Łódź", "Bo", "bo", "Bo"]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Record.open(tmp_path, write=True) as record:
        record.add_space(SPACE)
        for i, (genre, artist) in enumerate(zip(GENRES, ARTISTS, strict=True)):
            record.put(song(f"/{i}.mp3", f"{i:032x}", seed=i, title=f"t{i}", genres=(genre,), artist=artist))
    with Library.open(tmp_path) as opened:
        yield opened


@given(st.lists(st.sampled_from(["Rock", "rock", "ROCK ", "Ø", "ø", "Jazz"])))
def test_every_spelling_has_one_that_stands_for_it(names: list[str]) -> None:
    often, chosen = Counter(names), common_spelling(names)
    assert set(chosen) == set(often)
    for name, shown in chosen.items():
        assert folded(shown) == folded(name)
        assert often[shown] == max(often[other] for other in often if folded(other) == folded(name))
    assert counted(names).total() == len(names)
    assert len(counted(names)) == len({folded(name) for name in names})
    assert counted(Counter(names)) == counted(names)


def test_chips_and_suggestions_count_all_spellings(library: Library) -> None:
    found = library.facets(("genre", "artist"))
    assert found["genre"] == [Facet("Rock", 5, "genre=Rock"), Facet("jazz", 3, "genre=jazz")]
    assert found["artist"] == [Facet("Łódź", 5, "artist=Łódź"), Facet("Bo", 3, "artist=Bo")]
    for chips in found.values():
        assert [library.page([chip.filter])[0] for chip in chips] == [5, 3]
    assert library.names_like("artist", "bo") == [Facet("Bo", 3, "artist=Bo")]


def test_maps_have_one_colour_for_all_spellings(library: Library) -> None:
    tracks = sorted(library.tracks(), key=lambda track: track.path)
    assert colouring(tracks, "genre").labels == ["Rock"] * 5 + ["jazz"] * 3
    assert list(colouring(tracks, "artist").legend) == ["Łódź", "Bo"]
    told = map_of(library, SPACE.id, "pca")
    assert (told["genres"], told["artists"]) == (["Rock", "jazz"], ["Łódź", "Bo"])
    assert sorted(told["columns"]["genre"].tolist()) == [0] * 5 + [1] * 3


def test_groups_are_named_by_what_their_tracks_spell_differently(library: Library) -> None:
    tracks = sorted(library.tracks(), key=lambda track: track.path)
    sides = np.array([0] * 5 + [1] * 3)
    named = [cluster.name for cluster in describe(tracks, unit(np.eye(2, dtype=np.float32)[sides]), sides)]
    assert [sorted(name.split(", "))[:2] for name in named] == [["Rock", "Łódź"], ["Bo", "jazz"]]


def test_reasons_see_a_name_in_any_spelling(library: Library) -> None:
    a, b = sorted(library.tracks(), key=lambda track: track.path)[:2]
    assert reasons(a, b)[:2] == ("same artist", "genre Rock")


def test_data_sets_and_evaluation_count_all_spellings(library: Library) -> None:
    items = [
        Item(f"{i}.mp3", artist=a, genres=(g,)) for i, (g, a) in enumerate(zip(GENRES, ARTISTS, strict=True))
    ]
    read = Read("folder", "", items, len(items))
    assert read.names("genre") == {"Rock": 5, "jazz": 3}
    assert read.names("artist") == {"Łódź": 5, "Bo": 3}
    assert labels_of(library.tracks()).names["genre"] == ["jazz", "Rock"]
