"""Objects that did not change, out of the pack they are already in."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.manifest import BLOCK_BYTES, Manifest
from ssl_core.errors import PackError
from ssl_core.packing.pack_plan import Entry, KnownObject, PartPlan
from ssl_core.packing.packed_object import source_digest
from ssl_core.packing.part_files import PartFiles, extras


def copy_known(known: KnownObject, entry: Entry, plan: PartPlan, files: PartFiles) -> int | None:
    """Append a known object to a part.

    Returns:
        The length of its cached orders; None, and nothing appended, when its files changed after all or the older
        pack does not have what they carry.

    Raises:
        DataError: a file cannot be read. OSError: the disk is full.
    """
    carried = [extra for name, extra in extras(plan.image_size).items() if name in known.carries & plan.keep]
    if not all((known.pack / file.pack).is_file() for extra in carried for file in extra.files):
        return None
    if known.stamp != entry.stamp and source_digest(entry.item) != known.facts.source_digest:
        return None
    facts = known.facts
    rows = slice(facts.first_row, facts.first_row + facts.rows)
    views = slice(facts.first_view, facts.first_view + facts.views)
    files.write("gaussians.f32", _mapped(known, "gaussians.npy")[rows])
    for extra in carried:
        for file in extra.files:
            files.write(file.part, _mapped(known, file.pack)[rows if extra.per == "row" else views])
    length = min(plan.config.cached_points, facts.rows)
    files.write("orders.i32", _mapped(known, "orders.npy")[known.index, :, :length])
    if plan.config.codec == "raw":
        files.write("views.u8", _mapped(known, "views.npy")[views])
    else:
        span = np.array(_mapped(known, "view_offsets.npy")[views.start : views.stop + 1])
        encoded = np.memmap(known.pack / "views.bin", dtype=np.uint8, mode="r")
        files.write("views.u8", encoded[span[0] : span[-1]])
        files.write("view_sizes.i64", np.diff(span))
    return length


def _mapped(known: KnownObject, name: str) -> NDArray[Any]:
    found: NDArray[Any] = np.load(known.pack / name, mmap_mode="r", allow_pickle=False)
    return found


def check_blocks(folder: Path, manifest: Manifest) -> None:
    """Compare every block of a pack's files with its digest: what is copied on must be what was written.

    Raises:
        PackError: a block differs; names the file and the offset.
    """
    for name, facts in manifest.files.items():
        with (folder / name).open("rb") as stream:
            for number, expected in enumerate(facts.blocks):
                if hashlib.sha256(stream.read(BLOCK_BYTES)).hexdigest() != expected:
                    raise PackError(
                        f"{folder / name}: damaged in the {BLOCK_BYTES >> 20} MiB from byte {number * BLOCK_BYTES:,}; "
                        "remove the pack and make it again"
                    )
