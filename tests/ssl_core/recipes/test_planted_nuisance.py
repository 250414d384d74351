"""The control whose headroom is known."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks.planted_nuisance import PlantedNuisance, planted_row
from ssl_core.config import override
from ssl_core.data.scene_pack import ScenePack
from ssl_core.models.dense_sources import OwnVitSource, source_card
from ssl_core.recipes.fit3d import FIT3D
from ssl_core.recipes.fit3d.config import Fit3dConfig

pytest.importorskip("timm")

VIT = OwnVitSource(patch=4, channels=16, depth=1, heads=2, steps=0)
VALUES = {
    "backbone": VIT.model_dump(),
    "views.side": 32,
    "lift.geometry.iterations": 4,
    "lift.geometry.random_points": 60,
    "probe.steps": 2,
    "training.epochs": 1,
    "training.batch_size": 2,
}


def test_a_place_has_its_own_vector_whatever_is_seen_there() -> None:
    inner = source_card(VIT, (32, 32)).build(0).original.eval()
    field = torch.randn(16, 8, 8, generator=torch.Generator().manual_seed(0))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    planted = PlantedNuisance(inner, field)
    with torch.inference_mode():
        (tokens, whole), (clean, same) = planted(images), inner(images)
    assert torch.equal(tokens, clean + field)
    assert torch.equal(whole, same)
    assert planted.blocks() == inner.blocks()


def test_a_row_names_the_gap_and_the_share_of_it_that_came_back(room_pack: ScenePack, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = override(FIT3D.presets["quick"](), VALUES)
    assert isinstance(config, Fit3dConfig)
    row = planted_row(room_pack, tmp_path, config, seed=0, strength=3.0)
    told = {name: value for name, value in row.items() if value is not None}
    assert set(row) - set(told) <= {"recovered"}
    assert all(math.isfinite(value) for value in told.values())
    gap = told["nuisance_free"] - told["original"]
    share = (told["both"] - told["original"]) / gap if gap > 0 else None
    assert row["recovered"] == (None if share is None else pytest.approx(share))
    assert planted_row(room_pack, tmp_path, config, seed=0, strength=3.0) == row
