"""Plain coloured points as .ply, which every viewer opens and `read_point_cloud` reads."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.files.whole import atomic_write

_ROW = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
_HEADER = """ply
format binary_little_endian 1.0
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
end_header
"""


def write_cloud_ply(path: Path, xyz: NDArray[Any], colours: NDArray[np.uint8]) -> None:
    """Positions [N, 3] and colours uint8 [N, 3], whole or not at all. Raises StorageError."""
    rows = np.empty(len(xyz), dtype=_ROW)
    rows["xyz"], rows["rgb"] = xyz, colours
    with atomic_write(path) as stream:
        stream.write(_HEADER.format(count=len(xyz)).encode() + rows.tobytes())
