import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundkin.recommend.closeness import Closeness, log_tail


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def music(n=400, d=16, offset=0.0, seed=0):
    """Unit vectors around a common direction: the larger the offset, the closer is everything to everything."""
    rows = np.random.default_rng(seed).normal(size=(n, d))
    rows[:, 0] += offset
    return unit(rows)


@pytest.mark.parametrize("z", [-6, -2.5, -0.1, 0, 0.3, 1, 3, 8, 25])
def test_log_tail_is_that_of_the_normal_distribution(z):
    assert float(log_tail(np.float32(z))) == pytest.approx(
        math.log(math.erfc(z / 2**0.5) / 2), abs=2e-6, rel=1e-5
    )


def test_log_tail_goes_on_where_the_chance_itself_is_no_number_any_more():
    # Mills' ratio (asymptotic): ln(phi(z) / z) = -z^2 / 2 - ln(z sqrt(2 pi))
    assert math.erfc(100 / 2**0.5) == 0
    expected = -(100**2) / 2 - math.log(100 * math.sqrt(2 * math.pi))
    assert float(log_tail(np.float32(100))) == pytest.approx(expected, rel=1e-4)


def of_its_own(cosines):
    """Mean, and how far above it the nearest 4 % begin."""
    return cosines.mean(), max(0, np.quantile(cosines, 0.96, method="hazen") - cosines.mean())


def drawn(own, all_tracks):
    """Three quarters of a track's own mean and variance, one of those of all tracks."""
    means, near = np.array([of_its_own(cosines) for cosines in all_tracks]).T
    variance = np.mean([cosines.var() for cosines in all_tracks])
    mean, begin = of_its_own(own)
    deviation = begin * np.sqrt(variance / (near**2).mean())
    return 0.75 * mean + 0.25 * means.mean(), np.sqrt(0.75 * deviation**2 + 0.25 * variance)


def test_usual_is_the_mean_and_where_the_nearest_begin():
    rows, queries = music(160, offset=2.0), music(5, seed=9)
    exact = rows.astype(float)
    others = [np.delete(exact, i, axis=0) @ exact[i] for i in range(160)]
    mean, deviation = Closeness.of(rows).usual(queries, known=False)
    for i, query in enumerate(queries.astype(float)):
        assert (mean[i], deviation[i]) == pytest.approx(drawn(exact @ query, others), abs=1e-6)
    # a track of the library is not compared with itself
    mean, deviation = Closeness.of(rows).usual(rows)
    for i in (0, 3, 159):
        assert (mean[i], deviation[i]) == pytest.approx(drawn(others[i], others), abs=1e-6)
    # and of a part of a large one it is not known whether it is in the sample
    every = exact @ exact.T
    part = Closeness.of(rows, 10_000).usual(rows[3:4])
    assert (part[0][0], part[1][0]) == pytest.approx(drawn(every[3], every), abs=1e-6)


def test_a_thousand_tracks_say_nearly_what_all_say():
    rows = music(4000, d=32, offset=1.0)
    exact = rows.astype(float)
    cosines = exact @ exact.T
    expected = np.array([of_its_own(row) for row in cosines])
    means, deviations = Closeness.of(rows, 100_000).usual(rows[:200])
    assert means == pytest.approx(0.75 * expected[:200, 0] + 0.25 * cosines.mean(), abs=1e-5)
    own = expected[:200, 1] ** 2 / (expected[:, 1] ** 2).mean()
    variance = cosines.var(axis=1).mean()
    assert deviations == pytest.approx(np.sqrt((0.75 * own + 0.25) * variance), rel=0.15)


@pytest.mark.parametrize("offset", [0.0, 1.0, 8.0])
def test_zero_is_an_unrelated_pair_and_one_is_the_same_recording_in_any_space(offset):
    rows = music(offset=offset)
    usual = Closeness.of(rows)
    a, b = np.random.default_rng(3).integers(400, size=(2, 4000))
    pairs = np.einsum("nd,nd->n", rows[a], rows[b])[a != b]
    assert usual.similarity(1.0) == 1
    assert usual.similarity(float(np.median(pairs))) == pytest.approx(0, abs=0.02)
    assert usual.similarity(-1.0) == 0


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.floats(0, 20))
def test_calibration_keeps_the_order_and_stays_in_bounds(cosines, offset):
    usual = Closeness.of(music(60, offset=offset))
    values = [usual.similarity(c) for c in sorted(cosines)]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)


