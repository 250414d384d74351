"""Channels in the same pass: the image's weights, their gradients, detached or not, any number of them."""

import numpy as np
import pytest
import torch
from reference.dense_raster import dense_render
from torch import Tensor

from ssl_core.errors import DataError
from ssl_core.gaussians.gaussian_cloud import SH_C0
from ssl_core.render import torch_raster
from ssl_core.render.gaussian_raster import ChannelRendering, render_channels, render_gaussians
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.scenes.cameras import orbit_cameras

CAMERA = orbit_cameras(1, 24, elevations=(-60, 60))[0]
DARK = (0.0, 0.0, 0.0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def scene(count: int = 60, channels: int = 5, dtype: torch.dtype = torch.float64) -> tuple[dict[str, Tensor], Tensor]:
    """Random Gaussians with colours, and their channels."""
    generator = torch.Generator().manual_seed(count)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    parameters = {
        "xyz": normal(count, 3) * 0.5,
        "opacity_logits": normal(count) * 2,
        "log_scales": normal(count, 3) * 0.5 - 2.3,
        "quaternions": normal(count, 4),
        "colours": normal(count, 3).sigmoid(),
    }
    return parameters, normal(count, channels)


def drawn(
    parameters: dict[str, Tensor], channels: Tensor, *, detach: bool = True, near: float = 0.01
) -> ChannelRendering:
    return render_channels(
        GaussianTensors(**parameters), channels, CAMERA, background=DARK, detach_geometry=detach, near=near
    )


def weights(parameters: dict[str, Tensor]) -> Tensor:
    """[H, W, N] by the dense twin: what each Gaussian adds to each pixel."""
    colours = torch.eye(len(parameters["xyz"]), dtype=torch.float64)
    others = {name: value for name, value in parameters.items() if name != "colours"}
    return dense_render(**others, colours=colours, camera=CAMERA, background=torch.zeros(len(colours)).double())[0]


def test_channels_are_weighted_sums_by_the_images_weights() -> None:
    parameters, channels = scene()
    matrix = weights(parameters)
    found = drawn(parameters, channels)
    assert (found.channels - matrix @ channels).abs().max() < 1e-9
    assert (found.image - matrix @ parameters["colours"]).abs().max() < 1e-9
    assert (found.alpha - matrix.sum(-1)).abs().max() < 1e-9
    assert matrix.min() >= 0
    assert matrix.sum(-1).max() <= 1


def test_colours_as_channels_give_the_image_on_black() -> None:
    parameters, _ = scene(dtype=torch.float32)
    found = drawn(parameters, parameters["colours"])
    assert (found.channels - found.image).abs().max() < 1e-6
    sh = ((parameters["colours"] - 0.5) / SH_C0)[:, None]
    harmonic = GaussianTensors(**{**parameters, "colours": None}, sh=sh)
    again = render_channels(harmonic, parameters["colours"], CAMERA, background=DARK)
    assert (again.channels - again.image).abs().max() < 1e-6


def test_the_gradient_of_channels_is_the_weight_matrix() -> None:
    parameters, channels = scene()
    leaf = channels.requires_grad_()
    upstream = torch.randn(24, 24, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(drawn(parameters, leaf).channels, leaf, upstream)
    expected = torch.einsum("hwn,hwc->nc", weights(parameters), upstream)
    assert (gradient - expected).abs().max() < 1e-9


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_agree_with_finite_differences(detach: bool) -> None:
    """gradcheck in float64; attached, of everything that the channels' picture depends on."""
    parameters, channels = scene(count=4, channels=2)
    names = [] if detach else ["xyz", "opacity_logits", "log_scales", "quaternions"]

    def picture(channels: Tensor, *geometry: Tensor) -> Tensor:
        return drawn(parameters | dict(zip(names, geometry, strict=True)), channels, detach=detach).channels[::7, ::7]

    leaves = [channels, *(parameters[name] for name in names)]
    assert torch.autograd.gradcheck(picture, [leaf.clone().requires_grad_() for leaf in leaves], atol=1e-5, eps=1e-7)


def test_detached_channels_leave_image_and_gradients_in_every_bit() -> None:
    parameters, channels = scene(count=200, channels=70, dtype=torch.float32)
    found = []
    for beside in (channels[:, :0], channels[:, :1], channels):
        leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        picture = drawn(leaves, beside.clone().requires_grad_())
        loss = picture.image.square().sum() + picture.depth.sum() + picture.channels.square().sum()
        found.append([picture.image, picture.alpha, *torch.autograd.grad(loss, list(leaves.values()))])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_attached_channels_pull_at_the_geometry() -> None:
    parameters, channels = scene()
    leaf = parameters["xyz"].clone().requires_grad_()
    kept = drawn(parameters | {"xyz": leaf}, channels).channels
    assert torch.autograd.grad(kept.sum(), leaf, allow_unused=True) == (None,)
    pulled = drawn(parameters | {"xyz": leaf}, channels, detach=False).channels
    assert torch.autograd.grad(pulled.sum(), leaf)[0].abs().max() > 0
    assert torch.allclose(kept, pulled)


def test_any_number_of_channels_at_run_time(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, channels = scene(channels=512)
    whole = drawn(parameters, channels)
    for some in (1, 3, 64, 65, 512):
        assert (drawn(parameters, channels[:, :some]).channels - whole.channels[..., :some]).abs().max() < 1e-12
    monkeypatch.setattr(torch_raster, "CHANNEL_CHUNK", 7)
    leaf = channels[:, :20].clone().requires_grad_()
    again = drawn(parameters, leaf).channels
    assert (again - whole.channels[..., :20]).abs().max() < 1e-12
    upstream = torch.linspace(-1, 1, again.numel(), dtype=torch.float64).view_as(again)
    (gradient,) = torch.autograd.grad(again, leaf, upstream)
    assert (gradient - torch.einsum("hwn,hwc->nc", weights(parameters), upstream)).abs().max() < 1e-9


def test_gaussians_nearer_than_asked_are_not_drawn() -> None:
    parameters, channels = scene()
    depth = torch.as_tensor((parameters["xyz"].numpy() @ CAMERA.viewmat[2, :3]) + CAMERA.viewmat[2, 3])
    near = float(depth.median())
    rest = {name: value[depth > near] for name, value in parameters.items()}
    cut = drawn(parameters, channels, near=near)
    assert torch.equal(cut.image, drawn(rest, channels[depth > near]).image)
    assert ((cut.radii > 0) <= (depth > near)).all()


def test_radii_and_means_say_where_gaussians_lie() -> None:
    parameters, channels = scene(count=30)
    found = drawn(parameters, channels)
    matrix = weights(parameters)
    rows, columns = np.meshgrid(np.arange(24) + 0.5, np.arange(24) + 0.5, indexing="ij")
    pixels = torch.as_tensor(np.stack([columns, rows], -1))
    for i in range(30):
        seen = pixels[matrix[..., i] > 0]
        assert len(seen) == 0 or (seen - found.means[i]).norm(dim=1).max() <= found.radii[i] * 1.2 + 1
    assert torch.equal(found.image, render_gaussians(GaussianTensors(**parameters), CAMERA, background=DARK).image)


def test_wrong_channels_are_refused() -> None:
    parameters, channels = scene()
    for wrong in (channels[:9], channels[:, 0]):
        with pytest.raises(DataError, match=r"give \[Gaussians, channels\]"):
            drawn(parameters, wrong)
