"""Where right answers stand, found without sorting everything, against sorting everything."""

from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from soundkin.evaluate import metrics
from soundkin.evaluate.labels import UNKNOWN, Labels
from soundkin.evaluate.pairs import Members, Pairs
from soundkin.evaluate.protocols import Task, Unmeasurable, album_task, artist_task, genre_task
from soundkin.evaluate.systems import Block, System, baselines, listener, popularity, scored

K = 5


def pairs_of(table: Any) -> Pairs:
    question, item = np.nonzero(table)
    return Pairs(len(table), question, item, table[question, item].astype(np.float64))


def table_of(pairs: Pairs, n: int) -> Any:
    out = np.zeros((pairs.questions, n))
    out[pairs.question, pairs.item] = pairs.gain
    return out


def agrees(system: System, block: Block, scores: Any) -> None:
    """Compare with the whole table of scores, sorted."""
    scores = np.array(scores, np.float32)
    scores[block.barred.question, block.barred.item] = -np.inf
    wanted = metrics.rank(scores, table_of(block.right, block.n))
    found = system.places(block, K)
    right = block.right
    ranks = metrics.ranked(right.questions, right.question, found.above, found.tied, right.gain)
    for name in ("question", "above", "tied"):
        np.testing.assert_array_equal(getattr(ranks, name), getattr(wanted, name), err_msg=name)
    if found.lists is not None:
        np.testing.assert_array_equal(found.lists, np.argsort(-scores, axis=1, kind="stable")[:, :K])


@given(st.integers(0, 2**32 - 1), st.integers(20, 3000), st.sampled_from([0.001, 0.05, 0.6]), st.booleans())
def test_what_listens_ranks_like_a_sort(seed: int, n: int, share: float, alike: bool) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 3)).astype(np.float32)
    if alike:  # many ties, and some of length 0
        vectors = rng.integers(-1, 2, (n, 3)).astype(np.float32)
    rows = rng.integers(0, n, 4)
    fate = rng.random((4, n))
    right = (fate < share) * rng.integers(1, 3, (4, n))
    barred = (fate > 0.9) & (np.arange(n) >= K)
    block = Block(rows, pairs_of(right), pairs_of(barred), n)
    system = listener("made", vectors)
    assert system.vectors is not None
    # as one product, because those of other shapes differ in the last digit
    scores = system.vectors[rows] @ np.ascontiguousarray(system.vectors.T)
    agrees(system, block, scores)
    agrees(scored("table", lambda rows: scores.copy()), block, scores)


@st.composite
def labelled(draw: st.DrawFn) -> Labels:
    n = draw(st.integers(12, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    artist = rng.integers(-1, 4, n)
    return Labels(rng.integers(0, 8, n), artist, rng.random((n, 4)) < 0.3, {})


def dense(task: Task, labels: Labels) -> tuple[Any, Any]:
    """Gains and what is barred as tables, from the definitions."""
    own = labels.take(task.candidates)
    if task.protocol == "album":
        gains, barred = own.album[:, None] == own.album, np.eye(len(own), dtype=bool)
    elif task.protocol == "artist":
        gains, barred = own.artist[:, None] == own.artist, own.album[:, None] == own.album
    else:
        both = (own.genres[:, None] & own.genres).sum(axis=2)
        gains = both / (own.genres[:, None] | own.genres).sum(axis=2)
        who = np.where(own.artist == UNKNOWN, 100 + own.album, own.artist)
        barred = who[:, None] == who
    return np.where(barred, 0, gains), barred


@given(labelled(), st.sampled_from([album_task, artist_task, genre_task]))
def test_protocols_and_baselines_are_their_definitions(labels: Labels, make: Any) -> None:
    try:
        task = make(labels)
    except Unmeasurable:  # too few labels for a figure
        assume(False)
    gains, barred = dense(task, labels)
    rows, n = task.asking, len(task.candidates)
    block = Block(rows, task.right(rows), task.barred(rows), n)
    np.testing.assert_allclose(table_of(block.right, n), gains[rows], rtol=1e-12)
    np.testing.assert_array_equal(table_of(block.barred, n) > 0, barred[rows])
    np.testing.assert_array_equal(block.free, (~barred[rows]).sum(axis=1))
    own = labels.take(task.candidates)
    artist, known = own.artist, own.artist != UNKNOWN
    scores = {
        "random": np.zeros((len(rows), n)),
        "popularity": np.tile(popularity(own), (len(rows), 1)),
        "same artist": (artist[rows, None] == artist) & known,
        "best possible": gains[rows],
    }
    for system in baselines(own):
        agrees(system, block, scores[system.name])


def test_members_of_labels() -> None:
    members = Members(np.array([2, UNKNOWN, 0, 2]), np.array([10, 11, 12, 13]))
    found = members.of(np.array([2, UNKNOWN, 1, 0]))
    assert found.question.tolist() == [0, 0, 3]
    assert found.item.tolist() == [10, 13, 12]
    assert found.bounds.tolist() == [0, 2, 2, 2, 3]
    assert Members(np.empty(0, np.int64)).of(np.array([UNKNOWN])).counts.tolist() == [0]
