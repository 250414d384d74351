"""The raw arrays of a part on disk: appended object by object, rewound when an object turns out to be unusable."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.packing.packed_object import Clock

FileName = Literal["gaussians.f32", "sh_rest.f32", "orders.i32", "views.u8", "view_sizes.i64"]
"""[rows, 14], [rows, 45] float32; per object [starts, L] int32; pixels or encoded pictures; the lengths of those."""

FILE_NAMES: tuple[FileName, ...] = get_args(FileName)
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

    def write_views(self, views: Iterable[NDArray[np.uint8] | bytes], clock: Clock, *, encoded: bool) -> int:
        """Append views as they come, the lengths of encoded ones beside them; says how many. Raises OSError."""
        count = 0
        for view in views:
            with clock("write"):
                self._streams["views.u8"].write(view if isinstance(view, bytes) else view.data)
                if encoded:
                    self.write("view_sizes.i64", np.array([len(view)], dtype=np.int64))
            count += 1
        return count

    def marks(self) -> dict[FileName, int]:
        """Where the files end."""
        return {name: stream.tell() for name, stream in self._streams.items()}

    def rewind(self, marks: dict[FileName, int]) -> None:
        """Forget everything written since `marks`."""
        for name, stream in self._streams.items():
            stream.seek(marks[name])
            stream.truncate()
