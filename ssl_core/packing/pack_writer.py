"""Makes a DatasetPack: planned first, made in parts, put together beside its place, then moved there whole.

The parts are made here one after another, or by whoever is given as `build` (study/datasets/pack_jobs.py has Ray
tasks). The finished pack is the same to the last byte whatever the number of workers and however often they were
killed.
"""

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssl_core.data.manifest import BLOCK_BYTES
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import PackError
from ssl_core.files.whole import storage_errors
from ssl_core.packing.assemble import assemble, is_sound, mixed_columns
from ssl_core.packing.objects import Problem
from ssl_core.packing.pack_folder import (
    Building,
    building,
    check_space,
    clear_leftovers,
    other_input,
    pack_at,
    real_place,
    unusable,
)
from ssl_core.packing.pack_plan import PackPlan, PartPlan, plan_pack
from ssl_core.packing.part import REMEDY, PartRecord, build_part, finished_part, part_record
from ssl_core.packing.sources import changes, may_keep, with_known, write_sources

Progress = Callable[[int, int], None]
Build = Callable[[Sequence[PartPlan]], None]
"""Makes all these parts, or raises."""


@dataclass(frozen=True)
class PackJob:
    """What is to be packed, and where to."""

    points: Path  # folder or archive of Gaussians, points or meshes in a known layout (`layout`)
    images: Path | None  # folder or archive of views; None renders views from the Gaussians or meshes
    out: Path  # pack folder to make
    config: PackConfig  # how
    skip_bad: bool = False  # leave unusable objects out, recorded in the manifest, instead of stopping
    update: bool = False  # bring an older pack at `out` up to date: what did not change is copied from it
    drop_bad_rows: bool = False  # leave single Gaussians out that cannot be used (`usable_rows`), with their count
    splits: Path | None = None  # lists of the splits (`split_lists`), where they do not lie among points or images


@dataclass(frozen=True)
class PackStats:
    """What making a pack took."""

    made: int = 0  # objects read, filtered and ordered by this run
    copied: int = 0  # objects taken from the older pack
    resumed: int = 0  # objects in parts that an interrupted run had finished
    bytes: int = 0  # size of the files of the parts of this run
    seconds: float = 0.0  # wall time of this run, all included
    assembling: float = 0.0  # seconds of them that putting the parts together took
    work: dict[str, float] = field(default_factory=dict)  # seconds per kind of work, summed over workers


def write_pack(
    points: Path,
    images: Path | None,
    out: Path,
    config: PackConfig,
    *,
    skip_bad: bool = False,
    update: bool = False,
    progress: Progress | None = None,
) -> Pack:
    """Pack a data set in this process; see `PackJob` and `make_pack`. `progress` is called with (done, total)."""
    job = PackJob(Path(points), images, Path(out), config, skip_bad, update)
    return make_pack(job, lambda parts: build_here(parts, progress))[0]


def build_here(parts: Sequence[PartPlan], progress: Progress | None = None) -> None:
    """Make parts one after another. Raises what `build_part` raises."""
    total = sum(len(part.entries) for part in parts)
    done = itertools.count(1)
    for part in parts:
        build_part(part, None if progress is None else lambda: progress(next(done), total))


def make_pack(job: PackJob, build: Build) -> tuple[Pack, PackStats]:
    """Make a pack, or find it up to date. Killed at any moment, the same call again goes on with what is finished.

    Raises:
        LayoutError: no object is found.
        PackError: inputs are unusable (all are listed) or changed meanwhile; `out` holds something else; another
            packer is at work there.
        StorageError: the disk is full.
    """
    started = time.perf_counter()
    out = real_place(job.out)
    plan = plan_pack(job.points, job.images, job.config, drop_bad_rows=job.drop_bad_rows, splits=job.splits)
    seen = _version(out)
    if (current := _up_to_date(out, plan, job)) is not None:
        clear_leftovers(out)
        return current, PackStats(seconds=time.perf_counter() - started)
    if plan.problems and not job.skip_bad:
        raise PackError(_listing(plan.problems))
    with building(out) as folder:
        # made by someone else meanwhile, or brought back just now
        if _version(out) != seen and (current := _up_to_date(out, plan, job)) is not None:
            folder.clear()
            return current, PackStats(seconds=time.perf_counter() - started)
        parts = _parts(plan, out, folder)
        waiting: list[PartPlan] = []
        if not _goes_on(job, plan, parts, folder):
            with storage_errors(folder.path, REMEDY):
                folder.forget_assembly()
            waiting = [part for part in parts if not _usable(finished_part(part), job)]
            check_space(folder, parts, waiting)
            build(waiting)
        built = time.perf_counter()
        records = _finish(job, plan, parts, folder)
        stats = _stats(parts, records, waiting, time.perf_counter() - built, time.perf_counter() - started)
    return Pack.open(out), stats


