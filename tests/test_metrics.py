"""The metrics against trec_eval (through the package that ir_measures wraps), scikit-learn and scipy."""

import itertools
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import skew
from sklearn.metrics import ndcg_score

from soundkin.errors import InputError
from soundkin.evaluate import metrics
from soundkin.evaluate.confidence import intervals, paired

K = 5
MEASURES = {
    f"P.{K}",
    f"recall.{K}",
    "map",
    f"map_cut.{K}",
    f"ndcg_cut.{K}",
    "Rprec",
    "recip_rank",
    f"success.{K}",
}


def ours(score: Any, gain: Any) -> dict[str, Any]:
    """All metrics under the names of trec_eval, an array of questions each."""
    ranks = metrics.rank(score, gain)
    return {
        f"P_{K}": metrics.precision(ranks, K),
        f"recall_{K}": metrics.recall(ranks, K),
        "map": metrics.average_precision(ranks),
        f"map_cut_{K}": metrics.average_precision(ranks, K),
        f"ndcg_cut_{K}": metrics.ndcg(ranks, K),
        "Rprec": metrics.r_precision(ranks),
        "recip_rank": metrics.reciprocal_rank(ranks),
        f"success_{K}": metrics.hit_rate(ranks, K),
    }


def trec_eval(score: Any, gain: Any) -> list[dict[str, float]]:
    """Let trec_eval judge each question; a list without an answer, which it leaves out, has found nothing."""
    qrels = {f"{q}": {f"d{i}": int(g) for i, g in enumerate(row)} for q, row in enumerate(gain)}
    runs = {
        f"{q}": {f"d{i}": float(s) for i, s in enumerate(row) if s > -np.inf} for q, row in enumerate(score)
    }
    found = pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(runs)
    nothing = dict.fromkeys(ours([0.0], [1.0]), 0.0)
    return [found.get(f"{q}", nothing) for q in range(len(gain))]


def questions(rng: np.random.Generator, count: int, n: int, missing: float) -> tuple[Any, Any]:
    """Graded gains, at least one of each question right, and scores without ties, some not given as answers."""
    gain = rng.integers(1, 4, (count, n)) * (rng.random((count, n)) < rng.uniform(0.1, 0.7))
    gain[np.arange(count), rng.integers(0, n, count)] = 1
    score = rng.permuted(np.tile(np.arange(n, dtype=float), (count, 1)), axis=1)
    score[rng.random((count, n)) < missing] = -np.inf
    return score, gain


def test_metrics_are_those_of_trec_eval_on_ten_thousand_questions() -> None:
    rng = np.random.default_rng(0)
    empty = 0
    for n in range(1, 41):
        score, gain = questions(rng, 250, n, missing=rng.choice([0.0, 0.3, 0.8]))
        empty += int((score == -np.inf).all(axis=1).sum())
        found, wanted = ours(score, gain), trec_eval(score, gain)
        for name, values in found.items():
            np.testing.assert_allclose(values, [w[name] for w in wanted], atol=1e-9, err_msg=f"{name}, {n}")
    assert empty > 50  # lists without any answer were among them


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, -np.inf]), st.integers(0, 2)), min_size=1, max_size=5))
def test_ties_give_the_mean_of_trec_eval_over_all_orders(items: list[tuple[float, int]]) -> None:
    score, gain = np.array([s for s, _ in items]), np.array([g for _, g in items])
    assume(gain.any())
    orders = np.array(list(itertools.permutations(range(len(items))))) / 100
    wanted = trec_eval(score + orders, np.tile(gain, (len(orders), 1)))
    for name, value in ours(score, gain).items():
        assert value[0] == pytest.approx(np.mean([w[name] for w in wanted]), abs=1e-9), name


@pytest.mark.slow
def test_ten_thousand_questions_with_ties_and_empty_lists() -> None:
    rng = np.random.default_rng(1)
    empty = tied = 0
    for number in range(10_000):
        n = int(rng.integers(1, 6))
        gain = rng.integers(0, 3, n)
        gain[rng.integers(n)] = 1
        score = rng.integers(0, 3, n).astype(float)
        score[rng.random(n) < rng.choice([0.0, 0.2, 0.95])] = -np.inf
        given_ = score[score > -np.inf].tolist()
        empty, tied = empty + (not given_), tied + (len(set(given_)) < len(given_))
        orders = np.array(list(itertools.permutations(range(n)))) / 100
        wanted = trec_eval(score + orders, np.tile(gain, (len(orders), 1)))
        for name, value in ours(score, gain).items():
            expected = np.mean([each[name] for each in wanted])
            assert abs(value[0] - expected) <= 1e-9, (number, name)
    assert empty > 1000
    assert tied > 3000


