"""A light field: colours belong to rays, not to points on them."""

import pytest
import torch

from ssl_core.errors import ConfigError
from ssl_core.models.cards import SceneFieldCard
from ssl_core.models.light_field import pluecker

torch.set_num_threads(1)
CARD = SceneFieldCard(hidden=32, layers=2, frequencies=2)


def test_a_ray_has_one_colour_wherever_its_origin_lies_and_however_long_its_direction() -> None:
    rays, field = CARD.example(50), CARD.build(0)
    along = rays.clone()
    along[:, :3] += 1.5 * rays[:, 3:]
    along[:, 3:] *= 0.2
    torch.testing.assert_close(field(along), field(rays), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(pluecker(-rays), pluecker(rays))


def test_the_moment_is_the_cross_product() -> None:
    rays = CARD.example(20)
    unit = torch.nn.functional.normalize(rays[:, 3:], dim=1)
    torch.testing.assert_close(pluecker(rays), torch.cat((unit, torch.linalg.cross(rays[:, :3], unit)), dim=1))


def test_it_learns_a_scene() -> None:
    """Colours by the direction: better than any constant after a few steps."""
    field, rays = CARD.build(0), CARD.example(256)
    wanted = torch.nn.functional.normalize(rays[:, 3:], dim=1) / 2 + 0.5
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (field(rays) - wanted).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * wanted.var(dim=0).mean()


@pytest.mark.parametrize("rays", [torch.zeros(6), torch.zeros(2, 5), torch.zeros(2, 6, dtype=torch.int64)])
def test_what_are_no_rays_is_refused(rays: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"takes rays \[R, 6\] float"):
        CARD.build(0)(rays)
