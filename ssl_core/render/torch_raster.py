"""A tile rasteriser for Gaussians in plain torch: any device, float32 or float64, any number of channels.

Within a tile log alpha is a quadratic in the pixel's place, so all Gaussians of all tiles are evaluated by one matrix
product with a fixed basis [P, 6], and the gradient comes back by another. Compositing is a prefix sum of log(1 - alpha)
over depth. Tiles with similar numbers of Gaussians are padded to the same length and done together.

Front-to-back compositing and its constants are those of Kerbl et al. 2023, equation 3, as gsplat 1.5.3 has them.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssl_core.render.projection import Projected

TILE = 4
"""Pixels per side of a tile."""
ALPHA_MIN = 1 / 255
ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4
"""The Gaussian that would leave less light than this, and all behind it, are not drawn."""
REACH = 3.33
"""Standard deviations beyond which even an opaque Gaussian is below ALPHA_MIN."""
PADDING = 1.5
"""A group holds tiles with at least 1 / PADDING of its largest tile's Gaussians."""
GROUP_VOLUME = 2_000_000
"""Most alpha values (tiles x Gaussians x pixels) evaluated at a time: bounds the memory."""
CHANNEL_CHUNK = 64
"""Most extra channels composited at a time: bounds the memory too."""
ROUNDING = 1e-3
"""Slack for the rounding of log alpha where a Gaussian is dropped from a whole tile."""
TRANSPARENT = -1e4
"""log alpha of padding."""
SMALL = 128
"""Up to this many Gaussians per tile a triangular matrix product is the faster running sum."""


@dataclass(frozen=True)
class Bins:
    """Which Gaussians are drawn in which tile: M pairs (Gaussian, tile), sorted by tile, then by depth."""

    gaussian: Tensor  # [M]
    tile: Tensor  # [M], row-major in `rows` of `columns` tiles
    # for every group of tiles (tile indices [B], pair indices [B, K]); M stands for padding
    groups: list[tuple[Tensor, Tensor]]
    columns: int
    rows: int


