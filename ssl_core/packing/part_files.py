"""The raw arrays of a part on disk, appended object by object, and which of them a pack has only at times."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.pack_arrays import SH_REST_WIDTH

FileName = Literal[
    "gaussians.f32",  # [rows, 14]
    "orders.i32",  # per object [starts, L]
    "views.u8",  # pixels, or encoded pictures
    "view_sizes.i64",  # the lengths of encoded pictures
    "sh_rest.f32",  # [rows, 45]
    "part_labels.i16",  # [rows]
    "masks.u8",  # [views, S, S]
    "viewmats.f64",  # [views, 4, 4]
    "intrinsics.f64",  # [views, 3, 3]
]
FILE_NAMES: tuple[FileName, ...] = get_args(FileName)


@dataclass(frozen=True)
class ExtraFile:
    """A file that a pack has only when every object can fill it: of a part, of the pack, one entry of it."""

    part: FileName  # raw values of a part
    pack: str  # the .npy of the pack
    kind: str  # type of the values, as "<f4"
    shape: tuple[int | None, ...]  # of the values of one Gaussian or view; None is the side of a view


@dataclass(frozen=True)
class Extra:
    """What an object may carry besides Gaussians and pictures, by row or by view."""

    per: Literal["row", "view"]
    files: tuple[ExtraFile, ...]
    lacking: str


ExtraName = Literal["sh_rest", "part_labels", "masks", "cameras"]
ALL_EXTRAS: frozenset[ExtraName] = frozenset(get_args(ExtraName))
Carried = Mapping[ExtraName, tuple[NDArray[Any], ...]]
"""What an object carries: the arrays of each extra, in the order of its files."""


EXTRAS: dict[ExtraName, Extra] = {
    "sh_rest": Extra(
        "row",
        (ExtraFile("sh_rest.f32", "sh_rest.npy", "<f4", (SH_REST_WIDTH,)),),
        "no spherical harmonics above degree 0",
    ),
    "part_labels": Extra("row", (ExtraFile("part_labels.i16", "part_labels.npy", "<i2", ()),), "no part labels"),
    "masks": Extra("view", (ExtraFile("masks.u8", "masks.npy", "|u1", (None, None)),), "no masks"),
    "cameras": Extra(
        "view",
        (
            ExtraFile("viewmats.f64", "viewmats.npy", "<f8", (4, 4)),
            ExtraFile("intrinsics.f64", "intrinsics.npy", "<f8", (3, 3)),
        ),
        "no cameras of the views",
    ),
}


class PartFiles(ExitStack):
    """The open files of one part."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._streams = {name: self.enter_context((folder / name).open("wb", 2**18)) for name in FILE_NAMES}

    def write(self, name: FileName, values: NDArray[np.generic]) -> None:
        """Append an array. Raises OSError."""
        self._streams[name].write(np.ascontiguousarray(values).data)

    def write_view(self, view: NDArray[np.uint8] | bytes) -> None:
        """Append pixels, or an encoded picture and its length. Raises OSError."""
        self._streams["views.u8"].write(view if isinstance(view, bytes) else view.data)
        if isinstance(view, bytes):
            self.write("view_sizes.i64", np.array([len(view)], dtype=np.int64))

    def write_extras(self, carried: Carried) -> None:
        """Append what an object carries, in the order of the files of each extra. Raises OSError."""
        for name, arrays in carried.items():
            for file, values in zip(EXTRAS[name].files, arrays, strict=True):
                self.write(file.part, values.astype(file.kind, copy=False))
