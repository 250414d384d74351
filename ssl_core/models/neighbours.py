"""Which points are near which: distances, balls, nearest neighbours, farthest-point centres, gathering.

All batched, without loops over points (but for farthest points, which are one after the other by nature),
traceable by `torch.export`, and free of gradients: an index has none.
"""

import torch
from torch import Tensor


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[B, S, 3], [B, N, 3] -> [B, S, N], by differences: exact for equal points and the same for any batch
    size.
    """
    total = (a[:, :, None, 0] - b[:, None, :, 0]).square()
    for axis in (1, 2):
        total = total + (a[:, :, None, axis] - b[:, None, :, axis]).square()
    return total


def ball_query(distances: Tensor, radius: float, count: int) -> Tensor:
    """The first `count` points by index within `radius` of each centre; short lists repeat their first entry.

    Args:
        distances: squared, [B, S, N].
        radius: in object units, inclusive.
        count: neighbours per centre; at most N are given.
    Returns:
        [B, S, min(count, N)] indices into N. A centre with an empty ball gets index 0 (centres that are
        points themselves never have one).
    """
    batch, centres, points = distances.shape
    count = min(count, points)
    found = (distances <= radius * radius).cumsum(-1, dtype=torch.int32)
    # the j-th neighbour stands where the running count first reaches j; beyond the last one that is N
    wanted = torch.arange(1, count + 1, dtype=torch.int32, device=distances.device)
    index = torch.searchsorted(found, wanted.expand(batch, centres, count).contiguous())
    first = torch.where(index[..., :1] < points, index[..., :1], 0)
    return torch.where(index < points, index, first)


def nearest(x: Tensor, count: int) -> Tensor:
    """[B, N, C] -> [B, N, min(count, N)]: indices of the nearest points, each point itself among them."""
    x = x.detach()
    # centred: the matrix form of the distance loses digits far from the origin
    x = x - x.mean(dim=1, keepdim=True)
    return torch.cdist(x, x).topk(min(count, x.shape[1]), dim=-1, largest=False, sorted=False).indices


def farthest_points(xyz: Tensor, count: int) -> Tensor:
    """[B, N, 3] -> [B, min(count, N)]: farthest-point order starting from index 0 (Eldar et al. 1997)."""
    xyz = xyz.detach()
    index = torch.zeros_like(xyz[:, 0, 0], dtype=torch.int64)
    chosen = [index]
    distance = torch.full_like(xyz[..., 0], torch.inf)
    for _ in range(min(count, xyz.shape[1]) - 1):
        last = torch.gather(xyz, 1, index[:, None, None].expand(-1, 1, 3))
        distance = torch.minimum(distance, (xyz - last).square().sum(-1))
        index = distance.argmax(-1)
        chosen.append(index)
    return torch.stack(chosen, dim=1)


def row_indices(index: Tensor, points: int) -> Tensor:
    """[B, ...] indices into each cloud's points -> the same into the rows of all clouds one after the
    other.
    """
    offset = torch.arange(index.shape[0], device=index.device) * points
    return index + offset.view(-1, *(1 for _ in index.shape[1:]))


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """[B, N, C], [B, ...] -> [B, ..., C]: rows of each cloud by that cloud's indices."""
    flat = row_indices(index, x.shape[1]).flatten()
    return x.flatten(0, 1).index_select(0, flat).view(*index.shape, x.shape[2])
