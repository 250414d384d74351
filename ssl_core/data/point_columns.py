"""From stored Gaussian rows to the columns a point encoder reads.

Stored rows hold the 59 raw values of a Gaussian in the order of `COLUMNS`; packs keep the first 14 and the other 45
apart. `write_geometry` writes the groups of a contract in its order, attributes brought to order one where it says so;
xyz of the *sample* is centred and scaled to the unit sphere, as the cross-modal reference does.
"""

from collections.abc import Iterator
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ssl_core.contracts import FEATURE_WIDTH, FeatureGroup, PointsContract
from ssl_core.data.pack_arrays import COLUMNS, GEOMETRY_WIDTH, ROW_WIDTH
from ssl_core.errors import InfeasibleError

Array = NDArray[np.float32]

REST_GROUPS: tuple[FeatureGroup, ...] = ("sh_rest", "reference_color")


def sigmoid(x: Array) -> Array:
    """Logistic function, without overflow warnings."""
    out: Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return out


def spans(contract: PointsContract) -> Iterator[tuple[FeatureGroup, slice]]:
    """Each feature group of a contract and its columns in the encoder's input."""
    start = 0
    for group in contract.features:
        yield group, slice(start, start + FEATURE_WIDTH[group])
        start += FEATURE_WIDTH[group]


def assemble(rows: Array, contract: PointsContract) -> Array:
    """Encoder input [..., N, D] from sampled rows [..., N, 59], columns in the contract's order."""
    rows = np.asarray(rows, dtype=np.float32)
    out = np.empty((*rows.shape[:-1], contract.columns), dtype=np.float32)
    flat = (-1, *rows.shape[-2:-1])
    write_geometry(out.reshape(*flat, contract.columns), rows.reshape(*flat, ROW_WIDTH)[..., :GEOMETRY_WIDTH], contract)
    for group, span in spans(contract):
        if group in REST_GROUPS:
            out[..., span] = rows[..., COLUMNS[group]]
    return out


def write_geometry(out: Array, geometry: Array, contract: PointsContract) -> None:
    """Write every group but `REST_GROUPS` from samples [B, N, 14] into their columns of `out` [B, N, D]."""
    columns = np.ascontiguousarray(np.moveaxis(geometry, -1, 0))  # [14, B, N]: each operation below runs along memory
    xyz = columns[COLUMNS["xyz"]]
    xyz -= xyz.mean(axis=-1, keepdims=True)
    radius = np.sqrt(np.einsum("cbn,cbn->bn", xyz, xyz).max(axis=-1))[:, None]
    radius = np.maximum(radius, np.float32(1e-12))
    for group, span in spans(contract):
        if group not in REST_GROUPS:
            out[..., span] = np.moveaxis(_group(group, columns, radius, contract.standardise_attributes), 0, -1)


def _group(group: FeatureGroup, columns: Array, radius: Array, standardise: bool) -> Array:
    """[width, B, N] of one group from `columns` [14, B, N], whose xyz is centred, and the samples' radii [B, 1]."""
    match group:
        case "xyz":
            return columns[COLUMNS["xyz"]] / radius
        case "normals":
            return _shortest_axes(columns)
        case "normal_tensor":
            return _products(_shortest_axes(columns))
        case "covariance":
            return _log_covariances(columns, radius)
        case "opacity":
            values = columns[COLUMNS["opacity"]]
            return np.tanh(np.float32(0.5) * values) if standardise else values  # 2 sigmoid - 1
        case "scale":
            values = columns[COLUMNS["scale"]]
            # relative to the object, like xyz; Gaussians of an object of unit radius have log-scales around -4 +- 1
            relative: Array = values - np.log(radius) + np.float32(4)
            return relative if standardise else values
        case "rotation":
            values = columns[COLUMNS["rotation"]]
            # unit norm and w >= 0: q and -q are the same rotation, so one of them is chosen
            return _unit(values) * _sign(values[0]) if standardise else values
        case "sh_dc":
            return columns[COLUMNS["sh_dc"]]
        case "sh_rest" | "reference_color":
            raise AssertionError(f"{group} is not made of the first {GEOMETRY_WIDTH} columns")
        case _:
            assert_never(group)


