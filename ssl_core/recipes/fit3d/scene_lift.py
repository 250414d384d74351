"""Features of a network on the Gaussians of a scene, and what a view shows of them at the network's tokens.

Stage I of FiT3D (Yue et al., ECCV 2024, section 3.1): Gaussians are fitted to the colours alone, features do not move
them; the features' picture knows no background. Where a token sees no Gaussian it has no target: its weight is 0.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.config import short_digest
from ssl_core.data.scene_pack import ScenePack
from ssl_core.files.whole import derived_folder
from ssl_core.models.build import seeded_weights
from ssl_core.recipes.fit3d.config import ClosedFormLift, LiftConfig, OptimisedLift
from ssl_core.render.gaussian_raster import render_channels
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.lift import lift_features
from ssl_core.render.scene_fit import Fit, FitViews
from ssl_core.scenes.cameras import Camera

_VERSION = 1
"""of the fits: raised when the same settings give other Gaussians"""
_LEAST_ALPHA = 0.05
"""of a token's mean coverage: below it there is no target"""
_FILE = "gaussians.safetensors"


@dataclass(frozen=True)
class LiftedScene:
    """Gaussians with features.

    values: [N, C], features themselves, or what the decoder makes them of. finer: pixels per token and side that they
    are drawn with; None: those of the camera.
    """

    gaussians: GaussianTensors
    values: Tensor
    decoder: nn.Conv2d | None
    finer: int | None
    near: float

    @torch.no_grad()
    def target(self, camera: Camera, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """What a camera shows at tokens: [D, h, w], and how much each counts, [h, w] in [0, 1]."""
        seen = camera if self.finer is None else at_size(camera, (self.finer * grid[0], self.finer * grid[1]))
        drawn = render_channels(self.gaussians, self.values, seen, background=(0.0, 0.0, 0.0), near=self.near)
        picture, alpha = drawn.channels.permute(2, 0, 1)[None], drawn.alpha[None, None]
        cover = F.adaptive_avg_pool2d(alpha, grid)
        if self.decoder is None:
            found = F.adaptive_avg_pool2d(picture, grid) / cover.clamp_min(1e-6)
        else:  # as the reference has it: decoded where it is fine, then brought to the tokens, never divided
            found = F.interpolate(self.decoder(picture), grid, mode="bilinear", align_corners=False)
        weight = torch.where(cover >= _LEAST_ALPHA, cover, 0)[0, 0]
        return found[0] * (weight > 0), weight

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a file."""
        found = {**_named(self.gaussians), "features": self.values}
        if self.decoder is not None:
            found["decoder"] = self.decoder.weight
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


@dataclass(frozen=True)
class SceneViews:
    """Views of one scene that its Gaussians are fitted to, and the network's tokens of them [V, D, h, w]."""

    pack: ScenePack
    scene: int
    views: NDArray[np.int64]
    tokens: Tensor

    def pictures(self) -> FitViews:
        """As a fit takes them."""
        pack, views = self.pack, self.views.tolist()
        masks = [pack.mask(view) for view in views]
        return FitViews([pack.image(view) for view in views], [pack.camera(view) for view in views], masks)


def lifted(given: SceneViews, config: LiftConfig, root: Path) -> LiftedScene:
    """Features of a scene, on the device of its tokens.

    For a closed form Gaussians are fitted once per scene and settings, in a folder of their own under `root`; every
    network shares them.
    """
    match config.lift:
        case ClosedFormLift():
            return _in_closed_form(given, config, config.lift, root)
        case OptimisedLift():
            return _optimised(given, config, config.lift)
        case _:
            assert_never(config.lift)


def at_size(camera: Camera, size: tuple[int, int]) -> Camera:
    """The same camera with pictures of `size` (H, W)."""
    K = camera.K.copy()
    K[0] *= size[1] / camera.width
    K[1] *= size[0] / camera.height
    return Camera(camera.viewmat, K, size[1], size[0])


def _in_closed_form(given: SceneViews, config: LiftConfig, lift: ClosedFormLift, root: Path) -> LiftedScene:
    pack, tokens, near = given.pack, given.tokens, config.geometry.near
    facts = [_VERSION, config.geometry.to_json(), config.seed, pack.digest, given.scene, given.views.tolist()]
    address = f"fit3d-geometry-{short_digest(json.dumps(facts))}"
    place = derived_folder(root, address, partial(_make_geometry, given, config))
    found = safetensors.torch.load_file(place / _FILE, device=str(tokens.device))
    gaussians = GaussianTensors(**found)
    grid = tokens.shape[2] * lift.finer, tokens.shape[3] * lift.finer
    cameras = [at_size(pack.camera(view), grid) for view in given.views.tolist()]
    values, _ = lift_features(gaussians, cameras, lambda view: tokens[view].permute(1, 2, 0), near=near)
    return LiftedScene(gaussians, values, None, lift.finer, near)


def _make_geometry(given: SceneViews, config: LiftConfig, folder: Path) -> None:
    points, device = given.pack.points_of(given.scene), given.tokens.device
    fit = Fit(config.geometry, given.pictures(), points, seed=config.seed, device=device)
    fit.advance(config.geometry.iterations)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in _named(fit.gaussians()).items()}
    safetensors.torch.save_file(tensors, folder / _FILE)


def _named(gaussians: GaussianTensors) -> dict[str, Tensor]:
    assert gaussians.sh is not None
    return {
        "xyz": gaussians.xyz,
        "opacity_logits": gaussians.opacity_logits,
        "log_scales": gaussians.log_scales,
        "quaternions": gaussians.quaternions,
        "sh": gaussians.sh,
    }


def _optimised(given: SceneViews, config: LiftConfig, lift: OptimisedLift) -> LiftedScene:
    tokens, device = given.tokens, given.tokens.device
    with seeded_weights(config.seed):
        decoder = nn.Conv2d(lift.low_dim, tokens.shape[1], lift.kernel, padding=lift.kernel // 2, bias=False)
    pictures = given.pictures()
    fit = Fit(
        config.geometry,
        pictures,
        given.pack.points_of(given.scene),
        channels=lift.low_dim,
        decoder=decoder,
        seed=config.seed,
        device=device,
    )
    masks = [None if mask is None else torch.from_numpy(mask > 0).to(device) for mask in pictures.masks or ()]

    def loss(view: int, picture: Tensor) -> Tensor:
        told = decoder(picture.permute(2, 0, 1)[None])
        wanted = F.interpolate(tokens[view : view + 1], told.shape[2:], mode="bilinear", align_corners=False)
        mask = masks[view]
        if mask is not None:  # counted in the mean, without a gradient, as in the reference
            wanted = torch.where(mask, wanted, told.detach())
        error: Tensor = lift.weight * (told - wanted).abs().mean()
        return error

    fit.advance(config.geometry.iterations, loss)
    return LiftedScene(
        fit.gaussians(), fit.channels.detach(), decoder.requires_grad_(False), None, config.geometry.near
    )
