"""Data in, and between machines: sample, splat, pack, push, fetch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.commands.options import DropBadRows, Json, SpzAxesOption
from study.reports.console import answer, progress_bar, say

if TYPE_CHECKING:
    from ssl_core.data.scene_pack import ScenePackConfig
    from ssl_core.meshes.household import HouseholdConfig


def sample(
    out: Annotated[Path, typer.Option(help="folder to write points/ and images/ into")],
    train_per_class: Annotated[int, typer.Option(min=1)] = 24,
    test_per_class: Annotated[int, typer.Option(min=1)] = 24,
    views: Annotated[int, typer.Option(min=1)] = 8,
    image_size: Annotated[int, typer.Option(min=16)] = 64,
    gaussians: Annotated[int, typer.Option(min=64)] = 1500,
    seed: int = 0,
) -> None:
    """Write a procedural household set (ten classes) in the cross-modal reference's layout."""
    from ssl_core.meshes.household import HouseholdConfig

    config = HouseholdConfig(
        train_per_class=train_per_class,
        test_per_class=test_per_class,
        views=views,
        image_size=image_size,
        gaussians=gaussians,
        seed=seed,
    )
    write_sample(out, config)
    say(f"sample set at {out} (points/, images/)")


def write_sample(out: Path, config: "HouseholdConfig") -> None:
    """The household set, with a bar; what is there is not made again."""
    from ssl_core.splatting.household_set import write_household

    with progress_bar("household objects") as progress:
        write_household(out, config, progress)


def splat(
    meshes: Annotated[Path, typer.Argument(help="folder or archive of <class>/<train|test>/<name>.off")],
    out: Annotated[Path, typer.Option(help="folder to write points/ and images/ into")],
    views: Annotated[int, typer.Option(min=1, help="images written per object")] = 8,
    image_size: Annotated[int, typer.Option(min=16, help="side in pixels")] = 128,
    gaussians: Annotated[int, typer.Option(min=64)] = 2000,
    steps: Annotated[int, typer.Option(min=0, help="Adam steps per object")] = 100,
    workers: Annotated[int, typer.Option(min=0, help="parallel objects; 0 = one per core")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="at most this many objects per class and split; 0 = all")] = 0,
    skip_bad: Annotated[bool, typer.Option(help="go on without unusable meshes")] = False,
    json: Json = False,
) -> None:
    """Turn meshes into views and fitted Gaussians; what exists and is whole is not made again."""
    from ssl_core.config import override
    from ssl_core.splatting.splat_object import SplatConfig
    from study.datasets.splat_jobs import splat_meshes

    values = {"views": views, "image_size": image_size, "fit.gaussians": gaussians, "fit.steps": steps}
    summary = splat_meshes(
        meshes, out, override(SplatConfig(), values), workers=workers, limit=limit, skip_bad=skip_bad
    )
    answer(json, summary, summary["text"])


