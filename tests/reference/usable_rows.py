"""Which Gaussians cannot be computed with, one value after another."""

import math

from ssl_core.gaussians.gaussian_cloud import GaussianCloud


def bad_rows(cloud: GaussianCloud) -> list[int]:
    """Rows with a value that is no number or beyond a billion, a log-scale outside -40 to 20, or no rotation."""
    return [i for i in range(len(cloud)) if not _is_usable(cloud, i)]


def _is_usable(cloud: GaussianCloud, i: int) -> bool:
    scales = [float(value) for value in cloud.log_scales[i]]
    quaternion = [float(value) for value in cloud.quaternions[i]]
    others = [*cloud.xyz[i], cloud.opacity_logits[i], *cloud.sh_dc[i], *cloud.sh_rest[i].reshape(-1), *quaternion]
    if any(math.isnan(value) or abs(value) > 1_000_000_000 for value in map(float, others)):
        return False
    if any(math.isnan(value) or value < -40 or value > 20 for value in scales):
        return False
    return any(value != 0 for value in quaternion)
