"""How a worker opens a trial: the recipe's session over its data, rebuilt from plain values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from search_spaces.space_recipes import RECIPE, own_values, section_name
from ssl_core.config import Config, override, short_digest
from ssl_core.data.dataset import Dataset
from ssl_core.errors import ConfigError, PackError, StudyError
from ssl_core.files.whole import atomic_write
from ssl_core.recipes.recipe_source import RecipeSource, recipe_source
from ssl_core.training.contract import AnyRecipe, Output, Session
from ssl_core.training.stages import Stages
from study.datasets.object_store import is_uri
from study.datasets.pack_storage import needed_files, open_data
from study.reports.console import aside
from study.spec.home import derived_root
from study.spec.trial_request import TrialRequest

_SOURCE = "recipe.json"


@dataclass(frozen=True)
class SentRecipe:
    """A recipe with its base config, as plain values."""

    source: RecipeSource  # one of the user's own brings its text
    base: str  # the base config as canonical JSON

    def load(self) -> AnyRecipe:
        """The recipe. Raises ConfigError when its own file cannot be imported here."""
        return self.source.load()


@dataclass(frozen=True)
class TrialOpener:
    """Opens sessions in workers. Holds plain values only, so it travels by any means."""

    recipes: Mapping[str, SentRecipe]  # as `search_spaces.space_recipes.SpaceRecipes.sections`
    base: str  # section of the base recipe
    pack: str  # folder of the data as all workers see it, or its URI: each node then fetches it once
    pack_digest: str  # what the data must be
    derived: str  # folder for the recipes' stages, as all workers see it

    @property
    def loaded(self) -> dict[str, AnyRecipe]:
        """The recipes by section. Raises ConfigError when a file of one's own cannot be imported here."""
        return {section: recipe.load() for section, recipe in self.recipes.items()}

    @property
    def source_digest(self) -> str:
        """Of the sources of the user's own recipes; empty when there are none."""
        own = {section: found for section, one in self.recipes.items() if (found := one.source.source_digest)}
        return own[""] if "" in own else short_digest(json.dumps(own, sort_keys=True)) if own else ""

    def recipe_of(self, values: Mapping[str, Any]) -> AnyRecipe:
        """What a trial with these values trains."""
        return self._sent(values).load()

    def config(self, values: Mapping[str, Any]) -> Config:
        """The config that searched values mean. Raises ConfigError."""
        sent = self._sent(values)
        base: Config = sent.load().config.from_json(sent.base)
        return override(base, own_values(values, self._section(values), self.recipes))

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises ConfigError for values that are wrong or that the data cannot serve."""
        config = self.config(values)
        self._stages(values).check(config, self._open_data(config))

    def open(self, values: Mapping[str, Any], seed: int) -> Session:
        """A fresh session."""
        config = self.config(values)
        return self._stages(values).open(config, self._open_data(config), seed)

    def __call__(self, request: TrialRequest) -> Session:
        """The session of a request; what `StudyPlan.open_session` wants."""
        return self.open(request.values, request.seed)

    def stage_folders(self, values: Mapping[str, Any]) -> dict[str, Path]:
        """Where the trial's stages are or will be, by name."""
        config, stages = self.config(values), self._stages(values)
        data = self._open_data(config)
        return {stage.name: stages.folder(stage, config, data) for stage in stages.recipe.stages_of(config, data)}

    def outputs(self, values: Mapping[str, Any]) -> tuple[Output, ...]:
        """What a trial of these values exports."""
        config = self.config(values)
        return self.recipe_of(values).outputs_of(config, self._open_data(config))

    def _section(self, values: Mapping[str, Any]) -> str:
        return self.base if "" in self.recipes else str(values.get(RECIPE, self.base))

    def _sent(self, values: Mapping[str, Any]) -> SentRecipe:
        return self.recipes[self._section(values)]

    def _stages(self, values: Mapping[str, Any]) -> Stages:
        sent = self._sent(values)
        return Stages(sent.load(), Path(self.derived), sent.source.source_digest, aside)

    def _open_data(self, config: Config) -> Dataset:
        pack = _mapped(self.pack, needed_files(config.to_json()), self.pack_digest)
        if pack.digest != self.pack_digest:
            raise PackError(
                f"{self.pack} changed since the study began (digest {pack.digest}, expected {self.pack_digest}); "
                "restore it, or start a study of another name"
            )
        return pack


def trial_opener(space: SearchSpace, pack: Dataset, place: str) -> TrialOpener:
    """The opener of a study whose data lies at `place`, a path or URI. Raises ConfigError as `recipe_source`."""
    return TrialOpener(
        recipes={
            section: SentRecipe(recipe_source(recipe.place), recipe.config.to_json())
            for section, recipe in space.recipes.sections.items()
        },
        base=space.recipes.base,
        pack=place if is_uri(place) else str(pack.path.absolute()),
        pack_digest=pack.digest,
        derived=str(derived_root()),
    )


def keep_sources(opener: TrialOpener, folder: Path) -> None:
    """Keep recipes of the user's own with their study, whose models can then be trained again. Raises StorageError."""
    for section, recipe in opener.recipes.items():
        if recipe.source.source_digest:
            with atomic_write(folder / (f"recipe-{section}.json" if section else _SOURCE)) as stream:
                stream.write(recipe.source.to_json().encode())


def kept_source(recipe: str, folder: Path) -> RecipeSource:
    """A recipe of the study in `folder`. Raises StudyError when it was the user's own and is not there."""
    if ":" not in recipe:
        return RecipeSource(name=recipe)
    file = folder / f"recipe-{section_name(recipe)}.json"
    if not file.exists():
        file = folder / _SOURCE
    try:
        return RecipeSource.from_json(file.read_text())
    except (OSError, ValueError, ConfigError):
        raise StudyError(f"{file}: cannot be read, and it holds the recipe {recipe}; bring it back") from None


@lru_cache(maxsize=2)
def _mapped(place: str, need: frozenset[str], digest: str) -> Dataset:
    """A warm worker keeps its pack mapped between trials."""
    return open_data(place, need, digest)
