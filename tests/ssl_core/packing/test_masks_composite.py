"""Views over white and their masks: the object over black is view - (1 - mask), right at the edge of the silhouette."""

from pathlib import Path

import numpy as np
import pytest
import torch
from plain_sets import write_meshes
from renders_set import TABLE, mesh_of

from ssl_core.data.object_pack import PackConfig
from ssl_core.gaussians.surface_discs import surface_discs
from ssl_core.meshes.mesh import sample_surface
from ssl_core.meshes.mesh_file import read_mesh
from ssl_core.packing.layout import find_meshes
from ssl_core.packing.pack_writer import write_pack
from ssl_core.packing.packed_object import resized_camera
from ssl_core.render.gaussian_raster import render_gaussians
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.mesh_raster import render_mesh_views
from ssl_core.render.views import rendered_views

LEVEL = 1 / 255


def over_black(view: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """[H, W, 3] in [0, 1] of a view over white and its mask, uint8 both, as a reader of a pack makes it."""
    return np.clip(view / 255 - (1 - mask[..., None] / 255), 0, 1)


@pytest.mark.parametrize("size", [32, 24])
def test_meshes_over_black_and_the_rest_white_are_the_views(tmp_path: Path, size: int) -> None:
    """Drawn before black by the renderer itself; adding what the mask leaves of white gives the view back."""
    root = write_meshes(tmp_path / "meshes", train=1, test=1)
    config = PackConfig(cached_points=32, starts=1, surface_points=64, rendered_views=2, image_size=size)
    pack = write_pack(root, None, tmp_path / "p", config)
    assert pack.masks is not None
    sources = {mesh.key: mesh.source for mesh in find_meshes(root)[0]}
    for item in pack.manifest.objects:
        cameras = [pack.camera(view) for view in range(item.first_view, item.first_view + item.views)]
        drawn = render_mesh_views(read_mesh(sources[item.key]).normalised(), cameras, background=0.0)
        for i, expected in enumerate(drawn):
            view, mask = pack.views[[item.first_view + i]][0].transpose(1, 2, 0), pack.masks[item.first_view + i]
            assert ((mask > 0) & (mask < 255)).any(), "no antialiased edge: this would show nothing"
            black = over_black(view, mask)
            np.testing.assert_allclose(black, expected.rgb, atol=1.01 * LEVEL)
            np.testing.assert_allclose(black + 1 - mask[..., None] / 255, view / 255, atol=1.01 * LEVEL)


def test_gaussians_over_black_and_the_rest_white_are_the_views() -> None:
    points, _ = sample_surface(mesh_of(TABLE, 0), 300, np.random.default_rng(0))
    colours = np.random.default_rng(1).uniform(size=points.shape).astype(np.float32)
    cloud = surface_discs(points, None, colours, 0.05)
    views = rendered_views(cloud, 2, 32)
    tensors = GaussianTensors.from_cloud(cloud, device="cpu")
    for image, mask, camera in zip(views.images, views.masks, views.cameras, strict=True):
        assert ((mask > 0) & (mask < 255)).any()
        with torch.no_grad():
            expected = render_gaussians(tensors, resized_camera(camera, 32, 32), background=(0.0, 0.0, 0.0)).image
        # the cloud is drawn framed, here in its own units: single precision differs by a level at most
        np.testing.assert_allclose(over_black(image, mask), expected.numpy(), atol=2.01 * LEVEL)
        np.testing.assert_allclose(over_black(image, mask) + 1 - mask[..., None] / 255, image / 255, atol=1.01 * LEVEL)
