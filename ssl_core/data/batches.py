"""Which objects and views make a batch: drawn as indices, so that their bytes come out of the maps in one copy each."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.object_pack import Pack
from ssl_core.errors import InfeasibleError

Indices = NDArray[np.int64]
Negatives = Literal["any", "other_class"]


def batches_of(objects: Indices, batch_size: int, rng: np.random.Generator) -> Iterator[Indices]:
    """The objects in a random order, [batch_size] at a time; a last short batch, which would skew batch norm, is left
    out."""
    order = rng.permutation(objects)
    for start in range(0, len(order) - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def draw_views(
    pack: Pack, objects: Indices, pool: Indices, policy: Negatives, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Views [3, B] (two of the object, distinct where it has two; one of a negative) and the negatives [B]."""
    count = pack.num_views[objects]
    first = rng.integers(0, count)
    second = (first + rng.integers(1, np.maximum(count, 2))) % count
    negatives = draw_negatives(pack.labels, objects, pool, policy, rng)
    third = rng.integers(0, pack.num_views[negatives])
    start = pack.first_view
    return np.stack([start[objects] + first, start[objects] + second, start[negatives] + third]), negatives


def draw_negatives(
    labels: Indices, objects: Indices, pool: Indices, policy: Negatives, rng: np.random.Generator
) -> Indices:
    """One other object of `pool` per object; with `other_class`, of another class (an oracle the reference lacks)."""

    def wrong(candidates: Indices) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = candidates == objects if policy == "any" else labels[candidates] == labels[objects]
        return same

    negatives = rng.choice(pool, size=len(objects))
    for _ in range(1000):
        bad = wrong(negatives)
        if not bad.any():
            return negatives
        negatives[bad] = rng.choice(pool, size=int(bad.sum()))
    raise InfeasibleError(f"no negative can be drawn with negatives={policy}; the split needs more objects or classes")
