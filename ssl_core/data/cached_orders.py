"""What all trials of a node need and a pack does not hold, computed once and mapped.

A trial that keeps only Gaussians above a higher alpha than the pack's, or wants more points than its orders have,
needs farthest-point orders of its own; samplers that look at opacities need them side by side and not 56 bytes apart.
Both are derived folders (`files.whole`) in `<pack>/derived/`, or, where that may not be written, in the machine's cache
folder (`files.user_folders`). Each holds `values.bin`: the values of all objects, one after the other, with holes where
an object was not asked for. The digests of the pack and of the objects asked for are in the name.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.object_pack import Pack
from ssl_core.data.point_columns import sigmoid
from ssl_core.data.sampling import farthest_point_order, farthest_point_orders
from ssl_core.errors import StorageError
from ssl_core.files.user_folders import cache_folder
from ssl_core.files.whole import derived_folder

Indices = NDArray[np.int64]

_VERSION = 2
"""Part of the names: another way of computing the values is another number."""


def orders_for(pack: Pack, alpha_threshold: float, length: int, objects: Indices) -> NDArray[np.int32]:
    """Farthest-point orders of the Gaussians above `alpha_threshold`: a read-only map [all objects, starts, length].

    Row numbers within the object, -1 after the last. Only the rows of `objects` are computed; do not read others. An
    object that keeps all its rows continues the pack's own orders, the others start anew, from as many starts.

    Raises:
        StorageError: no cache folder can be written.
    """
    starts = pack.orders.shape[1]
    objects_in_all = len(pack.manifest.objects)
    values = _Values(
        name=f"orders-v{_VERSION}-{pack.digest}-alpha{alpha_threshold!r}-n{length}",
        dtype=np.dtype(np.int32),
        shape=(objects_in_all, starts, length),
        bounds=np.arange(objects_in_all + 1) * (starts * length),
    )
    return values.serve(cache_folders(pack), objects, lambda index: _orders(pack, alpha_threshold, length, index))


def alphas_for(pack: Pack, objects: Indices) -> NDArray[np.float32]:
    """Alphas of the rows of `objects`: a read-only map [rows] beside `pack.gaussians`; other rows are undefined.

    Raises:
        StorageError: no cache folder can be written.
    """
    values = _Values(
        name=f"alphas-v{_VERSION}-{pack.digest}",
        dtype=np.dtype(np.float32),
        shape=(len(pack.gaussians),),
        bounds=np.append(pack.first_row, len(pack.gaussians)),
    )
    return values.serve(cache_folders(pack), objects, lambda index: sigmoid(_rows(pack, index)[:, 3]))


def cache_folders(pack: Pack) -> tuple[Path, ...]:
    """Where derived files may stand, best first."""
    return pack.path / "derived", cache_folder()


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
class _Values:
    """Values of `shape`, of which object i has the elements bounds[i] to bounds[i + 1]."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    bounds: Indices

    def serve(self, roots: tuple[Path, ...], objects: Indices, compute: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        """The map with the values of `objects`, in the first of the folders that has it or can be written."""
        address = f"{self.name}-{hashlib.sha256(np.ascontiguousarray(objects, '<i8').tobytes()).hexdigest()[:16]}"

        def make(folder: Path) -> None:
            with (folder / "values.bin").open("wb") as stream:  # a full disk is then an error, and not a signal
                stream.truncate(int(np.prod(self.shape)) * self.dtype.itemsize)
                for index in objects.tolist():
                    stream.seek(int(self.bounds[index]) * self.dtype.itemsize)
                    stream.write(np.ascontiguousarray(compute(index), self.dtype).tobytes())

        reasons = []
        for root in sorted(roots, key=lambda root: not (root / address).is_dir()):
            try:
                file = derived_folder(root, address, make) / "values.bin"
            except StorageError as error:
                reasons.append(str(error))
            else:
                return np.memmap(file, dtype=self.dtype, mode="r", shape=self.shape)
        raise StorageError(
            f"no cache for what is derived from the pack can be written ({'; '.join(reasons)}); "
            "set SPLATSWEEP_CACHE to a folder with free space"
        )
