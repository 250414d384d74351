"""Rooms as Ray tasks, or in this process where they are few; rooms that are whole are not made again."""

from pathlib import Path

from rich.console import Console

from ssl_core.errors import SplatsweepError
from ssl_core.packing.objects import MeshObject
from ssl_core.splatting.rooms import RoomsConfig, room_jobs, write_room
from study.datasets.object_jobs import run_objects
from study.reports.console import progress_bar

_PIXEL_SECONDS, _VIEW_SECONDS = 1.2e-5, 0.03
"""What a pixel and a view take a core, roughly."""
QUICK_SECONDS = 60.0
"""What is made sooner is made in this process: Ray takes ten seconds to start and to end."""


def make_rooms_in_parallel(
    out: Path, config: RoomsConfig, objects: list[MeshObject], workers: int = 0, console: Console | None = None
) -> None:
    """Write rooms (`ssl_core.splatting.rooms`).

    Args:
        out: folder to write into.
        config: how.
        objects: meshes; none: household meshes.
        workers: rooms at a time; 0 is one per core, 1 is this process alone.
        console: for the bar; standard error by default.

    Raises:
        LayoutError, MeshError, StorageError: as `make_rooms`. StudyError: nobody answers at RAY_ADDRESS.
    """
    jobs = room_jobs(out, config, objects)
    views = config.rooms * config.views
    seconds = views * (_VIEW_SECONDS + config.image_size**2 * _PIXEL_SECONDS)
    if workers == 1 or (workers == 0 and seconds < QUICK_SECONDS):
        with progress_bar("rooms") as progress:
            for done, job in enumerate(jobs, start=1):
                write_room(job)
                progress(done, len(jobs))
        return
    results = run_objects(write_room, jobs, workers, describe="rooms", console=console)
    for failure in results.failures:
        if isinstance(failure.error, SplatsweepError):
            raise failure.error
        raise SplatsweepError(f"{failure.item.folder}: could not be made: {failure.reason}; run the same command again")
