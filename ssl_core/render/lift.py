"""Features of pictures on the Gaussians of a scene, in closed form: one pass over the views, nothing is optimised.

With rendering weights w_kp of Gaussian k at pixel p, the value of k is sum_p w_kp F_p / sum_p w_kp over all views. The
numerator is the gradient of <picture of channels, F> with respect to the channels, whatever draws it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ssl_core.errors import DataError
from ssl_core.render.gaussian_raster import Backend, render_channels
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.projection import NEAR
from ssl_core.scenes.cameras import Camera


def lift_features(
    gaussians: GaussianTensors,
    cameras: Sequence[Camera],
    features: Callable[[int], Tensor],
    *,
    backend: Backend = "auto",
    near: float = NEAR,
) -> tuple[Tensor, Tensor]:
    """Weighted means of view features by rendering weights.

    Args:
        gaussians: left as they are.
        cameras: of the views.
        features: index of a view -> its map [h, w, C], of any size, brought to the camera's bilinearly; or one with
            non-finite rows of channels where nothing is known: those pixels do not count.
        backend: see `render_gaussians`.
        near: see `render_channels`.

    Returns:
        values [N, C], zero where no view shows a Gaussian, and the sums of weights [N], in pixels.

    Raises DataError: no camera, or maps of different numbers of channels.
    """
    dark = (0.0,) * (3 if gaussians.colours is None else gaussians.colours.shape[1])
    sums: Tensor | None = None
    for view, camera in enumerate(cameras):
        known = _sized(features(view).to(gaussians.xyz), camera)
        if sums is not None and sums.shape[1] != known.shape[2]:
            found = f"{known.shape[2] - 1} features, others {sums.shape[1] - 1}"
            raise DataError(f"view {view} has {found}; give maps of one network")
        channels = gaussians.xyz.new_zeros(len(gaussians.xyz), known.shape[2], requires_grad=True)
        drawn = render_channels(gaussians, channels, camera, background=dark, backend=backend, near=near)
        (part,) = torch.autograd.grad(drawn.channels, channels, known)
        sums = part if sums is None else sums + part
    if sums is None:
        raise DataError("there is no view to lift features from; give cameras and their features")
    weight = sums[:, -1]
    return sums[:, :-1] / weight.clamp_min(1e-12)[:, None], weight


def _sized(features: Tensor, camera: Camera) -> Tensor:
    """[h, w, C] -> [H, W, C + 1], the last one 1 where the features are known and else 0, as are then the features."""
    known = features.isfinite().all(dim=2, keepdim=True)
    planes = torch.cat([features.where(known, 0), known.to(features)], dim=2)
    if planes.shape[:2] == (camera.height, camera.width):
        return planes
    size = (camera.height, camera.width)
    return torch.nn.functional.interpolate(planes.permute(2, 0, 1)[None], size, mode="bilinear")[0].permute(1, 2, 0)
