"""What every index must do; `test_index.py` runs it on each engine."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soundkin.errors import InputError, StoreError
from soundkin.filters import And, Filter, HasId, Match, Not, Or, Range, matches, parse
from soundkin.index import STRATEGIES, Index, Mark, Point

SPACES = {"sound": 8, "words": 5}
ARTISTS = ("Chayanne", "Björk", "Earth, Wind & Fire", "a\udcffb", "")
GENRES = ("samba", "salsa", "Salsa", "metal")
BIG = 2**64 - 1


def random_points(n: int, seed: int = 0) -> list[Point]:
    """Points with any subset of spaces and payload keys, ids spread over all of u64."""
    rng = np.random.default_rng(seed)
    ids = [0, 1, BIG, 2**63, *(int(i) for i in rng.integers(2, 2**63 - 1, size=n))][:n]
    points = []
    for number, point_id in enumerate(ids):
        vectors = {space: rng.normal(size=dims).astype(np.float32) for space, dims in SPACES.items()}
        if number % 5 == 3:
            del vectors["words"]
        genres = list(rng.permutation(GENRES)[: rng.integers(0, 4)])
        full: dict[str, Any] = {
            "artist": str(rng.choice(ARTISTS)),
            "genre": [str(genre) for genre in genres],
            "subgenres": [str(genre) for genre in genres[1:]],
            "name": f"track {number}",
            "year": int(rng.integers(1990, 1996)),
            "added": int(rng.integers(1_700_000_000, 1_700_000_005)),
            "bpm": float(rng.integers(118, 123)) + 0.5 * float(rng.integers(0, 2)),
            "energy": None if number % 7 == 0 else float(rng.random()),
            "loudness": float(rng.integers(-20, -5)),
        }
        payload = {key: value for key, value in full.items() if rng.random() < 0.8}
        points.append(Point(point_id, vectors, payload))
    return points


POINTS = random_points(80)


def cosines(points: list[Point], space: str, vector: np.ndarray) -> dict[int, float]:
    """Cosine similarity of every point that has the space, in double precision."""
    query = vector.astype(np.float64)
    found = {}
    for point in points:
        if space in point.vectors:
            row = point.vectors[space].astype(np.float64)
            found[point.id] = float(row @ query / (np.linalg.norm(row) * np.linalg.norm(query)))
    return found


def best(scores: dict[int, float], k: int) -> list[int]:
    return sorted(scores, key=lambda i: -scores[i])[:k]


numbers = {
    "year": st.one_of(st.integers(1989, 1997), st.sampled_from([1991.5, 1993.25])),
    "bpm": st.one_of(st.integers(117, 124), st.sampled_from([118.5, 120.25])),
    "energy": st.floats(-0.1, 1.1),
    "added": st.integers(1_699_999_999, 1_700_000_006),
    "duration": st.integers(0, 600),
}


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    field = draw(st.sampled_from(sorted(numbers)))
    bounds = draw(st.sets(st.sampled_from(["gt", "gte", "lt", "lte"]), min_size=1))
    return Range(field, **{bound: draw(numbers[field]) for bound in sorted(bounds)})


def by_formula(points: list[Point], likes: Any, dislikes: Any, strategy: str) -> dict[int, float]:
    """Score points one by one, by the formulas of Qdrant's documentation, in double precision."""
    units = [[v / np.linalg.norm(v) for v in side] for side in (likes, dislikes)]
    out = {}
    for point in points:
        row = point.vectors["sound"].astype(float)
        row /= np.linalg.norm(row)
        near, far = ([float(row @ v) for v in side] for side in units)
        if strategy == "sum":
            out[point.id] = (sum(near) - sum(far)) / (len(near) + len(far))
        elif strategy == "best":
            top, bottom = max(near), max(far, default=-2.0)
            score = top if top > bottom else bottom
            out[point.id] = (0.5 + 0.5 * score / (1 + abs(score))) * (1 if top > bottom else -1)
        else:
            target = np.mean(units[0], axis=0)
            if far:
                target = 2 * target - np.mean(units[1], axis=0)
            out[point.id] = float(row @ target / np.linalg.norm(target))
    return out


def words(field: str, values: tuple[str, ...]) -> st.SearchStrategy[Filter]:
    return st.sets(st.sampled_from((*values, "nobody")), min_size=1).map(
        lambda v: Match(field, tuple(sorted(v)))
    )


