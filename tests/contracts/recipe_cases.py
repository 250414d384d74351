"""The contract kit of recipes and sessions: every recipe of this project, and the examples that users begin with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_core.config import Config, override
from ssl_core.recipes import RECIPES
from ssl_core.recipes.recipe_source import recipe_source
from ssl_core.training.contract import AnyRecipe

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL: dict[str, dict[str, Any]] = {
    "cross_modal": {
        "points.num_points": 32,
        "image.image_size": 16,
        "training.batch_size": 6,
        "training.epochs": 3,
        "validation.label_draws": 2,
        "validation.labels_per_class": 2,
        "validation.views": 1,
    },
    "agreement": {"points.num_points": 32, "training.batch_size": 6, "training.epochs": 3},
    "codebook": {"codes": 4, "epochs": 3},
}
"""Overrides of a preset with which an epoch of the tiny pack takes well under a second, by name of the recipe."""


@dataclass(frozen=True)
class Case:
    recipe: AnyRecipe

    def config(self, preset: str = "quick") -> Config:
        return override(self.recipe.presets[preset](), SMALL[self.recipe.name])


OWN = [recipe_source(f"{EXAMPLES / name}:RECIPE").load() for name in ("own_recipe.py", "own_session.py")]
CASES = [Case(recipe) for recipe in (*RECIPES, *OWN)]
