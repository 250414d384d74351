"""The folder in which a pack is made, beside the pack: `<out>.building`.

lock        held by the packer; the system lets go of it when the packer dies
parts/      finished parts; those of an interrupted run are taken up by the next
new/        the pack being assembled, and in `assembled` the ids of its parts; they are used up on the way
"""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ssl_core.data.object_pack import GEOMETRY_WIDTH, SH_REST_WIDTH
from ssl_core.errors import PackError, StorageError
from ssl_core.files.whole import mend, put_in_place, storage_errors
from ssl_core.packing.pack_plan import PartPlan
from ssl_core.packing.part import REMEDY


@dataclass(frozen=True)
class Building:
    """The places of a pack being made."""

    out: Path

    @property
    def path(self) -> Path:
        """The folder beside the pack; absolute, because workers stand elsewhere."""
        return self.out.absolute().with_name(f"{self.out.name}.building")

    @property
    def parts(self) -> Path:
        """Finished parts."""
        return self.path / "parts"

    @property
    def new(self) -> Path:
        """The pack being assembled."""
        return self.path / "new"

    @property
    def assembled(self) -> Path:
        """The ids of its parts."""
        return self.path / "assembled"


def real_place(out: Path) -> Path:
    """Where the pack lies: a link to a folder on a larger disk stays a link."""
    return out.resolve() if out.is_symlink() else out


@contextmanager
def building(out: Path) -> Iterator[Building]:
    """The building folder, locked and mended after an interrupted run. It stays when the block fails.

    Raises:
        PackError: another packer is at work here; names its process and machine.
        StorageError: the folder cannot be made.
    """
    folder = Building(out)
    with storage_errors(folder.path, REMEDY):
        lock = _lock(folder)
    try:
        with storage_errors(folder.path, REMEDY):
            mend(folder.out)
            folder.parts.mkdir(exist_ok=True)
            for left in folder.parts.glob(".*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
        yield folder
    finally:
        lock.close()


def move_into_place(folder: Building) -> None:
    """Exchange the pack for the new one and remove the building folder. Killed in between, the next run mends it."""
    with storage_errors(folder.out, REMEDY):
        put_in_place(folder.new, folder.out)
    clear(folder)


def clear(folder: Building) -> None:
    """Remove the building folder and all parts in it."""
    shutil.rmtree(folder.path, ignore_errors=True)


def begin_assembly(folder: Building, parts: Sequence[PartPlan]) -> None:
    """Note down which parts are put together from now on. Raises OSError."""
    folder.new.mkdir()
    folder.assembled.write_text(_ids(parts))


def forget_assembly(folder: Building) -> None:
    """Remove what an earlier run had put together. Raises OSError."""
    folder.assembled.unlink(missing_ok=True)
    if folder.new.is_dir():
        shutil.rmtree(folder.new)


def assembly_begun(folder: Building, parts: Sequence[PartPlan]) -> bool:
    """Whether these very parts were being put together when a run was killed."""
    try:
        return folder.new.is_dir() and folder.assembled.read_text() == _ids(parts)
    except OSError:
        return False


def _ids(parts: Sequence[PartPlan]) -> str:
    return "".join(f"{part.id}\n" for part in parts)


def clear_leftovers(out: Path) -> None:
    """Remove what a run left that was killed while it cleaned up; what another packer holds stays."""
    if Building(out).path.is_dir():
        with suppress(PackError, StorageError), building(out) as folder:
            clear(folder)


def check_space(folder: Building, parts: Sequence[PartPlan], waiting: Sequence[PartPlan]) -> None:
    """Room for the parts that wait; as they are put together they make room for the pack, one after another.

    Raises:
        StorageError: says what is needed and what is there.
    """
    needed = sum(map(_stored_bytes, waiting)) + max(map(_stored_bytes, parts), default=0)
    free = shutil.disk_usage(folder.path).free
    if needed > free:
        raise StorageError(
            f"{folder.out}: making it takes about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; free some "
            "space, choose another --out, a smaller --image-size or --max-gaussians, or --codec jpeg"
        )


def _stored_bytes(part: PartPlan) -> int:
    """An estimate that is rather low: half of the Gaussians are taken to be dropped, pictures to shrink well."""
    config = part.config
    picture = 3 * part.image_size**2 // (1 if config.codec == "raw" else 12)
    most = 4 * (GEOMETRY_WIDTH + SH_REST_WIDTH) * config.max_gaussians
    return sum(
        min(entry.item.gaussians.size, most) // 2 + picture * (len(entry.item.views) or config.rendered_views)
        for entry in part.entries
    )


def _lock(folder: Building) -> BinaryIO:
    """The lock file, open and locked; closing it releases it."""
    path = folder.path / "lock"
    while True:
        folder.path.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+b")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with stream:
                raise PackError(f"{folder.out}: {_holder(stream)} is packing it; wait for it or stop it") from None
        # the one who had it may have removed the folder after we opened the file
        if path.exists() and os.fstat(stream.fileno()).st_ino == path.stat().st_ino:
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            stream.flush()
            return stream
        stream.close()


def _holder(stream: BinaryIO) -> str:
    try:
        stream.seek(0)
        found = json.loads(stream.read(1000))
        return f"process {int(found['pid'])} on {str(found['host'])[:80]}"
    except (ValueError, TypeError, KeyError):
        return "another process"