leaves: st.SearchStrategy[Filter] = st.one_of(
    words("artist", ARTISTS),
    words("genre", GENRES),
    words("subgenre", GENRES),
    words("title", ("track 1", "track 2")),
    ranges(),
    st.sets(st.sampled_from([0, 1, 7, BIG, 2**63])).map(lambda ids: HasId(frozenset(ids))),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    leaves,
    lambda part: st.one_of(
        part.map(Not),
        st.lists(part, min_size=1, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(part, min_size=1, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=6,
)


# ---- expressions as people type them, each with what it means in plain Python, apart from the filter's own tree

Meaning = Callable[[dict[str, Any], int], bool]
LIKED, PLAYED = {0, 7, BIG}, {1, BIG, 2**63}
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq,
}  # fmt: skip


def _number_term(field: str, sign: str, bound: float) -> tuple[str, Meaning]:
    return f"{field}{sign}{bound}", lambda has, _: field in has and _COMPARED[sign](has[field], bound)


def _word_term(field: str, key: str, value: str, differs: bool) -> tuple[str, Meaning]:
    def holds(has: dict[str, Any], _: int) -> bool:
        have = has.get(key, [])
        same = value.casefold() in [text.casefold() for text in ([have] if isinstance(have, str) else have)]
        return same != differs

    return f"{field}{'!=' if differs else '='}{value}", holds


terms: st.SearchStrategy[tuple[str, Meaning]] = st.one_of(
    st.builds(_number_term, st.just("year"), st.sampled_from(sorted(_COMPARED)), st.integers(1989, 1997)),
    st.builds(_number_term, st.just("bpm"), st.sampled_from(sorted(_COMPARED)), st.sampled_from([118.0, 120.5])),
    st.builds(_number_term, st.just("loudness"), st.sampled_from(sorted(_COMPARED)), st.integers(-20, -5)),
    st.builds(_word_term, st.just("genre"), st.just("genre"), st.sampled_from(GENRES), st.booleans()),
    st.builds(
        _word_term, st.just("artist"), st.just("artist"), st.sampled_from(["björk", "earth, wind & fire"]),
        st.booleans(),
    ),
    st.just(("liked", lambda _, number: number in LIKED)),
    st.just(("never-played", lambda _, number: number not in PLAYED)),
)  # fmt: skip


def _joined(word: str, parts: list[tuple[str, Meaning]]) -> tuple[str, Meaning]:
    every = all if word == "and" else any
    text = f" {word} ".join(f"({text})" for text, _ in parts)
    return text, lambda has, number: every(meaning(has, number) for _, meaning in parts)


def _denied(part: tuple[str, Meaning]) -> tuple[str, Meaning]:
    return f"not ({part[0]})", lambda has, number: not part[1](has, number)


expressions: st.SearchStrategy[tuple[str, Meaning]] = st.recursive(
    terms,
    lambda part: st.one_of(
        part.map(_denied),
        st.builds(_joined, st.sampled_from(["and", "or"]), st.lists(part, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


BAD_VECTORS: list[tuple[type[Exception], str, Any]] = [
    (InputError, "sound", [1, 2, 3, 4, 5, 6, 7, np.nan]),
    (InputError, "sound", [1, 2, 3, 4, 5, 6, 7, np.inf]),
    (InputError, "sound", np.zeros(8)),
    (InputError, "sound", np.ones(7)),
    (InputError, "sound", np.ones((1, 8))),
    (InputError, "sound", ["a"] * 8),
    (InputError, "sound", [[1], [1, 2]]),
    (StoreError, "other", np.ones(8)),
]
BAD_PAYLOADS: list[dict[str, Any]] = [
    {"colour": "red"},
    {"colour": None},
    {"artist": 7},
    {"genre": ["samba", 7]},
    {"genre": b"samba"},
    {"year": "1990"},
    {"year": 1990.0},
    {"added": 2**63},
    {"bpm": float("nan")},
    {"energy": float("inf")},
    {"duration": "9:30"},
]


class IndexContract(ABC):
    """Inherit, and override `make`."""

    @abstractmethod
    def make(self, folder: Path, spaces: dict[str, int]) -> Index:
        """Make an empty index."""

    @pytest.fixture
    def index(self, tmp_path: Path) -> Iterator[Index]:
        with self.make(tmp_path / "index", SPACES) as index:
            yield index

    @pytest.fixture
    def filled(self, index: Index) -> Index:
        index.upsert(POINTS)
        return index

    def test_a_point_is_nearest_to_itself(self, filled: Index) -> None:
        for point in POINTS[:20]:
            (found, score), *_ = filled.search("sound", 3 * point.vectors["sound"], k=5)
            assert found == point.id
            assert score == pytest.approx(1, abs=1e-5)

    def test_order_and_scores_are_those_of_the_cosine(self, filled: Index) -> None:
        for space, dims in SPACES.items():
            query = np.random.default_rng(1).normal(size=dims).astype(np.float32)
            expected = cosines(POINTS, space, query)
            hits = filled.search(space, query, k=10)
            assert [found for found, _ in hits] == best(expected, 10)
            assert [score for _, score in hits] == pytest.approx([expected[i] for i, _ in hits], abs=1e-5)

    def test_points_without_the_space_are_not_found(self, filled: Index) -> None:
        have = {point.id for point in POINTS if "words" in point.vectors}
        assert 0 < len(have) < len(POINTS)
        hits = filled.search("words", np.ones(5), k=1000)
        assert {found for found, _ in hits} == have
        assert len(hits) == len(have)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(where=filters)
    def test_filters_mean_what_matches_says(self, filled: Index, where: Filter) -> None:
        # the surrogate is what a file name that is no UTF-8 looks like; an index keeps it as "?"
        cleaned = [
            {k: v.replace("\udcff", "?") if isinstance(v, str) else v for k, v in p.payload.items()}
            for p in POINTS
        ]
        expected = {p.id for p, payload in zip(POINTS, cleaned, strict=True) if matches(where, payload, p.id)}
        assert {found for found, _ in filled.search("sound", np.ones(8), k=200, where=where)} == expected

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(expression=expressions, k=st.integers(1, 90))
    def test_expressions_mean_what_plain_python_says(
        self, filled: Index, expression: tuple[str, Meaning], k: int
    ) -> None:
        text, meaning = expression
        where = parse(
            [text],
            lambda field: {"genre": GENRES, "artist": ARTISTS}[field],
            lambda name, _: {"liked": LIKED, "played": PLAYED}[name],
        )
        passing = [p for p in POINTS if meaning({k: v for k, v in p.payload.items() if v is not None}, p.id)]
        query = np.arange(1, 9, dtype=np.float32)
        expected = best(cosines(passing, "sound", query), k)  # always k, when k pass
        assert [found for found, _ in filled.search("sound", query, k=k, where=where)] == expected

    def test_strict_filters_find_all_there_is(self, filled: Index) -> None:
        one, two = POINTS[12], POINTS[14]
        assert one.payload["name"] == "track 12"
        assert two.payload["name"] == "track 14"
        both = Match("title", ("track 12", "track 14"))
        for where, wanted in (
            (Match("title", ("track 12",)), {one.id}),
            (both, {one.id, two.id}),
            (And((both, Not(Match("title", ("track 12",))))), {two.id}),
            (And((both, HasId(frozenset({one.id, 12345})))), {one.id}),
            (Match("title", ("track",)), set()),
            (HasId(frozenset()), set()),
        ):
            assert {found for found, _ in filled.search("sound", np.ones(8), k=3, where=where)} == wanted

    def test_excluded_points_are_replaced_by_the_next(self, filled: Index) -> None:
        query = np.ones(8, np.float32)
        for where in (None, Range("year", gte=1990)):
            passing = [p for p in POINTS if where is None or matches(where, p.payload, p.id)]
            ranked = best(cosines(passing, "sound", query), 80)
            hits = filled.search("sound", query, k=10, where=where, exclude=[*ranked[:4], ranked[6], 12345])
            assert [found for found, _ in hits] == [*ranked[4:6], *ranked[7:15]]

    def test_very_many_excluded_points(self, filled: Index) -> None:
        query = np.ones(8, np.float32)
        ranked = best(cosines(POINTS, "sound", query), 80)
        elsewhere = range(2**40, 2**40 + 5000)
        hits = filled.search("sound", query, k=3, exclude=[*ranked[:70], *elsewhere])
        assert [found for found, _ in hits] == ranked[70:73]

    def test_equals_come_in_the_order_of_their_ids(self, index: Index) -> None:
        same = np.ones(8, np.float32)
        index.upsert(Point(i, {"sound": same}) for i in (9, 3, 7))
        assert [found for found, _ in index.search("sound", same, k=5)] == [3, 7, 9]

    def test_upsert_replaces_vectors_and_payload_as_a_whole(self, index: Index) -> None:
        east, north = np.eye(8, dtype=np.float32)[:2]
        index.upsert(
            [Point(1, {"sound": east, "words": np.ones(5)}, {"artist": "A", "year": 1990}), Point(2, {})]
        )
        assert index.count() == 2
        index.upsert([Point(1, {"sound": east}), Point(1, {"sound": north}, {"artist": "B"})])
        assert index.count() == 2
        [(found, score)] = index.search("sound", north, k=5)
        assert found == 1
        assert score == pytest.approx(1, abs=1e-6)
        assert index.search("words", np.ones(5), k=5) == []
        assert index.search("sound", north, k=5, where=Match("artist", ("A",))) == []
        assert index.search("sound", north, k=5, where=Range("year", gte=0)) == []
        assert len(index.search("sound", north, k=5, where=Match("artist", ("B",)))) == 1

    def test_delete(self, index: Index) -> None:
        index.upsert(random_points(20))
        keep = random_points(20)[5:]
        index.delete(point.id for point in random_points(20)[:5])
        index.delete([12345, random_points(20)[0].id])
        assert index.count() == 15
        assert {found for found, _ in index.search("sound", np.ones(8), k=50)} == {p.id for p in keep}

    def test_more_points_than_one_batch(self, index: Index) -> None:
        rng = np.random.default_rng(2)
        rows = rng.normal(size=(1203, 8)).astype(np.float32)
        index.upsert(Point(i, {"sound": row}) for i, row in enumerate(rows))
        assert index.count() == 1203
        assert index.search("sound", rows[1202], k=1)[0][0] == 1202

    def test_loading_is_writing(self, index: Index) -> None:
        rows = np.random.default_rng(4).normal(size=(1100, 8)).astype(np.float32)
        with index.loading() as loaded:
            assert loaded is index
            index.upsert(Point(i, {"sound": row}) for i, row in enumerate(rows[:600]))
            assert index.search("sound", rows[599], k=1)[0][0] == 599  # searched meanwhile
            index.upsert(Point(i + 600, {"sound": row}) for i, row in enumerate(rows[600:]))
        assert index.count() == 1100
        assert index.search("sound", rows[1099], k=1)[0][0] == 1099

    def test_loading_that_breaks_keeps_what_was_written(self, index: Index) -> None:
        def load() -> None:
            with index.loading():
                index.upsert([Point(1, {"sound": np.ones(8)})])
                raise RuntimeError("the disk with the music is gone")

        with pytest.raises(RuntimeError, match="the disk with the music"):
            load()
        with index.loading():
            index.upsert([Point(2, {"sound": np.ones(8)})])
        assert [found for found, _ in index.search("sound", np.ones(8), k=5)] == [1, 2]

    def test_lengths_from_tiny_to_huge_are_directions(self, index: Index) -> None:
        rows = np.eye(8, dtype=np.float64)
        index.upsert(Point(i, {"sound": rows[i] * 10.0 ** (10 * i - 40)}) for i in range(8))
        for i in range(8):
            [(found, score)] = index.search("sound", rows[i] * 1e-40, k=1)
            assert found == i
            assert score == pytest.approx(1, abs=1e-6)

    def test_bad_vectors_are_refused_with_their_whole_batch(self, index: Index) -> None:
        good = Point(1, {"sound": np.ones(8, np.float32)})
        for error, space, vector in BAD_VECTORS:
            with pytest.raises(error):
                index.upsert([good, Point(2, {space: vector}), Point(3, good.vectors)])
            assert index.count() == 0
            with pytest.raises(error):
                index.search(space, vector, k=3)

    def test_bad_ids_are_refused(self, index: Index) -> None:
        good = Point(1, {"sound": np.ones(8, np.float32)})
        bad_ids: list[Any] = [-1, 2**64, 1.5, "7", None]
        for bad in bad_ids:
            with pytest.raises(InputError):
                index.upsert([good, Point(bad, good.vectors)])
            with pytest.raises(InputError):
                index.delete([bad])
            with pytest.raises(InputError):
                index.search("sound", np.ones(8), k=1, exclude=[bad])
            assert index.count() == 0

    def test_bad_payloads_are_refused(self, index: Index) -> None:
        good = Point(1, {"sound": np.ones(8, np.float32)})
        for payload in BAD_PAYLOADS:
            with pytest.raises(InputError, match="payload of point 2"):
                index.upsert([good, Point(2, good.vectors, payload)])
            assert index.count() == 0

    def test_numpy_numbers_are_numbers(self, index: Index) -> None:
        payload = {"year": np.int32(1990), "bpm": np.float32(120), "genre": ("samba",)}
        index.upsert([Point(np.uint64(BIG), {"sound": [1] * 8}, payload)])  # type: ignore[arg-type, dict-item]
        where = And((Range("year", gte=1990, lte=1990), Range("bpm", gt=119), Match("genre", ("samba",))))
        assert [found for found, _ in index.search("sound", [1] * 8, k=1, where=where)] == [BIG]

    def test_k_below_one_is_refused(self, index: Index) -> None:
        for k in (0, -1):
            with pytest.raises(InputError, match=f"k={k}"):
                index.search("sound", np.ones(8), k=k)

    def test_an_empty_index_finds_nothing(self, index: Index) -> None:
        assert index.count() == 0
        assert index.search("sound", np.ones(8), k=3) == []
        assert index.search("sound", np.ones(8), k=2**40, where=Range("year", gt=0), exclude=[1]) == []

    def test_add_space(self, index: Index) -> None:
        index.upsert([Point(1, {"sound": np.ones(8)})])
        index.add_space("late", 3)
        index.add_space("late", 3)
        assert index.spaces == {**SPACES, "late": 3}
        index.upsert([Point(2, {"sound": np.ones(8), "late": np.ones(3)})])
        assert [found for found, _ in index.search("late", np.ones(3), k=9)] == [2]
        assert [found for found, _ in index.search("sound", np.ones(8), k=9)] == [1, 2]
        with pytest.raises(InputError, match="3"):
            index.add_space("late", 4)
        for name, dims in (("", 3), ("none", 0)):
            with pytest.raises(InputError):
                index.add_space(name, dims)
        assert index.spaces == {**SPACES, "late": 3}

    def test_the_mark_is_what_the_last_flush_said(self, index: Index) -> None:
        index.flush(Mark("record", 2**40))
        index.flush()
        assert index.mark == Mark("record", 2**40)

    @pytest.mark.parametrize("strategy", STRATEGIES)
    @pytest.mark.parametrize(("n", "m"), [(1, 0), (3, 0), (4, 2), (1, 3), (60, 5)])
    def test_recommend_is_what_the_formulas_say(self, filled: Index, strategy: str, n: int, m: int) -> None:
        rng = np.random.default_rng(n + m)
        likes, dislikes = rng.normal(size=(n, 8)), rng.normal(size=(m, 8))
        expected = by_formula(POINTS, likes, dislikes, strategy)
        for where in (None, Range("year", gte=1990)):
            passing = {p.id for p in POINTS if where is None or matches(where, p.payload, p.id)}
            left_out = best(expected, 3)[::2]
            hits = filled.recommend("sound", likes, dislikes, 12, strategy, where, left_out)
            wanted = {i: s for i, s in expected.items() if i in passing and i not in left_out}
            assert [found for found, _ in hits] == best(wanted, 12)
            assert [score for _, score in hits] == pytest.approx([wanted[i] for i, _ in hits], abs=1e-5)

    def test_recommend_with_one_like_is_a_search(self, filled: Index) -> None:
        query = np.ones(8, np.float32)
        nearest = [found for found, _ in filled.search("sound", query, 15)]
        for strategy in STRATEGIES:
            assert [i for i, _ in filled.recommend("sound", [query], [], 15, strategy)] == nearest

    def test_recommend_gives_k_when_there_are_k(self, filled: Index) -> None:
        for strategy in STRATEGIES:
            hits = filled.recommend("sound", np.eye(8)[:3], np.eye(8)[3:5], 10**6, strategy)
            assert len(hits) == len({i for i, _ in hits}) == len(POINTS)

    def test_recommend_refuses_what_it_cannot_use(self, filled: Index) -> None:
        east = np.eye(8)[0]
        with pytest.raises(InputError, match="strategy 'worst'"):
            filled.recommend("sound", [east], [], 3, "worst")
        with pytest.raises(InputError, match="no like"):
            filled.recommend("sound", [], [east], 3)
        with pytest.raises(InputError, match="cancel"):
            filled.recommend("sound", [east, -east], [], 3, "average")
        with pytest.raises(InputError, match="k=0"):
            filled.recommend("sound", [east], [], 0)
        for error, space, vector in BAD_VECTORS:
            with pytest.raises(error):
                filled.recommend(space, [vector], [], 3)
            with pytest.raises(error):
                filled.recommend(space, [np.ones(SPACES.get(space, 8))], [vector], 3)
