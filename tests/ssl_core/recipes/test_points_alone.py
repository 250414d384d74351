"""Learning from plain point clouds without views: no teacher, no image encoder, and what cannot be is said first."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_core.config import override
from ssl_core.contracts import PointsContract
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import InfeasibleError
from ssl_core.models.bundle import load_bundle
from ssl_core.packing.pack_writer import write_pack
from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.recipes.multiview_contrast import MULTIVIEW_CONTRAST
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig, quick
from ssl_core.training.stages import Stages

torch.set_num_threads(1)


def points_alone(**values: object) -> MultiviewContrastConfig:
    small = {
        "points.num_points": 32,
        "points.features": ["xyz"],
        "heads.hidden": 16,
        "loss.global_weight": 0,
        "loss.agreement_weight": 1,
        "training.batch_size": 6,
        "training.epochs": 2,
        "validation.label_draws": 2,
        "validation.labels_per_class": 2,
    }
    return override(quick(), {**small, **values})


@pytest.fixture(scope="session")
def cloud_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Balls and flat boxes as .npy of positions alone: no views."""
    folder, rng = tmp_path_factory.mktemp("clouds"), np.random.default_rng(0)
    for class_name, size in (("ball", (1, 1, 1)), ("board", (1, 1, 0.1))):
        for split, count in (("train", 8), ("test", 3)):
            (folder / "set" / class_name / split).mkdir(parents=True)
            for i in range(count):
                xyz = rng.normal(size=(80, 3)) * size
                np.save(folder / "set" / class_name / split / f"{class_name}_{i}.npy", xyz)
    return write_pack(folder / "set", None, folder / "pack", PackConfig(cached_points=64, starts=2))


def test_a_trial_learns_resumes_and_exports_points_alone(cloud_pack: Pack, tmp_path: Path) -> None:
    stages = Stages(MULTIVIEW_CONTRAST, tmp_path / "derived")
    config = points_alone()
    assert stages.made(config, cloud_pack) == {}, "no teacher"
    session = stages.open(config, cloud_pack, 0)
    first = session.run_epoch()
    session.save(tmp_path / "half")
    metrics = session.run_epoch()
    assert metrics["val/probe"] == metrics["val/points_probe"]
    assert not [name for name in metrics if "image" in name or "teacher" in name]
    again = stages.open(config, cloud_pack, 0)
    again.load(tmp_path / "half")
    resumed = again.run_epoch()
    assert resumed["train/loss"] == metrics["train/loss"] != first["train/loss"]
    bundles = session.export(tmp_path / "out", {})
    assert bundles.keys() == {"points"}
    model = load_bundle(bundles["points"])
    assert [output.name for output in MULTIVIEW_CONTRAST.outputs_of(config, cloud_pack)] == ["points"]
    with torch.no_grad():
        assert model(torch.randn(2, 32, 3)).shape == (2, 16)


def test_with_views_nothing_is_left_out(tiny_pack: Pack) -> None:
    config = points_alone()
    assert [output.name for output in MULTIVIEW_CONTRAST.outputs_of(config, tiny_pack)] == ["points", "image"]
    assert [stage.name for stage in MULTIVIEW_CONTRAST.stages_of(config, tiny_pack)] == ["teacher"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss.global_weight": 1}, "the pack has no views, and loss.global_weight"),
        ({"heads.points": ["head"]}, "heads.points names 'head'"),
        ({"points.features": ["xyz", "normals"]}, "feature group 'normals' is not in this pack"),
        ({"points.features": ["xyz", "opacity"]}, "feature group 'opacity' is not in this pack"),
    ],
)
def test_what_the_pack_lacks_is_said_first(cloud_pack: Pack, values: dict[str, object], words: str) -> None:
    with pytest.raises(InfeasibleError, match=words):
        MULTIVIEW_CONTRAST.check(points_alone(**values), cloud_pack)


def test_a_recipe_of_views_says_that_there_are_none(cloud_pack: Pack) -> None:
    config = override(CROSS_MODAL.presets["quick"](), {"points": PointsContract(num_points=32).model_dump()})
    with pytest.raises(InfeasibleError, match="has no view"):
        CROSS_MODAL.check(config, cloud_pack)
