"""The raw arrays of a part on disk: appended object by object, rewound when an object turns out to be unusable."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.object_pack import SH_REST_WIDTH

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
    """A file that a pack has only when every object can fill it: of a part, of the pack, one entry of it.

    Args:
        part: raw values of a part.
        pack: the .npy of the pack.
        kind: type of the values, as "<f4".
        shape: of the values of one Gaussian or view.
    """

    part: FileName
    pack: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Extra:
    """What an object may carry besides Gaussians and pictures, by row or by view."""

    per: Literal["row", "view"]
    files: tuple[ExtraFile, ...]
    lacking: str


ExtraName = Literal["sh_rest", "part_labels", "masks", "cameras"]


def extras(image_size: int) -> dict[ExtraName, Extra]:
    """All extras of a pack whose views have this side."""
    square = (image_size, image_size)
    cameras = (
        ExtraFile("viewmats.f64", "viewmats.npy", "<f8", (4, 4)),
        ExtraFile("intrinsics.f64", "intrinsics.npy", "<f8", (3, 3)),
    )
    return {
        "sh_rest": Extra(
            "row",
            (ExtraFile("sh_rest.f32", "sh_rest.npy", "<f4", (SH_REST_WIDTH,)),),
            "no spherical harmonics above degree 0",
        ),
        "part_labels": Extra("row", (ExtraFile("part_labels.i16", "part_labels.npy", "<i2", ()),), "no part labels"),
        "masks": Extra("view", (ExtraFile("masks.u8", "masks.npy", "|u1", square),), "no masks"),
        "cameras": Extra("view", cameras, "no cameras of the views"),
    }


_BUFFER = 2**18


class PartFiles:
    """The open files of one part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._streams: dict[FileName, BinaryIO] = {}

    def __enter__(self) -> Self:
        for name in FILE_NAMES:
            self._streams[name] = self._stack.enter_context((self.folder / name).open("wb", _BUFFER))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, name: FileName, values: NDArray[np.generic]) -> None:
        """Append an array. Raises OSError."""
        self._streams[name].write(np.ascontiguousarray(values).data)

    def write_view(self, view: NDArray[np.uint8] | bytes, *, encoded: bool) -> None:
        """Append a view, the length of an encoded one beside it. Raises OSError."""
        self._streams["views.u8"].write(view if isinstance(view, bytes) else view.data)
        if encoded:
            self.write("view_sizes.i64", np.array([len(view)], dtype=np.int64))

    def write_extras(self, carried: Mapping[ExtraName, Sequence[NDArray[Any]]], image_size: int) -> None:
        """Append what an object carries, in the order of the files of each extra. Raises OSError."""
        known = extras(image_size)
        for name, arrays in carried.items():
            for file, values in zip(known[name].files, arrays, strict=True):
                self.write(file.part, values.astype(file.kind, copy=False))

    def marks(self) -> dict[FileName, int]:
        """Where the files end."""
        return {name: stream.tell() for name, stream in self._streams.items()}

    def rewind(self, marks: dict[FileName, int]) -> None:
        """Forget everything written since `marks`."""
        for name, stream in self._streams.items():
            stream.seek(marks[name])
            stream.truncate()
