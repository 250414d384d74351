"""The whole journey in one command: what `make sweep` runs."""

from pathlib import Path
from typing import Annotated

import typer

from study.console import console, errors
from study.home import checked_name, home, packs, study_name


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(journey)


def journey(
    space: Annotated[Path, typer.Argument(help="search-space file")],
    data: Annotated[
        Path | None, typer.Option(help="folder or .zip with points/ and, if there are views, images/")
    ] = None,
    meshes: Annotated[Path | None, typer.Option(help="folder of meshes to splat first")] = None,
    name: Annotated[str | None, typer.Option(help="name of pack and study")] = None,
    trials: Annotated[int | None, typer.Option(help="number of trials")] = None,
) -> None:
    """Data (a sample set unless given), pack, study, registry, champion. Again: what is done is not redone."""
    from study.running import Request, run_and_assess
    from study.views.leaderboard import print_study

    label = checked_name(name) if name else (data or meshes or Path("sample")).resolve().name.removesuffix(".zip")
    study = study_name(name, space, checked_name(label))
    _check_space(space, trials)
    folder = _data(data, meshes, label)
    pack = _pack(folder, packs() / label)
    request = Request(space, pack, study, trials)
    plan, summary, judged = run_and_assess(request)
    print_study(plan, summary, judged, request)
    if summary.interrupted:
        raise typer.Exit(130)


def _check_space(space: Path, trials: int | None) -> None:
    """Before hours of splatting and packing: a space file that cannot be searched. Raises SpaceError, ConfigError."""
    from search_spaces.presets import preset_at
    from search_spaces.space import load_space
    from study.search.check import check_search
    from study.spec import study_spec

    loaded = load_space(space, preset_at)
    check_search(study_spec(loaded.study, {"trials": trials}, space), loaded)


def _data(data: Path | None, meshes: Path | None, label: str) -> Path:
    """A folder with points/ and perhaps images/."""
    from ssl_core.errors import ConfigError

    if data and meshes:
        raise ConfigError("give --data or --meshes, not both")
    if data:
        return data
    if meshes:
        from ssl_core.render.splat_object import SplatConfig
        from study.packs.splatting import splat_meshes

        folder = home() / "splats" / label
        console.print(
            splat_meshes(meshes, folder, SplatConfig(), workers=0, limit=0, skip_bad=False)["text"], soft_wrap=True
        )
        return folder
    from study.commands.data import sample

    folder = home() / "sample"
    sample(folder)
    return folder


def data_parts(data: Path) -> tuple[Path, Path | None]:
    """Where a data set keeps its Gaussians and its views: `points` and `images` in a folder, each a folder or an
    archive, or an archive that holds both. Without views, None."""
    from ssl_core.data.listing import list_tree

    if data.is_file():
        return data, data if "images" in list_tree(data).folders else None

    def part(name: str) -> Path | None:
        return next((place for place in (data / name, data / f"{name}.zip") if place.exists()), None)

    return part("points") or data, part("images")


def _pack(folder: Path, out: Path) -> Path:
    from ssl_core.data.pack import PackConfig
    from study.packs.packing import describe_packing, format_packing, pack_data

    points, images = data_parts(folder)
    if images is None:
        errors.print(f"no images/ in {folder}: views are rendered from the Gaussians")
    pack, stats = pack_data(points, images, out, PackConfig())
    console.print(f"pack {out}: {len(pack.manifest.objects)} objects, digest {pack.digest}", soft_wrap=True)
    console.print(format_packing(describe_packing(stats)), soft_wrap=True)
    return out
