"""Which values no Gaussian may have: the one place through which the rows of every reader go, and those of the writer.

What a format means by its numbers is its decoder's; whether they can be computed with is decided here, alike for all.
"""

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import GaussianFileError
from ssl_core.gaussians.formats.gaussian_properties import (
    ROTATION,
    SCALES,
    STORED_REST,
    ends_note,
    logit_ends,
    named_columns,
)
from ssl_core.gaussians.gaussian_cloud import Floats, GaussianCloud, GaussianFile

MAX_VALUE = 1e9
"""Centres, and all else but log-scales, lie within this of zero. A squared distance is then at most 1.2e19 and the
product of two of them 1.44e38: float32 numbers, as everything is that training computes of centred objects. The far sky
of a real scene lies at 1e5 to 1e6."""

LOG_SCALES = (-40.0, 20.0)
"""exp(2 * 20) * exp(2 * 20), the product of two variances, and 1 / exp(2 * -40), the inverse of one, are both 5.5e34:
float32 numbers. Trainers end around 14; SuperSplat writes -20 to 20, and a file with a flat axis may go below that."""

DROPPED = "rows that are not finite or out of bounds were dropped (--drop-bad-rows)"

_ROWS = 1 << 16


def usable(found: GaussianFile, *, drop_bad_rows: bool = False) -> GaussianFile:
    """The file with Gaussians that can be computed with. Its arrays are changed in place.

    Opacities that are exactly 0 or 1 (infinite logits) are brought inside, as those of the formats with 8 bits are.

    Args:
        found: as decoded.
        drop_bad_rows: leave single Gaussians out that have a value that is NaN, infinite or beyond the bounds above, or
            a quaternion of zeros.

    Raises:
        GaussianFileError: there are such Gaussians and they are not to be dropped, or there are no others. Names the
            first one, its value, the bound and the remedy.
    """
    cloud, notes = found.cloud, found.notes
    notes += _clip_opacities(cloud.opacity_logits)
    bad = _bad_rows(cloud)
    if not bad.any():
        return replace(found, notes=notes)
    what = _description(cloud, bad, STORED_REST[found.sh_degree])
    if bad.all():
        raise GaussianFileError(f"{what}; no row is left without them: train or export it again")
    if not drop_bad_rows:
        remedy = "leave such rows out with --drop-bad-rows (pack, inspect; encode_ply: drop_bad_rows=True)"
        raise GaussianFileError(f"{what}; {remedy}, or train again")
    return replace(found, cloud=_without(cloud, bad), notes=(*notes, DROPPED), dropped=np.flatnonzero(bad))


def check_gaussians(cloud: GaussianCloud) -> None:
    """Refuse a cloud in memory that has a value that `usable` refuses. Raises GaussianFileError."""
    bad = _bad_rows(cloud)
    if bad.any():
        raise GaussianFileError(f"{_description(cloud, bad)}; drop these Gaussians or train again")


def _clip_opacities(logits: Floats) -> tuple[str, ...]:
    """Bring logits [N] that are infinite, or as good as that, to the ends; a note where there were any."""
    low, high = logit_ends()
    count = 0
    for rows in _blocks(len(logits)):
        block = logits[rows]
        below, above = block < -MAX_VALUE, block > MAX_VALUE
        block[below], block[above] = low, high
        count += int(below.sum() + above.sum())
    return ends_note(count)


def _bad_rows(cloud: GaussianCloud) -> NDArray[np.bool_]:
    """[N] which rows are unusable. Row blocks: a mask of all values would be a quarter of the cloud's size."""
    bad = np.zeros(len(cloud), dtype=np.bool_)
    for rows in _blocks(len(cloud)):
        for array in (getattr(cloud, field.name) for field in fields(cloud)):
            low, high = LOG_SCALES if array is cloud.log_scales else (-MAX_VALUE, MAX_VALUE)
            block = array[rows]
            # NaN is neither above nor below
            if block.size and not (block.min() >= low and block.max() <= high):
                bad[rows] |= ~((block >= low) & (block <= high)).reshape(len(block), -1).all(axis=1)
        bad[rows] |= ~cloud.quaternions[rows].any(axis=1)
    return bad


def _blocks(count: int) -> Iterator[slice]:
    return (slice(first, min(first + _ROWS, count)) for first in range(0, count, _ROWS))


def _without(cloud: GaussianCloud, bad: NDArray[np.bool_]) -> GaussianCloud:
    """The other rows, moved together where they lie: a copy would take as much memory again."""
    to = 0
    for rows in _blocks(len(cloud)):
        kept = ~bad[rows]
        end = to + int(kept.sum())
        for array in (getattr(cloud, field.name) for field in fields(cloud)):
            array[to:end] = array[rows][kept]
        to = end
    return cloud.select(slice(to))


def _description(cloud: GaussianCloud, bad: NDArray[np.bool_], stored_rest: int | None = None) -> str:
    """How many rows are unusable, by which properties, and the first: its value and what was expected."""
    first = int(np.argmax(bad))
    counts, example = [], ""
    for names, table in named_columns(cloud, stored_rest):
        low, high = LOG_SCALES if names == SCALES else (-MAX_VALUE, MAX_VALUE)
        for i, name in enumerate(names):
            column = table[:, i]
            nan, infinite = int(np.isnan(column).sum()), int(np.isinf(column).sum())
            beyond = int((~((column >= low) & (column <= high))).sum()) - nan - infinite
            kinds = [f"{n} {kind}" for n, kind in ((nan, "NaN"), (infinite, "infinite"), (beyond, "beyond")) if n]
            if kinds:
                counts.append(f"'{name}' ({', '.join(kinds)})")
            if not low <= column[first] <= high and not example:
                example = f"whose '{name}' is {column[first]:.6g}, expected {low:g} to {high:g}"
    if zero := int((~cloud.quaternions.any(axis=1)).sum()):
        counts.append(f"'{ROTATION[0]}' to '{ROTATION[-1]}' ({zero} all zero)")
    example = example or "whose quaternion is all zero, expected any other"
    return (
        f"{int(bad.sum()):,} of {len(cloud):,} Gaussians have values that cannot be used: {', '.join(counts[:6])}"
        f"{' …' if len(counts) > 6 else ''}; first: Gaussian {first}, {example}"
    )
