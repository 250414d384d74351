"""`sweep`: the whole journey in one command, from data to judged models. `make sweep` runs it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.commands.options import Assignments, Concurrency, Json, StudyName, TrialCount
from study.reports.console import console, errors, print_json
from study.spec.home import checked_name, home, packs, study_name

if TYPE_CHECKING:
    from study.registration.sweep import Request

SHIPPED = Path(__file__).resolve().parents[2] / "search_spaces" / "cross_modal_quick.yaml"
Say = Callable[[str], None]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(sweep)


def sweep(
    space: Annotated[Path, typer.Argument(help="search-space file")] = SHIPPED,
    pack: Annotated[str | None, typer.Option(help="pack folder, or its address (s3://...)")] = None,
    data: Annotated[Path | None, typer.Option(help="folder or .zip with points/ and perhaps images/")] = None,
    meshes: Annotated[Path | None, typer.Option(help="folder of meshes to splat first")] = None,
    name: StudyName = None,
    trials: TrialCount = None,
    concurrency: Concurrency = None,
    assignments: Assignments = None,
    dry_run: Annotated[bool, typer.Option(help="check everything, say what would run, and stop")] = False,
    json: Json = False,
) -> None:
    """Run a study; the same command continues it. Its best models are registered, evaluated and judged.

    It trains on --pack, or on a pack made of --data or --meshes; with none of them, of a procedural sample set. What
    is done is not done again.
    """
    from ssl_core.config import parse_assignment
    from ssl_core.errors import ConfigError
    from study.registration.leaderboard import print_study, study_facts
    from study.registration.sweep import Request, run_and_assess

    say: Say = lambda text: (errors if json else console).print(text, soft_wrap=True)  # noqa: E731
    overrides = dict(parse_assignment(text) for text in assignments or [])
    request = Request(space, pack or "", name, trials, concurrency, overrides)
    if pack is None:
        request = _of_data(request, data, meshes, None if dry_run else say)
    elif data or meshes:
        raise ConfigError("give --pack, or --data or --meshes to make one")
    if dry_run:
        print_json(_would_run(request))
        return
    plan, summary, judged = run_and_assess(request)
    if json:
        print_json(study_facts(plan, summary, judged))
    else:
        print_study(plan, summary, judged, request)
    if summary.interrupted:
        raise typer.Exit(130)


def _would_run(request: "Request") -> dict[str, object]:
    """What `sweep` would run, checked as far as it can be: a pack that is yet to be made cannot be looked at."""
    from study.registration.sweep import plan_study

    if not request.pack:
        return {"study": request.name, "pack": None, **_checked(request)}
    plan, _, opened = plan_study(request)
    return {"study": plan.name, "pack": opened.digest, "spec": plan.spec.model_dump(mode="json"),
            "space": plan.space.digest, "base": plan.space.base_config.model_dump(mode="json")}  # fmt: skip


def _of_data(request: "Request", data: Path | None, meshes: Path | None, say: Say | None) -> "Request":
    """The request with its pack, made if need be, and its name. Without `say` a pack that is not there is not made."""
    label = checked_name(request.name or (data or meshes or Path("sample")).resolve().name.removesuffix(".zip"))
    named = replace(request, name=study_name(request.name, request.space, label))
    _checked(named)  # before hours of splatting and packing
    out = packs() / label
    if say is not None:
        _pack(_data(data, meshes, label, say), out, say)
    return replace(named, pack=out) if say is not None or (out / "manifest.json").is_file() else named


def _checked(request: "Request") -> dict[str, object]:
    """Spec and space as JSON values. Raises SpaceError, ConfigError for a space file that cannot be searched."""
    from search_spaces.presets import preset_at
    from search_spaces.space import load_space
    from study.samplers.suggestion import check_search
    from study.spec.study_spec import study_spec

    space = load_space(request.space, preset_at, request.overrides)
    spec = study_spec(space.study, {"trials": request.trials, "concurrency": request.concurrency}, request.space)
    check_search(spec, space)
    return {"spec": spec.model_dump(mode="json"), "space": space.digest,
            "base": space.base_config.model_dump(mode="json")}  # fmt: skip


def _data(data: Path | None, meshes: Path | None, label: str, say: Say) -> Path:
    """A folder with points/ and perhaps images/."""
    from ssl_core.errors import ConfigError

    if data and meshes:
        raise ConfigError("give --data or --meshes, not both")
    if data:
        return data
    if meshes:
        from ssl_core.splatting.splat_object import SplatConfig
        from study.datasets.splat_jobs import splat_meshes

        folder = home() / "splats" / label
        say(splat_meshes(meshes, folder, SplatConfig(), workers=0, limit=0, skip_bad=False)["text"])
        return folder
    from ssl_core.meshes.household import HouseholdConfig
    from study.commands.data_commands import write_sample

    folder = home() / "sample"
    write_sample(folder, HouseholdConfig())
    say(f"sample set at {folder} (points/, images/)")
    return folder


def data_parts(data: Path) -> tuple[Path, Path | None]:
    """Where a data set keeps its Gaussians and its views: `points` and `images` in a folder, each a folder or an
    archive, or an archive that holds both. Without views, None."""
    from ssl_core.packing.listing import list_tree

    if data.is_file():
        return data, data if "images" in list_tree(data).folders else None

    def part(name: str) -> Path | None:
        return next((place for place in (data / name, data / f"{name}.zip") if place.exists()), None)

    return part("points") or data, part("images")


def _pack(folder: Path, out: Path, say: Say) -> None:
    from ssl_core.data.object_pack import PackConfig
    from study.datasets.pack_jobs import describe_packing, format_packing, pack_data

    points, images = data_parts(folder)
    if images is None:
        errors.print(f"no images/ in {folder}: views are rendered from the Gaussians")
    pack, stats = pack_data(points, images, out, PackConfig())
    say(f"pack {out}: {len(pack.manifest.objects)} objects, digest {pack.digest}")
    say(format_packing(describe_packing(stats)))
