"""What a study will take, before it is run."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from study.commands.options import Assignments, Concurrency, PackPlace, SpaceFile, StudyName, TrialCount
from study.reports.console import console, errors, print_json, table

if TYPE_CHECKING:
    from study.forecast.predict import Prediction, Range

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(plan)


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
    from ssl_core.config import parse_assignment
    from study.forecast.pilot import PilotSize, run_probe
    from study.forecast.predict import predict
    from study.forecast.resources import study_room
    from study.forecast.stage_plan import stage_forecast
    from study.registration.sweep import Request, plan_study

    overrides = dict(parse_assignment(text) for text in assignments or [])
    planned, opener, _ = plan_study(Request(space, pack, name, trials, concurrency, overrides))
    stages = stage_forecast(planned.space, opener)  # before the probe, which makes some of them
    room = study_room(planned.spec)
    size = PilotSize(probe_configurations, probe_epochs, probe_minutes)
    prediction = predict(planned, run_probe(planned, size, room.slots, errors), room)
    if json:
        print_json({**prediction.model_dump(mode="json"), "stages": stages})
    else:
        _print(prediction)
        for stage, words in stages.items():
            console.print(f"stage {stage}: {words}", soft_wrap=True, markup=False)
    if fail_over is not None and prediction.hours.middle > fail_over:
        errors.print(f"predicted {_duration(prediction.hours.middle)} are more than {fail_over:g} hours")
        raise typer.Exit(1)


def _print(prediction: "Prediction") -> None:
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
    console.print(
        f"by a probe of {len(pilot.configurations)} configurations in {_duration(pilot.seconds / 3600)}; "
        "evaluating the best encoders at the end comes on top",
        soft_wrap=True,
    )
    for sentence in prediction.advice:
        console.print(f"note: {sentence}", soft_wrap=True, markup=False)


def _ranged(given: "Range", show: Callable[[float], str]) -> tuple[str, str]:
    return show(given.middle), f"{show(given.low)} and {show(given.high)}"


def _duration(hours: float) -> str:
    if hours < 2 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _bytes(value: float) -> str:
    return f"{value / 1e9:.3g} GB" if value >= 1e9 else f"{value / 1e6:.3g} MB"
