"""How many Gaussians of each object outlive an alpha threshold, and how alphas, scales and colours are distributed.

The cross-modal reference's data-set analysis, for a pack: read in blocks, so that its size does not matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ssl_core.data.object_pack import GEOMETRY_WIDTH, Pack
from ssl_core.gaussians.gaussian_cloud import SH_REST

THRESHOLDS = (0.3, 0.5, 0.574, 0.8, 0.9)
"""Alphas worth knowing, besides the pack's own; 0.574 is the cross-modal reference's logit of 0.3."""
LENGTHS = (256, 512, 1024, 2048)
"""Numbers of points that encoders are trained with."""

BLOCK_ROWS = 1_000_000
SAMPLED_BLOCKS = 64
SAMPLED_ROWS = 8_192
"""Spherical harmonics are measured on this many blocks of this many rows at most."""

ALPHA_EDGES = np.linspace(0, 1, 1001)
LOG_SCALE_EDGES = np.linspace(-12, 6, 1801)
"""log10 of the standard deviation in object units."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
WHISKER = 1.5
"""Tukey's: an outlier is further than this many interquartile ranges from the box."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Survivors:
    """What one pass over a pack's Gaussians gives.

    Args:
        thresholds: T alphas, rising; the first is the pack's own.
        kept: [T, objects] Gaussians with a larger alpha.
        alpha: counts between ALPHA_EDGES.
        log_scale: counts between LOG_SCALE_EDGES, three per Gaussian; those beyond are in the last bins.
    """

    thresholds: tuple[float, ...]
    kept: Counts
    alpha: Counts
    log_scale: Counts


def count_survivors(pack: Pack) -> Survivors:
    """One pass over `gaussians.npy`. Counts are of the pack's rows, of which an object has `max_gaussians` at most."""
    own = pack.manifest.config.alpha_threshold
    thresholds = (own, *(alpha for alpha in THRESHOLDS if alpha > own))
    kept = np.zeros((len(thresholds), len(pack.manifest.objects)), dtype=np.int64)
    alpha_counts = np.zeros(len(ALPHA_EDGES) - 1, dtype=np.int64)
    scale_counts = np.zeros(len(LOG_SCALE_EDGES) - 1, dtype=np.int64)
    for objects, rows in _blocks(pack):
        alphas = expit(rows[:, 3])
        starts = pack.first_row[objects] - pack.first_row[objects[0]]
        for i, threshold in enumerate(thresholds):
            kept[i, objects] = np.add.reduceat(alphas > threshold, starts, dtype=np.int64)
        alpha_counts += np.histogram(alphas, ALPHA_EDGES)[0]
        scales = np.clip(rows[:, 4:7] / np.log(10), LOG_SCALE_EDGES[0], LOG_SCALE_EDGES[-1])
        scale_counts += np.histogram(scales, LOG_SCALE_EDGES)[0]
    return Survivors(thresholds, kept, alpha_counts, scale_counts)


def _blocks(pack: Pack) -> Iterator[tuple[Counts, NDArray[np.float32]]]:
    """Objects that have rows, in the order of these, some at a time with a copy of their rows."""
    order = np.argsort(pack.first_row, kind="stable")
    order = order[pack.num_rows[order] > 0]
    ends = np.cumsum(pack.num_rows[order])
    at = 0
    while at < len(order):
        before = ends[at - 1] if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, before + BLOCK_ROWS, side="right")))
        objects = order[at:stop]
        first = pack.first_row[objects[0]]
        yield objects, np.array(pack.gaussians[first : first + pack.num_rows[objects].sum()])
        at = stop


def box_plot(values: Counts) -> dict[str, Any]:
    """Tukey's numbers of a sample: count, min, q1, median, q3, max, mean, whiskers, and the values outside them."""
    q1, median, q3 = (float(v) for v in np.quantile(values, (0.25, 0.5, 0.75)))
    reach = WHISKER * (q3 - q1)
    inside = values[(values >= q1 - reach) & (values <= q3 + reach)]
    return {
        "objects": len(values),
        "min": int(values.min()),
        "q1": q1,
        "median": median,
        "q3": q3,
        "max": int(values.max()),
        "mean": float(values.mean()),
        "whiskers": [int(inside.min()), int(inside.max())],
        "outliers": len(values) - len(inside),
    }


def sh_energy(pack: Pack) -> dict[str, float]:
    """Degree -> mean over Gaussians of the sum of squares of its colour coefficients ("0" is the constant one).

    Measured on evenly spaced blocks of rows; degrees above 0 only where the pack has them.
    """
    total = len(pack.gaussians)
    firsts = np.linspace(0, max(0, total - SAMPLED_ROWS), min(SAMPLED_BLOCKS, -(-total // SAMPLED_ROWS)))
    slices = [slice(int(first), int(first) + SAMPLED_ROWS) for first in firsts]
    constant = np.concatenate([pack.gaussians[part, 11:GEOMETRY_WIDTH] for part in slices]).astype(np.float64)
    energy = {"0": float(np.square(constant).sum(axis=1).mean())}
    if pack.sh_rest is not None:
        rest = np.concatenate([pack.sh_rest[part] for part in slices]).reshape(-1, 3, SH_REST[3])
        for degree in (1, 2, 3):
            part = rest[:, :, SH_REST[degree - 1] : SH_REST[degree]].astype(np.float64)
            energy[str(degree)] = float(np.square(part).sum(axis=(1, 2)).mean())
    return energy


def distribution(counts: Counts, edges: NDArray[np.float64], bins: int = 50) -> dict[str, Any]:
    """Quantiles (to the width of a fine bin) and a coarse histogram of finely counted values, ends without counts
    cut off."""
    total = int(counts.sum())
    cumulative = np.cumsum(counts)
    places = np.searchsorted(cumulative, np.array(QUANTILES) * total).clip(max=len(counts) - 1)
    middles = (edges[:-1] + edges[1:]) / 2
    used = np.flatnonzero(counts) if total else np.array([0])
    low, high = int(used[0]), int(used[-1]) + 1
    step = max(1, -(-(high - low) // bins))
    borders = np.arange(low, high, step)
    return {
        "quantiles": {f"{q:g}": float(middles[i]) for q, i in zip(QUANTILES, places, strict=True)},
        "edges": [*edges[borders].tolist(), float(edges[min(len(edges) - 1, borders[-1] + step)])],
        "counts": np.add.reduceat(counts[:high], borders).tolist(),
    }
