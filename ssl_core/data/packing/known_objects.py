"""Objects that did not change, out of the pack they are already in."""

import hashlib
from pathlib import Path

import numpy as np

from ssl_core.data.manifest import BLOCK_BYTES, Manifest
from ssl_core.data.packing.packed_object import source_digest
from ssl_core.data.packing.part_files import PartFiles
from ssl_core.data.packing.plan import Entry, Known, PartPlan
from ssl_core.errors import PackError


def copy_known(known: Known, entry: Entry, plan: PartPlan, files: PartFiles) -> int | None:
    """Append a known object to a part.

    Returns:
        The length of its cached orders; None, and nothing appended, when its files changed after all or the older
        pack does not have its spherical harmonics.

    Raises:
        DataError: a file cannot be read. OSError: the disk is full.
    """
    rest = known.pack / "sh_rest.npy"
    if known.has_sh_rest and plan.keep_sh_rest and not rest.is_file():
        return None
    if known.stamp != entry.stamp and source_digest(entry.item) != known.facts.source_digest:
        return None
    facts = known.facts
    rows = slice(facts.first_row, facts.first_row + facts.rows)
    files.write("gaussians.f32", np.load(known.pack / "gaussians.npy", mmap_mode="r", allow_pickle=False)[rows])
    if known.has_sh_rest and plan.keep_sh_rest:
        files.write("sh_rest.f32", np.load(rest, mmap_mode="r", allow_pickle=False)[rows])
    length = min(plan.config.cached_points, facts.rows)
    orders = np.load(known.pack / "orders.npy", mmap_mode="r", allow_pickle=False)
    files.write("orders.i32", orders[known.index, :, :length])
    if plan.config.codec == "raw":
        views = np.load(known.pack / "views.npy", mmap_mode="r", allow_pickle=False)
        files.write("views.u8", views[facts.first_view : facts.first_view + facts.views])
    else:
        offsets = np.load(known.pack / "view_offsets.npy", mmap_mode="r", allow_pickle=False)
        span = np.array(offsets[facts.first_view : facts.first_view + facts.views + 1])
        encoded = np.memmap(known.pack / "views.bin", dtype=np.uint8, mode="r")
        files.write("views.u8", encoded[span[0] : span[-1]])
        files.write("view_sizes.i64", np.diff(span))
    return length


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