def test_calibration_is_stable_as_a_library_grows():
    rows = music(2000, offset=1.0)
    before, after = Closeness.of(rows[:1000]), Closeness.of(rows)
    for cosine in (0.2, 0.5, 0.9):
        assert before.similarity(cosine) == pytest.approx(after.similarity(cosine), abs=0.02)


def test_evidence_is_minus_the_log_of_the_chance_seen_from_both():
    rows = music(offset=1.5)
    usual = Closeness.of(rows)
    got = usual.evidence(rows[:4], rows[10:13])
    cosines = rows[:4].astype(float) @ rows[10:13].T.astype(float)
    (m, s), (n, t) = usual.usual(rows[:4]), usual.usual(rows[10:13])
    for i in range(4):
        for j in range(3):
            a = math.erfc((cosines[i, j] - m[i]) / s[i] / 2**0.5) / 2
            b = math.erfc((cosines[i, j] - n[j]) / t[j] / 2**0.5) / 2
            assert got[i, j] == pytest.approx(-math.log(a + b - a * b), abs=1e-4)
    assert usual.evidence(rows[10:13], rows[:4]) == pytest.approx(got.T, abs=1e-5)


def test_a_hub_is_not_everybodys_neighbour_any_more():
    # a track in the middle of all is the nearest to nearly every other one; its evidence is not
    rows = music(300, d=100, offset=6.0)
    rows[0] = unit(rows.mean(axis=0))
    usual = Closeness.of(rows)

    def counts(scores):
        np.fill_diagonal(scores, -np.inf)
        return np.bincount(np.argsort(-scores, axis=1)[:, :10].ravel(), minlength=300)

    raw, corrected = counts(rows @ rows.T), counts(usual.evidence(rows, rows))
    assert raw[0] > 200
    assert corrected[0] < raw[0] / 2
    assert (corrected == 0).sum() <= (raw == 0).sum() / 2


def test_small_libraries_say_nothing_about_what_is_usual():
    for n in (0, 1, 2, 99):
        rows = music(n)
        usual = Closeness.of(rows)
        queries = music(3, seed=5)
        assert usual.evidence(queries, queries) == pytest.approx(np.maximum(queries @ queries.T, 0), abs=1e-6)
        assert usual.is_close(0.0)
        assert 0 <= usual.similarity(0.5) <= 1


def test_a_small_library_goes_by_what_is_usual_elsewhere():
    # of n unrelated tracks with cosines of N(0.1, 0.2), the one or the other track of a pair is as close by chance
    # once in n when c is where 2 (1 - Phi((c - 0.1) / 0.2)) = 1 / n: tables of Phi give the deviations
    for n, deviations in ((5, 1.2816), (10, 1.6449), (50, 2.3263)):
        level = 0.1 + 0.2 * deviations
        usual = Closeness.of(music(n), elsewhere=(0.1, 0.2))
        assert not usual.is_close(level - 0.002)
        assert usual.is_close(level + 0.002)
        # whatever its own tracks are like
        alike = Closeness.of(music(n, offset=8.0), elsewhere=(0.1, 0.2))
        assert not alike.is_close(level - 0.002)
        assert alike.is_close(level + 0.002)


def test_a_library_that_says_what_is_usual_does_not_ask_elsewhere():
    rows = music(400)
    own, told = Closeness.of(rows), Closeness.of(rows, elsewhere=(0.9, 0.01))
    best = own.evidence(rows, music(50, seed=7), known=False).max(axis=0)
    assert [own.is_close(b) for b in best] == [told.is_close(b) for b in best]


def test_a_library_of_one_sound_has_numbers_all_the_same():
    same = np.repeat(unit([[1, 2, 3]]), 150, axis=0)
    usual = Closeness.of(same)
    assert np.isfinite(usual.evidence(same[:2], same)).all()
    assert usual.similarity(1.0) == 1


def test_close_is_more_than_chance_brings():
    # uniform on a sphere of 64 dimensions nothing is close to anything; a near-copy is
    rows = music(1000, d=64)
    usual = Closeness.of(rows)
    queries = music(200, d=64, seed=7)
    best = usual.evidence(rows, queries, known=False).max(axis=0)
    assert np.mean([usual.is_close(b) for b in best]) < 0.35
    near = unit(rows[:200] + 0.3 * queries)
    assert all(usual.is_close(b) for b in usual.evidence(rows, near, known=False).max(axis=0))
