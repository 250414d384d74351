"""Studies as they stand, came about and will be: status, report, why, replay, plan; train for a trial alone."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.tracking.cursor import read_cursor
from ssl_core.errors import StorageError
from study.commands.options import Assignments, Concurrency, Json, PackPlace, SpaceFile, StudyName, TrialCount, assigned
from study.reports.console import aside, console, errors, print_json, say, table
from study.spec.home import derived_root, home, latest_study, study_folder

if TYPE_CHECKING:
    from study.forecast.predict import Prediction, Range

Latest = Annotated[str | None, typer.Argument(help="study; the latest when left out")]


def status(name: Latest = None, json: Json = False) -> None:
    """Every trial of a study with its outcome and reason; budget, rungs and receipt."""
    from study.reports.status import read_status
    from study.reports.study_text import format_status

    status = read_status(study_folder(name or latest_study()))
    if json:
        print_json(status.model_dump(mode="json"))
    else:
        console.print(format_status(status), markup=True)


def report(
    name: Latest = None,
    out: Annotated[Path | None, typer.Option(help="file to write; default: report.html of the study")] = None,
) -> None:
    """One HTML page about a study; works offline."""
    from study.engine.ledger import read_ledger
    from study.reports.study_report import write_report

    folder = study_folder(name or latest_study())
    if read_cursor(folder).runs:
        from registry.tracking.run_log import open_run_log
        from study.registration.study_verdicts import refresh_verdicts

        # a folder that may not be written keeps what it has
        with suppress(StorageError), open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home(), reading=True) as log:
            refresh_verdicts(log, folder, aside)
    try:
        say(f"report: {write_report(read_ledger(folder), out or folder / 'report.html')}")
    except StorageError as error:
        raise (error if out is not None else StorageError(f"{error}, with --out FILE.html")) from None


def why(
    study: Annotated[str, typer.Argument(help="study")],
    trial: Annotated[int, typer.Argument(help="trial number", min=0)],
    json: Json = False,
) -> None:
    """Where a trial's values came from, what was known then, and what ended it."""
    from study.engine.explain import explain
    from study.reports.study_text import explanation_text

    found = explain(study_folder(study), trial)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        console.print(explanation_text(found), markup=True)


def replay(study: Latest = None, json: Json = False) -> None:
    """Work out every suggestion of a study again from its journal; exit code 1 when one differs."""
    from study.engine.replay import replay as replayed
    from study.reports.study_text import replay_text

    found = replayed(study_folder(study or latest_study()))
    if json:
        print_json({**found.model_dump(mode="json"), "exact": found.exact})
    else:
        console.print(replay_text(found), markup=True)
    if found.differences:
        raise typer.Exit(1)


def train(
    pack: Annotated[str, typer.Option(help="pack folder, or its address (s3://...)")],
    out: Annotated[Path, typer.Option(help="folder for checkpoints, metrics and what is exported")],
    recipe: Annotated[str, typer.Option(help="recipe: a name, FILE.py:NAME or module:NAME")] = "cross_modal",
    preset: Annotated[str, typer.Option(help="preset of the recipe")] = "quick",
    assignments: Assignments = None,
    seed: int = 0,
    threads: Annotated[int, typer.Option(min=0, help="torch threads; 0 = all cores")] = 0,
) -> None:
    """Train one trial; the same command continues an interrupted one."""
    import torch

    from ssl_core.config import override
    from ssl_core.recipes import preset_named
    from ssl_core.recipes.recipe_source import recipe_source
    from ssl_core.training.config import supervision_of_outputs
    from ssl_core.training.session import train_single
    from ssl_core.training.stages import Stages
    from study.datasets.pack_storage import needed_files, open_data

    if threads:
        torch.set_num_threads(threads)
    source = recipe_source(recipe)
    chosen = source.load()
    config = override(preset_named(chosen, preset), assigned(assignments))
    data = open_data(pack, needed_files(config.to_json()))
    session = Stages(chosen, derived_root(), source.source_digest).open(config, data, seed)
    shown = ("train/loss", *(output.select.metric for output in chosen.outputs))

    def report(epoch: int, metrics: Mapping[str, float], seconds_left: float) -> None:
        values = "  ".join(f"{name.partition('/')[2]} {metrics[name]:.4f}" for name in shown if name in metrics)
        speed = ""
        if "train/samples_per_second" in metrics:
            waited = metrics["train/data_wait_share"]
            speed = f"{metrics['train/samples_per_second']:.0f} samples/s, {waited:.1%} of the time waiting for data  "
        aside(f"epoch {epoch}/{session.epochs}  {values}  {speed}{seconds_left:.0f} s left")

    lineage = {"pack_digest": data.digest, "config_digest": config.digest(), "seed": str(seed), "recipe": chosen.name}
    lineage["supervision"] = supervision_of_outputs(config, [each.name for each in chosen.outputs_of(config, data)])
    written = train_single(session, out, report, config=config.to_json(), lineage=lineage)
    say(f"metrics: {out / 'metrics.jsonl'}")
    for output, folder in written.items():
        say(f"{output}: {folder}")


