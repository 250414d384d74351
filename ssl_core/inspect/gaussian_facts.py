"""What a file of Gaussians holds, in numbers that decide how it can be used."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.clouds.cloud_file import is_point_cloud, read_point_cloud
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.spz_axes import SpzAxes
from ssl_core.gaussians.gaussian_cloud import SH_C0, SH_REST, GaussianCloud, GaussianFile
from ssl_core.gaussians.gaussian_file import gaussian_source, read_gaussians

THRESHOLDS = (0.1, 0.3, 0.5, 0.574, 0.9)
"""Alpha thresholds worth knowing; 0.574 is the cross-modal reference's logit of 0.3."""

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)

ALPHA_BINS = tuple(i / 20 for i in range(21))
"""Edges of the opacity histogram, alpha."""

SCALE_DECADES = tuple(i / 4 for i in range(-28, 13))
"""Edges of the scale histogram: log10 of the standard deviation in object units, four bins per decade."""


def inspect_gaussians(
    place: Source | Path | str, *, spz_axes: SpzAxes | None = None, drop_bad_rows: bool = False
) -> dict[str, Any]:
    """Counts, bounds and distributions of a file of Gaussians in any known format, as plain values for JSON; of plain
    points in a .ply as the Gaussians that a pack would store of them.

    Keys: `path`, `format`, `bytes`, `gaussians`, `dropped_rows` (left out because of `drop_bad_rows`), `sh_degree`
    (stored in the file), `notes` (what the format or its degree cost), `sh_rest_is_zero`, `sh_energy` (degree -> mean
    over Gaussians of the sum of squares of its coefficients; degree 0 is the constant colour), `finite` (always true:
    the reader refuses the rest), `bounds` (low, high, centre, extent), `alpha` and `scale` (quantile -> value; scale
    in object units), `alpha_histogram` and `scale_histogram` (`edges`, one more than `counts`, and how many lie
    `below` and `above`; the scales of all three axes are counted, over log10 edges), `kept_above_alpha` (threshold ->
    count), `anisotropy` (median of longest / shortest scale), `quaternion_norm` (low, high) and `colour` (mean and
    deviation of the constant colour).

    Raises:
        GaussianFileError: as `read_gaussians`.
    """
    source = gaussian_source(place)
    found, kind = _read(source, spz_axes, drop_bad_rows)
    cloud = found.cloud
    alphas = cloud.alphas()
    log_scales = cloud.log_scales.astype(np.float64)
    norms = np.linalg.norm(cloud.quaternions.astype(np.float64), axis=1)
    colours = 0.5 + SH_C0 * cloud.sh_dc.astype(np.float64)
    return {
        "path": str(source),
        "format": kind,
        "bytes": source.size,
        "gaussians": len(cloud),
        "dropped_rows": len(found.dropped),
        "sh_degree": found.sh_degree,
        "notes": list(found.notes),
        "sh_rest_is_zero": not cloud.sh_rest.any(),
        "sh_energy": _sh_energy(cloud),
        "finite": True,
        "bounds": bounds_of(cloud.xyz),
        "alpha": quantiles(alphas.astype(np.float64)),
        "alpha_histogram": _histogram(alphas.astype(np.float64), ALPHA_BINS),
        "kept_above_alpha": {str(level): int((alphas > level).sum()) for level in THRESHOLDS},
        "scale": quantiles(np.exp(log_scales)),
        "scale_histogram": _histogram(log_scales.reshape(-1) / np.log(10), SCALE_DECADES),
        "anisotropy": float(np.exp(np.median(np.ptp(log_scales, axis=1)))),
        "quaternion_norm": {"low": float(norms.min()), "high": float(norms.max())},
        "colour": {"mean": colours.mean(axis=0).tolist(), "deviation": colours.std(axis=0).tolist()},
    }


def _read(source: Source, spz_axes: SpzAxes | None, drop_bad_rows: bool) -> tuple[GaussianFile, str]:
    """What is in a file, and what kind of file it is."""
    if PurePosixPath(source.name).suffix.lower() != ".ply" or not is_point_cloud(source):
        found = read_gaussians(source, spz_axes=spz_axes, drop_bad_rows=drop_bad_rows)
        return found, found.format
    points = read_point_cloud(source, drop_bad_rows=drop_bad_rows)
    note = "plain points: place, colour and normal are the file's, opacity and size are what a pack gives them"
    return GaussianFile(points.as_gaussians(), "ply", 0, (note, *points.notes), points.dropped), "plain_points"


