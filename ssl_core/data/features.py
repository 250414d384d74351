"""From stored Gaussian rows to the columns a point encoder reads.

Stored rows hold the 59 raw values of a Gaussian in the order of `COLUMNS`. `feature_columns` picks the groups of a
contract in its order; `standardise_attributes` brings them to order one; xyz of the *sample* is centred and scaled to
the unit sphere, as the cross-modal reference does.
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.gaussians import GaussianCloud
from ssl_core.errors import InfeasibleError
from ssl_core.models.encoder import FeatureGroup, PointsContract

Array = NDArray[np.float32]

COLUMNS: dict[str, slice] = {
    "xyz": slice(0, 3),
    "opacity": slice(3, 4),
    "scale": slice(4, 7),
    "rotation": slice(7, 11),
    "sh_dc": slice(11, 14),
    "sh_rest": slice(14, 59),
    "reference_color": slice(14, 58),
}
"""Columns of a stored row; sh_rest is channel-major as in INRIA's files, so 14:58 is the reference's f_rest_0..43."""

ROW_WIDTH = 59


def rows_of(cloud: GaussianCloud) -> Array:
    """[N, 59] raw rows: xyz, opacity logit, log-scales, quaternion wxyz, f_dc, f_rest (channel-major, zero-padded)."""
    rows = np.zeros((len(cloud), ROW_WIDTH), dtype=np.float32)
    rows[:, COLUMNS["xyz"]] = cloud.xyz
    rows[:, 3] = cloud.opacity_logits
    rows[:, COLUMNS["scale"]] = cloud.log_scales
    rows[:, COLUMNS["rotation"]] = cloud.quaternions
    rows[:, COLUMNS["sh_dc"]] = cloud.sh_dc
    rest = np.zeros((len(cloud), 3, 15), dtype=np.float32)
    rest[:, :, : cloud.sh_rest.shape[1]] = cloud.sh_rest.transpose(0, 2, 1)
    rows[:, COLUMNS["sh_rest"]] = rest.reshape(len(cloud), 45)
    return rows


def sigmoid(x: Array) -> Array:
    """Logistic function, without overflow warnings."""
    out: Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return out


def shortest_axes(rows: Array, centre: Array) -> Array:
    """Unit normals [..., 3] of rows [..., 59]: the axis of the smallest scale, turned away from `centre` [..., 3].

    A flat Gaussian lies on the surface, so its shortest axis is the surface normal (Guédon & Lepetit, SuGaR, 2024).
    """
    axis = np.argmin(rows[..., COLUMNS["scale"]], axis=-1)
    w, x, y, z = np.moveaxis(_unit_quaternions(rows[..., COLUMNS["rotation"]]), -1, 0)
    columns = np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=-1),
            np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], axis=-1),
            np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=-1),
        ],
        axis=-2,
    )  # [..., axis, 3]: column k of the rotation matrix is where local axis k points
    normals = np.take_along_axis(columns, axis[..., None, None], axis=-2)[..., 0, :]
    outward = np.sum(normals * (rows[..., COLUMNS["xyz"]] - centre), axis=-1, keepdims=True)
    result: Array = np.where(outward < 0, -normals, normals).astype(np.float32)
    return result


def assemble(rows: Array, contract: PointsContract) -> Array:
    """Encoder input [..., N, D] from sampled rows [..., N, 59], columns in the contract's order."""
    xyz = rows[..., COLUMNS["xyz"]]
    centre = xyz.mean(axis=-2, keepdims=True)
    radius = np.linalg.norm(xyz - centre, axis=-1).max(axis=-1)[..., None, None]
    radius = np.maximum(radius, 1e-12)
    parts = [_group(group, rows, centre, radius, contract.standardise_attributes) for group in contract.features]
    return np.ascontiguousarray(np.concatenate(parts, axis=-1), dtype=np.float32)


def _group(group: FeatureGroup, rows: Array, centre: Array, radius: Array, standardise: bool) -> Array:
    match group:
        case "xyz":
            return (rows[..., COLUMNS["xyz"]] - centre) / radius
        case "normals":
            return shortest_axes(rows, centre)
        case "opacity":
            values = rows[..., COLUMNS["opacity"]]
            return 2 * sigmoid(values) - 1 if standardise else values
        case "scale":
            values = rows[..., COLUMNS["scale"]]
            # relative to the object, like xyz; Gaussians of an object of unit radius have log-scales around -4 +- 1
            return (values - np.log(radius) + 4.0) if standardise else values
        case "rotation":
            values = rows[..., COLUMNS["rotation"]]
            return _canonical(values) if standardise else values
        case "sh_dc" | "sh_rest" | "reference_color":
            return rows[..., COLUMNS[group]]


def _unit_quaternions(quaternions: Array) -> Array:
    norm = np.maximum(np.linalg.norm(quaternions, axis=-1, keepdims=True), 1e-12)
    unit: Array = quaternions / norm
    return unit


def _canonical(quaternions: Array) -> Array:
    """Unit norm and w >= 0: q and -q are the same rotation, so one of them is chosen."""
    unit = _unit_quaternions(quaternions)
    return np.where(unit[..., :1] < 0, -unit, unit)


def check_groups(contract: PointsContract, available: tuple[str, ...]) -> None:
    """Raises InfeasibleError naming the first feature group that the pack lacks."""
    for group in contract.features:
        source = "sh_rest" if group == "reference_color" else group
        if source not in available:
            raise InfeasibleError(
                f"feature group '{group}' is not in this pack (it has {', '.join(available)}); "
                "choose other features or pack Gaussians that carry it"
            )
