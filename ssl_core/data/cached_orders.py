"""What all trials of a node need and a pack does not hold, computed once and mapped: derived files of a pack.

A trial that keeps only Gaussians above a higher alpha than the pack's, or wants more points than its orders have,
needs farthest-point orders of its own; samplers that look at opacities need them side by side and not 56 bytes apart.
Both are kept in `<pack>/derived/`, or, where that may not be written, in `$SPLATSWEEP_CACHE` or `~/.cache/splatsweep`.
The pack's digest is part of every name, so a pack that was made anew finds nothing stale; the folder may be deleted
when no trial runs.

    <name>.bin   the values of all objects, one object after the other
    <name>.done  uint64 per object: 0, or 2^32 + the CRC-32 of its values

An object counts as computed when its bytes have the CRC that `done` says: what was interrupted goes on where it
stopped, what was damaged is computed again. One process computes, under a file lock, while the others wait.
"""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from ssl_core.data.features import sigmoid
from ssl_core.data.pack import Pack
from ssl_core.data.sampling import farthest_point_order, farthest_point_orders
from ssl_core.errors import StorageError

Indices = NDArray[np.int64]
Compute = Callable[[int], NDArray[Any]]

_VERSION = 1
"""Part of the names: another way of computing the values is another number."""
_SAVE_EVERY = 16
"""Objects computed before they are marked as done."""


def orders_for(pack: Pack, alpha_threshold: float, length: int, objects: Indices) -> NDArray[np.int32]:
    """Farthest-point orders of the Gaussians above `alpha_threshold`: a read-only map [all objects, starts, length].

    Row numbers within the object, -1 after the last. Only the rows of `objects` are computed; do not read others. An
    object that keeps all its rows continues the pack's own orders, the others start anew, from as many starts.

    Raises:
        StorageError: no cache folder can be written.
    """
    starts = pack.orders.shape[1]
    objects_in_all = len(pack.manifest.objects)
    file = _DerivedFile(
        name=f"orders-v{_VERSION}-{pack.digest}-alpha{alpha_threshold!r}-n{length}",
        dtype=np.dtype(np.int32),
        shape=(objects_in_all, starts, length),
        bounds=np.arange(objects_in_all + 1) * (starts * length),
    )
    return file.serve(cache_folders(pack), objects, lambda index: _orders(pack, alpha_threshold, length, index))


def alphas_for(pack: Pack, objects: Indices) -> NDArray[np.float32]:
    """Alphas of the rows of `objects`: a read-only map [rows] beside `pack.gaussians`; other rows are undefined.

    Raises:
        StorageError: no cache folder can be written.
    """
    file = _DerivedFile(
        name=f"alphas-v{_VERSION}-{pack.digest}",
        dtype=np.dtype(np.float32),
        shape=(len(pack.gaussians),),
        bounds=np.append(pack.first_row, len(pack.gaussians)),
    )
    return file.serve(cache_folders(pack), objects, lambda index: sigmoid(_rows(pack, index)[:, 3]))


def cache_folders(pack: Pack) -> tuple[Path, ...]:
    """Where derived files may stand, best first."""
    other = os.environ.get("SPLATSWEEP_CACHE")
    return pack.path / "derived", Path(other) if other else Path.home() / ".cache" / "splatsweep"


def _rows(pack: Pack, index: int) -> NDArray[np.float32]:
    first = int(pack.first_row[index])
    return np.asarray(pack.gaussians[first : first + int(pack.num_rows[index])])


def _orders(pack: Pack, alpha_threshold: float, length: int, index: int) -> NDArray[np.int32]:
    rows = _rows(pack, index)
    cached = pack.orders[index]
    orders = np.full((len(cached), length), -1, dtype=np.int32)
    eligible = np.flatnonzero(sigmoid(rows[:, 3]) > alpha_threshold)
    if len(eligible) == len(rows):
        for order, known in zip(orders, cached, strict=True):
            longer = farthest_point_order(rows[:, :3], length, int(known[0])) if length > len(known) else known[:length]
            order[: len(longer)] = longer
    elif len(eligible) > 0:
        rng = np.random.default_rng([pack.manifest.config.seed, index])
        found = farthest_point_orders(rows[eligible, :3], length, len(cached), rng)
        orders[found >= 0] = eligible[found[found >= 0]]
    return orders


@dataclass(frozen=True)
class _DerivedFile:
    """Values of `shape`, of which object i has the elements bounds[i] to bounds[i + 1]."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    bounds: Indices

    def serve(self, folders: tuple[Path, ...], objects: Indices, compute: Compute) -> NDArray[Any]:
        """The map, once the values of `objects` are in it."""
        for folder in folders:
            if len(self._missing(folder, objects)) == 0:
                return self._map(folder)
        reasons = []
        for folder in folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with FileLock(folder / f"{self.name}.lock"):
                    self._fill(folder, objects, compute)
                return self._map(folder)
            except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
                reasons.append(f"{folder}: {getattr(error, 'strerror', None) or error}")
        raise StorageError(
            f"no cache for what is derived from the pack can be written ({'; '.join(reasons)}); "
            "set SPLATSWEEP_CACHE to a folder with free space"
        )

    def _map(self, folder: Path) -> NDArray[Any]:
        return np.memmap(folder / f"{self.name}.bin", dtype=self.dtype, mode="r", shape=self.shape)

    def _bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def _done(self, folder: Path) -> NDArray[np.uint64] | None:
        """[objects] words of `done`; None where the files are missing or of the wrong size."""
        data, done = folder / f"{self.name}.bin", folder / f"{self.name}.done"
        try:
            if data.stat().st_size != self._bytes() or done.stat().st_size != 8 * (len(self.bounds) - 1):
                return None
            return np.fromfile(done, dtype="<u8")
        except OSError:
            return None

    def _missing(self, folder: Path, objects: Indices) -> Indices:
        """Those of `objects` whose bytes are not what `done` says."""
        done = self._done(folder)
        if done is None:
            return objects
        values = self._map(folder).reshape(-1)
        return np.array([i for i in objects if int(done[i]) != self._word(values, int(i))], dtype=np.int64)

    def _word(self, values: NDArray[Any], index: int) -> int:
        return 2**32 + zlib.crc32(values[self.bounds[index] : self.bounds[index + 1]].tobytes())

    def _fill(self, folder: Path, objects: Indices, compute: Compute) -> None:
        data, done = folder / f"{self.name}.bin", folder / f"{self.name}.done"
        if self._done(folder) is None:
            # a new file beside and then in its place: whoever maps the old one keeps it
            done.unlink(missing_ok=True)
            for file, size in ((data, self._bytes()), (done, 8 * (len(self.bounds) - 1))):
                fresh = file.with_suffix(f"{file.suffix}.new")
                with fresh.open("wb") as stream:
                    stream.truncate(size)
                fresh.replace(file)
        missing = self._missing(folder, objects)
        with data.open("r+b") as values_file, done.open("r+b") as done_file:
            for start in range(0, len(missing), _SAVE_EVERY):
                part = [
                    (int(i), np.ascontiguousarray(compute(int(i)), self.dtype)) for i in missing[start:][:_SAVE_EVERY]
                ]
                for index, values in part:  # written, not mapped: a full disk is then an error and not a signal
                    values_file.seek(int(self.bounds[index]) * self.dtype.itemsize)
                    values_file.write(values.tobytes())
                values_file.flush()
                for index, values in part:
                    done_file.seek(8 * index)
                    done_file.write((2**32 + zlib.crc32(values.tobytes())).to_bytes(8, "little"))
                done_file.flush()
