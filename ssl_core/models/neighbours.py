"""Which points are near which: distances, balls, nearest neighbours, farthest-point centres, gathering.

All batched, without loops over points (but for farthest points, which are one after the other by nature),
traceable by `torch.export`, and free of gradients: an index has none.
"""

import torch
from torch import Tensor


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[B, S, 3], [B, N, 3] -> [B, S, N], by differences: exact for equal points, the same for any batch size."""
    total = (a[:, :, None, 0] - b[:, None, :, 0]).square()
    for axis in (1, 2):
        total = total + (a[:, :, None, axis] - b[:, None, :, axis]).square()
    return total


def ball_query(distances: Tensor, radius: float, count: int) -> Tensor:
    """The first `count` points by index within `radius` of each centre; short lists repeat their first entry.

    Squared distances [B, S, N] -> [B, S, min(count, N)] indices into N. The radius is in object units, inclusive. A
    centre with an empty ball gets index 0 (centres that are points themselves never have one).
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


def farthest_points(xyz: Tensor, count: int, first: Tensor | None = None) -> Tensor:
    """[B, N, 3] -> [B, min(count, N)]: farthest-point order (Eldar et al. 1997) from `first` [B]; without it, index 0.

    Of points that are equally far the first by index is taken. A graph (`torch.export`, and ONNX made of it) has the
    search as one loop, not as a step per centre, with the same arithmetic in the same order.
    """
    columns = xyz.detach().transpose(1, 2).contiguous()
    batch, _, points = columns.shape
    count = min(count, points)
    index = torch.zeros(batch, dtype=torch.int64, device=xyz.device) if first is None else first
    distance = torch.full((batch, points), torch.inf, dtype=xyz.dtype, device=xyz.device)
    if torch.compiler.is_exporting():
        return _loop_of_the_graph(columns, count, index, distance)
    chosen = [index]
    for _ in range(count - 1):
        index, distance = _next_farthest(columns, index, distance)
        chosen.append(index)
    return torch.stack(chosen, dim=1)


def _next_farthest(columns: Tensor, index: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """One step: points as [B, 3, N], the last chosen [B], squared distances to the chosen before it [B, N].

    The three squares are added one by one: a sum over an axis may be taken in another order elsewhere.
    """
    last = torch.gather(columns, 2, index[:, None, None].expand(-1, 3, 1))
    square = (columns - last).square()
    distance = torch.minimum(distance, square[:, 0] + square[:, 1] + square[:, 2])
    return distance.argmax(-1), distance


def _loop_of_the_graph(columns: Tensor, count: int, index: Tensor, distance: Tensor) -> Tensor:
    """The same steps as one operator. It takes no closures and no lists: each step writes its own place of [B, count].

    The operator itself, not `torch.while_loop`, which would compile the steps first.
    """

    def goes_on(step: Tensor, *_: Tensor) -> Tensor:
        return step < count

    def body(
        step: Tensor, index: Tensor, distance: Tensor, chosen: Tensor, columns: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        index, distance = _next_farthest(columns, index, distance)
        return step + 1, index, distance, torch.where(places == step, index[:, None], chosen)

    step = torch.ones((), dtype=torch.int64, device=columns.device)
    places = torch.arange(count, device=columns.device)
    chosen = index[:, None].expand(-1, count).contiguous()
    carried = (step, index, distance, chosen)
    found: Tensor = torch.ops.higher_order.while_loop(goes_on, body, carried, (columns, places))[3]
    return found


def row_indices(index: Tensor, points: int) -> Tensor:
    """[B, ...] indices into each cloud's points -> the same into the rows of all clouds one after the other."""
    offset = torch.arange(index.shape[0], device=index.device) * points
    return index + offset.view(-1, *(1 for _ in index.shape[1:]))


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """[B, N, C], [B, ...] -> [B, ..., C]: rows of each cloud by that cloud's indices."""
    flat = row_indices(index, x.shape[1]).flatten()
    return x.flatten(0, 1).index_select(0, flat).view(*index.shape, x.shape[2])