def _unit(quaternions: Array) -> Array:
    """[4, ...] of unit norm, whatever theirs is; zero stays zero."""
    largest = np.maximum(np.abs(quaternions).max(axis=0), np.float32(1e-30))
    scaled = quaternions / largest  # squares neither overflow nor vanish
    unit: Array = scaled / np.sqrt(np.maximum(np.einsum("c...,c...->...", scaled, scaled), np.float32(1e-12)))
    return unit


def _sign(values: Array) -> Array:
    """-1 where negative, else 1."""
    return np.where(values < 0, np.float32(-1), np.float32(1))


def _shortest_axes(columns: Array) -> Array:
    """Unit normals [3, B, N]: the axis of the smallest scale, turned away from the origin.

    A flat Gaussian lies on the surface, so its shortest axis is the surface normal (Guédon & Lepetit, SuGaR, 2024).
    """
    first, second, third = columns[COLUMNS["scale"]]
    is_first = (first <= second) & (first <= third)
    is_second = ~is_first & (second <= third)

    def pick(x: Array, y: Array, z: Array) -> Array:
        return np.where(is_first, x, np.where(is_second, y, z))

    w, x, y, z = _unit(columns[COLUMNS["rotation"]])
    # with a the local axis and b, c the next two in cyclic order, column a of the rotation matrix has the components
    # a: 1 - 2 (v_b^2 + v_c^2),  b: 2 (v_a v_b + w v_c),  c: 2 (v_a v_c - w v_b)
    a, b, c = pick(x, y, z), pick(y, z, x), pick(z, x, y)
    along, after, before = 1 - 2 * (b * b + c * c), 2 * (a * b + w * c), 2 * (a * c - w * b)
    normals = np.stack([pick(along, before, after), pick(after, along, before), pick(before, after, along)])
    normals *= _sign(np.einsum("cbn,cbn->bn", normals, columns[COLUMNS["xyz"]]))  # outward
    return normals


def _products(normals: Array) -> Array:
    """[6, B, N] n n^T of normals [3, B, N]: xx, yy, zz, xy, xz, yz."""
    x, y, z = normals
    return np.stack([x * x, y * y, z * z, x * y, x * z, y * z])


def _log_covariances(columns: Array, radius: Array) -> Array:
    """[6, B, N] of sum_i a_i a_i^T s_i, with s the log-scales relative to the radius, brought to order one, and a the
    axes: log(Sigma) / 8 + 1."""
    logs = (columns[COLUMNS["scale"]] - np.log(radius) + np.float32(4)) / np.float32(4)
    w, x, y, z = _unit(columns[COLUMNS["rotation"]])
    axes = (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )
    out: Array = sum(_products(np.stack(axis)) * log for axis, log in zip(axes, logs, strict=True))
    return out


_SOURCES: dict[FeatureGroup, tuple[str, ...]] = {
    "reference_color": ("sh_rest",),
    "normal_tensor": ("normals",),
    "covariance": ("scale", "rotation"),
}
"""Groups of a pack that the others are made of."""


def check_groups(contract: PointsContract, available: tuple[str, ...], why_no_sh_rest: str = "") -> None:
    """Raises InfeasibleError naming the first feature group that the pack lacks, and why where that is known."""
    for group in contract.features:
        sources = _SOURCES.get(group, (group,))
        if source := next((source for source in sources if source not in available), ""):
            why = f" because {why_no_sh_rest}" if source == "sh_rest" and why_no_sh_rest else ""
            raise InfeasibleError(
                f"feature group '{group}' is not in this pack{why} (it has {', '.join(available)}); "
                "choose other features, or pack only Gaussians that carry it"
            )
