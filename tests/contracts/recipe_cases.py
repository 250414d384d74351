"""The cases of the kits for recipes and sessions: every recipe of this project, the mock, and the examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ssl_core.config import Config, override
from ssl_core.data.dataset import Dataset
from ssl_core.data.object_pack import Pack
from ssl_core.data.scene_pack import ScenePack
from ssl_core.recipes import RECIPES
from ssl_core.recipes.multiview_contrast import MULTIVIEW_CONTRAST
from ssl_core.recipes.recipe_source import recipe_source
from ssl_core.training.contract import AnyRecipe, Session
from ssl_core.training.stages import Stages
from tests.contracts.mock_recipe import MOCK_RECIPE

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
    "multiview_contrast": {
        "points.num_points": 32,
        "heads.hidden": 16,
        "teacher.network.image_size": 32,
        "teacher.views": 2,
        "training.batch_size": 6,
        "training.epochs": 3,
        "validation.label_draws": 2,
        "validation.labels_per_class": 2,
    },
    "image_to_points": {
        "networks.image_size": 16,
        "networks.num_points": 32,
        "networks.width": 0.1,
        "template.steps": 4,
        "training.batch_size": 6,
        "training.epochs": 3,
        "validation.objects": 3,
        "validation.label_draws": 2,
        "validation.labels_per_class": 2,
        "validation.views": 1,
    },
    "fit3d": {
        "backbone": {"kind": "vit", "patch": 8, "channels": 8, "depth": 1, "heads": 1, "steps": 2, "batch": 2},
        "views.side": 32,
        "lift.geometry.iterations": 2,
        "probe.steps": 3,
        "probe.bins": 4,
        "tuning.head_hidden": 8,
        "training.batch_size": 4,
        "training.epochs": 3,
    },
    "agreement": {"points.num_points": 32, "training.batch_size": 6, "training.epochs": 3},
    "codebook": {"codes": 4, "epochs": 3},
    "label_3dgs": {"fit.iterations": 30, "chunk": 10, "start_points": 60, "fit.sh_degree": 0, "picture": 16},
    "mock_recipe": {"field.gaussians": 16, "epochs": 3},
}
"""Overrides of a preset with which an epoch of a tiny data set takes well under a second, by name of the recipe."""
OTHER: dict[str, dict[str, Any]] = {
    "cross_modal": {"loss.beta": 0.7, "training.optimizer.lr": 0.003},
    "multiview_contrast": {"loss.global_loss": "mse", "training.optimizer.lr": 0.003},
    "image_to_points": {"loss.cycle": 10.0, "training.optimizer.lr": 0.003},
    "fit3d": {"tuning.loss": "l2", "training.optimizer.lr": 0.003},
    "agreement": {"temperature": 0.5},
    "label_3dgs": {"loss.weight": 0.2, "fit.channel_travel": 10.0},
    "mock_recipe": {"rate": 0.003},
}
"""Values of another trial whose checkpoint a transfer takes."""
VARIANTS: dict[str, dict[str, Any]] = {
    "cross_modal": {
        "image_backbone": {"kind": "small_cnn", "channels": [8, 12]},
        "heads": {"kind": "mlp", "hidden": 10, "output": 6, "points": ["hidden"], "image": ["backbone", "head"]},
        "loss.agreement_points": 0.5,
        "loss.agreement_views": 0.5,
        "loss.agreement_cross": 0.5,
        "augment.points.jitter": 0.02,
    },
    "multiview_contrast": {
        "teacher.network.kind": "trained",
        "teacher.network.backbone": {"kind": "small_cnn", "channels": [8, 12]},
        "teacher.network.epochs": 2,
        "image.steps": 3,
    },
    "image_to_points": {
        "data.flip": False,
        "networks.mirror": "none",
        "poses.source": "search",
        "poses.candidates": 2,
        "networks.pose": "angles_tanh",
        "loss.pairing": "adj_model",
        "loss.symmetry": 10.0,
        "loss.mask_loss": "dice",
    },
    "label_3dgs": {
        "variant": {"kind": "feature", "embedding": 8},
        "loss.normalise_alpha": True,
        "fit.densify.enabled": True,
        "labelled_views": 2,
    },
    "fit3d": {"tuning.trainable": "lora", "tuning.lora_rank": 2, "assembly": "add"},
}
"""Of recipes with options that change what is trained and kept, a second case for the kit of sessions."""


@dataclass(frozen=True)
class Case:
    """A recipe and small data that it reads.

    Attributes:
        derived: folder of its stages.
        values: of every config of the case.
        trusting: its sessions take any checkpoint for theirs: an example as short as can be.
    """

    recipe: AnyRecipe
    data: Dataset
    derived: Path
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trusting(self) -> bool:
        return self.recipe.name not in OTHER

    def config(self, preset: str = "quick", **values: Any) -> Config:
        return override(self.recipe.presets[preset](), {**SMALL[self.recipe.name], **self.values, **values})

    def open(self, seed: int = 3, **values: Any) -> Session:
        return Stages(self.recipe, self.derived).open(self.config(**values), self.data, seed)

    def other(self) -> Session:
        """Another trial, whose weights have the same shapes."""
        return self.open(seed=4, **OTHER.get(self.recipe.name, {}))


SLOW = dict.fromkeys(("image_to_points", "label_3dgs", "fit3d"), pytest.mark.slow)
"""Of recipes whose variant shares its code with the first case but for single terms, which have tests of their own."""

KINDS: dict[str, dict[str, Any]] = {
    "ridge": {"heads.kind": "ridge"},
    "student": {
        "image.kind": "student",
        "image.image_size": 16,
        "heads.points": ["hidden", "ridge"],
        "heads.image": ["ridge"],
        "point_backbone": {"kind": "point_transformer", "groups": 8, "neighbours": 4, "dim": 16, "layers": 1},
    },
}
"""Members of the unions of `multiview_contrast` that its presets do not choose: for the slow tests."""


def case_of(recipe: AnyRecipe, data: tuple[Dataset, ...], derived: Path, **values: Any) -> Case:
    """With the first of `data` that the recipe reads."""
    return Case(recipe, next(one for one in data if reads(recipe, one)), derived, values)


def reads(recipe: AnyRecipe, data: Dataset) -> bool:
    """Whether it is of the recipe's kind and has what that one asks for besides."""
    match recipe.name:
        case "image_to_points":
            return isinstance(data, Pack) and data.masks is not None
        case "label_3dgs" | "fit3d":
            return isinstance(data, ScenePack) and bool(data.classes)
        case _:
            return isinstance(data, recipe.reads)


OWN = [recipe_source(f"{EXAMPLES / name}:RECIPE").load() for name in ("own_recipe.py", "own_session.py")]
ALL: list[AnyRecipe] = [*RECIPES, MOCK_RECIPE, *OWN]

SLOW_RECIPES = {"fit3d": pytest.mark.slow}
"""Recipes whose data, stage and exports take half a minute; their parts have tests of their own."""
CASES = [pytest.param((recipe, {}), id=recipe.name, marks=SLOW_RECIPES.get(recipe.name, ())) for recipe in ALL]
CASES += [
    pytest.param((MULTIVIEW_CONTRAST, kinds), id=f"{MULTIVIEW_CONTRAST.name}-{name}", marks=pytest.mark.slow)
    for name, kinds in KINDS.items()
]
"""Of every kit."""
SESSION_CASES = [
    *CASES,
    *(
        pytest.param(
            (one, VARIANTS[one.name]), id=f"{one.name}-variant", marks={**SLOW, **SLOW_RECIPES}.get(one.name, ())
        )
        for one in RECIPES
        if one.name in VARIANTS
    ),
]
