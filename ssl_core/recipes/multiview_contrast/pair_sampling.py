"""Which of an object's visible pairs of points and pixels a step compares: the reference's three samplers, for a whole
batch at once and without its shared lists (Tran et al. 2022; ssl code `data_utils.py`, 63 to 129).

Each is an order of all pairs, of which the first are taken:

    random   pairs at random
    fps      points in farthest-point order, all pixels of each before the next point's
    sps      points in farthest-point order, one random pixel each; then another one of each, and so on
"""

from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.batches import Indices
from ssl_core.data.sampling import farthest_point_order

PairSampler = Literal["random", "fps", "sps"]


def draw_pairs(
    seen: NDArray[np.bool_], xyz: NDArray[np.float32], count: int, sampler: PairSampler, rng: np.random.Generator
) -> tuple[Indices, Indices, Indices]:
    """`count` pairs of each object, none twice as long as there are so many.

    Args:
        seen: [B, N, V] which points are visible in which views.
        xyz: [B, N, 3] the points.
        count: S, of pairs per object.

    Returns:
        points and views of the pairs, each [B, S]; and how many of them are repeated, [B]. An object with fewer than S
        pairs has all of them, then random ones of them again.

    Raises ValueError: an object has none.
    """
    batch, _, views = seen.shape
    have = seen.sum(axis=(1, 2))
    if have.min(initial=1) == 0:
        raise ValueError(f"object {int(have.argmin())} of the batch has no visible pair")
    keys = _keys(seen, xyz, count, sampler, rng)
    order = np.argsort(np.where(seen, keys, np.inf).reshape(batch, -1), axis=1, kind="stable")
    place = np.tile(np.arange(count), (batch, 1))
    again = (rng.random((batch, count)) * have[:, None]).astype(np.int64)
    chosen = np.take_along_axis(order, np.where(place < have[:, None], place, again), axis=1)
    return chosen // views, chosen % views, np.maximum(count - have, 0)


def _keys(
    seen: NDArray[np.bool_], xyz: NDArray[np.float32], count: int, sampler: PairSampler, rng: np.random.Generator
) -> NDArray[np.float64]:
    """[B, N, V] smaller is sooner; of visible pairs alone."""
    random = rng.random(seen.shape)
    match sampler:
        case "random":
            return random
        case "fps":
            return _ranks(seen, xyz, count, rng)[..., None] + random
        case "sps":
            turn = np.where(seen, random, np.inf).argsort(axis=2, kind="stable").argsort(axis=2, kind="stable")
            return turn * float(seen.shape[1]) + _ranks(seen, xyz, count, rng)[..., None]
        case _:
            assert_never(sampler)


def _ranks(
    seen: NDArray[np.bool_], xyz: NDArray[np.float32], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """[B, N] place of each visible point in a farthest-point order from a random start; those beyond `count` are last.

    `count` points always hold `count` pairs.
    """
    ranks = np.full(seen.shape[:2], float(seen.shape[1] - 1))
    for row in range(len(seen)):
        points = np.flatnonzero(seen[row].any(axis=1))
        order = farthest_point_order(xyz[row, points], min(count, len(points)), int(rng.integers(len(points))))
        ranks[row, points[order]] = np.arange(len(order))
    return ranks


def first_times(picked: Indices) -> NDArray[np.bool_]:
    """[B, N] whether a value of [B, N] stands there for the first time in its row."""
    order = np.argsort(picked, axis=1, kind="stable")
    ordered = np.take_along_axis(picked, order, axis=1)
    first = np.ones(picked.shape, dtype=bool)
    np.put_along_axis(first, order[:, 1:], ordered[:, 1:] != ordered[:, :-1], axis=1)
    return first