def pack(
    out: Annotated[Path, typer.Option(help="pack folder to make")],
    points: Annotated[
        Path | None, typer.Option(help="folder or archive of Gaussians, or of plain point clouds")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="folder of views; without it views are rendered, but of plain points there are none"),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(help="of renders with view.txt: lists of train, val and test, where they do not lie beside these"),
    ] = None,
    meshes: Annotated[
        Path | None, typer.Option(help="instead: folder or archive of meshes; points of their surfaces, and views")
    ] = None,
    scene: Annotated[
        list[Path] | None,
        typer.Option(help="instead: scenes, each a folder with cameras and pictures, or a folder with scenes.json"),
    ] = None,
    more_scenes: Annotated[
        list[Path] | None, typer.Argument(metavar="[SCENE]...", help="more of them, as --scene captures/* gives")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=8, help="side in pixels, of a scene the longer one; default: that of the images, of meshes 128"
        ),
    ] = None,
    holdout: Annotated[int, typer.Option(min=2, help="of a scene: every so manyth view is for test, then val")] = 8,
    downscale: Annotated[int, typer.Option(help="of scenes: sides of the pictures are divided by 1, 2, 4 or 8")] = 1,
    depth_scale: Annotated[float, typer.Option(help="of scenes: world units per unit of depth pictures")] = 1e-3,
    val_scenes: Annotated[
        list[str] | None, typer.Option(help="of several scenes: one for validation, by name; or their share")
    ] = None,
    test_scenes: Annotated[
        list[str] | None, typer.Option(help="of several scenes: one for test, by name; or their share")
    ] = None,
    alpha_threshold: Annotated[float, typer.Option(help="drop Gaussians of lower alpha")] = 0.05,
    views: Annotated[
        int,
        typer.Option(min=1, help="views to render when there are no images, of objects of at most 300,000 Gaussians"),
    ] = 12,
    surface_points: Annotated[int, typer.Option(min=8, help="points drawn on each mesh")] = 4096,
    max_gaussians: Annotated[int, typer.Option(help="keep at most this many per object")] = 32768,
    cached_points: Annotated[int, typer.Option(help="length of the cached farthest-point orders")] = 4096,
    starts: Annotated[int, typer.Option(help="cached orders per object, each from another start")] = 4,
    codec: Annotated[str, typer.Option(help="how views are stored: raw, or jpeg or webp when disk matters")] = "raw",
    workers: Annotated[int, typer.Option(min=0, help="at a time; 0 = one per core, 1 = this process alone")] = 0,
    update: Annotated[bool, typer.Option("--update", help="bring an older pack at --out up to date")] = False,
    skip_bad: Annotated[bool, typer.Option(help="leave unusable objects out and record them")] = False,
    drop_bad_rows: DropBadRows = False,
    spz_axes: SpzAxesOption = None,
    json: Json = False,
) -> None:
    """Parse, filter, order and decode a data set once, for all trials. Again: goes on, or finds nothing to do."""
    from ssl_core.config import validated
    from ssl_core.errors import ConfigError

    scenes = [*(scene or ()), *(more_scenes or ())]
    if (
        sum(map(bool, (points, meshes, scene))) != 1
        or (more_scenes and not scene)
        or (points is None and images is not None)
    ):
        raise ConfigError("pack takes either --points (and --images), --meshes or --scene; give one of them")
    if splits is not None and images is None:
        raise ConfigError(
            "--splits are lists for renders with view.txt: give these as --images and the clouds as --points"
        )
    if scenes:
        from ssl_core.data.scene_pack import ScenePackConfig
        from ssl_core.packing.scene_plan import checked_scene_lists

        scene_values = {
            "max_side": image_size,
            "holdout": holdout,
            "codec": codec,
            "downscale": downscale,
            "depth_scale": depth_scale,
            **checked_scene_lists(val_scenes or (), test_scenes or ()),
        }
        scene_config = validated(ScenePackConfig, scene_values)
        _pack_scenes(scenes, out, scene_config, workers=workers, update=update, skip_bad=skip_bad, json=json)
        return
    source = points or meshes
    assert source is not None
    from ssl_core.data.object_pack import MESH_VIEW_SIZE, PackConfig
    from ssl_core.gaussians.formats.spz_axes import checked_axes
    from ssl_core.inspect.pack_facts import describe_pack, format_pack
    from ssl_core.packing.pack_writer import PackJob
    from study.datasets.pack_jobs import describe_packing, format_packing, pack_data

    values = {
        "image_size": image_size,
        "alpha_threshold": alpha_threshold,
        "rendered_views": views,
        "max_gaussians": max_gaussians,
        "cached_points": cached_points,
        "starts": starts,
        "codec": codec,
        "spz_axes": checked_axes(spz_axes),
        **({"surface_points": surface_points, "rendered_size": MESH_VIEW_SIZE} if meshes else {}),
    }
    config = validated(PackConfig, values)
    job = PackJob(source, images, out, config, skip_bad, update, drop_bad_rows, splits)
    made, stats = pack_data(job, workers)
    facts, run = describe_pack(made), describe_packing(stats)
    answer(json, {**facts, "run": run}, f"{format_pack(facts)}\n{format_packing(run)}")


def _pack_scenes(
    scenes: list[Path], out: Path, config: "ScenePackConfig", *, workers: int, update: bool, skip_bad: bool, json: bool
) -> None:
    from ssl_core.inspect.scene_facts import describe_scene_pack, format_scene_pack
    from ssl_core.packing.scene_writer import write_scene_pack

    with progress_bar("packing views") as progress:
        made = write_scene_pack(
            scenes, out, config, workers=workers, skip_bad=skip_bad, update=update, progress=progress
        )
    facts = describe_scene_pack(made)
    answer(json, facts, format_scene_pack(facts))


def push(
    pack: Annotated[Path, typer.Argument(help="pack folder")],
    uri: Annotated[str, typer.Argument(help="where to: s3://bucket/packs/name, file:///shared/packs/name")],
    force: Annotated[bool, typer.Option("--force", help="replace another pack that is there")] = False,
    json: Json = False,
) -> None:
    """Copy a pack to an object store or a shared folder; again: what is there is not sent again."""
    from ssl_core.data.dataset import open_dataset
    from study.datasets.pack_storage import push_pack

    opened = open_dataset(pack)
    done = push_pack(opened, uri, force=force)
    size, there = done.bytes / 1e6, f", {len(done.skipped)} files were there" if done.skipped else ""
    answer(
        json,
        {"uri": uri, "digest": opened.digest, "sent": done.sent, "skipped": done.skipped, "bytes": done.bytes,
         "seconds": done.seconds},
        f"pack {opened.digest} at {uri}: {size:,.1f} MB sent in {done.seconds:.1f} s "
        f"({size / max(done.seconds, 1e-6):,.0f} MB/s){there}",
    )  # fmt: skip


def fetch(
    uri: Annotated[str, typer.Argument(help="a pack's address; a study fetches by itself, this does it ahead")],
    json: Json = False,
) -> None:
    """Bring a pack to this node's cache (SPLATSWEEP_CACHE) and say where it lies."""
    from study.datasets.pack_storage import open_data

    opened = open_data(uri)
    answer(json, {"uri": uri, "digest": opened.digest, "folder": str(opened.path)}, str(opened.path))
