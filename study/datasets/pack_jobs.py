"""Packing from the command line: parts as Ray tasks, a bar, and a summary of what it took."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from ssl_core.data.object_pack import Pack
from ssl_core.errors import PackError, SplatsweepError, StorageError
from ssl_core.packing.pack_plan import PartPlan
from ssl_core.packing.pack_writer import PackJob, PackStats, build_here, make_pack
from ssl_core.packing.part import build_part
from study.datasets.object_jobs import Weight, advance, object_bar, run_objects

FEW_PARTS = 3
QUICK_SECONDS = 20.0
"""What is made sooner, or in fewer parts, is made in this process: Ray takes ten seconds to start and to end."""

_OBJECT_SECONDS, _BYTE_SECONDS, _PIXEL_SECONDS = 0.01, 1 / 30e6, 1e-5
"""What an object, a byte of its files and a pixel of a rendered view take a core, roughly."""

_BAR = "packing objects"


def pack_data(job: PackJob, workers: int = 0) -> tuple[Pack, PackStats]:
    """Pack a data set in parallel; the same command again goes on where it stopped, or finds it done.

    Args:
        job: what, where to, and how.
        workers: parts at a time; 0 is one per core of the machine or cluster, 1 is this process alone.

    Raises:
        LayoutError, PackError, StorageError: as `make_pack`. StudyError: nobody answers at RAY_ADDRESS.
    """
    return make_pack(job, PartRunner(workers, Console(stderr=True)))


class PartRunner:
    """Makes parts here or in Ray tasks."""

    def __init__(self, workers: int, console: Console) -> None:
        self.workers, self.console = workers, console

    def __call__(self, parts: Sequence[PartPlan]) -> None:
        """Make all of them.

        Raises:
            StorageError: the disk is full; at once. PackError: other parts failed; when the rest is done.
        """
        if self.workers == 1 or len(parts) < FEW_PARTS or (self.workers == 0 and _is_quick(parts)):
            self._here(parts)
            return
        weights = [Weight(len(part.entries), part.bytes) for part in parts]
        results = run_objects(
            build_part, parts, self.workers, describe=_BAR, console=self.console, weights=weights, fatal=(StorageError,)
        )
        if results.failures:
            first = results.failures[0]
            more = f" (and {len(results.failures) - 1} more parts failed)" if len(results.failures) > 1 else ""
            if isinstance(first.error, SplatsweepError):
                raise type(first.error)(f"{first.error}{more}")
            raise PackError(
                f"{first.item.name}: could not be packed: {first.reason}{more}; finished parts are kept, run the same "
                "command again, with fewer --workers if memory ran out"
            )

    def _here(self, parts: Sequence[PartPlan]) -> None:
        if not parts:
            return
        sizes = iter([entry.bytes for part in parts for entry in part.entries])
        with object_bar(self.console, speed=True) as bar:
            task = bar.add_task(_BAR, total=None, bytes=0)

            def progress(done: int, total: int) -> None:
                bar.update(task, total=total)
                advance(bar, task, Weight(1, next(sizes)))

            build_here(parts, progress)


def _is_quick(parts: Sequence[PartPlan]) -> bool:
    """Whether one core makes these parts before Ray would have started."""
    seconds = 0.0
    for part in parts:
        rendered = sum(entry.item.is_drawn for entry in part.entries) * part.config.rendered_views
        seconds += len(part.entries) * _OBJECT_SECONDS + part.bytes * _BYTE_SECONDS
        seconds += rendered * part.image_size**2 * _PIXEL_SECONDS
    return seconds < QUICK_SECONDS


def describe_packing(stats: PackStats) -> dict[str, Any]:
    """JSON-ready facts about a run: what was made, how fast, and where the time went."""
    worked = sum(stats.work.values())
    objects = stats.made + stats.copied
    return {
        "made": stats.made,
        "copied": stats.copied,
        "resumed": stats.resumed,
        "seconds": round(stats.seconds, 3),
        "seconds_assembling": round(stats.assembling, 3),
        "objects_per_second": round(objects / stats.seconds, 2) if objects else None,
        "megabytes_per_second": round(stats.bytes / stats.seconds / 1e6, 2) if objects else None,
        "objects_per_second_and_core": round(objects / worked, 2) if objects and worked else None,
        "share_of_work": {kind: round(spent / worked, 4) for kind, spent in sorted(stats.work.items())}
        if worked
        else {},
    }


def format_packing(facts: dict[str, Any]) -> str:
    """The same for people."""
    if not facts["made"] and not facts["copied"] and not facts["resumed"]:
        return "  nothing has changed: the pack is as it was"
    counts = [
        f"{facts[kind]} {words}"
        for kind, words in (("made", "made"), ("copied", "copied from the older pack"), ("resumed", "found finished"))
        if facts[kind]
    ]
    text = f"  packed in {facts['seconds']:.1f} s: objects {', '.join(counts)}"
    if facts["objects_per_second"] is None:
        return text
    shares = ", ".join(f"{kind} {share:.0%}" for kind, share in facts["share_of_work"].items())
    return (
        f"{text}; {facts['objects_per_second']:.1f} objects/s, {facts['megabytes_per_second']:.0f} MB/s"
        f"\n  time of the workers: {shares}; then {facts['seconds_assembling']:.1f} s to put the parts together"
    )
