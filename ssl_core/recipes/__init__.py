"""The recipes, as a literal tuple. A sixth is one folder, one search-space file and one line here."""

from ssl_core.config import nearest
from ssl_core.errors import ConfigError
from ssl_core.recipe import Recipe, RecipeConfig
from ssl_core.recipes.cross_modal import CROSS_MODAL

RECIPES: tuple[Recipe, ...] = (CROSS_MODAL,)


def recipe_named(name: str) -> Recipe:
    """Raises ConfigError naming the nearest recipe."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    names = [recipe.name for recipe in RECIPES]
    raise ConfigError(f"unknown recipe '{name}'{nearest(name, names)} (there is {', '.join(names)})")


def preset_named(recipe: Recipe, name: str) -> RecipeConfig:
    """Raises ConfigError listing the presets."""
    if name not in recipe.presets:
        raise ConfigError(f"unknown preset '{name}' of {recipe.name}; choose one of {', '.join(recipe.presets)}")
    return recipe.presets[name]()
