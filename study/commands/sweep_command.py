"""The whole journey in one command, from data to judged models: sweep, and submit, which has a cluster run it."""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_core.errors import ConfigError
from study.commands.options import (
    Assignments,
    Concurrency,
    FineTuning,
    Json,
    SpaceFile,
    SpzAxesOption,
    StudyName,
    TrialCount,
    assigned,
)
from study.reports.console import aside, print_json, say
from study.spec.home import checked_name, home, packs, study_name

if TYPE_CHECKING:
    from ssl_core.data.object_pack import PackConfig
    from study.cluster.submission import Environment, SubmittedJob
    from study.registration.sweep import Request

SHIPPED = Path(__file__).resolve().parents[2] / "search_spaces" / "multiview_contrast_quick.yaml"
Say = Callable[[str], None]


def sweep(
    space: Annotated[Path, typer.Argument(help="search-space file")] = SHIPPED,
    pack: Annotated[str | None, typer.Option(help="pack folder, or its address (s3://...)")] = None,
    data: Annotated[Path | None, typer.Option(help="folder or .zip with points/ and perhaps images/")] = None,
    meshes: Annotated[Path | None, typer.Option(help="folder of meshes to splat first")] = None,
    surface: Annotated[bool, typer.Option("--surface", help="of --meshes: points of the surfaces, not splats")] = False,
    name: StudyName = None,
    trials: TrialCount = None,
    concurrency: Concurrency = None,
    assignments: Assignments = None,
    spz_axes: SpzAxesOption = None,
    fine_tuning: FineTuning = True,
    dry_run: Annotated[bool, typer.Option(help="check everything, say what would run, and stop")] = False,
    json: Json = False,
) -> None:
    """Run a study; the same command continues it. Its best models are registered, evaluated, judged and fine-tuned.

    It trains on --pack, or on a pack made of --data or --meshes; with none of them, of a procedural sample set. Where
    the recipe reads scenes, --data are scenes, and --meshes furnish rooms, as household objects do without. What is
    done is not done again.
    """
    from registry.tracking.address import checked_address
    from study.registration.sweep import Request, print_study, run_and_assess, study_facts

    checked_address(os.environ.get("MLFLOW_TRACKING_URI"))  # before hours of splatting
    request = Request(space, pack or "", name, trials, concurrency, assigned(assignments), fine_tuning)
    if pack is None:
        from ssl_core.data.object_pack import MESH_VIEW_SIZE, PackConfig
        from ssl_core.gaussians.formats.spz_axes import checked_axes

        axes = checked_axes(spz_axes)
        config = PackConfig(spz_axes=axes)
        if surface:
            if meshes is None or data is not None:
                raise ConfigError("--surface says what becomes of --meshes; give them")
            config = PackConfig(surface_points=config.cached_points, rendered_size=MESH_VIEW_SIZE)
        request = _of_data(request, data, meshes, config, None if dry_run else aside if json else say)
    elif data or meshes or spz_axes or surface:
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
        checked = _checked(request.space, request.trials, request.concurrency, request.overrides)
        return {"study": request.name, "pack": None, **checked}
    plan, _, opened = plan_study(request)
    return {"study": plan.name, "pack": opened.digest, "spec": plan.spec.model_dump(mode="json"),
            "space": plan.space.digest, "base": plan.space.recipes.stored()[1]}  # fmt: skip


def _of_data(
    request: "Request", data: Path | None, meshes: Path | None, config: "PackConfig", tell: Say | None
) -> "Request":
    """The request with its pack, made if need be, and its name. Without `tell` a pack that is not there is not made."""
    scenes = _reads_scenes(request.space, request.overrides)
    if scenes and config.surface_points is not None:
        raise ConfigError(
            f"--surface: the recipes of {request.space} read scenes, and --meshes furnish their rooms; leave it out"
        )
    label = checked_name(request.name or _label(data, meshes, scenes=scenes))
    named = replace(request, name=study_name(request.name, request.space, label))
    _checked(request.space, request.trials, request.concurrency, request.overrides)  # before hours of splatting
    out = packs() / label
    if tell is not None and scenes:
        _pack_scenes(data, meshes, label, out, tell)
    elif tell is not None:
        surfaces = meshes if config.surface_points is not None else None
        _pack(surfaces or _data(data, meshes, label, tell), out, config, tell)
    return replace(named, pack=out) if tell is not None or (out / "manifest.json").is_file() else named


