"""The recipes, as a literal tuple. A sixth is one folder, one search-space file and one line here."""

from ssl_core.config import Config, nearest
from ssl_core.errors import ConfigError
from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.recipes.fit3d import FIT3D
from ssl_core.recipes.image_to_points import IMAGE_TO_POINTS
from ssl_core.recipes.label_3dgs import LABEL_3DGS
from ssl_core.recipes.multiview_contrast import MULTIVIEW_CONTRAST
from ssl_core.training.contract import AnyRecipe

RECIPES: tuple[AnyRecipe, ...] = (CROSS_MODAL, MULTIVIEW_CONTRAST, IMAGE_TO_POINTS, LABEL_3DGS, FIT3D)


def recipe_named(name: str) -> AnyRecipe:
    """Raises ConfigError naming the nearest recipe."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    names = [recipe.name for recipe in RECIPES]
    raise ConfigError(f"unknown recipe '{name}'{nearest(name, names)} (there is {', '.join(names)})")


def preset_named(recipe: AnyRecipe, name: str) -> Config:
    """Raises ConfigError listing the presets."""
    if name not in recipe.presets:
        raise ConfigError(f"unknown preset '{name}' of {recipe.name}; choose one of {', '.join(recipe.presets)}")
    config: Config = recipe.presets[name]()
    return config
