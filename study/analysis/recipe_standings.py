"""How the recipes of a study that chooses among them stand against each other, by the metric that they share."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.space_recipes import RECIPE
from ssl_core.config import Config
from study.analysis.words import clock_text
from study.record.trial_record import TrialRecord, ranked
from study.spec.outcome import Outcome


class RecipeStanding(Config):
    """One recipe of the choice."""

    recipe: str  # as its section is called
    trials: int  # of the search, confirmations left out
    complete: int
    stopped: int  # by the scheduler
    best: float | None  # of the complete trials; of stopped ones where none completed
    best_trial: int | None
    median: float | None  # of the complete trials at their best epoch
    seconds: float  # of training


def recipe_standings(
    records: Sequence[TrialRecord], space: Mapping[str, Any], direction: str
) -> tuple[RecipeStanding, ...]:
    """The recipe with the best trial first, one without any value last; empty where the study has one recipe.

    Args:
        space: `json.loads` of the study's space.
    """
    if not isinstance(space.get("recipe"), Mapping):
        return ()
    base = space["base"][RECIPE]
    found: list[RecipeStanding] = []
    board = ranked([record for record in records if not record.confirms], direction)
    place = {record.number: at for at, record in enumerate(board)}
    for recipe in space["recipe"]:
        own = [record for record in board if (record.values or {}).get(RECIPE, base) == recipe]
        best = next((r for r in own if r.outcome and r.outcome.has_value and r.best_value is not None), None)
        complete = [r.best_value for r in own if r.outcome is Outcome.COMPLETE and r.best_value is not None]
        found.append(
            RecipeStanding(
                recipe=recipe,
                trials=len(own),
                complete=len(complete),
                stopped=sum(r.outcome is Outcome.STOPPED for r in own),
                best=None if best is None else best.best_value,
                best_trial=None if best is None else best.number,
                median=statistics.median(complete) if complete else None,
                seconds=sum(r.seconds for r in own),
            )
        )
    return tuple(sorted(found, key=lambda one: place.get(-1 if one.best_trial is None else one.best_trial, len(place))))


def winner_text(found: Sequence[RecipeStanding], metric: str) -> str:
    """One sentence: which recipe won, by how much."""
    first = found[0]
    if first.best is None:
        return f"No trial has a value of {metric} yet."
    others = [f"{one.best:.4g} of {one.recipe} (trial {one.best_trial})" for one in found[1:] if one.best is not None]
    against = f", against {' and '.join(others)}" if others else ""
    return f"{first.recipe} has the best {metric}: {first.best:.4g} (trial {first.best_trial}){against}."


COLUMNS = ("recipe", "trials", "complete", "stopped", "best", "trial", "median", "training")


def standing_rows(found: Sequence[RecipeStanding]) -> list[list[str]]:
    """A row each, under `COLUMNS`."""
    return [
        [
            one.recipe,
            str(one.trials),
            str(one.complete),
            str(one.stopped),
            "–" if one.best is None else f"{one.best:.4f}",
            "–" if one.best_trial is None else str(one.best_trial),
            "–" if one.median is None else f"{one.median:.4f}",
            clock_text(one.seconds),
        ]
        for one in found
    ]
