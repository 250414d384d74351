"""A part of a pack: a few objects made in one go, by whichever process, and kept until the pack is whole.

A part is a folder of raw arrays and a record, which appears whole or not at all.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ssl_core.config import Config
from ssl_core.data.manifest import Refused
from ssl_core.data.object_pack import PackObject
from ssl_core.errors import ConfigError, DataError, PackError
from ssl_core.files.whole import whole_folder
from ssl_core.packing.known_objects import copy_known
from ssl_core.packing.object_extras import (
    OTHER_PICTURES,
    camera_arrays,
    object_cameras,
    object_masks,
    object_part_labels,
)
from ssl_core.packing.objects import SplatObject, stamp_of
from ssl_core.packing.pack_plan import Entry, PartPlan
from ssl_core.packing.packed_object import (
    Ordered,
    PackTimes,
    hash_source,
    read_ordered,
    read_views,
    rendered_views,
    stored_form,
)
from ssl_core.packing.part_files import FILE_NAMES, ExtraName, PartFiles

RECORD = "part.json"
REMEDY = "free some space or choose another --out, then run the same command again: finished parts are kept"


class PartObject(Config):
    """One object of a part. `facts` counts rows and views from 0."""

    facts: PackObject
    order_length: int
    carries: tuple[ExtraName, ...]
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
    # the part's former maker may be alive still
    with whole_folder(plan.folder / plan.id, remedy=REMEDY, sole_writer=False) as folder:
        clock = PackTimes()
        with PartFiles(folder) as files:
            objects, refused = _build(plan, files, clock, on_object)
        record = PartRecord(
            objects=tuple(objects),
            refused=tuple(refused),
            files={name: (folder / name).stat().st_size for name in FILE_NAMES},
            seconds=clock.seconds,
        )
        (folder / RECORD).write_text(record.to_json())


def _build(
    plan: PartPlan, files: PartFiles, clock: PackTimes, on_object: Callable[[], None] | None
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


def _made(plan: PartPlan, entry: Entry, files: PartFiles, clock: PackTimes) -> PartObject:
    item, config = entry.item, plan.config
    digest = hashlib.sha256()
    with clock("parse"):
        hash_source(item.gaussians, digest)
    ordered = read_ordered(item, config, clock)
    with clock("write"):
        files.write("gaussians.f32", ordered.geometry)
        files.write("orders.i32", ordered.orders)
    seen = _views_of_files(plan, item, digest, files, clock) if item.views else _rendered(plan, ordered, files, clock)
    carried = seen.carried
    if ordered.sh_rest is not None:
        carried["sh_rest"] = (ordered.sh_rest,)
    labels = object_part_labels(item, len(ordered.cloud), digest)
    if labels is not None:
        carried["part_labels"] = (labels[ordered.chosen],)
    with clock("write"):
        files.write_extras({name: arrays for name, arrays in carried.items() if name in plan.keep}, plan.image_size)
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
            views=seen.count,
        ),
        order_length=ordered.orders.shape[1],
        carries=tuple(sorted(carried)),
        notes=ordered.notes + seen.notes,
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """The views of an object: how many, what they carry, and what their files could not carry."""

    count: int
    carried: dict[ExtraName, tuple[NDArray[Any], ...]]
    notes: tuple[str, ...] = ()


def _views_of_files(
    plan: PartPlan, item: SplatObject, digest: "hashlib._Hash", files: PartFiles, clock: PackTimes
) -> _Seen:
    alphas = []
    encoded = plan.config.codec != "raw"
    with clock("decode"):
        for view, alpha in read_views(item, plan.config, plan.image_size, digest):
            files.write_view(view, encoded=encoded)
            alphas.append(alpha)
        masks = object_masks(item, alphas, plan.image_size, digest)
        cameras = object_cameras(item, plan.image_size, digest)
    carried: dict[ExtraName, tuple[NDArray[Any], ...]] = {}
    if masks is not None:
        carried["masks"] = (masks,)
    if cameras is not None:
        carried["cameras"] = camera_arrays(cameras)
    return _Seen(len(alphas), carried, (OTHER_PICTURES,) if item.cameras is not None and cameras is None else ())


def _rendered(plan: PartPlan, ordered: Ordered, files: PartFiles, clock: PackTimes) -> _Seen:
    with clock("render"):
        views = rendered_views(ordered.cloud, plan.config, plan.image_size)
    for image in views.images:
        files.write_view(stored_form(image, plan.config), encoded=plan.config.codec != "raw")
    return _Seen(len(views.images), {"masks": (views.masks,), "cameras": camera_arrays(views.cameras)})


def _copied(plan: PartPlan, entry: Entry, files: PartFiles, clock: PackTimes) -> PartObject | None:
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
        carries=tuple(sorted(known.carries)),
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