def plan(
    space: SpaceFile,
    pack: PackPlace,
    name: StudyName = None,
    trials: TrialCount = None,
    concurrency: Concurrency = None,
    assignments: Assignments = None,
    probe_minutes: Annotated[float, typer.Option(min=0.01, help="the probe starts nothing new after these")] = 5.0,
    probe_epochs: Annotated[int, typer.Option(min=2, help="epochs of each probed configuration")] = 3,
    probe_configurations: Annotated[int | None, typer.Option(min=1, help="default: by parameters and slots")] = None,
    fail_over: Annotated[float | None, typer.Option(min=0, help="exit with 1 above these predicted hours")] = None,
    json: Json = False,
) -> None:
    """Predict time, GPU-hours, disk and memory of a study by a short probe; takes the arguments of `sweep`."""
    from study.forecast.pilot import PilotSize, run_probe
    from study.forecast.predict import predict, stage_forecast
    from study.forecast.resources import study_room
    from study.registration.sweep import Request, plan_study

    planned, opener, _ = plan_study(Request(space, pack, name, trials, concurrency, assigned(assignments)))
    stages = stage_forecast(planned.space, opener)  # before the probe, which makes some of them
    room = study_room(planned.spec)
    size = PilotSize(probe_configurations, probe_epochs, probe_minutes)
    prediction = predict(planned, run_probe(planned, size, room.slots, errors), room)
    if json:
        print_json({**prediction.model_dump(mode="json"), "stages": stages})
    else:
        _print_prediction(prediction)
        for stage, words in stages.items():
            say(f"stage {stage}: {words}")
    if fail_over is not None and prediction.hours.middle > fail_over:
        aside(f"predicted {_duration(prediction.hours.middle)} are more than {fail_over:g} hours")
        raise typer.Exit(1)


def _print_prediction(prediction: "Prediction") -> None:
    """For people."""
    at_least = "" if prediction.bounded else "at least "
    rows = [
        ["wall time", *_ranged(prediction.hours, _duration)],
        ["GPU-hours", *_ranged(prediction.gpu_hours, lambda value: f"{value:.3g}")],
        ["trials", *_ranged(prediction.trials, lambda value: f"{value:.0f}")],
        ["epochs", *_ranged(prediction.epochs, lambda value: f"{value:.0f}")],
        ["an epoch", *_ranged(prediction.epoch_seconds, lambda value: f"{value:.3g} s")],
        ["a trial beside its epochs", f"{prediction.trial_overhead_seconds:.2g} s", ""],
        ["disk", _bytes(prediction.disk_bytes), ""],
        ["memory of each trial", _bytes(prediction.memory_bytes), ""],
    ]
    if prediction.gpu_memory_bytes:
        rows.append(["GPU memory of each trial", _bytes(prediction.gpu_memory_bytes), ""])
    pilot = prediction.pilot
    table(
        f"{prediction.study} on {prediction.slots} slot{'s' if prediction.slots > 1 else ''}: predicted",
        ["", f"{at_least}about", "8 of 10 lie between"],
        rows,
    )
    say(
        f"by a probe of {len(pilot.configurations)} configurations in {_duration(pilot.seconds / 3600)}; "
        "evaluating the best encoders at the end comes on top"
    )
    for sentence in prediction.advice:
        say(f"note: {sentence}")


def _ranged(given: "Range", show: Callable[[float], str]) -> tuple[str, str]:
    return show(given.middle), f"{show(given.low)} and {show(given.high)}"


def _duration(hours: float) -> str:
    if hours < 2 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _bytes(value: float) -> str:
    return f"{value / 1e9:.3g} GB" if value >= 1e9 else f"{value / 1e6:.3g} MB"
