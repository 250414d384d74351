"""Makes a DatasetPack: planned first, made in parts, put together beside its place, then moved there whole.

The parts are made here one after another, or by whoever is given as `build` (study/datasets/pack_jobs.py has Ray
tasks). The finished pack is the same to the last byte whatever the number of workers and however often they were
killed.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import PackError
from ssl_core.files.whole import storage_errors
from ssl_core.packing.assemble import assemble, is_sound
from ssl_core.packing.known_objects import check_blocks
from ssl_core.packing.objects import Problem
from ssl_core.packing.pack_folder import (
    Building,
    assembly_begun,
    begin_assembly,
    building,
    check_space,
    clear,
    clear_leftovers,
    forget_assembly,
    move_into_place,
    real_place,
)
from ssl_core.packing.pack_plan import PackPlan, PartPlan, plan_pack
from ssl_core.packing.part import REMEDY, PartRecord, build_part, finished_part, part_record
from ssl_core.packing.sources import changes, may_keep, with_known, write_sources

Progress = Callable[[int, int], None]
Build = Callable[[Sequence[PartPlan]], None]
"""Makes all these parts, or raises."""


@dataclass(frozen=True)
class PackJob:
    """What is to be packed, and where to.

    Args:
        points: folder or archive of Gaussian files in a known layout (`layout.find_objects`).
        images: folder or archive of views; None renders views from the Gaussians.
        out: pack folder to make.
        config: how.
        skip_bad: leave unusable objects out, recorded in the manifest, instead of stopping.
        update: bring an older pack at `out` up to date: what did not change is copied from it.
    """

    points: Path
    images: Path | None
    out: Path
    config: PackConfig
    skip_bad: bool = False
    update: bool = False


@dataclass(frozen=True)
class PackStats:
    """What making a pack took.

    Args:
        made: objects read, filtered and ordered by this run.
        copied: objects taken from the older pack.
        resumed: objects in parts that an interrupted run had finished.
        bytes: size of the files of the parts of this run.
        seconds: wall time of this run, all included.
        assembling: seconds of them that putting the parts together took.
        work: seconds per kind of work, summed over workers.
    """

    made: int = 0
    copied: int = 0
    resumed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    assembling: float = 0.0
    work: dict[str, float] = field(default_factory=dict)


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

    def build(parts: Sequence[PartPlan]) -> None:
        build_here(parts, progress)

    return make_pack(PackJob(Path(points), images, Path(out), config, skip_bad, update), build)[0]


def build_here(parts: Sequence[PartPlan], progress: Progress | None = None) -> None:
    """Make parts one after another. Raises what `build_part` raises."""
    total = sum(len(part.entries) for part in parts)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for part in parts:
        build_part(part, count)


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
    plan = plan_pack(job.points, job.images, job.config)
    seen = _version(out)
    if (current := _up_to_date(out, plan, job)) is not None:
        clear_leftovers(out)
        return current, PackStats(seconds=time.perf_counter() - started)
    if plan.problems and not job.skip_bad:
        raise PackError(_listing(plan.problems))
    with building(out) as folder:
        # made by someone else meanwhile, or brought back just now
        if _version(out) != seen and (current := _up_to_date(out, plan, job)) is not None:
            clear(folder)
            return current, PackStats(seconds=time.perf_counter() - started)
        parts = _parts(plan, out, folder)
        waiting: list[PartPlan] = []
        if not _goes_on(job, plan, parts, folder):
            with storage_errors(folder.path, REMEDY):
                forget_assembly(folder)
            waiting = [part for part in parts if not _usable(finished_part(part), job)]
            check_space(folder, parts, waiting)
            build(waiting)
        built = time.perf_counter()
        records = _finish(job, plan, parts, folder)
        stats = _stats(parts, records, waiting, time.perf_counter() - built, time.perf_counter() - started)
    return Pack.open(out), stats


def _up_to_date(out: Path, plan: PackPlan, job: PackJob) -> Pack | None:
    """The pack at `out` when it is what the job would make; None when it is to be made."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / "manifest.json").is_file():
        raise PackError(f"{out}: exists and is no pack; remove it or choose another --out")
    pack = Pack.open(out)
    if pack.manifest.config != job.config:
        raise PackError(f"{out}: holds a pack of other settings ({_differences(pack, job)}); choose another --out")
    found = changes(pack, plan)
    if not found and not (job.update and found.problems):
        return pack
    if not job.update:
        raise PackError(
            f"{out}: holds a pack of other input: {found.text()}; bring it up to date with "
            "`splatsweep pack ... --update`, or choose another --out"
        )
    return None


def _version(out: Path) -> tuple[int, int] | None:
    """Which pack lies there."""
    try:
        found = (out / "manifest.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _differences(pack: Pack, job: PackJob) -> str:
    there, asked = pack.manifest.config.model_dump(), job.config.model_dump()
    return ", ".join(f"{name} is {there[name]}, not {asked[name]}" for name in asked if there[name] != asked[name])


def _parts(plan: PackPlan, out: Path, folder: Building) -> tuple[PartPlan, ...]:
    if not (out / "manifest.json").is_file():
        return plan.parts(folder.parts)
    pack = Pack.open(out)
    check_blocks(pack.path, pack.manifest)
    plan = with_known(plan, pack)
    return plan.parts(folder.parts, may_keep(plan, pack))


def _usable(record: PartRecord | None, job: PackJob) -> bool:
    """Whether a part need not be made. What was refused is tried again, unless bad objects are to be skipped."""
    return record is not None and (job.skip_bad or not record.refused)


def _goes_on(job: PackJob, plan: PackPlan, parts: Sequence[PartPlan], folder: Building) -> bool:
    """Whether the run before was killed while it put these parts together, and that can go on."""
    if not assembly_begun(folder, parts):
        return False
    records = [part_record(part) for part in parts]
    found = [(part, record) for part, record in zip(parts, records, strict=True) if record is not None]
    usable = len(found) == len(parts) and all(_usable(record, job) for record in records)
    return usable and is_sound(plan, found, folder.new)


def _finish(job: PackJob, plan: PackPlan, parts: Sequence[PartPlan], folder: Building) -> list[PartRecord]:
    """Put the finished parts together and the pack in its place. Returns their records."""
    goes_on = assembly_begun(folder, parts)
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
    with storage_errors(folder.new, REMEDY):
        if not goes_on:
            begin_assembly(folder, parts)
        write_sources(folder.new, plan, made)
        assemble(plan, list(zip(parts, records, strict=True)), [*plan.problems, *refused], folder.new)
    move_into_place(folder)
    return records


def _stats(
    parts: Sequence[PartPlan],
    records: Sequence[PartRecord],
    built: Sequence[PartPlan],
    assembling: float,
    seconds: float,
) -> PackStats:
    ours = {part.id for part in built}
    work: dict[str, float] = {}
    made = copied = resumed = 0
    for part, record in zip(parts, records, strict=True):
        if part.id not in ours:
            resumed += len(record.objects)
            continue
        copied += sum(item.copied for item in record.objects)
        made += sum(not item.copied for item in record.objects)
        for kind, spent in record.seconds.items():
            work[kind] = work.get(kind, 0.0) + spent
    return PackStats(made, copied, resumed, sum(part.bytes for part in built), seconds, assembling, work)


def _listing(problems: Sequence[Problem]) -> str:
    shown = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:20])
    more = f"; and {len(problems) - 20} more" if len(problems) > 20 else ""
    return f"{len(problems)} unusable input(s): {shown}{more} (--skip-bad leaves them out and records it)"
