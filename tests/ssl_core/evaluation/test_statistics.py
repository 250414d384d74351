"""Laws of the intervals: coverage, pairing, agreement with the textbook formula."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ssl_core.evaluation.statistics import (
    Interval,
    bootstrap_mean,
    in_percent,
    mean_interval,
    paired_bootstrap,
    paired_difference,
)


def test_t_interval_is_the_textbook_one():
    x = np.random.default_rng(0).normal(size=12)
    ours = mean_interval(x, 0.9)
    low, high = stats.t.interval(0.9, len(x) - 1, loc=x.mean(), scale=stats.sem(x))
    assert (ours.low, ours.high, ours.se) == pytest.approx((low, high, stats.sem(x)))


def test_t_interval_covers_as_promised():
    rng = np.random.default_rng(1)
    hits = [(i.low <= 3.0 <= i.high) for i in (mean_interval(rng.normal(3.0, 2.0, 5)) for _ in range(600))]
    assert 0.92 < np.mean(hits) < 0.98


def test_one_value_has_no_finite_interval_and_survives_json():
    one = mean_interval([0.7])
    assert (one.low, one.high, one.se) == (-np.inf, np.inf, np.inf)
    assert Interval.from_json(one.to_json()) == one
    assert "Infinity" in one.to_json()
    assert one.percent() == "70.0"


def test_pairing_removes_shared_noise():
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 10, 10)
    a, b = shared + rng.normal(1, 0.1, 10), shared + rng.normal(0, 0.1, 10)
    paired = paired_difference(a, b)
    assert paired.low > 0.8
    assert paired.high < 1.2
    assert mean_interval(a).half_width > 20 * paired.half_width


def test_differences_change_sign_with_their_order():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 2, (6, 80)), rng.integers(0, 2, (6, 80))
    forth, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert forth.mean == pytest.approx(-back.mean)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=0.01)
    assert paired_bootstrap(a, a).low == paired_bootstrap(a, a).high == 0.0
    with pytest.raises(AssertionError):
        paired_bootstrap(a, b[:, :-1])


def test_bootstrap_over_objects_has_the_binomial_standard_error():
    correct = (np.arange(400) < 300).astype(float)
    assert bootstrap_mean(correct).se == pytest.approx(np.sqrt(0.75 * 0.25 / 400), rel=0.06)


def test_crossed_bootstrap_counts_both_sources():
    rng = np.random.default_rng(4)
    rows, columns = rng.normal(0, 1, (8, 1)), rng.normal(0, 1, (1, 200))
    se = paired_bootstrap(rows + columns, np.zeros((8, 200))).se
    expected = np.sqrt(rows.var() / 8 + columns.var() / 200)  # two independent means, variances of the plug-in kind
    assert se == pytest.approx(expected, rel=0.08)


def test_bootstrap_repeats_itself():
    a, b = np.ones(50), np.arange(50) % 2
    assert paired_bootstrap(a, b, seed=5) == paired_bootstrap(a, b, seed=5)


def test_reads_like_a_table():
    assert mean_interval([0.7, 0.72, 0.74]).percent() == "72.0 ± 5.0"
    assert mean_interval([0.05, 0.05]).percent(signed=True) == "+5.0 ± 0.0"


@pytest.mark.parametrize(
    ("share", "plain", "signed"),
    [
        (0.5275, "52.8", "+52.8"),
        (np.nextafter(0.5275, 0), "52.8", "+52.8"),
        (np.nextafter(0.5275, 1), "52.8", "+52.8"),
        (-0.04250000000000004, "-4.3", "-4.3"),
        (-0.04249999999999998, "-4.3", "-4.3"),
        (0.50249, "50.2", "+50.2"),
        (-1e-12, "0.0", "+0.0"),
        (-0.0004, "0.0", "+0.0"),
        (1.0, "100.0", "+100.0"),
        (np.float32(0.5), "50.0", "+50.0"),
    ],
)
def test_all_texts_round_halves_alike_whatever_the_last_digits(share, plain, signed):
    assert in_percent(share) == plain
    assert in_percent(share, signed=True) == signed


@given(st.lists(st.lists(st.integers(0, 1), min_size=40, max_size=40), min_size=1, max_size=10))
def test_a_mean_of_means_reads_as_the_mean_of_all(answers):
    table = np.array(answers, dtype=float)
    inner = mean_interval(table.mean(axis=1))
    assert inner.percent().partition(" ")[0] == in_percent(float(table.mean()))
    assert inner.percent().partition(" ")[0] == in_percent(float(table.T.mean(axis=1).mean()))
    # as reports store the answers: one share per object, with six decimals
    assert inner.percent().partition(" ")[0] == in_percent(float(np.round(table.mean(axis=0), 6).mean()))
    assert float(in_percent(inner.mean)) == pytest.approx(100 * inner.mean, abs=0.05 + 1e-4)


def test_an_interval_without_end_is_json_and_comes_back():
    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    endless = mean_interval([0.5])
    assert json.loads(endless.to_json(), parse_constant=refuse)["high"] == "Infinity"
    assert Interval.from_json(endless.to_json()) == endless
