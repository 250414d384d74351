"""Stages of a recipe, made once per content address, and the opening of a trial over them.

    <root>/<recipe>-<stage>-<digest>/       see `ssl_core.files.whole`; while it is made: `training.stage_progress`

The digest covers the stage's settings and version, the data, and the source of a recipe that is not ours.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ssl_core.config import Config, short_digest
from ssl_core.errors import InfeasibleError
from ssl_core.files.whole import derived_folder
from ssl_core.training.config import RecipeConfig, choose_device
from ssl_core.training.contract import AnyRecipe, Data, Session, Stage
from ssl_core.training.stage_progress import telling

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stages:
    """Where the stages of a recipe lie."""

    recipe: AnyRecipe
    root: Path  # folder of derived work, on storage that all workers see
    source: str = ""  # digest of the source of a recipe that is not ours
    say: Say | None = None  # told while another process makes what is waited for

    def folder(self, stage: Stage[Any, Any], config: Config, data: Data) -> Path:
        """Where it is, or will be."""
        settings = stage.settings(config)
        facts = [stage.version, type(settings).__name__, settings.to_json(), data.digest, self.source]
        return self.root / f"{self.recipe.name}-{stage.name}-{short_digest(json.dumps(facts))}"

    def made(self, config: Config, data: Data) -> dict[str, Path]:
        """The folder of each stage that is needed, made now by whoever comes first. Raises what making raises."""
        folders: dict[str, Path] = {}
        for stage in self.recipe.stages_of(config, data):
            address = self.folder(stage, config, data).name
            make = partial(self._make, stage, config, data, address)
            folders[stage.name] = derived_folder(self.root, address, make, say=self.say)
        return folders

    def _make(self, stage: Stage[Any, Any], config: Config, data: Data, address: str, folder: Path) -> None:
        device = choose_device(config.training.device if isinstance(config, RecipeConfig) else "auto")
        with telling(self.root, address, stage.name, data.digest):
            stage.make(config, data, folder, device)

    def open(self, config: Config, data: Data, seed: int) -> Session:
        """A fresh trial.

        Raises InfeasibleError: the data cannot serve the config. Also what a stage's making raises.
        """
        self.check(config, data)
        return self.recipe.open(config, data, self.made(config, data), seed)

    def check(self, config: Config, data: Data) -> None:
        """Raises InfeasibleError when the data cannot serve the config, or is of another kind."""
        if not isinstance(data, self.recipe.reads):
            raise InfeasibleError(
                f"recipe {self.recipe.name} reads a {self.recipe.reads.__name__}, and this is a {type(data).__name__}; "
                "give it other data"
            )
        self.recipe.check(config, data)