def _label(data: Path | None, meshes: Path | None, *, scenes: bool) -> str:
    """What the pack is called: packs of objects and of rooms made of the same meshes lie side by side."""
    place = data or meshes or Path("rooms" if scenes else "sample")
    name = place.resolve().name.removesuffix(".zip")
    return f"{name}-rooms" if scenes and meshes and not data else name


def _reads_scenes(space: Path, overrides: Mapping[str, Any] | None) -> bool:
    """Whether the space's recipes read a ScenePack."""
    from search_spaces.space import load_space
    from ssl_core.data.scene_pack import ScenePack
    from ssl_core.recipes.recipe_source import preset_at, recipe_source

    sections = load_space(space, preset_at, overrides).recipes.sections.values()
    return all(recipe_source(section.place).load().reads is ScenePack for section in sections)


def _pack_scenes(data: Path | None, meshes: Path | None, label: str, out: Path, tell: Say) -> None:
    """A pack of the scenes in `data`, or of rooms made on the way."""
    from ssl_core.data.scene_pack import ScenePackConfig
    from ssl_core.packing.layout import find_meshes
    from ssl_core.packing.scene_writer import write_scene_pack
    from ssl_core.splatting.rooms import RoomsConfig
    from study.datasets.room_jobs import make_rooms_in_parallel

    if data and meshes:
        raise ConfigError("give --data or --meshes, not both")
    scenes = data or home() / "rooms" / label
    if data is None:
        make_rooms_in_parallel(scenes, RoomsConfig(), find_meshes(meshes)[0] if meshes else [])
        tell(f"furnished rooms at {scenes}")
    pack = write_scene_pack(scenes, out, ScenePackConfig())
    tell(f"pack {out}: {len(pack.scenes)} scenes, {len(pack)} views, digest {pack.digest}")


def _checked(
    space: Path, trials: int | None, concurrency: int | None, overrides: Mapping[str, Any] | None
) -> dict[str, object]:
    """Spec and space as JSON values. Raises SpaceError, ConfigError for a space file that cannot be searched."""
    from search_spaces.space import load_space
    from ssl_core.recipes.recipe_source import preset_at
    from study.run.recipe_checks import checked_spec
    from study.samplers.suggestion import check_search

    loaded = load_space(space, preset_at, overrides)
    spec = checked_spec(loaded, {"trials": trials, "concurrency": concurrency})
    check_search(spec, loaded)
    return {"spec": spec.model_dump(mode="json"), "space": loaded.digest,
            "base": loaded.recipes.stored()[1]}  # fmt: skip


def _data(data: Path | None, meshes: Path | None, label: str, tell: Say) -> Path:
    """A folder with points/ and perhaps images/."""
    if data and meshes:
        raise ConfigError("give --data or --meshes, not both")
    if data:
        return data
    if meshes:
        from ssl_core.splatting.splat_object import SplatConfig
        from study.datasets.splat_jobs import splat_meshes

        folder = home() / "splats" / label
        tell(splat_meshes(meshes, folder, SplatConfig(), workers=0, limit=0, skip_bad=False)["text"])
        return folder
    from ssl_core.meshes.household import HouseholdConfig
    from study.commands.data_commands import write_sample

    folder = home() / "sample"
    write_sample(folder, HouseholdConfig())
    tell(f"sample set at {folder} (points/, images/)")
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


def _pack(folder: Path, out: Path, config: "PackConfig", tell: Say) -> None:
    from ssl_core.inspect.notes import note_lines
    from ssl_core.inspect.pack_facts import note_examples
    from ssl_core.packing.pack_writer import PackJob
    from study.datasets.pack_jobs import describe_packing, format_packing, pack_data

    points, images = (folder, None) if config.surface_points is not None else data_parts(folder)
    pack, stats = pack_data(PackJob(points, images, out, config))
    if images is None and config.surface_points is None:
        what = "views are rendered from the Gaussians" if pack.manifest.views_rendered else "the pack has no views"
        aside(f"no images/ in {folder}: {what}")
    tell(f"pack {out}: {len(pack.manifest.objects)} objects, digest {pack.digest}")
    tell(format_packing(describe_packing(stats)))
    for line in note_lines(pack.manifest.notes, note_examples(pack)):
        tell(f"  note: {line}")


