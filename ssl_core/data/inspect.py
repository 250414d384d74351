"""What a Gaussian .ply holds, in numbers that decide how it can be used."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.gaussians import SH_C0
from ssl_core.data.ply import read_gaussian_ply

THRESHOLDS = (0.1, 0.3, 0.5, 0.574, 0.9)
"""Alpha thresholds worth knowing; 0.574 is the cross-modal reference's logit of 0.3."""

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)


def inspect_ply(path: Path) -> dict[str, Any]:
    """Counts, bounds and distributions of a Gaussian .ply, as plain values for JSON.

    Keys: `path`, `bytes`, `gaussians`, `sh_degree`, `sh_rest_is_zero`, `finite` (always true: the reader
    refuses the rest), `bounds` (low, high, centre, extent), `alpha` and `scale` (quantile -> value; scale in
    object units), `kept_above_alpha` (threshold -> count), `anisotropy` (median of longest / shortest scale),
    `quaternion_norm` (low, high) and `colour` (mean and deviation of the constant colour).

    Raises:
        PlyError: as `read_gaussian_ply`.
    """
    path = Path(path)
    cloud = read_gaussian_ply(path)
    alphas = cloud.alphas()
    # float64: float32 would overflow for log-scales beyond 88.
    log_scales = cloud.log_scales.astype(np.float64)
    low, high = cloud.xyz.min(axis=0).astype(np.float64), cloud.xyz.max(axis=0).astype(np.float64)
    norms = np.linalg.norm(cloud.quaternions.astype(np.float64), axis=1)
    colours = 0.5 + SH_C0 * cloud.sh_dc.astype(np.float64)
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "gaussians": len(cloud),
        "sh_degree": cloud.sh_degree,
        "sh_rest_is_zero": not cloud.sh_rest.any(),
        "finite": True,
        "bounds": {
            "low": low.tolist(),
            "high": high.tolist(),
            "centre": ((low + high) / 2).tolist(),
            "extent": (high - low).tolist(),
        },
        "alpha": _quantiles(alphas.astype(np.float64)),
        "kept_above_alpha": {str(level): int((alphas > level).sum()) for level in THRESHOLDS},
        "scale": _quantiles(np.exp(np.clip(log_scales, -700, 700))),
        "anisotropy": float(np.exp(np.clip(np.median(np.ptp(log_scales, axis=1)), 0, 700))),
        "quaternion_norm": {"low": float(norms.min()), "high": float(norms.max())},
        "colour": {"mean": colours.mean(axis=0).tolist(), "deviation": colours.std(axis=0).tolist()},
    }


def format_inspection(found: dict[str, Any]) -> str:
    """The result of `inspect_ply` as lines for a person."""
    bounds, norm = found["bounds"], found["quaternion_norm"]
    low, high, extent = (_vector(bounds[name]) for name in ("low", "high", "extent"))
    sh = f"degree {found['sh_degree']}" + (" (all higher coefficients zero)" if found["sh_rest_is_zero"] else "")
    count = found["gaussians"]
    rows = {
        "file": f"{found['path']} ({found['bytes'] / 1e6:.2f} MB)",
        "Gaussians": f"{count:,}, all values finite",
        "spherical harmonics": sh,
        "bounds": f"{low} to {high}, extent {extent}",
        "alpha quantiles": _line(found["alpha"]),
        "kept above alpha": ", ".join(
            f"{level}: {kept:,} ({kept / count:.0%})" for level, kept in found["kept_above_alpha"].items()
        ),
        "scale quantiles": _line(found["scale"]),
        "longest / shortest": f"{found['anisotropy']:.3g} (median)",
        "quaternion norms": f"{norm['low']:.3g} to {norm['high']:.3g}",
        "mean colour": f"{_vector(found['colour']['mean'])} ± {_vector(found['colour']['deviation'])}",
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    return {f"{q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def _line(quantiles: dict[str, float]) -> str:
    return ", ".join(f"{float(q):.0%}: {value:.3g}" for q, value in quantiles.items())


def _vector(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
