"""The sparse points of a scene from a .ply beside its cameras: nerfstudio's, Blender sets', INRIA's input.ply."""

from pathlib import Path

import numpy as np

from ssl_core.clouds.cloud_file import read_point_cloud
from ssl_core.errors import CameraError, GaussianFileError
from ssl_core.scenes.cameras import ScenePoints

_GREY = 128


def read_scene_points(file: Path) -> ScenePoints:
    """Points in the cameras' world, grey where the file gives no colours. Raises CameraError: they cannot be read."""
    try:
        cloud = read_point_cloud(file)
    except GaussianFileError as error:
        raise CameraError(f"{error} (the scene's points; or take the file away)") from None
    colours = np.full((len(cloud.xyz), 3), _GREY, np.uint8)
    if cloud.colours is not None:
        colours = np.rint(np.clip(cloud.colours, 0, 1) * 255).astype(np.uint8)
    return ScenePoints(cloud.xyz.astype(np.float64), colours)
