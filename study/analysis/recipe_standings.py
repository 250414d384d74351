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
    best: float | None  # of the trials that have a value, stopped ones included
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
    order: list[RecipeStanding] = []
    for recipe in space["recipe"]:
        own = [r for r in records if not r.confirms and (r.values or {}).get(RECIPE, base) == recipe]
        valued = [r for r in own if r.best_value is not None and (r.outcome is None or r.outcome.has_value)]
        best = ranked(valued, direction)[0] if valued else None
        complete = [r.best_value for r in valued if r.outcome is Outcome.COMPLETE and r.best_value is not None]
        order.append(
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
    sign = -1.0 if direction == "maximize" else 1.0
    return tuple(sorted(order, key=lambda one: (one.best is None, sign * (one.best or 0.0))))


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
