"""The base config of a space file, from one of our recipes or from the user's own."""

from ssl_core.config import Config
from ssl_core.recipes import preset_named
from ssl_core.recipes.recipe_source import recipe_source


def preset_at(place: str, preset: str) -> Config:
    """For `load_space(path, preset_at)`. Raises ConfigError naming what is known, or what is wrong with a file."""
    return preset_named(recipe_source(place).load(), preset)
