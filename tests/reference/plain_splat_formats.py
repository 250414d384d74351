"""Files of Gaussians read the slow way, one record at a time, straight from the formats' descriptions.

Slow twins of `ssl_core.gaussians.ply`, `formats.splat` and `formats.compressed_ply`: nothing of theirs is used here.
"""

import math
import struct
from pathlib import Path

import numpy as np
from plyfile import PlyData

from ssl_core.gaussians.gaussian_cloud import GaussianCloud

SH_C0 = 0.5 / math.sqrt(math.pi)


def plain_ply(path: Path) -> GaussianCloud:
    """An ordinary .ply through plyfile, column by column."""
    rows = PlyData.read(str(path))["vertex"]
    names = {prop.name for prop in rows.properties}

    def stack(*wanted: str) -> np.ndarray:
        return np.stack([np.asarray(rows[name]).astype(np.float32) for name in wanted], axis=1)

    per_channel = sum(name.startswith("f_rest_") for name in names) // 3
    rest = np.zeros((rows.count, min(per_channel, 15), 3), np.float32)
    for channel in range(3):
        for k in range(min(per_channel, 15)):
            rest[:, k, channel] = np.asarray(rows[f"f_rest_{channel * per_channel + k}"]).astype(np.float32)
    return GaussianCloud(
        stack("x", "y", "z"),
        stack("opacity")[:, 0],
        stack("scale_0", "scale_1", "scale_2"),
        stack("rot_0", "rot_1", "rot_2", "rot_3"),
        stack("f_dc_0", "f_dc_1", "f_dc_2"),
        rest,
    )


def plain_splat(content: bytes) -> GaussianCloud:
    """antimatter15's .splat, a record at a time."""
    values: dict[str, list[list[float]]] = {name: [] for name in ("xyz", "logit", "scale", "rotation", "dc")}
    for at in range(0, len(content), 32):
        record = struct.unpack_from("<6f8B", content, at)
        values["xyz"].append(list(record[:3]))
        values["scale"].append([math.log(value) for value in record[3:6]])
        values["dc"].append([(value / 255 - 0.5) / SH_C0 for value in record[6:9]])
        values["logit"].append([_logit(record[9])])
        values["rotation"].append([(value - 128) / 128 for value in record[10:]])
    return _cloud(values, [])


def plain_compressed_ply(content: bytes) -> GaussianCloud:
    """SuperSplat's compressed .ply, a word at a time; little-endian, elements chunk, vertex and perhaps sh."""
    header, _, body = content.partition(b"end_header\n")
    counts: dict[str, int] = {}
    names: dict[str, list[str]] = {}
    for line in header.decode().splitlines():
        words = line.split()
        if words[0] == "element":
            counts[words[1]], names[words[1]] = int(words[2]), []
        elif words[0] == "property":
            names[list(names)[-1]].append(words[2])
    bounds_at, vertex_at = 0, counts["chunk"] * 4 * len(names["chunk"])
    sh_at = vertex_at + counts["vertex"] * 16
    values: dict[str, list[list[float]]] = {name: [] for name in ("xyz", "logit", "scale", "rotation", "dc")}
    rest: list[list[list[float]]] = []
    for i in range(counts["vertex"]):
        row = struct.unpack_from(f"<{len(names['chunk'])}f", body, bounds_at + i // 256 * 4 * len(names["chunk"]))
        bound = dict(zip(names["chunk"], row, strict=True))
        position, rotation, scale, colour = struct.unpack_from("<4I", body, vertex_at + 16 * i)
        values["xyz"].append([_lerp(bound, "", axis, _unit(position, axis)) for axis in "xyz"])
        values["scale"].append([_lerp(bound, "scale_", axis, _unit(scale, axis)) for axis in "xyz"])
        values["rotation"].append(_smallest_three(rotation))
        rgb = [(colour >> shift & 255) / 255 for shift in (24, 16, 8)]
        if "min_r" in bound:
            rgb = [_lerp(bound, "", channel, value) for channel, value in zip("rgb", rgb, strict=True)]
        values["dc"].append([(value - 0.5) / SH_C0 for value in rgb])
        values["logit"].append([_logit(colour & 255)])
        if "sh" in counts:
            codes = body[sh_at + i * len(names["sh"]) : sh_at + (i + 1) * len(names["sh"])]
            per_channel = len(codes) // 3
            rest.append(
                [[_harmonic(codes[c * per_channel + k]) for c in range(3)] for k in range(min(per_channel, 15))]
            )
    return _cloud(values, rest)


def _logit(code: int) -> float:
    alpha = min(max(code / 255, 1 / 510), 1 - 1 / 510)
    return math.log(alpha / (1 - alpha))


def _unit(word: int, axis: str) -> float:
    shift, top = {"x": (21, 2047), "y": (11, 1023), "z": (0, 2047)}[axis]
    return (word >> shift & top) / top


def _lerp(bound: dict[str, float], what: str, axis: str, t: float) -> float:
    return bound[f"min_{what}{axis}"] * (1 - t) + bound[f"max_{what}{axis}"] * t


def _smallest_three(word: int) -> list[float]:
    three = [((word >> shift & 1023) / 1023 - 0.5) * math.sqrt(2) for shift in (20, 10, 0)]
    largest = math.sqrt(max(0.0, 1 - sum(value * value for value in three)))
    return [*three[: word >> 30], largest, *three[word >> 30 :]]


def _harmonic(code: int) -> float:
    return 8 * ({0: 0.0, 255: 1.0}.get(code, (code + 0.5) / 256) - 0.5)


def _cloud(values: dict[str, list[list[float]]], rest: list[list[list[float]]]) -> GaussianCloud:
    count = len(values["xyz"])
    return GaussianCloud(
        np.array(values["xyz"], np.float64),
        np.array(values["logit"], np.float64)[:, 0],
        np.array(values["scale"], np.float64),
        np.array(values["rotation"], np.float64),
        np.array(values["dc"], np.float64),
        np.array(rest, np.float64) if rest else np.zeros((count, 0, 3)),
    )
