"""The views of a pack: one array of bytes, or encoded pictures when disk matters. Read-only, mapped."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Codec = Literal["raw", "jpeg", "webp"]
Indices = NDArray[np.int64]
Pixels = NDArray[np.uint8]


class RawViews:
    """`views.npy`: [views, 3, S, S] uint8. A batch is one copy out of the map."""

    files = ("views.npy",)

    def __init__(self, folder: Path) -> None:
        self._map: Pixels = np.load(folder / "views.npy", mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self._map)

    def __getitem__(self, index: Indices | slice) -> Pixels:
        """[n, 3, S, S], a copy."""
        if isinstance(index, slice):
            return np.array(self._map[index])
        # take is twice as fast as indexing with an array
        return self._map.take(index, axis=0)


class EncodedViews:
    """`views.bin` and `view_offsets.npy` ([views + 1] int64): JPEG or WebP, decoded when asked for."""

    files = ("views.bin", "view_offsets.npy")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes: Pixels = np.memmap(folder / "views.bin", dtype=np.uint8, mode="r")
        self._offsets: Indices = np.load(folder / "view_offsets.npy", mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: Indices | slice) -> Pixels:
        """[n, 3, S, S], decoded."""
        from ssl_core.data.images import decode_image

        wanted = np.arange(len(self))[index] if isinstance(index, slice) else index
        decoded = [
            decode_image(self._bytes[self._offsets[i] : self._offsets[i + 1]].tobytes(), f"{self._folder} view {i}")
            for i in wanted.tolist()
        ]
        return np.stack(decoded).transpose(0, 3, 1, 2)


Views = RawViews | EncodedViews


def open_views(folder: Path, codec: Codec) -> Views:
    """The views of a pack folder."""
    return RawViews(folder) if codec == "raw" else EncodedViews(folder)
