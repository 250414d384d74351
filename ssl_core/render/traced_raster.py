"""The tile rasteriser's picture without tiles, in operations that `torch.export` and ONNX can trace, for a batch of
cameras of one picture size.

Which tiles a Gaussian touches is a question of the values, and a traced program may not ask it. So every Gaussian is
evaluated at every pixel: exact, and slower by the share of the picture that a Gaussian does not cover. They are sorted
by depth and composited block by block in one loop; constants and results are those of `torch_raster`.
"""

import torch
from torch import Tensor

from ssl_core.render.projection import DILATION, FRUSTUM_MARGIN, NEAR, rotation_matrices
from ssl_core.render.torch_raster import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN, TRANSPARENT

POSE, CAMERA = 12, 16
"""Numbers of a camera: the upper three rows of its viewmat, row by row; then fx, fy, cx, cy in pixels."""
BLOCK = 64
"""Gaussians composited at a time: bounds the memory to this many values a pixel."""
_GEOMETRY = 6
"""Columns of a Gaussian on the screen: mean (x, y), conic (xx, xy, yy), log opacity."""


def project_batch(
    xyz: Tensor, log_scales: Tensor, quaternions: Tensor, cameras: Tensor, size: tuple[int, int], near: float = NEAR
) -> tuple[Tensor, Tensor]:
    """`ssl_core.render.projection.project` for cameras [B, 16] of pictures of `size` (width, height): means and conics
    [B, N, 5], and depths [B, N] along each camera's z axis; infinite where a Gaussian is nearer than `near`."""
    view = cameras[:, :POSE].reshape(-1, 3, 4)
    fx, fy, cx, cy = (cameras[:, POSE + i, None] for i in range(4))
    points = xyz @ view[:, :, :3].transpose(1, 2) + view[:, None, :, 3]
    depth = points[..., 2]
    inverse = 1 / torch.where(depth > near, depth, 1.0)
    x, y = points[..., 0] * inverse, points[..., 1] * inverse
    limits = [FRUSTUM_MARGIN * side / (2 * focal) for side, focal in zip(size, (fx, fy), strict=True)]
    axes = (view[:, None, :, :3] @ rotation_matrices(quaternions)) * log_scales.exp()[:, None, :]
    x_near, y_near = x.clamp(-limits[0], limits[0]), y.clamp(-limits[1], limits[1])
    row_x = (fx * inverse)[..., None] * (axes[..., 0, :] - x_near[..., None] * axes[..., 2, :])
    row_y = (fy * inverse)[..., None] * (axes[..., 1, :] - y_near[..., None] * axes[..., 2, :])
    xx = (row_x * row_x).sum(-1) + DILATION
    yy = (row_y * row_y).sum(-1) + DILATION
    xy = (row_x * row_y).sum(-1)
    determinant = xx * yy - xy * xy
    screen = torch.stack([fx * x + cx, fy * y + cy, yy / determinant, -xy / determinant, xx / determinant], dim=-1)
    return screen, torch.where(depth > near, depth, torch.inf)


def composite(
    screen: Tensor, depth: Tensor, log_alphas: Tensor, features: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """[B, H * W, F] sums of weight x feature, without background, and [B, H * W] sums of weights.

    Of Gaussians on the screen [B, N, 5] with depths [B, N], log opacities [N] and features [B, N, F].
    """
    hidden = torch.where(depth < torch.inf, log_alphas, TRANSPARENT)
    order = depth.argsort(dim=1)[..., None]
    table = torch.cat([screen, hidden[..., None], features, torch.ones_like(depth)[..., None]], dim=2)
    table = torch.gather(table, 1, order.expand(-1, -1, table.shape[2]))
    spare = -table.shape[1] % BLOCK
    if spare:
        rest = torch.zeros_like(table[:, :1]).expand(-1, spare, -1)
        empty = torch.cat([rest[..., : _GEOMETRY - 1], rest[..., :1] + TRANSPARENT, rest[..., _GEOMETRY:]], dim=2)
        table = torch.cat([table, empty], dim=1)
    blocks = table.unflatten(1, (-1, BLOCK)).transpose(0, 1)  # [blocks, B, BLOCK, ...]
    pixels = _pixel_centres(size, table)
    image = torch.zeros_like(table[:, :1, _GEOMETRY:]).expand(-1, pixels.shape[0], -1).contiguous()
    light = torch.ones_like(image[..., 0])
    if torch.compiler.is_exporting():
        image = _loop_of_the_graph(blocks.contiguous(), pixels, image, light)
    else:
        for block in blocks:
            image, light = _behind(block, pixels, image, light)
    return image[..., :-1], image[..., -1]


def _behind(block: Tensor, pixels: Tensor, image: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
    """Composite the next Gaussians [B, K, 6 + F + 1] behind what is there: sums [B, P, F + 1], light left [B, P]."""
    columns = [block[:, None, :, i] for i in range(_GEOMETRY)]  # [B, 1, K] each
    dx, dy = pixels[:, :1] - columns[0], pixels[:, 1:] - columns[1]
    power = -0.5 * (columns[2] * dx * dx + columns[4] * dy * dy) - columns[3] * dx * dy
    alpha = (power + columns[5]).exp().clamp(max=ALPHA_MAX)
    alpha = torch.where(alpha > ALPHA_MIN, alpha, 0.0)
    passed = (1 - alpha).log().cumsum(2)
    after = light[..., None] * passed.exp()
    before = torch.cat([light[..., None], after[..., :-1]], dim=2)
    weight = alpha * before
    weight = torch.where(before - weight > TRANSMITTANCE_MIN, weight, 0.0)
    return image + weight @ block[:, :, _GEOMETRY:], after[..., -1].contiguous()


def _loop_of_the_graph(blocks: Tensor, pixels: Tensor, image: Tensor, light: Tensor) -> Tensor:
    """The same steps as one operator, which takes no closures and no lists (see `models.neighbours`)."""
    count = blocks.shape[0]

    def goes_on(step: Tensor, *_: Tensor) -> Tensor:
        return step < count

    def body(
        step: Tensor, image: Tensor, light: Tensor, blocks: Tensor, pixels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        block = blocks.index_select(0, step.reshape(1))[0]
        image, light = _behind(block, pixels, image, light)
        return step + 1, image, light

    step = torch.zeros((), dtype=torch.int64, device=blocks.device)
    found: Tensor = torch.ops.higher_order.while_loop(goes_on, body, (step, image, light), (blocks, pixels))[1]
    return found


def _pixel_centres(size: tuple[int, int], like: Tensor) -> Tensor:
    """[H * W, 2] x and y of pixel centres, row by row."""
    width, height = size
    across = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    down = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
    return torch.stack([across.repeat(height), down.repeat_interleave(width)], dim=1)
