"""Data of the kits: the tiny pack of objects, one with masks and cameras, and a tiny scene."""

import pytest
import torch
from recipe_cases import CASES, Case, case_of

from ssl_core.data.object_pack import Pack
from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.packing.scene_writer import write_scene_pack
from tests.reference.single_view_pack import single_view_pack
from tests.small_rooms import small_rooms
from tests.small_sets import write_scene


@pytest.fixture(scope="session")
def tiny_scene(tmp_path_factory) -> ScenePack:
    """24 views of 12 pixels, six of them for test."""
    scene = write_scene(tmp_path_factory.mktemp("scene"))
    return write_scene_pack(scene, tmp_path_factory.mktemp("packs") / "scene", ScenePackConfig(holdout=4))


@pytest.fixture(scope="session")
def tiny_rooms(tmp_path_factory) -> ScenePack:
    """Three rooms of 16 pixels with labels and depth, eight views each: one for training, one for test, one for val."""
    return small_rooms(tmp_path_factory.mktemp("rooms"), image_size=16)


@pytest.fixture(scope="session")
def masked_pack(tmp_path_factory) -> Pack:
    """Small objects with masks, cameras and part labels."""
    return single_view_pack(tmp_path_factory.mktemp("masked") / "pack")


@pytest.fixture(params=CASES)
def case(request, tiny_pack: Pack, masked_pack: Pack, tiny_scene: ScenePack, tiny_rooms: ScenePack, tmp_path) -> Case:
    torch.set_num_threads(1)
    recipe, kinds = request.param
    return case_of(recipe, (tiny_pack, masked_pack, tiny_scene, tiny_rooms), tmp_path / "derived", **kinds)
