"""Settings of a study that contradict themselves or cannot be meant are refused before anything is spent."""

import math
from typing import Any

import pytest
from search_kit import finish, in_memory, space_of, spec_of, view_facts

from search_spaces.parameter import FloatRange, IntRange
from ssl_core.errors import ConfigError, SpaceError
from study.samplers.suggestion import check_search
from study.spec.outcome import Outcome
from study.spec.sampler_spec import GridSearch
from study.spec.study_spec import Constraint, study_spec


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"trials": True}, "'trials' needs a number, not true or false"),
        (
            {"budget": {"any": [{"hours": 1}, {"all": [{"trials": True}]}]}},
            "'budget.any.1.all.0.trials' needs a number",
        ),
        ({"gpus_per_trial": True}, "'gpus_per_trial' needs a number"),
        ({"gpus_per_trial": math.inf}, "gpus_per_trial must be a fraction of one or a whole number, not inf"),
        ({"gpus_per_trial": math.nan}, "gpus_per_trial must be .* not nan"),
        ({"cpus_per_trial": math.inf}, "'cpus_per_trial': Input should be a finite number"),
        ({"seed": 2**60}, "'seed': Input should be less than"),
        ({"metric": " "}, "'metric': .*name a metric that trials report"),
        (
            {"metric": "trial/seconds"},
            "'trial/seconds' is known only when a trial has ended; name it under 'objectives'",
        ),
        ({"constraints": [{"metric": "m", "at_most": math.nan}]}, "at_most': Input should be a finite number"),
        (
            {"constraints": [{"metric": "m", "at_most": 1}, {"metric": "m", "at_least": 5}]},
            "no value of 'm' is at least 5 and at most 1; widen one",
        ),
        ({"objectives": [{"metric": "m"}, {"metric": "m", "direction": "minimize"}]}, "'m' is named twice; keep one"),
        (
            {"metric": "m", "objectives": [{"metric": "m", "direction": "minimize"}, {"metric": "n"}]},
            "'m' is to minimize, while the study's direction is to maximize it",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        study_spec(section)
    with pytest.raises(ConfigError, match=message):
        study_spec({}, section)


def test_two_bounds_of_a_metric_are_both_told() -> None:
    """The band 1 .. 5: below, within, above."""
    space = space_of({"x": FloatRange(kind="float", low=0.0, high=1.0)})
    band = (Constraint(metric="c", at_most=5.0), Constraint(metric="c", at_least=1.0))
    for constraints in (band, band[::-1]):
        ledger = in_memory(space, spec_of("random", constraints=constraints))
        for value in (0.0, 3.0, 7.0):
            finish(ledger, ledger.ask(space).number, 0.5, c=value)
        assert all(record.outcome is Outcome.COMPLETE for record in ledger.records())
        told = [entry["notes"]["constraints:c"] for entry in view_facts(ledger._history.view)]
        assert told == [1.0, -2.0, 2.0]


def test_two_lower_bounds_are_no_contradiction() -> None:
    both = ({"metric": "m", "at_least": 1}, {"metric": "m", "at_least": 5})
    assert len(study_spec({"constraints": both}).constraints) == 2


@pytest.mark.parametrize(
    ("space", "steps"),
    [
        (space_of({"x": FloatRange(kind="float", low=0.0, high=1.0)}), 10**12),
        (space_of({"x": FloatRange(kind="float", low=0.0, high=1.0, step=1e-12)}), 4),
        (space_of({"n": IntRange(low=0, high=2 * 10**12, step=2)}), 4),
    ],
)
def test_a_grid_is_refused_without_being_made(space: Any, steps: int) -> None:
    with pytest.raises(SpaceError, match=r"more than 100,000 points"):
        check_search(spec_of("grid", sampler=GridSearch(steps=steps)), space)
