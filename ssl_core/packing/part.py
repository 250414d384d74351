"""A part of a pack: a few objects made in one go, by whichever process, and kept until the pack is whole.

A part is a folder of raw arrays and a record, which appears whole or not at all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.clouds.points_file import read_points
from ssl_core.config import Config
from ssl_core.data.manifest import Refused
from ssl_core.data.object_pack import PackConfig, PackObject
from ssl_core.errors import ConfigError, DataError, PackError
from ssl_core.files.whole import whole_folder
from ssl_core.gaussians.gaussian_cloud import GAUSSIAN_GROUPS
from ssl_core.packing.objects import SplatObject, stamp_of
from ssl_core.packing.pack_plan import Entry, PartPlan
from ssl_core.packing.packed_mesh import mesh_views, read_surface
from ssl_core.packing.packed_object import (
    ObjectViews,
    Ordered,
    PackTimes,
    generator,
    ordered_points,
    read_views,
    rendered_views,
    source_digest,
)
from ssl_core.packing.packed_render import read_cloud, read_renders
from ssl_core.packing.part_files import EXTRAS, FILE_NAMES, ExtraName, PartFiles

RECORD = "part.json"
REMEDY = "free some space or choose another --out, then run the same command again: finished parts are kept"


class PartObject(Config):
    """One object of a part. `facts` counts rows and views from 0."""

    facts: PackObject
    order_length: int
    carries: tuple[ExtraName, ...]
    notes: tuple[str, ...]
    dropped: int = 0  # rows of its file that could not be used
    copied: bool = False
    groups: tuple[str, ...] = GAUSSIAN_GROUPS  # feature groups that are its file's own, sh_rest left out


class PartRecord(Config):
    """What a finished part holds, and what it took: seconds per kind of work."""

    objects: tuple[PartObject, ...]
    refused: tuple[Refused, ...]
    files: dict[str, int]
    seconds: dict[str, float]


def part_record(plan: PartPlan) -> PartRecord | None:
    """The record of the part, when it was finished."""
    try:
        record = PartRecord.from_json((plan.place / RECORD).read_text())
    except (OSError, ValueError, ConfigError):
        return None
    return record if record.files.keys() == set(FILE_NAMES) else None


def finished_part(plan: PartPlan) -> PartRecord | None:
    """The record of the part when it was finished and all of it is there."""
    record = part_record(plan)
    try:
        whole = record and all((plan.place / name).stat().st_size == size for name, size in record.files.items())
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
    clock = PackTimes()
    objects: list[PartObject] = []
    refused: list[Refused] = []
    # the part's former maker may be alive still
    with whole_folder(plan.place, remedy=REMEDY, sole_writer=False) as folder:
        with PartFiles(folder) as files:
            for entry in plan.entries:
                try:
                    objects.append(_copied(plan, entry, files, clock) or _made(plan, entry, files, clock))
                except DataError as error:
                    refused.append(Refused(path=entry.item.key, reason=_with_file(error, entry)))
                _check_unchanged(entry)
                if on_object is not None:
                    on_object()
        record = PartRecord(
            objects=tuple(objects),
            refused=tuple(refused),
            files={name: (folder / name).stat().st_size for name in FILE_NAMES},
            seconds=clock.seconds,
        )
        (folder / RECORD).write_text(record.to_json())


def _made(plan: PartPlan, entry: Entry, files: PartFiles, clock: PackTimes) -> PartObject:
    """The object from its files, appended only when all of them can be used. Raises DataError."""
    item = entry.item
    with clock("parse"):
        digest = source_digest(item)
    ordered, views = _read(plan, item, clock)
    carried = {**views.carried, **ordered.carried}
    with clock("write"):
        files.write("gaussians.f32", ordered.geometry)
        files.write("orders.i32", ordered.orders)
        for view in views.stored:
            files.write_view(view)
        files.write_extras({name: arrays for name, arrays in carried.items() if name in plan.keep})
    return PartObject(
        facts=PackObject(
            class_name=item.class_name,
            split=item.split,
            validation=False,
            name=item.name,
            source_digest=digest,
            gaussians_in_file=len(ordered.cloud) + ordered.dropped,
            first_row=0,
            rows=len(ordered.geometry),
            sh_degree=ordered.cloud.sh_degree,
            first_view=0,
            views=len(views.stored),
        ),
        order_length=ordered.orders.shape[1],
        carries=tuple(sorted(carried)),
        notes=ordered.notes + views.notes,
        dropped=ordered.dropped,
        groups=ordered.groups,
    )


def _read(plan: PartPlan, item: SplatObject, clock: PackTimes) -> tuple[Ordered, ObjectViews]:
    """Rows and views of an object of whichever kind. Raises DataError."""
    config, size, drop = plan.config, plan.image_size, plan.drop_bad_rows
    if config.surface_points is not None:
        with clock("parse"):
            mesh, read = read_surface(item.gaussians, config, generator(item.key, config, 2))
        ordered = ordered_points(item, read, config, clock)
        with clock("render"):
            return ordered, mesh_views(mesh, item.gaussians, config, size)
    if item.view_angles is not None:
        with clock("parse"):
            read = read_cloud(item, drop_bad_rows=drop)
        ordered = ordered_points(item, read, config, clock)
        with clock("decode"):
            return ordered, read_renders(item, read.cloud.xyz, config, size)
    with clock("parse"):
        read = read_points(item.gaussians, spz_axes=config.spz_axes, beside=item.beside, drop_bad_rows=drop)
    ordered = ordered_points(item, read, config, clock)
    with clock("decode" if item.views else "render"):
        return ordered, _views(item, ordered, config, size)


def _views(item: SplatObject, ordered: Ordered, config: PackConfig, size: int) -> ObjectViews:
    """Those of the files, else pictures of the Gaussians. Plain points have none: balls look like nothing."""
    if item.views:
        return read_views(item, config, size)
    drawn = set(GAUSSIAN_GROUPS) <= set(ordered.groups)
    return rendered_views(ordered.cloud, config, size) if drawn else ObjectViews([], {})


def _copied(plan: PartPlan, entry: Entry, files: PartFiles, clock: PackTimes) -> PartObject | None:
    """The object out of an older pack, appended when its files are the same and the pack has all that they carry."""
    known = entry.known
    if known is None:
        return None
    carried = [extra for name, extra in EXTRAS.items() if name in known.carries & plan.keep]
    if not all((known.pack / file.pack).is_file() for extra in carried for file in extra.files):
        return None
    with clock("copy"):
        if known.stamp != entry.stamp and source_digest(entry.item) != known.facts.source_digest:
            return None
        facts = known.facts
        rows = slice(facts.first_row, facts.first_row + facts.rows)
        views = slice(facts.first_view, facts.first_view + facts.views)
        length = min(plan.config.cached_points, facts.rows)
        files.write("gaussians.f32", _mapped(known.pack / "gaussians.npy")[rows])
        files.write("orders.i32", _mapped(known.pack / "orders.npy")[known.index, :, :length])
        for extra in carried:
            for file in extra.files:
                files.write(file.part, _mapped(known.pack / file.pack)[rows if extra.per == "row" else views])
        if plan.config.codec == "raw":
            files.write("views.u8", _mapped(known.pack / "views.npy")[views])
        else:
            span = np.array(_mapped(known.pack / "view_offsets.npy")[views.start : views.stop + 1])
            encoded = np.memmap(known.pack / "views.bin", dtype=np.uint8, mode="r")
            files.write("views.u8", encoded[span[0] : span[-1]])
            files.write("view_sizes.i64", np.diff(span))
    return PartObject(
        facts=facts.model_copy(update={"first_row": 0, "first_view": 0, "validation": False}),
        order_length=length,
        carries=tuple(sorted(known.carries)),
        notes=known.notes,
        dropped=known.dropped,
        copied=True,
        groups=known.groups,
    )


def _mapped(file: Path) -> NDArray[Any]:
    found: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    return found


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
    named = any(str(source) in text for source in entry.item.sources)
    return text if named else f"{entry.item.gaussians}: {text}"
