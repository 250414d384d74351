"""What packs store, mapped read-only: rows of Gaussians, arrays (a damaged header is refused) and views."""

from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ssl_core.errors import PackError
from ssl_core.files.image_files import decode_image
from ssl_core.gaussians.gaussian_cloud import GaussianCloud

Codec = Literal["raw", "jpeg", "webp"]
Indices = NDArray[np.int64]
Pixels = NDArray[np.uint8]

COLUMNS: dict[str, slice] = {
    "xyz": slice(0, 3),
    "opacity": slice(3, 4),
    "scale": slice(4, 7),
    "rotation": slice(7, 11),
    "sh_dc": slice(11, 14),
    "sh_rest": slice(14, 59),
    "reference_color": slice(14, 58),
}
"""Columns of a stored row; sh_rest is channel-major as in INRIA's files, so 14:58 is the reference's f_rest_0..43."""

GEOMETRY_WIDTH, SH_REST_WIDTH = 14, 45
"""A pack keeps the columns before the higher SH coefficients, and these, in files of their own."""
ROW_WIDTH = GEOMETRY_WIDTH + SH_REST_WIDTH


def rows_of(cloud: GaussianCloud) -> NDArray[np.float32]:
    """[N, 59] raw rows: xyz, opacity logit, log-scales, quaternion wxyz, f_dc, f_rest (channel-major, zero-padded)."""
    rows = np.zeros((len(cloud), ROW_WIDTH), dtype=np.float32)
    rows[:, COLUMNS["xyz"]] = cloud.xyz
    rows[:, 3] = cloud.opacity_logits
    rows[:, COLUMNS["scale"]] = cloud.log_scales
    rows[:, COLUMNS["rotation"]] = cloud.quaternions
    rows[:, COLUMNS["sh_dc"]] = cloud.sh_dc
    rest = np.zeros((len(cloud), 3, 15), dtype=np.float32)
    rest[:, :, : cloud.sh_rest.shape[1]] = cloud.sh_rest.transpose(0, 2, 1)
    rows[:, COLUMNS["sh_rest"]] = rest.reshape(len(cloud), 45)
    return rows


def open_array(file: Path, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Map a .npy read-only.

    Args:
        file: the array.
        dtype: what it must hold.
        shape: what it must be; None for any length.

    Raises:
        PackError: no .npy, damaged, or of another type or shape.
    """
    try:
        found: NDArray[Any] = open_memmap(file, mode="r")
    except (OSError, ValueError, TypeError, OverflowError, EOFError, SyntaxError, TokenError) as error:
        reason = ascii(" ".join(str(error).split())[:120])
        raise PackError(f"{file}: is no array ({reason}); make the pack again") from None
    fits = found.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, found.shape, strict=True))
    if found.dtype != dtype or not fits or not found.flags.c_contiguous:
        expected = ", ".join("any" if s is None else str(s) for s in shape)
        raise PackError(
            f"{file}: holds {found.dtype} {list(found.shape)}, expected {np.dtype(dtype)} [{expected}]; make it again"
        )
    return found


class RawViews:
    """`views.npy`: [views, 3, S, S] uint8. A batch is one copy out of the map."""

    def __init__(self, folder: Path, image_size: int) -> None:
        self._map: Pixels = open_array(folder / "views.npy", np.uint8, (None, 3, image_size, image_size))

    def __len__(self) -> int:
        return len(self._map)

    @property
    def shape(self) -> tuple[int, ...]:
        """[views, 3, S, S]."""
        return self._map.shape

    def __getitem__(self, index: Indices | slice) -> Pixels:
        """[n, 3, S, S], a copy."""
        if isinstance(index, slice):
            return np.array(self._map[index])
        # take is twice as fast as indexing with an array
        return self._map.take(index, axis=0)


class EncodedViews:
    """`views.bin` and `view_offsets.npy` ([views + 1] int64): JPEG or WebP, decoded when asked for."""

    def __init__(self, folder: Path, image_size: int) -> None:
        self._folder, self._size = folder, image_size
        file = folder / "views.bin"  # an empty one cannot be mapped: a pack may have no views
        empty = not file.stat().st_size
        self._bytes: Pixels = np.empty(0, np.uint8) if empty else np.memmap(file, dtype=np.uint8, mode="r")
        self._offsets: Indices = open_array(folder / "view_offsets.npy", np.int64, (None,))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """[views, 3, S, S]."""
        return len(self), 3, self._size, self._size

    def __getitem__(self, index: Indices | slice) -> Pixels:
        """[n, 3, S, S], decoded. Raises ImageError for a damaged picture, PackError for one of another size."""
        wanted = np.arange(len(self))[index]
        pixels = np.empty((len(wanted), 3, self._size, self._size), dtype=np.uint8)
        for place, view in enumerate(wanted.tolist()):
            name = f"{self._folder / 'views.bin'}, view {view}"
            picture = decode_image(self._bytes[self._offsets[view] : self._offsets[view + 1]].tobytes(), name)
            if picture.shape != (self._size, self._size, 3):
                raise PackError(f"{name}: is {picture.shape}, not {self._size} px wide and high; make the pack again")
            pixels[place] = picture.transpose(2, 0, 1)
        return pixels


def open_views(folder: Path, codec: Codec, image_size: int) -> RawViews | EncodedViews:
    """The views of a pack folder, of this side in pixels."""
    return RawViews(folder, image_size) if codec == "raw" else EncodedViews(folder, image_size)
