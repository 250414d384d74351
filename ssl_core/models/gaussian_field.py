"""A scene as Gaussians that carry class scores, or features that turn into them: one camera in, one view out.

Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering", for colours; scores and features are
blended with the same weights as colours (Zhou et al. 2024, "Feature 3DGS", equation 2; Label-3DGS blends class scores).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_core.errors import ConfigError
from ssl_core.render.gaussian_raster import render_channels
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.projection import NEAR
from ssl_core.render.spherical_harmonics import C0, sh_basis
from ssl_core.render.traced_raster import CAMERA, composite, project_batch
from ssl_core.scenes.cameras import Camera

VOID = 255
"""The label of a pixel that has none."""
SEEN = 0.5
"""Pixels whose sum of weights is below this are void: nothing there was seen."""
LEAST_COVERAGE = 1e-6
"""What is divided by coverage is divided by this at least."""
COLOURS = 3
FIXED_OUTPUTS = 6
"""Before the scores: red, green, blue, depth, coverage, label."""
LABEL = 5
"""Which of the outputs is the label."""
Activation = Literal["none", "softmax"]
"""Of a Gaussian's scores before they are blended: `softmax` blends probabilities."""


@dataclass(frozen=True)
class FieldView:
    """What a field looks like from one camera."""

    image: Tensor  # [H, W, 3] colours, background included
    depth: Tensor  # [H, W] along the camera's z axis, world units; 0 where nothing is
    coverage: Tensor  # [H, W] sum of weights, in [0, 1]
    label: Tensor  # [H, W] uint8; VOID where coverage is below SEEN, everywhere without classes
    scores: Tensor  # [H, W, C] of each class: blended logits, blended probabilities, or cosines


@dataclass(frozen=True)
class FieldShape:
    """Sizes of a field's tensors, and how its channels become scores.

    gaussians, coefficients: N Gaussians, K harmonics a colour. channels: d blended channels of a Gaussian. classes: C.
    embedding: width D of the class embeddings that decoded channels are compared with; 0: the channels are the scores.
    decodes: whether a linear layer turns d channels into D. size: width and height of the traced picture.
    """

    gaussians: int
    coefficients: int
    channels: int
    classes: int
    size: tuple[int, int]
    activation: Activation = "none"
    embedding: int = 0
    decodes: bool = False
    normalised: bool = False  # whether blended channels are divided by coverage
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    near: float = NEAR  # Gaussians nearer to a camera's plane are not drawn, world units


