"""Who passes the gate, who does not, and that a reason is always given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_features import clouds, report_of

from registry.champions.gate import GateConfig, decide, decide_many
from ssl_core.evaluation.report import Scores
from ssl_core.evaluation.statistics import mean_interval
from ssl_core.evaluation.tasks.probing_report import ProbingReport, defects_of

GOOD, MIDDLE, POOR = ({None: clouds(noise, 1)} for noise in (0.8, 2.0, 4.0))


def changed(report: ProbingReport, **values: float) -> ProbingReport:
    health = report.health.model_copy(update=values)
    defects = defects_of(health, report.full_labels, len(report.class_names))
    return report.model_copy(update={"health": health, "defects": defects})


def scores(values: np.ndarray) -> Scores:
    return Scores(name="linear SVM at 3 per class labels", unit="test objects", values=values.tolist())


def test_the_first_champion_is_better_than_its_baseline_by_the_lower_bound():
    better = decide(report_of(GOOD, [POOR]), None)
    assert better.promoted
    assert better.numbers["low"] > 0
    assert better.reason.startswith("first champion: linear SVM at 3 per class labels")
    equal = decide(report_of(MIDDLE, [MIDDLE]), None)
    assert (equal.promoted, equal.kept) == (False, True)
    assert equal.reason.startswith("not shown to be better than the random twin: ")
    worse = decide(report_of(POOR, [GOOD]), None)
    assert (worse.promoted, worse.kept) == (False, True)
    assert "worse than the random twin" in worse.reason
    assert decide(report_of(GOOD), None).promoted, "its protocol asks for no baseline"


def test_a_bound_at_the_margin_is_no_promotion():
    report = report_of(GOOD, [POOR])
    low = decide(report, None).numbers["low"]
    assert low > 0.01
    assert decide(report, None, GateConfig(margin=low - 0.005)).promoted
    assert not decide(report, None, GateConfig(margin=low + 0.005)).promoted


def test_first_candidates_share_the_chance_of_error():
    """One that passes alone, by little, does not beside nineteen that are as good as their baseline."""
    rng, rows = np.random.default_rng(3), np.zeros((6, 80))
    base = report_of(MIDDLE)
    rows[:, :40] = 1
    ahead = np.maximum(rows, (rng.random((6, 80)) < 0.3).astype(float) * (np.arange(80) < 60))
    slight = base.model_copy(update={"deciding": scores(ahead), "baseline": scores(rows)})
    equal = base.model_copy(update={"deciding": scores(rows), "baseline": scores(rows)})
    alone = decide(slight, None)
    assert alone.promoted
    assert 0 < alone.numbers["low"] < alone.numbers["difference"] < 0.1
    many = decide_many([slight, *[equal] * 19], None)
    assert not any(decision.promoted for decision in many) or many[0].numbers["bound"] > 0
    assert many[0].numbers["bound"] < alone.numbers["bound"]


def test_who_beats_the_champion_has_to_beat_its_own_baseline_too():
    champion = report_of(POOR)
    able, unable = report_of(GOOD, [POOR]), report_of(GOOD, [GOOD])
    assert decide(able, champion).promoted
    refused = decide(unable, champion)
    assert (refused.promoted, refused.kept) == (False, False)
    assert refused.reason.startswith("better than the champion, but not shown to be better than the random twin")
    both = decide_many([unable, report_of(MIDDLE, [POOR])], champion, names=list("ab"))
    assert [decision.promoted for decision in both] == [False, True], "the better of the two may not"


def test_an_incumbent_must_be_beaten_beyond_chance_and_margin():
    good, middle = report_of(GOOD), report_of(MIDDLE)
    won = decide(good, middle)
    assert won.promoted
    assert won.numbers["low"] > 0
    assert won.numbers["difference"] == pytest.approx(won.numbers["accuracy"] - won.numbers["incumbent"], abs=1e-5)
    assert not decide(middle, good).promoted
    assert not decide(good, good).promoted
    assert not decide(good, middle, GateConfig(margin=0.9)).promoted


def test_of_several_better_ones_the_best_is_promoted():
    good, middle, poor = report_of(GOOD), report_of(MIDDLE), report_of(POOR)
    decisions = decide_many([middle, good, poor, changed(good, finite=False)], poor, names=list("abcd"))
    assert [decision.promoted for decision in decisions] == [False, True, False, False]
    assert "better than the champion, but b is better still" in decisions[0].reason
    assert "(Holm)" in decisions[1].reason
    assert [decision.numbers.get("challengers") for decision in decisions] == [3, 3, 3, None]
    assert decisions[1].numbers["bound"] > 0
    assert "NaN" in decisions[3].reason


def test_without_a_champion_the_first_fit_one_stands_unless_another_is_shown_to_be_better():
    good, middle, collapsed = report_of(GOOD), report_of(MIDDLE), changed(report_of(GOOD), relative_std=0.0)
    stands = decide_many([collapsed, good, middle], None, names=list("abc"))
    assert [decision.promoted for decision in stands] == [False, True, False]
    assert "not shown to be better than b" in stands[2].reason
    beaten = decide_many([middle, good], None, names=list("ab"))
    assert [decision.promoted for decision in beaten] == [False, True]
    assert beaten[0].reason.startswith("b was shown to be better; first champion")
    assert beaten[1].reason.startswith("first champion, better than a: ")


def test_challengers_of_the_past_raise_the_bar():
    good, middle = report_of(GOOD), report_of(MIDDLE)
    alone, late = decide(good, middle), decide(good, middle, earlier=[0.9] * 19)
    assert alone.numbers["level"] == pytest.approx(0.025)
    assert late.numbers["level"] == pytest.approx(0.025 / 20)
    assert late.numbers["bound"] < alone.numbers["bound"]


def test_what_collapsed_or_is_incomplete_is_refused_whatever_it_scores():
    good = report_of(GOOD)
    for refused, word in [
        (changed(good, finite=False), "NaN"),
        (changed(good, relative_std=1e-9), "hardly differ"),
        (changed(good, effective_rank=1.0), "effective rank"),
        (changed(good, constant_accuracy=1.0), "constant answer"),
        (good.model_copy(update={"deciding": None}), "incomplete"),
    ]:
        for incumbent in (None, report_of(POOR)):
            decision = decide(refused, incumbent)
            assert not decision.promoted
            assert word in decision.reason


def test_different_data_or_protocol_is_not_compared():
    decision = decide(report_of(GOOD), report_of(POOR, pack="another"))
    assert not decision.promoted
    assert "evaluate it" in decision.reason


def test_an_incumbent_that_broke_is_replaced():
    broken = report_of(POOR).model_copy(update={"deciding": None})
    assert decide(report_of(GOOD), broken).promoted


def test_luck_seldom_passes():
    """Two encoders of equal truth: the gate promotes in at most a few of a hundred draws."""
    report = report_of(MIDDLE)
    rng = np.random.default_rng(0)
    promoted = 0
    for _ in range(60):
        chance = rng.uniform(0.4, 0.9, 80)

        def drawn(p: np.ndarray = chance) -> ProbingReport:
            return report.model_copy(update={"deciding": scores((rng.random((6, 80)) < p).astype(float))})

        promoted += decide(drawn(), drawn()).promoted
    assert promoted <= 5


@settings(max_examples=10, deadline=None)
@given(a=st.floats(0.3, 0.95), b=st.floats(0.3, 0.95), seed=st.integers(0, 1000))
def test_never_both_ways_and_always_a_reason(a, b, seed):
    rng = np.random.default_rng(seed)
    base = report_of(MIDDLE)

    def drawn(p: float) -> ProbingReport:
        return base.model_copy(update={"deciding": scores((rng.random((6, 80)) < p).astype(float))})

    one, two = drawn(a), drawn(b)
    forth, back = decide(one, two), decide(two, one)
    assert not (forth.promoted and back.promoted)
    assert forth.reason
    assert back.reason


def test_description_decision_and_comparison_say_the_same_number():
    """26.75 % is a tie of rounding: the mean of ten draws' means is a little less than the mean of all answers."""
    right = (13, 14, 10, 12, 10, 10, 6, 13, 7, 12)
    tie = (np.arange(40) < np.array(right)[:, None]).astype(float)
    report = report_of({None: clouds(0.8, 1)})
    row = report.headline
    rows = (row.model_copy(update={"accuracy": mean_interval(tie.mean(axis=1))}), *report.rows[1:])
    tied = report.model_copy(update={"deciding": scores(tie), "baseline": scores(tie), "rows": rows})
    assert tied.headline.accuracy.percent().startswith("26.8 ")
    assert "26.8 %" in decide(tied, None).reason
    assert "26.8 % against 26.8 %" in decide(tied, tied).reason