@given(st.integers(2, 30), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_ndcg_is_that_of_scikit_learn_with_ties(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain, score = rng.integers(0, 4, n).astype(float), rng.integers(0, 4, n).astype(float)
    assume(gain.any())
    found = metrics.ndcg(metrics.rank(score, gain), k)[0]
    assert found == pytest.approx(ndcg_score([gain], [score], k=k), abs=1e-9)


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_order_and_scale_do_not_matter(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain, score = rng.integers(0, 2, n), rng.integers(0, 6, n).astype(float)
    assume(gain.any())
    order = rng.permutation(n)
    first = ours(score, gain)
    for other in (ours(score[order], gain[order]), ours(3 * score - 7, gain)):
        for name in first:
            assert other[name][0] == pytest.approx(first[name][0], abs=1e-12), name


@pytest.mark.parametrize(("n", "right"), [(10, 1), (200, 7), (5000, 3)])
def test_a_system_that_says_nothing_gets_what_chance_gives(n: int, right: int) -> None:
    gain = np.zeros(n)
    gain[:right] = 1
    found = ours(np.zeros(n), gain)
    assert found[f"P_{K}"][0] == pytest.approx(right / n)
    assert found[f"recall_{K}"][0] == pytest.approx(K / n)
    assert found["Rprec"][0] == pytest.approx(right / n)
    nobody = np.prod([(n - right - i) / (n - i) for i in range(K)])  # hypergeometric
    assert found[f"success_{K}"][0] == pytest.approx(1 - nobody)
    rng = np.random.default_rng(0)
    places = np.array([np.sort(rng.choice(n, right, replace=False)) + 1 for _ in range(4000)])
    drawn = 1 / places[:, 0]
    assert found["recip_rank"][0] == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 63)
    drawn = (np.arange(1, right + 1) / places).mean(axis=1)
    assert found["map"][0] == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 63)


def test_a_system_that_knows_gets_everything() -> None:
    gain = np.array([[0, 3, 0, 1, 2, 0], [1, 0, 0, 0, 0, 0]])
    found = ours(gain.astype(float), gain)
    for name in ("map", f"ndcg_cut_{K}", "Rprec", "recip_rank", f"success_{K}"):
        np.testing.assert_allclose(found[name], 1, err_msg=name)


def test_a_question_without_a_right_answer_has_no_figure() -> None:
    for name, values in ours([[1.0, 2.0], [1.0, 2.0]], [[0, 0], [1, 0]]).items():
        assert np.isnan(values).tolist() == [True, False], name


@pytest.mark.parametrize(
    ("score", "gain", "said"),
    [
        ([1.0, np.nan], [1, 0], "1 of 2 scores are NaN"),
        ([1.0, 2.0], [1, -1], "negative"),
        ([1.0, 2.0], [1, np.nan], "NaN"),
        ([1.0, 2.0], [1], "shape|same"),
    ],
)
def test_what_is_no_ranking_is_refused(score: Any, gain: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        metrics.rank(score, gain)


# ---- lists


@given(st.lists(st.integers(0, 30), min_size=3, max_size=50))
def test_hubness_is_the_skewness_of_scipy(counts: list[int]) -> None:
    assume(len(set(counts)) > 1)
    assert metrics.hubness(counts) == pytest.approx(skew(counts), abs=1e-9)


def test_hubs_and_orphans_of_a_known_graph() -> None:
    lists = np.array([[1, 2], [0, 2], [1, 0], [1, 2]])  # nobody names 3
    counts = metrics.occurrences(lists, 4)
    assert counts.tolist() == [2, 3, 3, 0]
    assert (metrics.orphans(counts), metrics.coverage(lists, 4)) == (0.25, 0.75)
    assert np.isnan(metrics.hubness([2, 2, 2]))


def test_diversity_is_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists = np.array([rng.choice(20, 5, replace=False) for _ in range(9)])
    wanted = [
        np.mean([1 - float(vectors[a] @ vectors[b]) for a, b in itertools.combinations(row, 2)])
        for row in lists
    ]
    np.testing.assert_allclose(metrics.intra_list_diversity(lists, vectors), wanted, atol=1e-6)
    assert metrics.intra_list_diversity(np.array([[0, 0]]), vectors) == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="at least 2"):
        metrics.intra_list_diversity(lists[:, :1], vectors)


def test_novelty_is_in_bits() -> None:
    np.testing.assert_allclose(metrics.novelty(np.array([[0, 1], [2, 2]]), [0.5, 0.25, 0.125]), [1.5, 3])


def test_the_nearest_vote() -> None:
    lists, labels = np.array([[0, 1, 2], [2, 0, 1], [3, 2, 1]]), np.array([7, 8, 8, 7])
    assert metrics.vote(lists, labels, 3).tolist() == [8, 8, 8]
    assert metrics.vote(lists, labels, 2).tolist() == [7, 8, 7]  # one vote each: the nearest is heard
    assert metrics.vote(lists, labels, 1).tolist() == [7, 8, 7]


# ---- intervals and tests


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = naive = 0
    for trial in range(200):
        groups = np.repeat(np.arange(40), 10)
        values = 0.5 + np.repeat(rng.standard_normal(40), 10)[:, None]  # a group is one draw, ten times
        mean, low, high = intervals(values, groups, trial, rounds=200)
        assert mean[0] == pytest.approx(values.mean())
        hits += bool(low[0] <= 0.5 <= high[0])
        _, low, high = intervals(values, np.arange(400), trial, rounds=200)
        naive += bool(low[0] <= 0.5 <= high[0])
    assert 175 <= hits <= 199
    assert naive < 130  # what treating tracks as independent would claim


def test_one_group_gives_no_interval() -> None:
    mean, low, high = intervals(np.ones((5, 2)), np.zeros(5, np.int64))
    assert mean.tolist() == [1, 1]
    assert np.isnan([*low, *high]).all()
    assert np.isnan(paired(np.ones((5, 1)), np.zeros(5), np.zeros(5, np.int64))[1]).all()


def test_the_permutation_test_counts_like_arithmetic() -> None:
    groups = np.arange(8)
    values = np.stack([np.ones(8), np.zeros(8)], axis=1)
    difference, p = paired(values, np.zeros(8), groups)
    assert difference.tolist() == [1, 0]
    # of one that is always better only the two orders with equal signs are as extreme, of an equal one all are
    assert p == pytest.approx([2 / 2**8, 1], abs=0.003)


def test_where_there_is_no_difference_p_is_even() -> None:
    rng = np.random.default_rng(1)
    found = [
        paired(rng.standard_normal((60, 1)), rng.standard_normal(60), np.repeat(np.arange(30), 2), s, 400)[1]
        for s in range(200)
    ]
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.12
    assert 0.4 < np.mean(found) < 0.6
