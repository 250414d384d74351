"""The closed-form lift is its formula, finds planted features, and leaves unknown pixels out."""

import numpy as np
import pytest
import torch
from reference.dense_raster import dense_render
from torch import Tensor

from ssl_core.errors import DataError
from ssl_core.meshes.household import household_cloud, household_mesh
from ssl_core.render.gaussian_raster import render_channels
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.lift import lift_features
from ssl_core.scenes.cameras import orbit_cameras

CAMERAS = orbit_cameras(6, 20, elevations=(-50, 60))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def gaussians(count: int = 80) -> GaussianTensors:
    rng = np.random.default_rng(0)
    cloud = household_cloud(household_mesh("chair", rng).normalised(), count, rng)
    return GaussianTensors.from_cloud(cloud, dtype=torch.float64)


def maps(*shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in CAMERAS]


def test_values_are_means_by_rendering_weights() -> None:
    scene, features = gaussians(), maps(20, 20, 3)
    colours = torch.eye(80, dtype=torch.float64)
    shape = {name: getattr(scene, name) for name in ("xyz", "opacity_logits", "log_scales", "quaternions")}
    above, below = torch.zeros(80, 3).double(), torch.zeros(80).double()
    for camera, feature in zip(CAMERAS, features, strict=True):
        matrix, _, _ = dense_render(**shape, colours=colours, camera=camera, background=torch.zeros(80).double())
        above += torch.einsum("hwn,hwc->nc", matrix, feature)
        below += matrix.sum((0, 1))
    values, weight = lift_features(scene, CAMERAS, lambda view: features[view])
    assert torch.allclose(weight, below, atol=1e-9)
    seen = below > 1e-3
    assert seen.sum() > 40
    assert torch.allclose(values[seen], (above / below[:, None])[seen], atol=1e-7)


def test_planted_labels_come_back() -> None:
    """Half of the views are enough for nine in ten Gaussians that are seen at all."""
    scene = gaussians(300)
    truth = torch.nn.functional.one_hot((scene.xyz[:, 2] > 0).long(), 2).double()
    pictures = [render_channels(scene, truth, camera).channels for camera in CAMERAS]
    values, weight = lift_features(scene, CAMERAS, lambda view: pictures[view])
    right = values.argmax(1) == truth.argmax(1)
    assert right[weight > 0.5].double().mean() > 0.9


def test_unknown_pixels_do_not_count() -> None:
    scene, features = gaussians(), maps(20, 20, 3)
    whole, weight = lift_features(scene, CAMERAS[:3], lambda view: features[view])
    for extra in features[3:]:
        extra[:] = torch.nan
    found, same = lift_features(scene, CAMERAS, lambda view: features[view])
    assert torch.allclose(found, whole)
    assert torch.allclose(same, weight)
    nothing, none = lift_features(scene, CAMERAS[3:], lambda view: features[view + 3])
    assert not nothing.any()
    assert not none.any()


def test_small_maps_are_brought_to_the_cameras_size() -> None:
    scene = gaussians()
    flat = torch.tensor([2.0, -1.0]).double()
    values, weight = lift_features(scene, CAMERAS, lambda _: flat.expand(5, 3, 2))
    assert torch.allclose(values[weight > 1e-6], flat.expand(80, 2)[weight > 1e-6])


def test_wrong_lifts_are_refused() -> None:
    with pytest.raises(DataError, match="no view"):
        lift_features(gaussians(), [], lambda _: torch.zeros(2, 2, 1))
    with pytest.raises(DataError, match="view 1 has 1 features, others 2"):
        lift_features(gaussians(), CAMERAS, lambda view: torch.zeros(2, 2, 2 - view))
