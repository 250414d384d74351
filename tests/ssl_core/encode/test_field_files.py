"""A scene field as files of other tools: the Gaussians, channels, classes and cameras come back."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ssl_core.encode.field_files import CAMERAS, CLASSES, DECODER, FIELD, write_field
from ssl_core.gaussians.channel_ply import read_channels
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.gaussian_field import camera_vector
from ssl_core.packing.label_maps import read_classes
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.cameras import orbit_cameras


@pytest.mark.parametrize("embedding", [0, 6])
def test_what_is_written_is_the_field(embedding: int, tmp_path) -> None:
    wide = {"channels": 3, "embedding": embedding, "decodes": True} if embedding else {"channels": 2}
    card = SceneFieldCard(gaussians=20, sh_degree=1, classes=("wall", "chair"), cameras=3, teacher="ours", **wide)
    field, cameras = card.build(4), orbit_cameras(3, 24)
    field.get_buffer("cameras").copy_(torch.stack([camera_vector(camera) for camera in cameras]))
    field.get_buffer("sizes").copy_(torch.tensor([[24, 24]] * 3))
    write_field(tmp_path / "f", field, card)
    cloud = read_gaussians(tmp_path / "f" / FIELD).cloud
    np.testing.assert_array_equal(cloud.xyz, field.xyz.detach())
    np.testing.assert_array_equal(cloud.sh_dc, field.sh[:, 0].detach())
    prefix = "feature" if embedding else "label"
    np.testing.assert_array_equal(read_channels(tmp_path / "f" / FIELD, prefix), field.channels.detach())
    classes = read_classes(tmp_path / "f" / CLASSES).classes
    assert [each.name for each in classes] == ["wall", "chair"]
    assert [each.colour for each in classes] == [tuple(colour) for colour in card.colours.tolist()]
    assert json.loads((tmp_path / "f" / CLASSES).read_text())["teacher"] == "ours"
    for view, camera in zip(read_scene(tmp_path / "f" / CAMERAS).views, cameras, strict=True):
        np.testing.assert_allclose(view.camera.viewmat, camera.viewmat, atol=1e-6)
        np.testing.assert_allclose(view.camera.K, camera.K, atol=1e-4)
    assert (tmp_path / "f" / DECODER).is_file() == bool(embedding)
    if embedding:
        held = load_file(tmp_path / "f" / DECODER)
        assert torch.equal(held["weight"], field.decoder.weight)
        assert held["embeddings"].shape == (2, 6)
