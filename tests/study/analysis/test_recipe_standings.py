"""Which recipe won: by the best trial in the study's own order, whatever failed."""

import json

import pytest

from study.analysis.recipe_standings import COLUMNS, recipe_standings, standing_rows, winner_text
from study.record.trial_record import Origin, TrialRecord
from study.spec.outcome import Outcome

SPACE = {"recipe": {"a": "a", "b": "b.py:RECIPE", "c": "c"}, "base": {"recipe": "a", "a": {}, "b": {}}, "space": {}}


def record(number: int, recipe: str, value: float | None, outcome: Outcome | None = Outcome.COMPLETE) -> TrialRecord:
    curve = {} if value is None else {1: value}
    return TrialRecord(
        number=number, values={"recipe": recipe}, outcome=outcome, best_value=value, best_epoch=1, curve=curve,
        configuration=number, seconds=60.0,
    )  # fmt: skip


RECORDS = [
    record(0, "a", 0.5),
    record(1, "b", 0.9, Outcome.CRASHED),
    record(2, "b", 0.6, Outcome.STOPPED),
    record(3, "b", 0.4),
    record(4, "a", 0.3),
    record(5, "a", 0.99).model_copy(update={"origin": Origin(kind="confirmation")}),
]


def test_the_best_trial_decides() -> None:
    found = recipe_standings(RECORDS, json.loads(json.dumps(SPACE)), "maximize")
    assert [(one.recipe, one.trials, one.complete, one.stopped, one.best, one.best_trial) for one in found] == [
        ("a", 2, 2, 0, 0.5, 0), ("b", 3, 1, 1, 0.4, 3), ("c", 0, 0, 0, None, None),
    ]  # fmt: skip
    assert found[0].median == pytest.approx(0.4)
    assert winner_text(found, "m") == "a has the best m: 0.5 (trial 0), against 0.4 of b (trial 3)."
    assert all(len(row) == len(COLUMNS) for row in standing_rows(found))
    assert recipe_standings(RECORDS, SPACE, "minimize")[0].best == 0.3
    stopped = recipe_standings(RECORDS[:3], SPACE, "maximize")
    assert [(one.recipe, one.best) for one in stopped[:2]] == [("a", 0.5), ("b", 0.6)], "complete ones come first"
    assert winner_text(recipe_standings([], SPACE, "maximize"), "m") == "No trial has a value of m yet."
    assert recipe_standings(RECORDS, {**SPACE, "recipe": "a"}, "maximize") == ()


def test_a_recipe_that_was_set_from_outside_is_that_of_every_trial() -> None:
    records = [record(0, "a", 0.5).model_copy(update={"values": {"a.x": 1}})]
    assert {one.recipe: one.trials for one in recipe_standings(records, SPACE, "maximize")} == {"a": 1, "b": 0, "c": 0}
