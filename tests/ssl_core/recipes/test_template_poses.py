"""Poses that are found in one shape for all images."""

import math

import pytest
import torch

from ssl_core.models.reconstruction import symmetric
from ssl_core.recipes.image_to_points import template_poses
from ssl_core.recipes.image_to_points.config import CameraConfig, DataConfig, TemplateConfig
from ssl_core.recipes.image_to_points.template_poses import FoundTemplate, Outlines, TemplateSettings, best_template
from ssl_core.render.point_splatting import OrbitLens, orbit_rotation, project_points, splat_mask

LENS = OrbitLens.of(24, 1.0, 2.0)
GENERATOR = torch.Generator().manual_seed(0)

SETTINGS = TemplateSettings(
    template=TemplateConfig(points=64, steps=120, batch_size=24, azimuths=12),
    data=DataConfig(),
    camera=CameraConfig(),
    image_size=LENS.size,
    mirror="x",
    azimuth_range=180.0,
    elevations=(10.0, 50.0),
)


def silhouettes(cloud: torch.Tensor, poses: torch.Tensor) -> torch.Tensor:
    seen = project_points(cloud.expand(len(poses), -1, -1), orbit_rotation(*poses.unbind(1)), LENS)
    return (splat_mask(seen, LENS.size, 0.5) > 0.4).float()


def chair() -> torch.Tensor:
    """A seat on one leg with a back at y < 0: symmetric in x."""
    seat = torch.rand(300, 3, generator=GENERATOR) * torch.tensor([0.8, 0.8, 0.1]) - torch.tensor([0.4, 0.4, 0.05])
    back = torch.rand(300, 3, generator=GENERATOR) * torch.tensor([0.8, 0.1, 0.7]) - torch.tensor([0.4, 0.4, 0.0])
    leg = torch.rand(100, 3, generator=GENERATOR) * torch.tensor([0.1, 0.1, 0.6]) - torch.tensor([0.05, 0.05, 0.6])
    return symmetric(torch.cat((seat, back, leg)), "x")


def test_errors_are_squared_distances_of_points_and_outlines() -> None:
    cloud = torch.rand(20, 3, generator=GENERATOR) - 0.5
    pose = torch.tensor([[0.3, 0.4]])
    masks = torch.zeros(1, 24, 24)
    masks[:, 5, 7] = 1  # with one pixel nothing is left to be drawn
    seen = project_points(cloud[None], orbit_rotation(*pose.unbind(1)), LENS)
    squared = (seen.rows - 5).square() + (seen.cols - 7).square()
    found = Outlines.of(masks > 0.5).errors(torch.tensor([0]), cloud, pose, LENS, GENERATOR)
    assert torch.allclose(found, squared.mean() + squared.min(), rtol=1e-4)


def test_of_several_starts_the_one_that_fits_best_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {}

    def found(masks: torch.Tensor, settings: TemplateSettings, lens: OrbitLens, seed: int) -> FoundTemplate:
        errors[seed] = float(torch.rand(1, generator=torch.Generator().manual_seed(seed)))
        return FoundTemplate(torch.zeros(2, 3), torch.zeros(1, 1, 2), errors[seed])

    monkeypatch.setattr(template_poses, "found_template", found)
    settings = SETTINGS.model_copy(update={"template": TemplateConfig(starts=5)})
    taken = best_template(torch.ones(1, 24, 24), settings, LENS)
    assert len(errors) == 5
    assert taken.error == min(errors.values())


@pytest.mark.slow
def test_poses_are_found_up_to_the_side_that_symmetry_leaves_open() -> None:
    """The plane x = 0 stays where it is under half a turn and a reflection; these are tried, and no other rotation."""
    torch.set_num_threads(1)
    count = 48
    azimuth = (torch.rand(count, generator=GENERATOR) * 2 - 1) * math.pi
    truth = torch.stack((azimuth, 0.2 + 0.6 * torch.rand(count, generator=GENERATOR)), dim=1)
    template, poses, error = best_template(silhouettes(chair(), truth), SETTINGS, LENS)
    assert torch.equal(template, symmetric(template[:32], "x"))
    off = [torch.remainder(poses[:, 0, 0] + turn - azimuth + math.pi, 2 * math.pi) - math.pi for turn in (0.0, math.pi)]
    medians = [float(torch.rad2deg(each.abs()).median()) for each in off]
    assert min(medians) < 25, medians  # 90 at random
    again = best_template(
        silhouettes(chair(), truth[:4]), SETTINGS.model_copy(update={"template": TemplateConfig(steps=1)}), LENS
    )
    assert again[2] > error