def submit(
    space: SpaceFile,
    pack: Annotated[str, typer.Option(help="a folder that all nodes see, or an address (s3://...)")],
    name: StudyName = None,
    trials: TrialCount = None,
    concurrency: Concurrency = None,
    assignments: Assignments = None,
    fine_tuning: FineTuning = True,
    environment: Annotated[
        str, typer.Option(help="nodes: what they have; lock: built from requirements.lock")
    ] = "nodes",
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="show the log until the job ends")] = True,
    json: Annotated[
        bool, typer.Option("--json", help="print JSON for scripts; the log goes to standard error")
    ] = False,
) -> None:
    """Run a study as a job of the Ray cluster at RAY_API_SERVER_ADDRESS, with this working tree.

    The same command follows a job that runs, and continues a study whose job has ended.
    """
    from study.cluster.submission import Submission, dashboard_address, open_client, passed_on
    from study.cluster.submission import submit as start
    from study.datasets.pack_storage import place_name

    _checked(space, trials, concurrency, assigned(assignments))
    if "://" not in pack and not Path(pack).is_absolute():
        raise ConfigError(
            f"--pack {pack} is a path of this machine; give an absolute path that all nodes see, or push it: "
            f"splatsweep push {shlex.join([pack, f's3://bucket/{Path(pack).name}'])}"
        )
    study = study_name(name, space, place_name(pack))
    arguments = ["--pack", pack, "--name", study]
    for option, value in (("--trials", trials), ("--concurrency", concurrency)):
        arguments += [option, str(value)] if value is not None else []
    for text in assignments or []:
        arguments += ["--set", text]
    arguments += [] if fine_tuning else ["--no-fine-tuning"]
    submission = Submission(study, space, tuple(arguments), _environment(environment))
    address = dashboard_address()
    client = open_client(address)
    env, local = passed_on(os.environ)
    job = start(client, submission, env)
    _announce(job, study, address, sorted(env), local)
    code = _follow(client, job.id, address, json) if follow else None
    if json:
        sent = {"files": job.sent.files, "bytes": job.sent.bytes, "digest": job.sent.digest} if job.sent else None
        facts = {"study": study, "job": job.id, "dashboard": address, "joined": job.joined, "sent": sent}
        print_json({**facts, "exit_code": code})
    if code:
        raise typer.Exit(code)


def _environment(text: str) -> "Environment":
    match text:
        case "nodes" | "lock":
            return text
        case _:
            raise ConfigError(f"--environment {text}: choose nodes or lock")


def _announce(job: "SubmittedJob", study: str, address: str, passed: list[str], local: list[str]) -> None:
    if job.joined:
        other = "" if job.same else " with other arguments, which count until it ends"
        aside(f"study {study} is run by job {job.id}{other}; nothing was sent")
        return
    assert job.sent is not None
    aside(f"job {job.id} at {address}: {job.sent.files} files, {job.sent.bytes / 1e6:.1f} MB, tree {job.sent.digest}")
    if passed:
        aside(f"passed on: {', '.join(passed)}")
    if local:
        aside(f"of this machine only, not passed on: {', '.join(local)}")


def _follow(client: object, job: str, address: str, json: bool) -> int:
    """Show the log; Ctrl-C leaves the job running."""
    from study.cluster.submission import follow

    stream = sys.stderr if json else sys.stdout

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    try:
        return follow(client, job, write)
    except KeyboardInterrupt:
        ray = ".venv/bin/ray" if Path(".venv/bin/ray").exists() else "ray"
        stop = shlex.join([ray, "job", "stop", job, "--address", address])
        tell = aside if json else say
        tell(
            f"\ndetached; job {job} goes on. Follow it: the same command. Stop it (the study can be continued): {stop}"
        )
        return 130