def rasterise(
    projected: Projected,
    log_alphas: Tensor,
    features: Tensor,
    width: int,
    height: int,
    channels: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Composite `features` [N, F] of N Gaussians on the screen front to back; `log_alphas` [N] are their log opacities.

    `channels` [N, C] are composited by the same weights, of which they are no function: their gradient reaches the
    channels alone, and neither picture nor gradient of `features` depends on them in a single bit.

    Returns [H, W, F] sum of weight x feature (no background), [H, W] sum of weights, [H, W, C] sum of weight x channel.
    """
    bins = bin_gaussians(projected, log_alphas.detach(), width, height)
    coefficients = _coefficients(projected, log_alphas, bins.gaussian, bins.tile, bins.columns)
    with_weight = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    beside = features.new_zeros(len(features), 0) if channels is None else channels
    tiles, channel_tiles = _Composite.apply(coefficients, with_weight, beside, bins)
    image = _untiled(tiles, bins, width, height)
    return image[..., :-1], image[..., -1], _untiled(channel_tiles, bins, width, height)


def _untiled(tiles: Tensor, bins: Bins, width: int, height: int) -> Tensor:
    """[tiles, P, F] -> [H, W, F]."""
    image = tiles.view(bins.rows, bins.columns, TILE, TILE, tiles.shape[2]).transpose(1, 2)
    return image.reshape(bins.rows * TILE, bins.columns * TILE, tiles.shape[2])[:height, :width]


@torch.no_grad()
def bin_gaussians(projected: Projected, log_alphas: Tensor, width: int, height: int) -> Bins:
    """Sort the visible Gaussians by depth and list those that may reach each tile."""
    columns, rows = math.ceil(width / TILE), math.ceil(height / TILE)
    reach = (2 * (log_alphas - math.log(ALPHA_MIN))).clamp_min(0).sqrt().clamp_max(REACH)
    extent = reach[:, None] * projected.variances.sqrt()
    limit = torch.tensor([columns, rows], device=extent.device)
    low = ((projected.means - extent) / TILE).floor().clamp_min(0).minimum(limit).long()
    high = ((projected.means + extent) / TILE).floor().clamp_min(-1).add(1).minimum(limit).long()
    size = (high - low).clamp_min(0)
    count = torch.where(projected.visible & (log_alphas > math.log(ALPHA_MIN)), size[:, 0] * size[:, 1], 0)
    order = torch.argsort(projected.depths, stable=True)
    order = order[count[order] > 0]
    gaussian = torch.repeat_interleave(order, count[order])
    ends = count[order].cumsum(0)
    within = torch.arange(len(gaussian), device=gaussian.device) - torch.repeat_interleave(
        ends - count[order], count[order]
    )
    across = size[gaussian, 0]
    tile = (low[gaussian, 1] + within // across) * columns + low[gaussian, 0] + within % across
    # the rectangle around an oblique ellipse has tiles that it misses: a quarter of all pairs
    coefficients = _coefficients(projected, log_alphas, gaussian, tile, columns)
    peak = (coefficients @ _basis(coefficients)).amax(1)
    touched = (peak >= math.log(ALPHA_MIN) - ROUNDING).nonzero()[:, 0]
    tile, by_tile = torch.sort(tile[touched], stable=True)
    return Bins(gaussian[touched[by_tile]], tile, _groups(tile, columns * rows), columns, rows)


def _groups(tile: Tensor, tiles: int) -> list[tuple[Tensor, Tensor]]:
    """Tiles with similar counts together: (tile indices [B], pair indices [B, K] padded with M)."""
    counts = torch.bincount(tile, minlength=tiles)
    starts = counts.cumsum(0) - counts
    counts, order = torch.sort(counts, descending=True)
    lengths = counts.tolist()
    used = tiles - lengths.count(0)
    groups, first = [], 0
    while first < used:
        longest = lengths[first]
        most = max(1, GROUP_VOLUME // (longest * TILE * TILE))
        last = first
        while last < used and last - first < most and lengths[last] * PADDING >= longest:
            last += 1
        members = order[first:last]
        place = torch.arange(longest, device=tile.device)
        pairs = torch.where(place < counts[first:last, None], starts[members][:, None] + place, len(tile))
        groups.append((members, pairs))
        first = last
    return groups


def _coefficients(projected: Projected, log_alphas: Tensor, gaussian: Tensor, tile: Tensor, columns: int) -> Tensor:
    """[M, 6] of log alpha = c . (u^2, uv, v^2, u, v, 1), with u, v in pixels from the middle of the pair's tile.

    Local coordinates keep the terms small, so that float32 is accurate wherever the tile lies.
    """
    packed = torch.cat([projected.means, projected.conics, log_alphas[:, None]], dim=1)
    x, y, a, b, c, log_alpha = packed.index_select(0, gaussian).unbind(1)
    x = x - ((tile % columns) * TILE + TILE / 2)
    y = y - ((tile // columns) * TILE + TILE / 2)
    u, v = a * x + b * y, b * x + c * y
    return torch.stack([-a / 2, -b, -c / 2, u, v, log_alpha - (u * x + v * y) / 2], dim=1)


def _basis(like: Tensor) -> Tensor:
    """[6, P]: (u^2, uv, v^2, u, v, 1) at the pixel centres of a tile."""
    line = torch.arange(TILE, dtype=like.dtype, device=like.device) + 0.5 - TILE / 2
    v, u = torch.meshgrid(line, line, indexing="ij")
    u, v = u.reshape(-1), v.reshape(-1)
    return torch.stack([u * u, u * v, v * v, u, v, torch.ones_like(u)])


class _Composite(torch.autograd.Function):
    """Coefficients [M, 6], features [N, F] and channels [N, C] -> tiles [tiles, P, F] and [tiles, P, C].

    The backward pass is written out: with w the weights and g the gradient of a pixel's features,
    d/dlog alpha_k = w_k (c_k . g) - alpha_k / (1 - alpha_k) sum_{j>k} w_j (c_j . g). Channels take no part in it.
    """

    @staticmethod
    def forward(
        ctx: Any, coefficients: Tensor, features: Tensor, channels: Tensor, bins: Bins
    ) -> tuple[Tensor, Tensor]:
        basis = _basis(coefficients)
        padded = torch.cat([coefficients, coefficients.new_zeros(1, 6)])
        padded[-1, 5] = TRANSPARENT
        gaussian = torch.cat([bins.gaussian, bins.gaussian.new_zeros(1)])
        tiles = features.new_zeros(bins.columns * bins.rows, TILE * TILE, features.shape[1])
        channel_tiles = features.new_zeros(*tiles.shape[:2], channels.shape[1])
        saved = []
        for members, pairs in bins.groups:
            alpha, weight = _weights(padded[pairs], basis)
            ids = gaussian[pairs]
            tiles[members] = weight.mT @ features[ids]
            for some in _chunks(channels.shape[1]):
                channel_tiles[members, :, some] = weight.mT @ channels[:, some][ids]
            saved += [alpha] if ctx.needs_input_grad[0] else []
            saved += [weight] if any(ctx.needs_input_grad) else []
        ctx.save_for_backward(features, gaussian, *saved)
        ctx.bins = bins
        ctx.channels = channels.shape[1]
        ctx.set_materialize_grads(False)
        return tiles, channel_tiles

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        features, gaussian, *saved = ctx.saved_tensors
        basis, (gradient, channel_gradient) = _basis(features), gradients
        of_shape, of_features, of_channels = ctx.needs_input_grad[:3]
        d_coefficients = features.new_zeros(len(gaussian), 6) if of_shape and gradient is not None else None
        d_features = torch.zeros_like(features) if of_features and gradient is not None else None
        wanted = of_channels and channel_gradient is not None
        d_channels = features.new_zeros(len(features), ctx.channels) if wanted else None
        for i, (members, pairs) in enumerate(ctx.bins.groups):
            alpha, weight = saved[2 * i : 2 * i + 2] if of_shape else (None, saved[i])
            ids = gaussian[pairs]
            if d_features is not None and gradient is not None:
                _scatter(d_features, ids, weight @ gradient[members])
            if d_channels is not None and channel_gradient is not None:
                for some in _chunks(ctx.channels):
                    _scatter(d_channels[:, some], ids, weight @ channel_gradient[members][..., some])
            if d_coefficients is not None and gradient is not None:
                assert alpha is not None
                pull = weight * (features[ids] @ gradient[members].mT)
                d_log_alpha = pull - alpha / (1 - alpha) * _sum_behind(pull)
                d_log_alpha.masked_fill_(alpha >= ALPHA_MAX, 0)
                d_coefficients[pairs] = d_log_alpha @ basis.T
        return None if d_coefficients is None else d_coefficients[:-1], d_features, d_channels, None


def _chunks(channels: int) -> list[slice]:
    """Channels that are gathered at a time: one copy of them stands beside each pair of Gaussian and tile."""
    return [slice(first, first + CHANNEL_CHUNK) for first in range(0, channels, CHANNEL_CHUNK)]


def _scatter(sums: Tensor, ids: Tensor, values: Tensor) -> None:
    """Add [B, K, F] to the rows [B, K] of [N, F]."""
    sums.index_add_(0, ids.view(-1), values.view(-1, values.shape[2]))


def _weights(coefficients: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """[B, K, 6] and [6, P] -> alpha and weight, both [B, K, P]."""
    alpha = (coefficients @ basis).exp_().clamp_max_(ALPHA_MAX)
    torch.threshold_(alpha, ALPHA_MIN, 0)
    before = _sum_in_front(torch.log1p(-alpha)).exp_()
    weight = alpha * before
    return alpha, weight.masked_fill_(before - weight <= TRANSMITTANCE_MIN, 0)


def _sum_in_front(x: Tensor) -> Tensor:
    """Exclusive prefix sum over dim 1 of [B, K, P]; a triangular product where K is small, which is faster."""
    if x.shape[1] > SMALL:
        return x.cumsum(1) - x
    return x.new_ones(x.shape[1], x.shape[1]).tril_(-1) @ x


def _sum_behind(x: Tensor) -> Tensor:
    """Exclusive suffix sum over dim 1 of [B, K, P]."""
    if x.shape[1] > SMALL:
        return x.flip(1).cumsum(1).flip(1) - x
    return x.new_ones(x.shape[1], x.shape[1]).triu_(1) @ x
