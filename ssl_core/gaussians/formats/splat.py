"""The .splat of antimatter15's viewer: 32 bytes per Gaussian and no header.

Record, little-endian: centre 3 x float32; standard deviations 3 x float32 (linear); red, green, blue, alpha as bytes
of 255; rotation wxyz as bytes, 128 + 128 q. World axes are the .ply's.
Description: https://github.com/antimatter15/splat (README and convert.py).
"""

import numpy as np

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.bounded_reading import Bytes, finish, looks_like, opened, read_blocks
from ssl_core.gaussians.formats.gaussian_properties import check_count, logits_of_bytes
from ssl_core.gaussians.gaussian_cloud import SH_C0, GaussianCloud, GaussianFile, empty_cloud

_RECORD = np.dtype([("xyz", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
_DC = ((np.arange(256) / 255 - 0.5) / SH_C0).astype(np.float32)
_COMPONENTS = ((np.arange(256) - 128) / 128).astype(np.float32)

_NOTES = (
    "no spherical harmonics beyond the constant: .splat has no place for them",
    "colours, opacities and rotations have 8 bits per value",
)


def decode(source: Source, limit: int) -> GaussianFile:
    """Read a .splat of at most `limit` Gaussians.

    Raises:
        GaussianFileError: missing, empty, not whole records, another kind of file, or too many.
    """
    size = _RECORD.itemsize
    with opened(source) as stream:
        found = looks_like(stream.read(32))
        stream.seek(0)
        if found:
            raise GaussianFileError(f"is no .splat: it looks like {found}; give it its own ending")
        count, over = divmod(source.size, size)
        if over:
            raise GaussianFileError(
                f"is {source.size} bytes long, {over} more than {count} records of {size}; "
                "it is truncated or no .splat: copy or export it again"
            )
        check_count(count, limit)
        cloud, alphas = empty_cloud(count, 0), np.empty(count, dtype=np.uint8)
        for rows, block in read_blocks(stream, count, size):
            _fill(cloud, alphas, rows, block)
        finish(source, stream)
        with np.errstate(divide="ignore", invalid="ignore"):  # of zero or less, which `usable` deals with
            np.log(cloud.log_scales, out=cloud.log_scales)
        cloud.opacity_logits[:], clipped = logits_of_bytes(alphas)
    return GaussianFile(cloud, "splat", 0, (*_NOTES, *clipped))


def _fill(cloud: GaussianCloud, alphas: Bytes, rows: slice, block: Bytes) -> None:
    """Copy records into their rows; scales are still linear and opacities bytes."""
    records = block.view(_RECORD)
    cloud.xyz[rows] = records["xyz"]
    cloud.log_scales[rows] = records["scales"]
    cloud.sh_dc[rows] = _DC[records["rgba"][:, :3]]
    alphas[rows] = records["rgba"][:, 3]
    cloud.quaternions[rows] = _COMPONENTS[records["rotation"]]