class GaussianField(nn.Module):
    """Cameras [B, 16] (`traced_raster.CAMERA`) -> views [B, 6 + C, H, W]: red, green, blue, depth, coverage, label,
    scores of C classes.

    The picture has the size of `shape`; `draw` takes any size. `cameras` [V, 16] are those it was fitted with, of
    pictures of `sizes` [V, 2], and `teacher_labels` [T, h, w] uint8 what its teacher said of held-out views.
    """

    def __init__(self, shape: FieldShape, cameras: int, teacher_labels: tuple[int, int, int]) -> None:
        super().__init__()
        n, decoded = shape.gaussians, shape.embedding if shape.decodes else 0
        self.shape = shape
        self.xyz = nn.Parameter(torch.zeros(n, 3))
        self.quaternions = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1))
        self.log_scales = nn.Parameter(torch.zeros(n, 3))
        self.opacity_logits = nn.Parameter(torch.zeros(n))
        self.sh = nn.Parameter(torch.zeros(n, shape.coefficients, COLOURS))
        self.channels = nn.Parameter(torch.zeros(n, shape.channels))
        self.decoder = nn.Linear(shape.channels, decoded) if decoded else None
        self.register_buffer("embeddings", torch.zeros(shape.classes if shape.embedding else 0, shape.embedding))
        self.register_buffer("cameras", torch.zeros(cameras, CAMERA))
        self.register_buffer("sizes", torch.zeros(cameras, 2, dtype=torch.int32))
        self.register_buffer("teacher_labels", torch.full(teacher_labels, VOID, dtype=torch.uint8))

    def forward(self, cameras: Tensor) -> Tensor:
        """Raises ConfigError for anything but [B, 16] of floats."""
        if cameras.ndim != 2 or cameras.shape[1] != CAMERA or not cameras.is_floating_point():
            raise ConfigError(
                f"this scene field takes cameras [B, {CAMERA}] float (viewmat's upper rows, then fx, fy, cx, cy), got "
                f"{list(cameras.shape)} of {str(cameras.dtype).removeprefix('torch.')}"
            )
        shape = self.shape
        screen, depth = project_batch(self.xyz, self.log_scales, self.quaternions, cameras, shape.size, shape.near)
        batch = cameras.shape[0]
        channels = self._blended().expand(batch, -1, -1)
        features = torch.cat((self._batch_colours(cameras), _finite(depth), channels), dim=2)
        sums, coverage = composite(screen, depth, F.logsigmoid(self.opacity_logits), features, shape.size)
        behind = sums.new_tensor(shape.background) * (1 - coverage)[..., None]
        mean_depth = sums[..., COLOURS] / coverage.clamp_min(1e-10)
        scores = self.scores(sums[..., COLOURS + 1 :], coverage)
        label = self._label(scores, coverage)
        parts = (sums[..., :COLOURS] + behind, mean_depth[..., None], coverage[..., None], label[..., None], scores)
        views: Tensor = torch.cat(parts, dim=2).transpose(1, 2).unflatten(2, (shape.size[1], shape.size[0]))
        return views

    def draw(self, camera: Camera) -> FieldView:
        """The view of any camera, by the tile rasteriser: pictures of any size at the price of what is in them."""
        shape = self.shape
        drawn = render_channels(
            GaussianTensors(self.xyz, self.opacity_logits, self.log_scales, self.quaternions, sh=self.sh),
            self._blended(),
            camera,
            background=shape.background,
            near=shape.near,
        )
        scores = self.scores(drawn.channels, drawn.alpha)
        label = self._label(scores, drawn.alpha).to(torch.uint8)
        return FieldView(drawn.image, drawn.depth, drawn.alpha, label, scores)

    def scores(self, blended: Tensor, coverage: Tensor) -> Tensor:
        """Blended channels [..., d] and coverage [...] -> scores [..., C]."""
        if self.shape.normalised:
            blended = blended / coverage.clamp_min(LEAST_COVERAGE)[..., None]
        if self.shape.embedding == 0:
            return blended
        decoded = blended if self.decoder is None else self.decoder(blended)
        return F.normalize(decoded, dim=-1) @ self.get_buffer("embeddings").transpose(0, 1)

    def _blended(self) -> Tensor:
        """[N, d] as they are blended."""
        return self.channels.softmax(1) if self.shape.activation == "softmax" else self.channels

    def _label(self, scores: Tensor, coverage: Tensor) -> Tensor:
        if self.shape.classes == 0:
            return torch.full_like(coverage, VOID)
        return torch.where(coverage >= SEEN, scores.argmax(-1).to(coverage.dtype), float(VOID))

    def _batch_colours(self, cameras: Tensor) -> Tensor:
        """[B, N, 3] as `sh_colours` gives them for one camera."""
        if self.shape.coefficients == 1:
            return (C0 * self.sh[:, 0] + 0.5).clamp_min(0).expand(cameras.shape[0], -1, -1)
        view = cameras[:, :12].reshape(-1, 3, 4)
        eyes = -(view[:, :, :3].transpose(1, 2) @ view[:, :, 3:])[..., 0]
        directions = F.normalize(self.xyz - eyes[:, None], dim=-1)
        basis = sh_basis(directions, self.shape.coefficients)
        return ((basis[..., None] * self.sh).sum(2) + 0.5).clamp_min(0)


def _finite(depth: Tensor) -> Tensor:
    """[..., 1]: of Gaussians that are not drawn zero, as zero times infinity is no number."""
    return torch.where(depth < torch.inf, depth, 0.0)[..., None]


def camera_vector(camera: Camera, size: tuple[int, int] | None = None) -> Tensor:
    """[16] float32 numbers of a camera, its intrinsics scaled to a picture of another size (width, height) if given."""
    across, down = (1.0, 1.0) if size is None else (size[0] / camera.width, size[1] / camera.height)
    K = camera.K
    lens = [across * K[0, 0], down * K[1, 1], across * K[0, 2], down * K[1, 2]]
    return torch.from_numpy(np.concatenate([camera.viewmat[:3].ravel(), lens]).astype(np.float32))


def camera_of(vector: Tensor, size: tuple[int, int]) -> Camera:
    """Inverse of `camera_vector`, of a picture of `size` (width, height)."""
    numbers = vector.detach().cpu().double().numpy()
    viewmat, K = np.eye(4), np.eye(3)
    viewmat[:3] = numbers[:12].reshape(3, 4)
    K[0, 0], K[1, 1], K[0, 2], K[1, 2] = numbers[12:]
    return Camera(viewmat, K, *size)
