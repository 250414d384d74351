"""Columns of other trainers in a .ply: Gaussians without thickness, filters, motion, and whatever is not known.

2DGS (Huang et al. 2024, "2D Gaussian Splatting") writes two scales; its disks lie across the third local axis.
Mip-Splatting (Yu et al. 2024) writes a smoothing radius `filter_3D` beside the scales and opacities it belongs to.
Motion: Li et al. 2024, "Spacetime Gaussian Feature Splatting" (trbf_*, motion_*, omega_*); Yang et al. 2024, "Real-time
Photorealistic Dynamic Scene Representation and Rendering with 4D Gaussian Splatting" (t, scale_t, rot_r_*).
"""

import re
from collections.abc import Collection

import numpy as np

from ssl_core.gaussians.formats.gaussian_properties import INRIA_PROPERTIES, NEEDED, SCALES
from ssl_core.gaussians.gaussian_cloud import GaussianCloud

THINNESS = 1000.0
"""How many times the shorter side of a disk is longer than its thickness: thin enough to be drawn as a disk and to have
its normal for shortest axis, and with variances of one size in float32. A fixed thickness would not do in a scene of
another unit."""

_FLAT = f"no scale_2 (2DGS): read as flat, {THINNESS:g} times thinner than their shorter side"
_FILTER = (
    "filter_3D (Mip-Splatting's smoothing) is not applied: the Gaussians are smaller and more opaque than they were "
    "trained; let its trainer write them with the filter fused"
)
_MOTION = re.compile(r"(motion|omega|trbf|velocity|rot_r)(_\w+)?|t|scale_t|time|duration")
_HARMLESS = re.compile(r"nx|ny|nz|red|green|blue|alpha|f_rest_\d+")
_SHOWN = 6


def is_flat(names: Collection[str]) -> bool:
    """Whether these are the properties of Gaussians with two scales."""
    return SCALES[2] not in names and all(name in names for name in NEEDED if name != SCALES[2])


def give_thickness(cloud: GaussianCloud) -> None:
    """Fill in the third scale of flat Gaussians, in place."""
    cloud.log_scales[:, 2] = cloud.log_scales[:, :2].min(axis=1) - np.float32(np.log(THINNESS))


def dialect_notes(names: Collection[str]) -> tuple[str, ...]:
    """What a file of these vertex properties has beyond what is read, a sentence each."""
    more = [name for name in names if name not in INRIA_PROPERTIES and not _HARMLESS.fullmatch(name)]
    motion = [name for name in more if _MOTION.fullmatch(name)]
    others = [name for name in more if name != "filter_3D" and not _MOTION.fullmatch(name)]
    notes = [_FLAT] if is_flat(names) else []
    if "filter_3D" in names:
        notes.append(_FILTER)
    if motion:
        notes.append(f"columns of motion are not read, the Gaussians stand where the file has them: {_shown(motion)}")
    if others:
        notes.append(f"columns that are not read, whatever they change in the picture: {_shown(others)}")
    return tuple(notes)


def _shown(names: list[str]) -> str:
    """The first few that can be printed, and how many more there are."""
    shown = [name for name in names if len(name) < 40 and name.isprintable()][:_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}".strip()
