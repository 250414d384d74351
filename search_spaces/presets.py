"""The base config of a space file, from the recipes this project ships."""

from ssl_core.recipe import RecipeConfig
from ssl_core.recipes import preset_named, recipe_named


def shipped_preset(recipe: str, preset: str) -> RecipeConfig:
    """For `load_space(path, shipped_preset)`. Raises ConfigError naming what is known."""
    return preset_named(recipe_named(recipe), preset)