def format_inspection(found: Mapping[str, Any]) -> str:
    """The result of `inspect_gaussians` as lines for a person."""
    sh = f"degree {found['sh_degree']}"
    if found["sh_rest_is_zero"] and found["sh_degree"]:
        sh += " (all higher coefficients zero)"
    count = found["gaussians"]
    dropped = f"; {found['dropped_rows']:,} dropped" if found["dropped_rows"] else ""
    rows = {
        "file": f"{found['path']} ({found['format'].replace('_', ' ')}, {found['bytes'] / 1e6:.2f} MB)",
        "Gaussians": f"{count:,}, all values finite{dropped}",
        "spherical harmonics": sh,
        "energy by degree": ", ".join(f"{degree}: {energy:.3g}" for degree, energy in found["sh_energy"].items()),
        "alpha quantiles": quantiles_text(found["alpha"]),
        "alpha histogram": _bars(found["alpha_histogram"]) + " from 0 to 1",
        "kept above alpha": ", ".join(
            f"{level}: {kept:,} ({kept / count:.0%})" for level, kept in found["kept_above_alpha"].items()
        ),
        "scale quantiles": quantiles_text(found["scale"]),
        "scale histogram": _bars(found["scale_histogram"]) + " from 1e-7 to 1e3, log",
    }
    return aligned([*rows.items(), *shape_rows(found)])


def shape_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the facts about form and colour, and the notes."""
    bounds, norm = found["bounds"], found["quaternion_norm"]
    low, high, extent = (vector_text(bounds[name]) for name in ("low", "high", "extent"))
    return [
        ("bounds", f"{low} to {high}, extent {extent}"),
        ("longest / shortest", f"{found['anisotropy']:.3g} (median)"),
        ("quaternion norms", f"{norm['low']:.3g} to {norm['high']:.3g}"),
        ("mean colour", f"{vector_text(found['colour']['mean'])} ± {vector_text(found['colour']['deviation'])}"),
        *(("note", note) for note in found["notes"]),
    ]


def aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as lines, values below each other."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def bounds_of(xyz: NDArray[Any]) -> dict[str, Any]:
    """`low`, `high`, `centre` and `extent` of points [N, 3], each None where there are none."""
    if len(xyz) == 0:
        return dict.fromkeys(("low", "high", "centre", "extent"))
    low, high = (end(xyz, axis=0).astype(np.float64) for end in (np.min, np.max))
    found = {"low": low, "high": high, "centre": (low + high) / 2, "extent": high - low}
    return {name: vector.tolist() for name, vector in found.items()}


def _sh_energy(cloud: GaussianCloud) -> dict[str, float]:
    """Mean over Gaussians of the sum of squares of each degree's coefficients, all channels."""
    energy = {"0": _mean_square(cloud.sh_dc)}
    for degree in range(1, cloud.sh_degree + 1):
        energy[str(degree)] = _mean_square(cloud.sh_rest[:, SH_REST[degree - 1] : SH_REST[degree]])
    return energy


def _mean_square(coefficients: NDArray[np.float32]) -> float:
    rows = coefficients.reshape(len(coefficients), -1)
    # One column at a time: float32 squares may overflow, and a float64 copy of all would double the memory.
    return float(sum(np.square(rows[:, i], dtype=np.float64).mean() for i in range(rows.shape[1])))


def _histogram(values: NDArray[np.float64], edges: tuple[float, ...]) -> dict[str, Any]:
    """Counts between fixed edges, the last bin closed, and what lies outside."""
    counts, _ = np.histogram(values, edges)
    return {
        "edges": list(edges),
        "counts": counts.tolist(),
        "below": int((values < edges[0]).sum()),
        "above": int((values > edges[-1]).sum()),
    }


def _bars(histogram: dict[str, Any]) -> str:
    """A histogram as one character per bin; a bin that is not empty shows at least the lowest bar."""
    counts = histogram["counts"]
    top = max(*counts, 1)
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * count // top)] for count in counts)


def quantiles(values: NDArray[np.float64], levels: Sequence[float] = QUANTILES) -> dict[str, float]:
    """Quantile -> value."""
    return {f"{q:g}": float(v) for q, v in zip(levels, np.quantile(values, levels), strict=True)}


def quantiles_text(found: Mapping[str, float]) -> str:
    """`0%: 0.1, 50%: 0.7, 100%: 0.99`."""
    return ", ".join(f"{float(q):.0%}: {value:.3g}" for q, value in found.items())


def vector_text(values: Sequence[float]) -> str:
    """`(1, 2.5, 0.333)`."""
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
