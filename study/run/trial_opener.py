"""How a worker opens a trial: the recipe's session over its data, rebuilt from plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from ssl_core.config import Config, override
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
class TrialOpener:
    """Opens sessions in workers. Holds plain values only, so it travels by any means."""

    source: RecipeSource  # of the recipe; one of the user's own brings its text
    base: str  # the base config as canonical JSON
    pack: str  # folder of the data as all workers see it, or its URI: each node then fetches it once
    pack_digest: str  # what the data must be
    derived: str  # folder for the recipe's stages, as all workers see it

    @property
    def recipe(self) -> AnyRecipe:
        """The recipe. Raises ConfigError when its own file cannot be imported here."""
        return self.source.load()

    def config(self, values: Mapping[str, Any]) -> Config:
        """The config that searched values mean. Raises ConfigError."""
        base: Config = self.recipe.config.from_json(self.base)
        return override(base, values)

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises ConfigError for values that are wrong or that the data cannot serve."""
        config = self.config(values)
        self._stages().check(config, self._open_data(config))

    def open(self, values: Mapping[str, Any], seed: int) -> Session:
        """A fresh session."""
        config = self.config(values)
        return self._stages().open(config, self._open_data(config), seed)

    def __call__(self, request: TrialRequest) -> Session:
        """The session of a request; what `StudyPlan.open_session` wants."""
        return self.open(request.values, request.seed)

    def stage_folders(self, values: Mapping[str, Any]) -> dict[str, Path]:
        """Where the trial's stages are or will be, by name."""
        config, stages = self.config(values), self._stages()
        data = self._open_data(config)
        return {stage.name: stages.folder(stage, config, data) for stage in self.recipe.stages_of(config, data)}

    def outputs(self, values: Mapping[str, Any]) -> tuple[Output, ...]:
        """What a trial of these values exports."""
        config = self.config(values)
        return self.recipe.outputs_of(config, self._open_data(config))

    def _stages(self) -> Stages:
        return Stages(self.recipe, Path(self.derived), self.source.source_digest, aside)

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
        source=recipe_source(space.recipe_place),
        base=space.base_config.to_json(),
        pack=place if is_uri(place) else str(pack.path.absolute()),
        pack_digest=pack.digest,
        derived=str(derived_root()),
    )


def keep_source(source: RecipeSource, folder: Path) -> None:
    """Keep a recipe of the user's own with its study, whose models can then be trained again. Raises StorageError."""
    if source.source_digest:
        with atomic_write(folder / _SOURCE) as stream:
            stream.write(source.to_json().encode())


def kept_source(recipe: str, folder: Path) -> RecipeSource:
    """The recipe of the study in `folder`. Raises StudyError when it was the user's own and is not there."""
    if ":" not in recipe:
        return RecipeSource(name=recipe)
    try:
        return RecipeSource.from_json((folder / _SOURCE).read_text())
    except (OSError, ValueError, ConfigError):
        raise StudyError(
            f"{folder / _SOURCE}: cannot be read, and it holds the recipe {recipe}; bring it back"
        ) from None


@lru_cache(maxsize=2)
def _mapped(place: str, need: frozenset[str], digest: str) -> Dataset:
    """A warm worker keeps its pack mapped between trials."""
    return open_data(place, need, digest)
