"""A part of a pack: a few objects made in one go, by whichever process, and kept until the pack is whole.

A part is a folder of raw arrays and a record. It is built under a name of its own and renamed when complete, so a
process that dies leaves at most a folder that nobody takes for a part.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssl_core.config import Config
from ssl_core.data.manifest import Refused
from ssl_core.data.objects import stamp_of
from ssl_core.data.pack import PackObject
from ssl_core.data.packing.known_objects import copy_known
from ssl_core.data.packing.packed_object import Clock, hash_source, read_ordered, read_views, rendered_views
from ssl_core.data.packing.part_files import FILE_NAMES, PartFiles
from ssl_core.data.packing.plan import Entry, PartPlan
from ssl_core.errors import ConfigError, DataError, PackError, StorageError

RECORD = "part.json"


class PartObject(Config):
    """One object of a part. `facts` counts rows and views from 0."""

    facts: PackObject
    order_length: int
    has_sh_rest: bool
    notes: tuple[str, ...]
    copied: bool = False


class PartRecord(Config):
    """What a finished part holds, and what it took: seconds per kind of work."""

    objects: tuple[PartObject, ...]
    refused: tuple[Refused, ...]
    files: dict[str, int]
    seconds: dict[str, float]


def part_record(plan: PartPlan) -> PartRecord | None:
    """The record of the part, when it was finished."""
    try:
        record = PartRecord.from_json((plan.folder / plan.id / RECORD).read_text())
    except (OSError, ValueError, ConfigError):
        return None
    return record if record.files.keys() == set(FILE_NAMES) else None


def finished_part(plan: PartPlan) -> PartRecord | None:
    """The record of the part when it was finished and all of it is there."""
    folder, record = plan.folder / plan.id, part_record(plan)
    if record is None:
        return None
    try:
        whole = all((folder / name).stat().st_size == size for name, size in record.files.items())
    except OSError:
        return None
    return record if whole else None


def build_part(plan: PartPlan, on_object: Callable[[], None] | None = None) -> None:
    """Make a part; it appears in `plan.folder` whole or not at all. Runs in any process.

    Unusable objects are recorded as refused. A part that is there already is made again and replaced.

    Args:
        plan: what to make.
        on_object: called after each object.

    Raises:
        PackError: a file changed after the plan was made.
        StorageError: the disk is full.
    """
    folder = plan.folder / f"{plan.id}.{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with storage_errors(folder):
            folder.mkdir(parents=True)
            clock = Clock()
            with PartFiles(folder) as files:
                objects, refused = _build(plan, files, clock, on_object)
            record = PartRecord(
                objects=tuple(objects),
                refused=tuple(refused),
                files={name: (folder / name).stat().st_size for name in FILE_NAMES},
                seconds=clock.seconds,
            )
            (folder / RECORD).write_text(record.to_json())
            final = plan.folder / plan.id
            if final.exists():
                shutil.rmtree(final)
            folder.rename(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """What the operating system says about writing, as a StorageError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(
            f"{folder}: cannot be written: {reason}; free some space or choose another --out, then run the same "
            "command again: finished parts are kept"
        ) from error


def _build(
    plan: PartPlan, files: PartFiles, clock: Clock, on_object: Callable[[], None] | None
) -> tuple[list[PartObject], list[Refused]]:
    objects: list[PartObject] = []
    refused: list[Refused] = []
    for entry in plan.entries:
        marks = files.marks()
        try:
            made = _copied(plan, entry, files, clock) or _made(plan, entry, files, clock)
        except DataError as error:
            _check_unchanged(entry)
            files.rewind(marks)
            refused.append(Refused(path=entry.item.key, reason=_with_file(error, entry)))
        else:
            _check_unchanged(entry)
            objects.append(made)
        if on_object is not None:
            on_object()
    return objects, refused


def _made(plan: PartPlan, entry: Entry, files: PartFiles, clock: Clock) -> PartObject:
    item, config = entry.item, plan.config
    digest = hashlib.sha256()
    with clock("parse"):
        hash_source(item.gaussians, digest)
    ordered = read_ordered(item, config, clock)
    with clock("write"):
        files.write("gaussians.f32", ordered.geometry)
        files.write("orders.i32", ordered.orders)
        if ordered.sh_rest is not None and plan.keep_sh_rest:
            files.write("sh_rest.f32", ordered.sh_rest)
    if item.views:
        stored = read_views(item, config, plan.image_size, digest, clock)
    else:
        stored = rendered_views(ordered.cloud, config, plan.image_size, clock)
    views = files.write_views(stored, clock, encoded=config.codec != "raw")
    return PartObject(
        facts=PackObject(
            class_name=item.class_name,
            split=item.split,
            validation=False,
            name=item.name,
            source_digest=digest.hexdigest()[:16],
            gaussians_in_file=len(ordered.cloud),
            first_row=0,
            rows=len(ordered.geometry),
            sh_degree=ordered.cloud.sh_degree,
            first_view=0,
            views=views,
        ),
        order_length=ordered.orders.shape[1],
        has_sh_rest=ordered.sh_rest is not None,
        notes=ordered.notes,
    )


def _copied(plan: PartPlan, entry: Entry, files: PartFiles, clock: Clock) -> PartObject | None:
    """The object out of an older pack, when it is the same and all of it is there."""
    if entry.known is None:
        return None
    with clock("copy"):
        length = copy_known(entry.known, entry, plan, files)
    if length is None:
        return None
    known = entry.known
    return PartObject(
        facts=known.facts.model_copy(update={"first_row": 0, "first_view": 0, "validation": False}),
        order_length=length,
        has_sh_rest=known.has_sh_rest,
        notes=known.notes,
        copied=True,
    )


def _check_unchanged(entry: Entry) -> None:
    try:
        now: str | None = stamp_of(entry.item)
    except DataError:
        now = None
    if now != entry.stamp:
        raise PackError(
            f"{entry.item.key}: a file {'changed' if now else 'went away'} while it was packed "
            f"({entry.item.gaussians} or one of its views); run the same command again: finished parts are kept"
        )


def _with_file(error: DataError, entry: Entry) -> str:
    """Errors of readers name the file; those about an object in memory cannot."""
    text = str(error)
    named = any(str(source) in text for source in (entry.item.gaussians, *entry.item.views))
    return text if named else f"{entry.item.gaussians}: {text}"
