"""Scenes made: furnished rooms, part-labelled objects, and cameras of photographs by COLMAP."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.commands.options import Json
from study.reports.console import answer, aside, progress_bar, say

if TYPE_CHECKING:
    from ssl_core.scenes.structure_from_motion import Matcher


def rooms(
    out: Annotated[Path, typer.Option(help="folder to write the rooms into")],
    objects: Annotated[
        Path | None,
        typer.Option(help="folder or archive of <class>/<train|test>/<name>.off; without, household meshes"),
    ] = None,
    rooms: Annotated[int, typer.Option(min=2)] = 12,
    views: Annotated[int, typer.Option(min=3, help="pictures per room")] = 24,
    image_size: Annotated[int, typer.Option(min=8, help="side in pixels")] = 64,
    objects_per_room: Annotated[int, typer.Option(min=1, help="at most")] = 7,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=0, help="rooms at a time; 0 = one per core, 1 = this process alone")] = 0,
    skip_bad: Annotated[bool, typer.Option(help="go on without meshes whose place says no class or split")] = False,
    json: Json = False,
) -> None:
    """Write rooms furnished with meshes: pictures, depth, labels and boxes, as captures lie on disk."""
    from ssl_core.errors import MeshError
    from ssl_core.packing.layout import find_meshes
    from ssl_core.splatting.rooms import RoomsConfig, room_classes
    from study.datasets.room_jobs import make_rooms_in_parallel

    config = RoomsConfig(rooms=rooms, views=views, image_size=image_size, objects_per_room=objects_per_room, seed=seed)
    items, problems = find_meshes(objects) if objects is not None else ([], [])
    if problems and not skip_bad:
        shown = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:20])
        raise MeshError(f"{len(problems)} unusable input(s): {shown} (--skip-bad goes on without them)")
    make_rooms_in_parallel(out, config, items, workers)
    classes = room_classes(items)
    answer(
        json,
        {"out": str(out), "rooms": rooms, "views": views, "classes": list(classes)},
        f"{rooms} rooms of {views} views, {len(classes)} classes at {out}; pack them: "
        f"splatsweep pack --scene {out} --out ...",
    )


def part_scenes(
    meshes: Annotated[Path, typer.Argument(help="folder of <class>/<name>.off with <name>_labels.txt")],
    out: Annotated[Path, typer.Option(help="folder to write a scene per mesh into")],
    views: Annotated[int, typer.Option(min=3, help="pictures per mesh")] = 24,
    image_size: Annotated[int, typer.Option(min=8, help="side in pixels")] = 96,
    limit: Annotated[int, typer.Option(min=0, help="at most so many meshes per class; 0 = all")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Json = False,
) -> None:
    """Turn meshes with part labels into scenes: views from all around with the part of each pixel."""
    from ssl_core.splatting.part_scenes import PartScenesConfig, make_part_scenes

    config = PartScenesConfig(views=views, image_size=image_size, limit=limit, seed=seed)
    with progress_bar("part-labelled scenes") as progress:
        items = make_part_scenes(meshes, out, config, progress)
    answer(
        json,
        {"out": str(out), "scenes": [item.name for item in items], "views": views},
        f"{len(items)} scenes of {views} views at {out}; pack them: splatsweep pack --scene {out} --out ...",
    )


def scene_from(
    images: Annotated[Path, typer.Argument(help="folder of photographs of one scene, by one camera")],
    out: Annotated[Path, typer.Option(help="folder of the scene to make")],
    camera_model: Annotated[str, typer.Option(help="COLMAP's model of the lens")] = "OPENCV",
    sequential: Annotated[
        bool, typer.Option("--sequential", help="frames of a film: match neighbours instead of all pairs")
    ] = False,
    colmap: Annotated[str, typer.Option(help="the program")] = "colmap",
    json: Json = False,
) -> None:
    """Find the cameras of photographs with an installed COLMAP, and take the lens's distortion out of them."""
    from ssl_core.inspect.scene_facts import describe_scene, format_scene
    from ssl_core.scenes.camera_files import read_scene
    from ssl_core.scenes.structure_from_motion import Reconstruction, reconstruct_cameras

    matcher: Matcher = "sequential" if sequential else "exhaustive"
    asked = Reconstruction(images, out, camera_model, matcher, colmap)
    facts = describe_scene(read_scene(reconstruct_cameras(asked, aside)))
    answer(json, facts, format_scene(facts))
    if not json:
        say(f"pack it: splatsweep pack --scene {out} --out ...")
