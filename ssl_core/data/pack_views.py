"""The views of a pack: one array of bytes, or encoded pictures when disk matters. Read-only, mapped."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.pack_arrays import open_array
from ssl_core.errors import PackError

Codec = Literal["raw", "jpeg", "webp"]
Indices = NDArray[np.int64]
Pixels = NDArray[np.uint8]


class RawViews:
    """`views.npy`: [views, 3, S, S] uint8. A batch is one copy out of the map."""

    files = ("views.npy",)

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

    files = ("views.bin", "view_offsets.npy")

    def __init__(self, folder: Path, image_size: int) -> None:
        self._folder, self._size = folder, image_size
        self._bytes: Pixels = np.memmap(folder / "views.bin", dtype=np.uint8, mode="r")
        self._offsets: Indices = open_array(folder / "view_offsets.npy", np.int64, (None,))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """[views, 3, S, S]."""
        return len(self), 3, self._size, self._size

    def __getitem__(self, index: Indices | slice) -> Pixels:
        """[n, 3, S, S], decoded. Raises ImageError for a damaged picture, PackError for one of another size."""
        from ssl_core.files.image_files import decode_image

        wanted = np.arange(len(self))[index]
        pixels = np.empty((len(wanted), 3, self._size, self._size), dtype=np.uint8)
        for place, view in enumerate(wanted.tolist()):
            name = f"{self._folder / 'views.bin'}, view {view}"
            picture = decode_image(self._bytes[self._offsets[view] : self._offsets[view + 1]].tobytes(), name)
            if picture.shape != (self._size, self._size, 3):
                raise PackError(f"{name}: is {picture.shape}, not {self._size} px wide and high; make the pack again")
            pixels[place] = picture.transpose(2, 0, 1)
        return pixels


Views = RawViews | EncodedViews


def open_views(folder: Path, codec: Codec, image_size: int) -> Views:
    """The views of a pack folder, of this side in pixels."""
    return RawViews(folder, image_size) if codec == "raw" else EncodedViews(folder, image_size)