def _up_to_date(out: Path, plan: PackPlan, job: PackJob) -> Pack | None:
    """The pack at `out` when it is what the job would make; None when it is to be made."""
    pack = pack_at(out, Pack, job.config)
    if pack is None:
        return None
    found = changes(pack, plan)
    if not found and not (job.update and found.problems):
        return pack
    if not job.update:
        raise other_input(out, f": {found.text()}")
    return None


def _version(out: Path) -> tuple[int, int] | None:
    """Which pack lies there."""
    try:
        found = (out / "manifest.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _parts(plan: PackPlan, out: Path, folder: Building) -> tuple[PartPlan, ...]:
    if not (out / "manifest.json").is_file():
        return plan.parts(folder.parts)
    pack = Pack.open(out)
    _check_blocks(pack)
    plan = with_known(plan, pack)
    return plan.parts(folder.parts, may_keep(plan, pack))


def _check_blocks(pack: Pack) -> None:
    """Raises PackError for a block that is not what was written, before it is copied on."""
    for name, facts in pack.files.items():
        with (pack.path / name).open("rb") as stream:
            for number, expected in enumerate(facts.blocks):
                if hashlib.sha256(stream.read(BLOCK_BYTES)).hexdigest() != expected:
                    raise PackError(
                        f"{pack.path / name}: damaged in the {BLOCK_BYTES >> 20} MiB from byte "
                        f"{number * BLOCK_BYTES:,}; remove the pack and make it again"
                    )


def _usable(record: PartRecord | None, job: PackJob) -> bool:
    """Whether a part need not be made. What was refused is tried again, unless bad objects are to be skipped."""
    return record is not None and (job.skip_bad or not record.refused)


def _goes_on(job: PackJob, plan: PackPlan, parts: Sequence[PartPlan], folder: Building) -> bool:
    """Whether the run before was killed while it put these parts together, and that can go on."""
    if not folder.assembly_begun(parts):
        return False
    records = [part_record(part) for part in parts]
    found = [(part, record) for part, record in zip(parts, records, strict=True) if record is not None]
    usable = len(found) == len(parts) and all(_usable(record, job) for record in records)
    return usable and is_sound(plan, found, folder.new)


def _finish(job: PackJob, plan: PackPlan, parts: Sequence[PartPlan], folder: Building) -> list[PartRecord]:
    """Put the finished parts together and the pack in its place. Returns their records."""
    goes_on = folder.assembly_begun(parts)
    records = []
    for part in parts:
        record = part_record(part) if goes_on else finished_part(part)
        if record is None:
            raise PackError(f"{part.folder / part.id}: went away while others were made; run the same command again")
        records.append(record)
    refused = [Problem(item.path, item.reason) for record in records for item in record.refused]
    if refused and not job.skip_bad:
        raise PackError(_listing(refused) + "; what is finished is kept, the same command goes on with it")
    made = [item for record in records for item in record.objects]
    if not made:
        raise PackError("no object is usable: " + _listing([*plan.problems, *refused]))
    if (mixed := mixed_columns(made)) and not job.skip_bad:
        raise PackError(
            f"{job.points}: {mixed}; give all files the same columns, or go on without these with --skip-bad; what is "
            "finished is kept"
        )
    with storage_errors(folder.new, REMEDY):
        if not goes_on:
            folder.begin_assembly(parts)
        write_sources(folder.new, plan, made)
        assemble(plan, list(zip(parts, records, strict=True)), [*plan.problems, *refused], folder.new)
    folder.move_into_place()
    return records


def _stats(
    parts: Sequence[PartPlan],
    records: Sequence[PartRecord],
    built: Sequence[PartPlan],
    assembling: float,
    seconds: float,
) -> PackStats:
    ids = {part.id for part in built}
    ours = [record for part, record in zip(parts, records, strict=True) if part.id in ids]
    objects = sum(len(record.objects) for record in ours)
    copied = sum(item.copied for record in ours for item in record.objects)
    work = Counter[str]()
    for record in ours:
        work.update(record.seconds)
    return PackStats(
        made=objects - copied,
        copied=copied,
        resumed=sum(len(record.objects) for record in records) - objects,
        bytes=sum(part.bytes for part in built),
        seconds=seconds,
        assembling=assembling,
        work=dict(work),
    )


def _listing(problems: Sequence[Problem]) -> str:
    return unusable(problems, "input", "leaves them out and records it")
