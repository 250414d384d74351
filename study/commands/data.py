"""Data in: sample, splat, pack, inspect."""

from pathlib import Path
from typing import Annotated

import typer

from study.console import console, print_json, progress_bar

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(sample)
    app.command()(splat)
    app.command()(pack)
    app.command()(inspect)


def sample(
    out: Annotated[Path, typer.Option(help="folder to write points/ and images/ into")],
    train_per_class: Annotated[int, typer.Option(min=1)] = 24,
    test_per_class: Annotated[int, typer.Option(min=1)] = 12,
    views: Annotated[int, typer.Option(min=1)] = 8,
    image_size: Annotated[int, typer.Option(min=16)] = 64,
    gaussians: Annotated[int, typer.Option(min=64)] = 1500,
    seed: int = 0,
) -> None:
    """Write a procedural household set (ten classes) in the cross-modal reference's layout."""
    from ssl_core.data.household import HouseholdConfig
    from ssl_core.render.household_set import write_household

    config = HouseholdConfig(
        train_per_class=train_per_class,
        test_per_class=test_per_class,
        views=views,
        image_size=image_size,
        gaussians=gaussians,
        seed=seed,
    )
    with progress_bar("household objects") as progress:
        write_household(out, config, progress)
    console.print(f"sample set at {out} (points/, images/)", soft_wrap=True)


def splat(
    meshes: Annotated[Path, typer.Argument(help="folder of <class>/<train|test>/<name>.off")],
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
    from ssl_core.render.splat_object import SplatConfig
    from study.splatting import splat_meshes

    values = {"views": views, "image_size": image_size, "fit.gaussians": gaussians, "fit.steps": steps}
    summary = splat_meshes(
        meshes, out, override(SplatConfig(), values), workers=workers, limit=limit, skip_bad=skip_bad
    )
    if json:
        print_json(summary)
    else:
        console.print(summary["text"], soft_wrap=True)


def pack(
    points: Annotated[Path, typer.Option(help="folder of Gaussian .ply files")],
    out: Annotated[Path, typer.Option(help="pack folder to make")],
    images: Annotated[Path | None, typer.Option(help="folder of views; without it views are rendered")] = None,
    image_size: Annotated[int | None, typer.Option(min=8, help="side in pixels; default: that of the images")] = None,
    alpha_threshold: Annotated[float, typer.Option(help="drop Gaussians of lower alpha")] = 0.05,
    views: Annotated[int, typer.Option(min=1, help="views to render when there are no images")] = 12,
    skip_bad: Annotated[bool, typer.Option(help="leave unusable objects out and record them")] = False,
    json: Json = False,
) -> None:
    """Parse, filter, order and decode a data set once, for all trials."""
    from ssl_core.config import validated
    from ssl_core.data.pack import PackConfig
    from ssl_core.data.pack_inspect import describe_pack, format_pack
    from ssl_core.data.pack_writer import write_pack

    values = {"image_size": image_size, "alpha_threshold": alpha_threshold, "rendered_views": views}
    config = validated(PackConfig, values)
    with progress_bar("packing objects") as progress:
        made = write_pack(points, images, out, config, skip_bad=skip_bad, progress=progress)
    facts = describe_pack(made)
    print_json(facts) if json else console.print(format_pack(facts), soft_wrap=True)


def inspect(
    path: Annotated[Path, typer.Argument(help="a Gaussian .ply or a pack")],
    json: Json = False,
) -> None:
    """Say what a Gaussian file or a pack holds."""
    from ssl_core.data.inspect import format_inspection, inspect_ply
    from ssl_core.data.pack import Pack
    from ssl_core.data.pack_inspect import describe_pack, format_pack

    if path.is_dir():
        facts = describe_pack(Pack.open(path))
        text = format_pack(facts)
    else:
        facts = inspect_ply(path)
        text = format_inspection(facts)
    print_json(facts) if json else console.print(text, soft_wrap=True)
