"""The place of a pack, and the folder beside it in which the pack is made: `<out>.building`.

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
from pathlib import Path
from typing import BinaryIO, TypeVar

from ssl_core.config import Config
from ssl_core.data.manifest import Refused
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.data.pack_arrays import ROW_WIDTH
from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.errors import ConfigError, PackError, StorageError
from ssl_core.files.whole import atomic_write, mend, put_in_place, storage_errors
from ssl_core.packing.objects import Problem
from ssl_core.packing.pack_plan import PartPlan
from ssl_core.packing.part import REMEDY

AnyPack = TypeVar("AnyPack", Pack, ScenePack)
Sidecar = TypeVar("Sidecar", bound=Config)

SOURCES = "sources.json"
"""Beside the manifest: what a pack was made from, so that the same command finds it made. No part of the digest."""


def real_place(out: Path) -> Path:
    """Where the pack lies: a link to a folder on a larger disk stays a link."""
    return out.resolve() if out.is_symlink() else out


def pack_at(out: Path, kind: type[AnyPack], config: PackConfig | ScenePackConfig) -> AnyPack | None:
    """The pack at `out`; None where nothing is. Raises PackError for anything else, and for other settings."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / "manifest.json").is_file():
        raise PackError(f"{out}: exists and is no pack; remove it or choose another --out")
    pack = kind.open(out)
    there, asked = dict(pack.manifest.config), dict(config)
    if other := [f"{name} is {there[name]}, not {asked[name]}" for name in asked if there[name] != asked[name]]:
        raise PackError(f"{out}: holds a pack of other settings ({', '.join(other)}); choose another --out")
    return pack


def other_input(out: Path, changes: str = "") -> PackError:
    """The pack at `out` is of other input, and no update was asked for."""
    return PackError(
        f"{out}: holds a pack of other input{changes}; bring it up to date with `splatsweep pack ... --update`, or "
        "choose another --out"
    )


def unusable(problems: Sequence[Problem | Refused], what: str, remedy: str) -> str:
    """For people: how many inputs cannot be used, and the first of them."""
    shown = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:20])
    more = f"; and {len(problems) - 20} more" if len(problems) > 20 else ""
    return f"{len(problems)} unusable {what}(s): {shown}{more} (--skip-bad {remedy})"


def read_sidecar(folder: Path, kind: type[Sidecar]) -> Sidecar | None:
    """`sources.json` of a pack; None when it is absent or damaged."""
    try:
        return kind.from_json((folder / SOURCES).read_text())
    except (OSError, ValueError, ConfigError):
        return None


def write_sidecar(folder: Path, sources: Config) -> None:
    """Write `sources.json` of a pack. Raises StorageError."""
    with atomic_write(folder / SOURCES) as stream:
        stream.write(sources.to_json().encode())


class Building:
    """The places of a pack being made, absolute, because workers stand elsewhere."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.absolute().with_name(f"{out.name}.building")
        self.parts, self.new, self.assembled = self.path / "parts", self.path / "new", self.path / "assembled"

    def begin_assembly(self, parts: Sequence[PartPlan]) -> None:
        """Note down which parts are put together from now on. Raises OSError."""
        self.new.mkdir()
        self.assembled.write_text(_ids(parts))

    def assembly_begun(self, parts: Sequence[PartPlan]) -> bool:
        """Whether these very parts were being put together when a run was killed."""
        try:
            return self.new.is_dir() and self.assembled.read_text() == _ids(parts)
        except OSError:
            return False

    def forget_assembly(self) -> None:
        """Remove what an earlier run had put together. Raises OSError."""
        self.assembled.unlink(missing_ok=True)
        if self.new.is_dir():
            shutil.rmtree(self.new)

    def move_into_place(self) -> None:
        """Exchange the pack for the new one and clear up. Killed in between, the next run mends it."""
        with storage_errors(self.out, REMEDY):
            put_in_place(self.new, self.out)
        self.clear()

    def clear(self) -> None:
        """Remove the building folder and all parts in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _ids(parts: Sequence[PartPlan]) -> str:
    return "".join(f"{part.id}\n" for part in parts)


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
    with lock:
        with storage_errors(folder.path, REMEDY):
            mend(folder.out)
            folder.parts.mkdir(exist_ok=True)
            for left in folder.parts.glob(".*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
        yield folder


def clear_leftovers(out: Path) -> None:
    """Remove what a run left that was killed while it cleaned up; what another packer holds stays."""
    if Building(out).path.is_dir():
        with suppress(PackError, StorageError), building(out) as folder:
            folder.clear()


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
    most = 4 * ROW_WIDTH * config.max_gaussians
    return sum(
        min(entry.item.gaussians.size, most) // 2
        + picture * (len(entry.item.views) or entry.item.is_drawn * config.rendered_views)
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
