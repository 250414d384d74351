"""What fits a budget: never more than it, never less than the next smaller one, and every cut is said."""

import pytest

from ssl_core.evaluation.fine_tune import TrainingCosts
from ssl_core.evaluation.fine_tuning_plan import (
    FineTuningBudget,
    FineTuningSettings,
    automatic_settings,
    least_seconds,
    planned,
)
from ssl_core.evaluation.protocol import LabelSetting

ASKED = automatic_settings()
LABELLED = (50, 240)
COSTS = TrainingCosts(per_object=0.002, test=0.1)


def seconds_of(plan) -> float:
    rows = ((row.setting.draws, len(row.seeds), row.epochs * row.labelled) for row in plan.rows)
    return sum(draws * seeds * (objects * COSTS.per_object + COSTS.test) for draws, seeds, objects in rows)


def test_the_trainings_stay_within_the_budget_and_a_larger_one_buys_no_less():
    budgets = [2.0 * 1.25**power for power in range(40)]
    plans = [planned(ASKED, LABELLED, COSTS, budget) for budget in budgets]
    found = [(plan, budget) for plan, budget in zip(plans, budgets, strict=True) if plan is not None]
    assert plans[0] is None
    assert len(found) > 10
    for plan, budget in found:
        assert seconds_of(plan) == pytest.approx(plan.seconds)
        assert plan.seconds <= budget
    spent = [plan.seconds for plan, _ in found]
    assert spent == sorted(spent)
    assert found[-1][0].cut == ()
    least = least_seconds(ASKED, LABELLED, COSTS)
    assert planned(ASKED, LABELLED, COSTS, least) is not None
    assert planned(ASKED, LABELLED, COSTS, 0.99 * least) is None


def test_every_cut_is_said_and_intervals_stay_possible():
    for budget in (12.0, 20.0, 45.0, 90.0, 200.0):
        plan = planned(ASKED, LABELLED, COSTS, budget)
        said = "; ".join(plan.cut)
        assert ("all: left out" in said) == (len(plan.rows) == 1)
        for row, asked in zip(plan.rows, ASKED.label_settings, strict=False):
            assert (f"{row.setting.draws} of {asked.draws} label draws" in said) == (row.setting.draws < asked.draws)
            assert row.setting.draws * len(row.seeds) > 1
        assert bool(plan.cut) == (plan.seconds < planned(ASKED, LABELLED, COSTS, 1e9).seconds)


def test_without_a_budget_all_that_is_asked_is_done():
    settings = FineTuningSettings()
    plan = planned(settings, LABELLED, None, 0.0)
    assert [(row.trainings, row.epochs) for row in plan.rows] == [(9, 150), (3, 38)]
    assert plan.cut == ()


def test_a_budget_grows_with_the_pack():
    assert FineTuningBudget(seconds=45, per_object=0.1).of(240) == 45
    assert FineTuningBudget(seconds=45, per_object=0.1).of(4000) == 400


def test_what_answers_what():
    small, large = (automatic_settings(FineTuningBudget(seconds=s)) for s in (10, 100))
    assert large.answers(small)
    assert small.answers(small)
    assert not small.answers(large)
    whole = automatic_settings().model_copy(update={"budget": None})
    assert whole.answers(large)
    assert not large.answers(whole)
    fewer = whole.model_copy(update={"label_settings": (LabelSetting(per_class=5, draws=3), LabelSetting())})
    assert whole.answers(fewer)
    assert not fewer.answers(whole)
    assert not whole.answers(whole.model_copy(update={"min_steps": 7}))


def test_settings_of_before_there_was_a_budget_keep_their_digest():
    assert "budget" not in FineTuningSettings().to_json()
    assert FineTuningSettings.from_json(large := automatic_settings().to_json()).to_json() == large
