"""Numeric arrays of .h5 files (HDF5), a row at a time. What an array keeps in other files is never followed."""

import io
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import DataError, MissingDependencyError

MAX_MEMBER = 2**30
"""An .h5 inside an archive is unpacked into memory, up to so many bytes."""

MAX_CHUNK = 2**28
"""An array may be stored in pieces of so many bytes; one is unpacked at a time."""


class Container(Protocol):
    """Where an .h5 file lies: a `FileSource` or a `ZipSource`."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def stamp(self) -> str:
        """Cheap identity of the content."""

    def open(self) -> BinaryIO:
        """A stream."""

    def __hash__(self) -> int: ...


_DAMAGED = (OSError, KeyError, ValueError, RuntimeError, TypeError)  # what h5py raises on files that are none


def shapes(source: Container) -> Mapping[str, tuple[int, ...]]:
    """Name -> shape of the numeric arrays at the top of a file, but for those kept in other files.

    Raises:
        DataError: no .h5 file, or damaged; names it. MissingDependencyError: h5py is not installed.
    """
    found: dict[str, tuple[int, ...]] = {}
    try:
        file = _opened_file(source)
        for name in file:
            array = file[name] if _stored_here(file, name) else None
            if array is not None and array.dtype.kind in "fiu":
                found[name] = tuple(array.shape)
    except _DAMAGED as error:
        raise _unreadable(source, error) from None
    return found


def read_all(source: Container, key: str) -> NDArray[Any]:
    """A small array. Raises DataError."""
    try:
        return np.asarray(_opened_file(source)[key][()])
    except _DAMAGED as error:
        raise _unreadable(source, error) from None


def read_row(source: Container, key: str, row: int) -> NDArray[np.float32]:
    """[N, C] of an array [rows, N, C]. Raises DataError."""
    try:
        file = _opened_file(source)
        if not _stored_here(file, key):
            raise DataError(f"{source}: has no array '{key}' of its own; copy it again")
        return np.ascontiguousarray(file[key][row], dtype="<f4")
    except _DAMAGED as error:
        raise _unreadable(source, error) from None


def _stored_here(file: Any, name: str) -> bool:
    """Whether an entry is an array whose numbers this file holds, in pieces of bearable size."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        return False
    array = file[name]
    piece = int(np.prod(array.chunks or (1,), dtype=np.float64)) * array.dtype.itemsize
    return not array.is_virtual and array.external is None and piece <= MAX_CHUNK


def _opened_file(source: Container) -> Any:
    return _opened(source, source.stamp, os.getpid())


@lru_cache(maxsize=3)
def _opened(source: Container, stamp: str, process: int) -> Any:
    """Kept open by this process: an object is one row of many."""
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError(
            f"{source}: .h5 files are read by h5py, in the extra `h5`, which is not installed; run `make setup`, or "
            "install splatsweep[h5]"
        ) from None
    stream = source.open()
    if not isinstance(stream, io.BufferedReader):  # a member of an archive: going back in it unpacks it from the start
        if source.size > MAX_MEMBER:
            raise DataError(f"{source}: is {source.size:,} bytes long; unpack the archive first")
        with stream:
            stream = io.BytesIO(stream.read(source.size + 1))
    return h5py.File(stream, "r")


def _unreadable(source: Container, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:120]
    return DataError(f"{source}: is no readable .h5 file ({reason}); copy it again")
