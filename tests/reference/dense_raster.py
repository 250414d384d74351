"""The slow twin of the tile rasteriser: every pixel against every Gaussian, in float64, by textbook formulas.

Written from Zwicker et al. 2001 and Kerbl et al. 2023 and not from the code under test: 3D covariances are
formed as matrices, projected by the explicit Jacobian and inverted by torch; compositing loops over depth.
"""

import torch
from torch import Tensor

from ssl_core.scenes.cameras import Camera


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """[4] wxyz -> [3, 3], by rotating the three unit vectors: v' = q v q*."""
    w, vector = quaternion[0] / quaternion.norm(), quaternion[1:] / quaternion.norm()
    columns = []
    for i in range(3):
        v = torch.zeros(3, dtype=quaternion.dtype)
        v[i] = 1
        twice = 2 * torch.linalg.cross(vector, v)
        columns.append(v + w * twice + torch.linalg.cross(vector, twice))
    return torch.stack(columns, dim=1)


def screen_gaussian(xyz: Tensor, log_scales: Tensor, quaternion: Tensor, camera: Camera) -> tuple[Tensor, ...]:
    """One Gaussian's mean [2], covariance [2, 2] and depth on the screen."""
    view, K = torch.as_tensor(camera.viewmat), torch.as_tensor(camera.K)
    W = view[:3, :3]
    t = W @ xyz + view[:3, 3]
    x, y, z = t
    fx, fy = K[0, 0], K[1, 1]
    limit_x, limit_y = 1.3 * camera.width / 2 / fx, 1.3 * camera.height / 2 / fy
    slope_x = torch.clamp(x / z, min=-limit_x, max=limit_x)
    slope_y = torch.clamp(y / z, min=-limit_y, max=limit_y)
    zero = torch.zeros_like(z)
    J = torch.stack([torch.stack([fx / z, zero, -fx * slope_x / z]), torch.stack([zero, fy / z, -fy * slope_y / z])])
    R = quaternion_to_matrix(quaternion)
    sigma = R @ torch.diag(torch.exp(2 * log_scales)) @ R.T
    covariance = J @ W @ sigma @ W.T @ J.T + 0.3 * torch.eye(2, dtype=xyz.dtype)
    mean = torch.stack([fx * x / z + K[0, 2], fy * y / z + K[1, 2]])
    return mean, covariance, z


def dense_render(
    xyz: Tensor,
    opacity_logits: Tensor,
    log_scales: Tensor,
    quaternions: Tensor,
    colours: Tensor,
    camera: Camera,
    background: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Image [H, W, C], alpha [H, W] and mean depth [H, W] (0 where nothing is seen)."""
    rows = torch.arange(camera.height, dtype=xyz.dtype) + 0.5
    columns = torch.arange(camera.width, dtype=xyz.dtype) + 0.5
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    image = torch.zeros(camera.height, camera.width, colours.shape[1], dtype=xyz.dtype)
    depth, total = torch.zeros_like(image[..., 0]), torch.zeros_like(image[..., 0])
    transmittance, open_ = torch.ones_like(depth), torch.ones_like(depth, dtype=torch.bool)
    screen = [screen_gaussian(*each, camera) for each in zip(xyz, log_scales, quaternions, strict=True)]
    for i in sorted(range(len(screen)), key=lambda i: screen[i][2].item()):
        mean, covariance, z = screen[i]
        if z <= 0.01:
            continue
        offset = pixels - mean
        distance = torch.einsum("hwi,ij,hwj->hw", offset, torch.linalg.inv(covariance), offset)
        alpha = (torch.sigmoid(opacity_logits[i]) * torch.exp(-distance / 2)).clamp(max=0.999)
        alpha = torch.where(alpha < 1 / 255, torch.zeros_like(alpha), alpha)
        after = transmittance * (1 - alpha)
        open_ = open_ & (after > 1e-4)
        weight = torch.where(open_, alpha * transmittance, torch.zeros_like(alpha))
        image = image + weight[..., None] * colours[i]
        depth, total = depth + weight * z, total + weight
        transmittance = after
    depth = torch.where(total > 0, depth / total.clamp(min=1e-10), depth)
    return image + (1 - total)[..., None] * background, total, depth
