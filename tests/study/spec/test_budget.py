"""Limits of a study, alone and composed."""

import pytest

from ssl_core.errors import ConfigError
from study.spec.budget import LimitReached, Usage
from study.spec.study_spec import StudySpec, study_spec


def spent(budget: object, **used: float) -> LimitReached | None:
    limit = study_spec({"budget": budget}).limit
    return limit.spent(Usage(**used))  # type: ignore[arg-type]


def test_any_is_spent_with_the_first_and_all_with_the_last() -> None:
    either = {"any": [{"trials": 5}, {"hours": 1}]}
    assert spent(either, trials=4, seconds=3599) is None
    assert spent(either, trials=5) == LimitReached("all 5 trials are done", False)
    assert spent(either, seconds=3600) == LimitReached("1 hours are over", True)
    both = {"all": [{"trials": 5}, {"no_improvement": 2}]}
    assert spent(both, trials=5, since_best=1) is None
    assert spent(both, trials=5, since_best=2) == LimitReached(
        "all 5 trials are done; 2 trials in a row brought no new best", False
    )


def test_a_target_follows_the_direction() -> None:
    assert spent({"target": 0.9}, best=0.89) is None
    assert spent({"target": 0.9}, best=0.9) is not None
    assert spent({"target": 0.1}, best=0.2, maximize=False) is None
    assert spent({"target": 0.1}, best=0.1, maximize=False) is not None
    assert spent({"target": 0.1}) is None


def test_eight_trials_unless_something_else_ends_the_study() -> None:
    assert StudySpec().planned == 8
    assert StudySpec(hours=2).planned is None
    assert study_spec({"budget": {"any": [{"trials": 9}, {"any": [{"trials": 4}]}]}}).planned == 4


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"hours": 0}, "greater than 0"),
        ({"trials": 0}, "greater than or equal to 1"),
        ({"hour": 1}, "exactly one of the keys"),
        ({"hours": 1, "trials": 2}, "exactly one of the keys"),
        ({"any": []}, "at least 1"),
    ],
)
def test_a_wrong_budget_is_refused(budget: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        study_spec({"budget": budget})
