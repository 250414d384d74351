"""Augmentation of points: what each setting does to which columns."""

import pytest
import torch

from ssl_core.contracts import PointsContract
from ssl_core.data.point_augment import PointAugment, augment_points

CONTRACT = PointsContract(features=("xyz", "normals", "opacity"), num_points=64)
NOTHING = PointAugment(scale=1, shift=0, jitter=0, yaw=0, drop_points=0)


def augmented(points: torch.Tensor, seed: int = 0, **settings: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment_points(points, CONTRACT, NOTHING.model_copy(update=settings), generator)


@pytest.fixture
def points() -> torch.Tensor:
    return torch.randn(5, 64, CONTRACT.columns, generator=torch.Generator().manual_seed(1))


def test_nothing_is_nothing(points: torch.Tensor) -> None:
    before = points.clone()
    assert torch.equal(augmented(points), points)
    augmented(points, scale=2.0, jitter=0.1, drop_points=0.9, drop_groups=0.9)
    assert torch.equal(points, before), "what is given stays as it is"


def test_the_generator_decides(points: torch.Tensor) -> None:
    settings = {"scale": 1.5, "shift": 0.1, "jitter": 0.02, "yaw": 15.0, "drop_points": 0.5, "drop_groups": 0.5}
    assert torch.equal(augmented(points, 3, **settings), augmented(points, 3, **settings))
    assert not torch.equal(augmented(points, 3, **settings), augmented(points, 4, **settings))


def test_scale_and_shift_are_one_map_per_axis_within_their_bounds(points: torch.Tensor) -> None:
    out = augmented(points, scale=1.5, shift=0.2)
    assert torch.equal(out[..., 3:], points[..., 3:])
    for before, after in zip(points, out, strict=True):
        for axis in range(3):
            columns = torch.stack([before[:, axis], torch.ones(64)], dim=1)
            factor, shift = torch.linalg.lstsq(columns, after[:, axis]).solution
            assert 1 / 1.5 - 1e-4 <= factor <= 1.5 + 1e-4
            assert abs(shift) <= 0.2 + 1e-4
            torch.testing.assert_close(columns @ torch.stack([factor, shift]), after[:, axis], atol=1e-4, rtol=0)


def test_yaw_turns_positions_and_normals_alike(points: torch.Tensor) -> None:
    out = augmented(points, yaw=180.0)
    assert torch.equal(out[..., 2], points[..., 2])
    torch.testing.assert_close(out[..., :3].norm(dim=-1), points[..., :3].norm(dim=-1))
    before, after = ((x[..., :3] * x[..., 3:6]).sum(-1) for x in (points, out))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)


def test_points_left_out_are_replaced_by_one_that_stays(points: torch.Tensor) -> None:
    out = augmented(points, drop_points=0.9)
    same = (out == points).all(dim=-1)
    first = (out == points[:, :1]).all(dim=-1)
    assert (same | first).all()
    assert 0 < int((~same).sum()) < same.numel()


def test_groups_are_dropped_by_object_and_positions_never(points: torch.Tensor) -> None:
    out = augmented(points, drop_groups=0.5)
    assert torch.equal(out[..., :3], points[..., :3])
    for columns in (slice(3, 6), slice(6, 7)):
        kept = [torch.equal(a[:, columns], b[:, columns]) for a, b in zip(out, points, strict=True)]
        gone = [not a[:, columns].any() for a in out]
        assert all(k or g for k, g in zip(kept, gone, strict=True))


def test_points_that_stay_are_not_left_out_and_nothing_else_depends_on_it(points: torch.Tensor) -> None:
    staying = torch.rand(5, 64, generator=torch.Generator().manual_seed(2)) < 0.3
    settings = NOTHING.model_copy(update={"drop_points": 0.9, "scale": 1.3})
    with_all, with_some = (
        augment_points(points, CONTRACT, settings, torch.Generator().manual_seed(0), some) for some in (None, staying)
    )
    whole = augment_points(points, CONTRACT, settings, torch.Generator().manual_seed(0), torch.ones_like(staying))
    assert torch.equal(with_some[staying], whole[staying])
    assert torch.equal(with_some[~staying], with_all[~staying])
    assert not torch.equal(with_all[staying], whole[staying])
