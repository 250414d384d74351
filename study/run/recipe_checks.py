"""Whether the recipes that a space chooses among can share a study: one kind of data, one metric measured alike."""

from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces.parameter import edges
from search_spaces.space import SearchSpace
from ssl_core.config import Config
from ssl_core.errors import ConfigError, SpaceError
from ssl_core.recipes.recipe_source import recipe_source
from ssl_core.training.contract import AnyRecipe, Score
from study.spec.study_spec import StudySpec, study_spec

OF_EVERY_TRIAL = ("trial/", "cost/")
"""What the study measures of any recipe, by the beginning of its name."""


def checked_spec(space: SearchSpace, given: Mapping[str, Any]) -> StudySpec:
    """The spec of a space's `study` section, `given` winning where it is not None, for recipes that can share a study.

    Raises:
        SpaceError: they read different data, two have one name, or a metric that decides is not measured alike by all;
            what `study_spec` raises.
        ConfigError: a recipe's own file cannot be imported.
    """
    recipes = {section: recipe_source(one.place).load() for section, one in space.recipes.sections.items()}
    _check_recipes(space, recipes)
    spec = study_spec(space.study, given, space.source, shared_scores(recipes))
    if space.recipes.chooses:
        _check_comparable(space, recipes, spec)
    return spec


def _check_recipes(space: SearchSpace, recipes: Mapping[str, AnyRecipe]) -> None:
    """Raises SpaceError: they cannot train on one data set, or be registered side by side."""
    (base, first), *others = recipes.items()
    for section, recipe in others:
        if recipe.reads is not first.reads:
            raise SpaceError(
                f"{space.source}: {base} reads a {first.reads.__name__} and {section} a {recipe.reads.__name__}; "
                "a study has one data set: search them apart"
            )
    names = [recipe.name for recipe in recipes.values()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SpaceError(f"{space.source}: two of the recipes are called '{twice[0]}', as models are named; rename one")


def shared_scores(recipes: Mapping[str, AnyRecipe]) -> list[Score]:
    """Those of the first recipe's outputs that all have: what a study may be judged by without naming a metric."""
    first, *others = ([output.select for output in recipe.outputs] for recipe in recipes.values())
    return [score for score in first if all(score in scores for scores in others)]


def _check_comparable(space: SearchSpace, recipes: Mapping[str, AnyRecipe], spec: StudySpec) -> None:
    """Every metric that decides is reported by all recipes, and measured alike.

    Raises SpaceError: naming the recipe and metric, or the settings that differ.
    """
    named = [spec.metric, *(one.metric for one in spec.objectives), *(one.metric for one in spec.constraints)]
    for metric in dict.fromkeys(name for name in named if not name.startswith(OF_EVERY_TRIAL)):
        lacking = [section for section, recipe in recipes.items() if metric not in recipe.measures]
        if lacking:
            shared = [name for name in next(iter(recipes.values())).measures if _all_measure(recipes, name)]
            raise SpaceError(
                f"{space.source}: '{metric}' cannot compare the recipes: `Recipe.measures` of {' and '.join(lacking)} "
                f"does not name it; all of them report {', '.join(shared) or 'nothing in common'}"
            )
        _check_measured_alike(space, recipes, metric)


def _all_measure(recipes: Mapping[str, AnyRecipe], metric: str) -> bool:
    return all(metric in recipe.measures for recipe in recipes.values())


def _check_measured_alike(space: SearchSpace, recipes: Mapping[str, AnyRecipe], metric: str) -> None:
    wanted: Config | None = None
    for values in (*space.presets(), *_single(space)):
        section = space.recipes.chosen(values)
        try:
            found = recipes[section].measures[metric](space.configure(values))
        except ConfigError:
            continue  # wrong alone, perhaps right with the values that go with it
        wanted = found if wanted is None else wanted
        if found != wanted:
            where = ", ".join(f"{key}={value}" for key, value in values.items())
            raise SpaceError(
                f"{space.source}: '{metric}' is measured in two ways, so it compares nothing: {space.recipes.base} "
                f"has {wanted.to_json()}, and with {where} it is {found.to_json()}; set them alike under 'base'"
            )


def _single(space: SearchSpace) -> Iterator[Mapping[str, Any]]:
    """Every parameter at its ends, on top of the base of each recipe that has it."""
    for parameter in space.parameters:
        for value in edges(parameter.domain):
            yield from space.alone(parameter, value)
