"""Data of the kits: the tiny pack of objects, and a tiny scene."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from recipe_cases import CASES, Case, case_of

from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.packing.pack_writer import write_pack
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.scenes.cameras import orbit_cameras
from ssl_core.scenes.inria import write_inria
from tests.small_sets import write_scene


@pytest.fixture(scope="session")
def tiny_scene(tmp_path_factory) -> ScenePack:
    """24 views of 12 pixels, six of them for test."""
    scene = write_scene(tmp_path_factory.mktemp("scene"))
    return write_scene_pack(scene, tmp_path_factory.mktemp("packs") / "scene", ScenePackConfig(holdout=4))


@pytest.fixture(scope="session")
def masked_pack(tiny_set: Path, tmp_path_factory) -> Pack:
    """The tiny set with views of 16 pixels whose transparency says where the object is, from cameras of one orbit."""
    root, rng = tmp_path_factory.mktemp("masked"), np.random.default_rng(0)
    for file in sorted((tiny_set / "images").rglob("*.png")):
        view = np.zeros((16, 16, 4), dtype=np.uint8)
        low, high = sorted(rng.integers(2, 12, size=2))
        view[low : high + 3, 3:13] = (*rng.integers(40, 255, size=3), 255)
        place = root / file.relative_to(tiny_set)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view).save(place)
        if not (cameras := place.parents[1] / "cameras.json").exists():
            write_inria(cameras, ["000", "001", "002", "003"], orbit_cameras(4, 16))
    return write_pack(tiny_set / "points", root / "images", root / "pack", PackConfig(cached_points=128, starts=1))


@pytest.fixture(params=CASES)
def case(request, tiny_pack: Pack, masked_pack: Pack, tiny_scene: ScenePack, tmp_path) -> Case:
    torch.set_num_threads(1)
    recipe, kinds = request.param
    return case_of(recipe, (tiny_pack, masked_pack, tiny_scene), tmp_path / "derived", **kinds)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Three models of `image_to_points` go through three tasks: their own tests cover these, so the walk is slow."""
    for item in items:
        if item.name == "test_what_it_leaves_behind_is_registered_evaluated_judged_and_pulled[image_to_points]":
            item.add_marker(pytest.mark.slow)
