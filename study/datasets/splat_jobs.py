"""Many meshes into splats and views, as Ray tasks; whole objects are not made again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_core.errors import MeshError
from ssl_core.packing.layout import MeshObject, find_meshes
from ssl_core.splatting.splat_object import SplatConfig, SplatReport, splat_object
from study.datasets.object_jobs import run_objects


@dataclass(frozen=True)
class SplatTask:
    """One object's work, as it travels to a worker."""

    out: Path
    config: SplatConfig

    def __call__(self, item: MeshObject) -> SplatReport:
        """Make the object, or find it whole."""
        import torch

        torch.set_num_threads(1)
        return splat_object(item, self.out, self.config)


def splat_meshes(
    meshes: Path, out: Path, config: SplatConfig, *, workers: int, limit: int, skip_bad: bool
) -> dict[str, Any]:
    """Fit every mesh under `meshes`.

    Args:
        workers: objects at a time; 0 is one per core.
        limit: at most this many per class and split; 0 is all.
        skip_bad: report unusable meshes instead of stopping.

    Returns:
        Counts, PSNR and seconds, with a `text` for people.

    Raises:
        LayoutError: no mesh is found.
        MeshError: meshes are unusable (each is named) and `skip_bad` is off.
    """
    items, problems = find_meshes(meshes)
    bad = [f"{problem.path}: {problem.reason}" for problem in problems]
    if bad and not skip_bad:
        raise MeshError(f"{len(bad)} unusable input(s): {'; '.join(bad[:20])} (--skip-bad goes on without them)")
    results = run_objects(SplatTask(out, config), _limited(items, limit), workers=workers, describe="splatting meshes")
    bad += [f"{failure.item.key}: {failure.reason}" for failure in results.failures]
    summary = _summary(out, results.values, bad)
    if results.failures and not skip_bad:
        raise MeshError(f"{len(bad)} object(s) failed: {'; '.join(bad[:20])} (--skip-bad goes on without them)")
    return summary


def _limited(items: list[MeshObject], limit: int) -> list[MeshObject]:
    if not limit:
        return items
    kept: dict[tuple[str, str], list[MeshObject]] = {}
    for item in items:
        kept.setdefault((item.class_name, item.split), []).append(item)
    return [item for group in kept.values() for item in group[:limit]]


def _summary(out: Path, reports: list[SplatReport], bad: list[str]) -> dict[str, Any]:
    made = [report for report in reports if not report.skipped]
    psnr = [report.psnr_heldout for report in reports]
    facts: dict[str, Any] = {
        "out": str(out),
        "objects": len(reports),
        "made": len(made),
        "found_whole": len(reports) - len(made),
        "mean_psnr_heldout_db": float(np.mean(psnr)) if psnr else None,
        "min_psnr_heldout_db": float(np.min(psnr)) if psnr else None,
        "mean_seconds_per_object": float(np.mean([report.seconds for report in made])) if made else None,
        "refused": bad,
    }
    pace = f", {facts['mean_seconds_per_object']:.1f} s per object and core" if made else ""
    quality = f"; held-out PSNR {np.mean(psnr):.2f} dB (least {np.min(psnr):.2f})" if psnr else ""
    facts["text"] = f"{len(made)} objects made, {len(reports) - len(made)} found whole in {out}{pace}{quality}"
    if bad:
        facts["text"] += f"; {len(bad)} refused: {'; '.join(bad[:5])}"
    return facts
