"""A space that asks for what the pack lacks is refused before the study starts."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from search_spaces.space import load_space
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import InfeasibleError
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.packing.pack_writer import write_pack
from ssl_core.recipes.recipe_source import preset_at
from study.run.study_plan import check_choices
from study.run.trial_opener import trial_opener
from tests.reference.gaussian_ply import read_gaussian_ply


@pytest.fixture(scope="module")
def plain_pack(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Objects without higher harmonics."""
    root = tmp_path_factory.mktemp("plain") / "set"
    shutil.copytree(tiny_set, root)
    for ply in (root / "points").rglob("*.ply"):
        cloud = read_gaussian_ply(ply)
        write_gaussian_ply(ply, replace(cloud, sh_rest=np.zeros((len(cloud), 0, 3), np.float32)))
    return write_pack(root / "points", root / "images", root / "pack", PackConfig(cached_points=64, starts=2))


def check(tmp_path: Path, pack: Pack, section: dict[str, object]) -> None:
    path = tmp_path / "space.yaml"
    base = {"points.num_points": 64, "image.image_size": 24}
    path.write_text(yaml.safe_dump({"recipe": "cross_modal", "preset": "quick", "base": base, "space": section}))
    space = load_space(path, preset_at)
    check_choices(space, trial_opener(space, pack, str(pack.path)).check)


def test_a_feature_group_that_the_pack_lacks_is_refused_by_name(tmp_path: Path, plain_pack: Pack) -> None:
    features = {"choice": [["xyz"], ["xyz", "sh_rest"], ["xyz", "sh_dc"]]}
    with pytest.raises(InfeasibleError, match=r"space\.yaml.* 1 of the choices: points\.features=.*sh_rest"):
        check(tmp_path, plain_pack, {"points.features": features, "loss.beta": {"log": [0.3, 3]}})


def test_thresholds_and_numbers_of_points_are_checked_too(tmp_path: Path, plain_pack: Pack) -> None:
    section = {"points.alpha_threshold": {"choice": [0.01, 0.3]}, "points.num_points": {"choice": [32, 500, 4096]}}
    with pytest.raises(InfeasibleError, match="3 of the choices"):
        check(tmp_path, plain_pack, section)


def test_values_that_only_need_company_are_left_to_the_trials(tmp_path: Path, plain_pack: Pack) -> None:
    weight = {"choice": [0.0, 0.1], "when": {"point_backbone.feature_transform": True}}
    section = {"point_backbone.feature_transform": {"choice": [False, True]}, "loss.transform_weight": weight}
    check(tmp_path, plain_pack, section)
