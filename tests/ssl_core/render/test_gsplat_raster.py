"""gsplat behind the same call: parity on CUDA, one clear line elsewhere."""

import builtins
import importlib.util

import pytest
import torch
from torch import Tensor

from ssl_core.errors import MissingDependencyError
from ssl_core.render import gaussian_raster
from ssl_core.render.gaussian_raster import render_channels, render_gaussians
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.scenes.cameras import orbit_cameras

BACKGROUND = (1.0, 0.5, 0.2)


def scene(count: int, device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(count)
    parameters = {
        "xyz": torch.randn(count, 3, generator=generator) * 0.5,
        "opacity_logits": torch.randn(count, generator=generator) * 2,
        "log_scales": torch.randn(count, 3, generator=generator) * 0.5 - 3,
        "quaternions": torch.randn(count, 4, generator=generator),
        "sh": torch.randn(count, 16, 3, generator=generator) * 0.3,
    }
    parameters["xyz"][:3, :] += torch.tensor([9.0, 0, 0])  # some behind the camera or off the screen
    return {name: value.to(device) for name, value in parameters.items()}


def test_without_gsplat_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_gsplat(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] == "gsplat":
            raise ImportError("No module named 'gsplat'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_gsplat)
    with pytest.raises(MissingDependencyError, match=r"splatsweep\[gpu\]") as caught:
        render_gaussians(GaussianTensors(**scene(3)), orbit_cameras(1, 16)[0], backend="gsplat")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("gsplat") is None, reason="gsplat is not installed")
def test_gsplat_is_not_asked_to_draw_on_the_cpu() -> None:
    with pytest.raises(MissingDependencyError, match="on the CPU"):
        render_gaussians(GaussianTensors(**scene(3)), orbit_cameras(1, 16)[0], backend="gsplat")


def test_auto_takes_torch_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("gsplat was asked")

    monkeypatch.setattr(gaussian_raster.gsplat_raster, "rasterise", fail)
    drawn = render_gaussians(GaussianTensors(**scene(20)), orbit_cameras(1, 16)[0])
    assert drawn.image.shape == (16, 16, 3)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
gsplat = pytest.mark.skipif(importlib.util.find_spec("gsplat") is None, reason="gsplat is not installed")


@pytest.mark.gpu
@cuda
def test_the_torch_rasteriser_draws_the_same_on_cuda() -> None:
    camera = orbit_cameras(1, 64, elevations=(-20, 60))[0]
    expected = render_gaussians(GaussianTensors(**scene(2000)), camera, background=BACKGROUND, backend="torch")
    drawn = render_gaussians(GaussianTensors(**scene(2000, "cuda")), camera, background=BACKGROUND, backend="torch")
    error = (drawn.image.cpu() - expected.image).abs()
    assert error.mean() < 1e-5
    assert error.max() < 2e-2


@pytest.mark.gpu
@cuda
@gsplat
@pytest.mark.parametrize(("count", "size"), [(300, 64), (2000, 128), (20000, 128)])
def test_gsplat_and_torch_agree(count: int, size: int) -> None:
    """Images within the flips that the 1/255 cut-off allows; gradients of a fixed linear loss by group."""
    camera = orbit_cameras(1, size, elevations=(-20, 60))[0]
    weight = torch.randn(size, size, 3, generator=torch.Generator().manual_seed(1)).cuda()
    pictures, gradients = [], []
    for backend in ("torch", "gsplat"):
        leaves = {name: value.requires_grad_() for name, value in scene(count, "cuda").items()}
        drawn = render_gaussians(GaussianTensors(**leaves), camera, background=BACKGROUND, backend=backend)
        gradients.append(torch.autograd.grad((drawn.image * weight).sum(), list(leaves.values())))
        pictures.append(drawn)
    error = (pictures[0].image - pictures[1].image).abs()
    assert error.mean() < 1e-5
    assert (error > 1e-3).float().mean() < 5e-3
    assert error.max() < 2e-2
    solid = pictures[0].alpha > 0.5
    assert torch.allclose(pictures[0].depth[solid], pictures[1].depth[solid], rtol=1e-3)
    for name, a, b in zip(scene(1), *gradients, strict=True):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.9999, name
        assert (a - b).norm() < 5e-3 * a.norm(), name


@pytest.mark.gpu
@cuda
@gsplat
@pytest.mark.parametrize("count", [1, 3, 40, 130])
def test_channels_agree_and_leave_the_geometry_alone(count: int) -> None:
    """Whatever their number: they are drawn in chunks."""
    camera = orbit_cameras(1, 64, elevations=(-20, 60))[0]
    channels = torch.randn(2000, count, generator=torch.Generator().manual_seed(2)).cuda()
    pictures, gradients = [], []
    for backend in ("torch", "gsplat"):
        leaves = {name: value.requires_grad_() for name, value in scene(2000, "cuda").items()}
        leaf = channels.clone().requires_grad_()
        drawn = render_channels(GaussianTensors(**leaves), leaf, camera, background=BACKGROUND, backend=backend)
        loss = drawn.channels.square().sum()
        found = torch.autograd.grad(loss, [leaf, *leaves.values()], allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in found[1:])
        assert torch.autograd.grad(drawn.image.sum(), drawn.means)[0].reshape(-1, 2).shape == (2000, 2)
        pictures.append(drawn.channels)
        gradients.append(found[0])
    error = (pictures[0] - pictures[1]).abs()
    assert error.mean() < 1e-4
    assert (error > 1e-2).float().mean() < 5e-3
    assert (gradients[0] - gradients[1]).norm() < 1e-2 * gradients[0].norm()
