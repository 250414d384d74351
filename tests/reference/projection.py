"""Where a point of the world lands in a picture, spelled out."""

import numpy as np
from numpy.typing import NDArray

from ssl_core.scenes.cameras import Camera, Distortion, Floats


def project(camera: Camera, lens: Distortion | None, xyz: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Where world points [N, 3] are seen: pixels [N, 2] (centres at +0.5) and depths [N].

    Pixels of points with a depth that is not positive mean nothing.
    """
    local = np.asarray(xyz, dtype=np.float64) @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    depth = local[:, 2]
    flat = local[:, :2] / np.where(depth == 0, 1.0, depth)[:, None]
    bent = flat if lens is None else lens(flat)
    return bent * np.diag(camera.K)[:2] + camera.K[:2, 2], depth
