"""Which Gaussians of a cloud a point encoder sees: farthest-point orders, and the random numbers behind each draw.

A farthest-point order (Eldar et al. 1997, "The farthest point strategy") is a prefix property: the first n of a cached
order of 4096 *are* the farthest-point sample of size n with the same start, so one cached order serves every smaller
number of points. Different starts give the randomness back.

Random samples are drawn from counters instead of a stream: number j under seed s is a hash of (s, j), so a whole batch
is drawn at once and a sample does not depend on which other objects stand in its batch.
"""

import fpsample
import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Bits = NDArray[np.uint64]

_BUCKETED_FROM = 1024  # below, the plain search is as fast


def farthest_point_order(xyz: NDArray[np.float32], count: int, start: int) -> Indices:
    """Exact farthest-point order of `xyz` [N, 3] from index `start`: [min(count, N)] indices, `start` first.

    Equal points come last, each once, so the order of all N is a permutation. Which of several equally far points is
    taken is not specified, but it does not depend on `count`: a shorter order is a prefix of a longer one.

    The bucketed search (Han et al. 2023, QuickFPS) equals the plain one and is twenty times faster at 15,000 points.
    """
    count = min(count, len(xyz))
    points = np.ascontiguousarray(xyz, dtype=np.float32)
    order: Indices | None = None
    if len(points) >= _BUCKETED_FROM:
        height = _tree_height(len(points))
        place = _place_in_tree(points, start, height)
        order = fpsample.bucket_fps_kdline_sampling(points, count, height, start_idx=place).astype(np.int64)
    if order is None or int(order[0]) != start:  # the library builds its tree otherwise than we think: slow, not wrong
        order = fpsample.fps_sampling(points, count, start_idx=start).astype(np.int64)
    return _without_repeats(order, len(points))


def farthest_point_orders(
    xyz: NDArray[np.float32], count: int, starts: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """`starts` farthest-point orders from distinct random starts: [starts, count]; -1 after the last point."""
    orders = np.full((starts, count), -1, dtype=np.int32)
    first = rng.permutation(len(xyz))[:starts]
    for row in range(starts):
        order = farthest_point_order(xyz, count, int(first[row % len(first)]))
        orders[row, : len(order)] = order
    return orders


def _tree_height(points: int) -> int:
    """The fastest of the heights 3, 5 and 7 (8, 32 or 128 buckets), by measurement. It never depends on `count`."""
    if points < 4096:
        return 3
    return 5 if points < 50_000 else 7


def _place_in_tree(points: NDArray[np.float32], start: int, height: int) -> int:
    """Where the bucketed search will find point `start`: it counts starts in the order of its tree, not of its input.

    Follows one point down the tree as fpsample 1.0 builds it: split the widest side at the mean, and exchange the i-th
    misplaced point from the left with the i-th from the right.
    """
    values, place, offset = points.T.copy(), start, 0
    for _ in range(height):
        size = values.shape[1]
        if size == 1:
            break
        column = values[int(np.argmax(values.max(axis=1) - values.min(axis=1)))]
        below = column < np.cumsum(column)[-1] / np.float32(size)  # summed one by one in float32, as the tree does
        left = int(np.count_nonzero(below))
        high, low = np.flatnonzero(~below[:left]), left + np.flatnonzero(below[left:])[::-1]
        if place < left and not below[place]:
            place = int(low[np.searchsorted(high, place)])
        elif place >= left and below[place]:
            place = int(high[len(low) - 1 - np.searchsorted(low[::-1], place)])
        left = min(max(left, 1), size - 1)
        if place < left:
            values[:, high] = values[:, low]
            values = values[:, :left]
        else:
            values[:, low] = values[:, high]
            values, place, offset = values[:, left:], place - left, offset + left
    return offset + place


def _without_repeats(order: Indices, points: int) -> Indices:
    """Once only copies of chosen points are left, the search repeats itself: go on with the unused ones instead."""
    first = np.unique(order, return_index=True)[1]
    if len(first) == len(order):
        return order
    chosen = order[np.sort(first)]
    unused = np.setdiff1d(np.arange(points), chosen, assume_unique=True)
    return np.concatenate([chosen, unused[: len(order) - len(chosen)]])


def mix(bits: Bits) -> Bits:
    """A bijection of 64-bit words whose every output bit depends on every input bit (splitmix64's last step).

    Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators". Works in place on its argument.
    """
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits


_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def seeds(draw: int, objects: Indices) -> Bits:
    """[B] one seed per object of draw number `draw`, whatever else is in the batch."""
    own = mix((objects.astype(np.uint64) + np.uint64(1)) * _GAMMA)
    return mix(own ^ mix(np.array([draw % 2**64], dtype=np.uint64) * _GAMMA + np.uint64(1)))


def random_bits(seed: Bits, count: int) -> Bits:
    """[B, count] independent words, the first `count` of the splitmix64 sequence of each seed [B]."""
    return mix(seed[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GAMMA)


def uniform_keys(bits: Bits) -> Bits:
    """Keys whose smallest n are a uniform sample without replacement, in random order. Works in place: [B, M]."""
    bits >>= np.uint64(33)
    bits <<= np.uint64(32)
    return bits


def weighted_keys(bits: Bits, weights: NDArray[np.float32]) -> Bits:
    """Keys whose smallest n are drawn one after the other without replacement, in proportion to their weights.

    Efraimidis & Spirakis 2006, "Weighted random sampling with a reservoir": -log(u) / w with u uniform on (0, 1].

    Args:
        bits: [B, M] random words.
        weights: [B, M], not negative; zero is taken for a very small one.
    """
    v = (bits >> np.uint64(32)).astype(np.float32) * np.float32(2.0**-32)
    exponential = -np.log1p(-np.minimum(v, np.float32(1 - 2.0**-24)))
    keys: NDArray[np.float32] = exponential / np.maximum(weights, np.float32(1e-30))
    # positive floats sort as their bits do; abs: the -0.0 of v = 0 would sort last
    return np.abs(keys).view(np.uint32).astype(np.uint64) << np.uint64(32)


def smallest(keys: Bits, eligible: NDArray[np.bool_], count: int) -> Indices:
    """Columns of the `count` smallest keys of each row, smallest first: [B, min(count, M)].

    Args:
        keys: [B, M] from `uniform_keys` or `weighted_keys`: 31 bits of key over 32 free ones. Overwritten.
        eligible: [B, M]; columns that are not stand behind all that are.
    """
    keys |= np.arange(keys.shape[1], dtype=np.uint64)  # a plain sort then carries the column, and there are no ties
    keys |= (~eligible).astype(np.uint64) << np.uint64(63)
    if count < keys.shape[1]:
        keys = np.partition(keys, count - 1, axis=1)[:, :count]
    return (np.sort(keys, axis=1) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def uniform_below(bits: Bits, counts: Indices) -> Indices:
    """[B, N] numbers from 0 to below counts [B], each equally probable (to 2^-32); for sampling with replacement."""
    return (((bits >> np.uint64(32)) * counts.astype(np.uint64)[:, None]) >> np.uint64(32)).astype(np.int64)
