"""The tile rasteriser against its dense float64 twin, and the laws of compositing."""

import numpy as np
import pytest
import torch
from reference.dense_raster import dense_render
from torch import Tensor

from ssl_core.errors import DataError
from ssl_core.render import torch_raster
from ssl_core.render.gaussian_raster import Rendering, render_gaussians
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.scenes.cameras import Camera, intrinsics, look_at, orbit_cameras

BACKGROUND = (0.2, 0.5, 1.0)
FRONT = Camera(look_at([0, -3, 0], [0, 0, 0]), intrinsics(32, 50), 32, 32)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def scene(count: int, seed: int = 0, size: float = -2.5, channels: int = 3) -> dict[str, Tensor]:
    """Random Gaussians around the origin in float64: large, tiny, transparent and outside."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "xyz": normal(count, 3) * 0.5,
        "opacity_logits": normal(count) * 2.5,
        "log_scales": normal(count, 3) * 0.6 + size,
        "quaternions": normal(count, 4) * 3,
        "colours": normal(count, channels).sigmoid(),
    }


def draw(parameters: dict[str, Tensor], camera: Camera, background: tuple[float, ...] = BACKGROUND) -> Rendering:
    return render_gaussians(GaussianTensors(**parameters), camera, background=background, backend="torch")


def disc(y: float, logit: float = 3.0, radius: float = 0.25) -> dict[str, Tensor]:
    """One round Gaussian at depth 3 + y in front of FRONT."""
    return {
        "xyz": torch.tensor([[0.0, y, 0.0]], dtype=torch.float64),
        "opacity_logits": torch.tensor([logit], dtype=torch.float64),
        "log_scales": torch.full((1, 3), radius, dtype=torch.float64).log(),
        "quaternions": torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64),
        "colours": torch.tensor([[1.0, 0, 0]], dtype=torch.float64),
    }


def together(*parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize(
    ("count", "size", "width", "height"),
    [(150, -2.5, 32, 32), (60, -1.0, 37, 21), (300, -4.0, 18, 30), (400, -1.5, 16, 16)],
    ids=["mixed", "large Gaussians, odd size", "tiny Gaussians", "deep tiles"],
)
def test_images_agree_with_the_dense_twin(count: int, size: float, width: int, height: int) -> None:
    parameters = scene(count, seed=count, size=size)
    K = intrinsics(32, 50)
    K[:2, 2] = width / 2 + 1.5, height / 2 - 2  # the principal point need not be in the middle
    camera = Camera(orbit_cameras(1, 32, seed=count, elevations=(-60, 60))[0].viewmat, K, width, height)
    expected = dense_render(**parameters, camera=camera, background=torch.tensor(BACKGROUND, dtype=torch.float64))
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        drawn = draw({name: value.to(dtype) for name, value in parameters.items()}, camera)
        assert drawn.image.dtype == dtype
        for got, want in zip((drawn.image, drawn.alpha, drawn.depth), expected, strict=True):
            assert got.shape == want.shape
            assert (got.double() - want).abs().max() < tolerance * max(1.0, float(want.abs().max()))


def test_gradients_agree_with_the_dense_twin() -> None:
    parameters = scene(80, seed=4)
    camera = orbit_cameras(1, 24, seed=1)[0]
    weight = torch.randn(24, 24, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    background = torch.tensor(BACKGROUND, dtype=torch.float64)

    def gradients(dtype: torch.dtype, dense: bool) -> list[Tensor]:
        leaves = {name: value.clone().to(dtype).requires_grad_() for name, value in parameters.items()}
        if dense:
            image, alpha, depth = dense_render(**leaves, camera=camera, background=background)
        else:
            drawn = draw(leaves, camera)
            image, alpha, depth = drawn.image, drawn.alpha, drawn.depth
        loss = (image * weight).sum() + alpha.square().sum() + 0.1 * (depth * alpha).sum()
        return list(torch.autograd.grad(loss, list(leaves.values())))

    expected = gradients(torch.float64, dense=True)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        for name, got, want in zip(parameters, gradients(dtype, dense=False), expected, strict=True):
            assert (got.double() - want).norm() <= tolerance * want.norm(), name


@pytest.mark.parametrize("name", ["xyz", "opacity_logits", "log_scales", "quaternions", "colours"])
def test_gradients_agree_with_central_differences(name: str) -> None:
    """In float64 along random directions. Here and there a pixel crosses the 1/255 cut: hence the median."""
    parameters = scene(40, seed=7)
    camera = orbit_cameras(1, 24, seed=2)[0]
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(24, 24, 3, generator=generator, dtype=torch.float64)

    def loss(value: Tensor) -> Tensor:
        drawn = draw(parameters | {name: value}, camera)
        return (drawn.image * weight).sum() + (drawn.depth * drawn.alpha).sum()

    leaf = parameters[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    step, errors = 1e-6, []
    for _ in range(8):
        direction = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        up, down = loss(parameters[name] + step * direction), loss(parameters[name] - step * direction)
        slope = float((gradient * direction).sum())
        errors.append(abs(slope - float(up - down) / (2 * step)) / max(abs(slope), float(gradient.norm()) * 0.1))
    assert np.median(errors) < 1e-5


def test_many_channels_and_padding_groups_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = scene(200, channels=19)
    camera = orbit_cameras(1, 32)[0]
    expected = draw(parameters, camera, (0.0,) * 19).image
    monkeypatch.setattr(torch_raster, "GROUP_VOLUME", 1)
    monkeypatch.setattr(torch_raster, "SMALL", 0)
    assert torch.allclose(draw(parameters, camera, (0.0,) * 19).image, expected, atol=1e-12)
    monkeypatch.setattr(torch_raster, "GROUP_VOLUME", 10**9)
    monkeypatch.setattr(torch_raster, "PADDING", 10**9)
    monkeypatch.setattr(torch_raster, "TILE", 8)
    assert torch.allclose(draw(parameters, camera, (0.0,) * 19).image, expected, atol=1e-12)


def test_the_order_of_the_gaussians_does_not_matter() -> None:
    parameters = scene(200)
    shuffle = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    camera = orbit_cameras(1, 32)[0]
    mixed = draw({name: value[shuffle] for name, value in parameters.items()}, camera)
    assert torch.allclose(mixed.image, draw(parameters, camera).image, atol=1e-12)


def test_the_nearer_gaussian_occludes_the_farther() -> None:
    red, blue = (
        disc(-0.5, logit=12.0),
        disc(0.5, logit=12.0) | {"colours": torch.tensor([[0, 0, 1.0]]).double()},
    )
    drawn = draw(together(blue, red), FRONT)
    middle = drawn.image[16, 16]
    assert middle[0] > 0.95
    assert middle[2] < 0.03
    assert abs(float(drawn.depth[16, 16]) - 2.5) < 0.02
    away = draw(together(blue, red | {"xyz": red["xyz"] + torch.tensor([0, 1.5, 0])}), FRONT)
    assert away.image[16, 16, 2] > 0.95, "moved behind the blue one, the red one is hidden"


def test_opaque_layers_hide_what_is_behind_them_exactly() -> None:
    """Light stops at 1e-4: two layers at the largest alpha leave 1e-6, so nothing behind them counts."""
    wall = disc(-0.5, logit=20.0, radius=50.0)
    walls = together(wall, wall | {"xyz": wall["xyz"] + 0.01})
    assert torch.equal(draw(together(walls, disc(0.5)), FRONT).image, draw(walls, FRONT).image)


def test_behind_the_camera_nothing_is_drawn_and_no_gradient_is_nan() -> None:
    behind = together(disc(-3.0), disc(-3.5), disc(-9.0))  # on the camera, just behind it, far behind it
    leaves = {name: value.requires_grad_() for name, value in behind.items()}
    drawn = draw(leaves, FRONT)
    assert torch.allclose(drawn.image, torch.tensor(BACKGROUND, dtype=torch.float64).expand(32, 32, 3))
    assert (drawn.alpha == 0).all()
    assert (drawn.depth == 0).all()
    for gradient in torch.autograd.grad(drawn.image.sum(), list(leaves.values())):
        assert (gradient == 0).all()
    assert torch.allclose(draw(together(behind, disc(0.0)), FRONT).image, draw(disc(0.0), FRONT).image)


def test_off_screen_and_transparent_gaussians_leave_the_background() -> None:
    outside = disc(0.0) | {"xyz": torch.tensor([[40.0, 0, 0]]).double()}
    drawn = draw(together(outside, disc(0.0, logit=-6.0)), FRONT, (0.1, 0.2, 0.3))
    assert torch.allclose(drawn.image, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).expand(32, 32, 3))


@pytest.mark.parametrize("background", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.3, 0.6, 0.9)])
def test_the_background_shines_through_by_what_alpha_leaves(background: tuple[float, ...]) -> None:
    parameters = scene(60)
    camera = orbit_cameras(1, 32)[0]
    black, drawn = draw(parameters, camera, (0.0, 0.0, 0.0)), draw(parameters, camera, background)
    behind = (1 - drawn.alpha)[..., None] * torch.tensor(background, dtype=torch.float64)
    assert torch.allclose(drawn.image, black.image + behind, atol=1e-12)
    assert drawn.alpha.min() >= 0
    assert drawn.alpha.max() <= 1


def test_a_gaussian_lies_where_its_centre_projects() -> None:
    """Centres of pixels are at +0.5, x to the right and y down."""
    point = disc(0.0, logit=1.0, radius=0.02) | {"xyz": torch.tensor([[0.3, 0.0, 0.5]]).double()}
    focal = FRONT.K[0, 0]
    alpha = draw(point, FRONT).alpha
    rows, columns = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    assert float((alpha * columns).sum() / alpha.sum()) == pytest.approx(16 + focal * 0.1, abs=0.02)
    assert float((alpha * rows).sum() / alpha.sum()) == pytest.approx(16 - focal * 0.5 / 3, abs=0.02)


def test_no_gaussians_at_all() -> None:
    drawn = draw({name: value[:0] for name, value in disc(0.0).items()}, FRONT)
    assert torch.allclose(drawn.image, torch.tensor(BACKGROUND, dtype=torch.float64).expand(32, 32, 3))


def test_moving_world_and_camera_together_changes_nothing() -> None:
    parameters = scene(50)
    camera = orbit_cameras(1, 32)[0]
    moved = camera.viewmat.copy()
    shift = np.array([5.0, -3.0, 2.0])
    moved[:3, 3] -= moved[:3, :3] @ shift
    there = draw(parameters | {"xyz": parameters["xyz"] + torch.as_tensor(shift)}, Camera(moved, camera.K, 32, 32))
    assert torch.allclose(there.image, draw(parameters, camera).image, atol=1e-9)


def test_wrong_calls_are_refused() -> None:
    parameters = disc(0.0)
    with pytest.raises(DataError, match="one each"):
        draw(parameters, FRONT, (1.0,))
    with pytest.raises(DataError, match="not both"):
        GaussianTensors(**parameters, sh=torch.zeros(1, 1, 3))
    with pytest.raises(DataError, match="not neither"):
        GaussianTensors(**{name: value for name, value in parameters.items() if name != "colours"})
    with pytest.raises(DataError, match="5 coefficients"):
        GaussianTensors(**(parameters | {"colours": None}), sh=torch.zeros(1, 5, 3))
