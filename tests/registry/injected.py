"""Encoders of known rank on objects made to tell them apart: eight classes, thin or thick along x, y and z.

Who sees one axis can name two groups of four, who sees all of them all; few points blur what is seen.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from tiny_bundles import POINT_BACKBONE, POINTS

from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import encoder_card
from ssl_core.packing.layout import ply_path
from ssl_core.packing.pack_writer import write_pack

WORSE, MIDDLE, BETTER = ("x", 64), ("xy", 8), ("xyz", 128)
"""axes and points"""


def blocks_pack(root: Path, train: int = 6, test: int = 8) -> Pack:
    """The pack, without pictures."""
    rng = np.random.default_rng(0)
    for sides in itertools.product((0, 1), repeat=3):
        name = "block_" + "".join(str(side) for side in sides)
        for split, count in (("train", train), ("test", test)):
            for i in range(count):
                ply = ply_path(root / "points", name, split, f"{name}_{i:04d}")
                ply.parent.mkdir(parents=True, exist_ok=True)
                write_gaussian_ply(ply, _block(sides, rng))
    return write_pack(root / "points", None, root / "pack", PackConfig(cached_points=128, starts=3))


def _block(sides: tuple[int, ...], rng: np.random.Generator, count: int = 200) -> GaussianCloud:
    """A block of Gaussians."""
    size = np.where(np.array(sides) == 1, 0.6, 0.2) * rng.uniform(0.8, 1.25, 3)
    xyz = rng.uniform(-1, 1, (count, 3)) * size
    return GaussianCloud(
        xyz=xyz.astype(np.float32),
        opacity_logits=np.full(count, 3.0, dtype=np.float32),
        log_scales=rng.normal(-3, 0.3, (count, 3)).astype(np.float32),
        quaternions=rng.normal(size=(count, 4)).astype(np.float32),
        sh_dc=rng.normal(size=(count, 3)).astype(np.float32),
        sh_rest=np.zeros((count, 15, 3), dtype=np.float32),
    )


def seeing(folder: Path, sight: tuple[str, int], *, name: str = "seeing") -> Path:
    """A bundle of an untrained network whose first layer is blind to all but these axes, of so many points."""
    axes, points = sight
    card = encoder_card(POINTS.model_copy(update={"num_points": points, "sampling": "uniform"}), POINT_BACKBONE)
    encoder = card.build(3)
    first = next(p for p in encoder.parameters() if p.dim() >= 2 and p.shape[1] == 3)
    with torch.no_grad():
        for column, axis in enumerate("xyz"):
            if axis not in axes:
                first[:, column] = 0.0
    save_bundle(encoder, card, folder, name=name, lineage={"axes": axes})
    return folder
