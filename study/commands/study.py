"""Studies: sweep, status, report."""

from pathlib import Path
from typing import Annotated

import typer

from study.commands.options import Assignments, Concurrency, PackPlace, SpaceFile, StudyName, TrialCount
from study.console import console, print_json
from study.home import latest_study, study_folder

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
Name = Annotated[str | None, typer.Argument(help="study; the latest when left out")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(sweep)
    app.command()(status)
    app.command()(report)


def sweep(
    space: SpaceFile,
    pack: PackPlace,
    name: StudyName = None,
    trials: TrialCount = None,
    concurrency: Concurrency = None,
    assignments: Assignments = None,
    dry_run: Annotated[bool, typer.Option(help="check everything, say what would run, and stop")] = False,
    json: Json = False,
) -> None:
    """Run a study; the same command continues it. Its best encoders are registered, evaluated and judged."""
    from ssl_core.config import parse_assignment
    from study.running import Request, plan_study, run_and_assess
    from study.views.leaderboard import print_study, study_facts

    overrides = dict(parse_assignment(text) for text in assignments or [])
    request = Request(space, pack, name, trials, concurrency, overrides)
    if dry_run:
        plan, _, opened = plan_study(request)
        print_json({"study": plan.name, "pack": opened.digest, "spec": plan.spec.model_dump(mode="json"),
                    "space": plan.space.digest, "base": plan.space.base_config.model_dump(mode="json")})  # fmt: skip
        return
    plan, summary, judged = run_and_assess(request)
    if json:
        print_json(study_facts(plan, summary, judged))
    else:
        print_study(plan, summary, judged, request)
    if summary.interrupted:
        raise typer.Exit(130)


def status(name: Name = None, json: Json = False) -> None:
    """Every trial of a study with its outcome and reason; budget, rungs and receipt."""
    from study.views.status import read_status
    from study.views.status_table import format_status

    status = read_status(study_folder(name or latest_study()))
    if json:
        print_json(status.model_dump(mode="json"))
    else:
        console.print(format_status(status), markup=True)


def report(
    name: Name = None,
    out: Annotated[Path | None, typer.Option(help="file to write; default: report.html of the study")] = None,
) -> None:
    """One HTML page about a study; works offline."""
    from study.ledger import read_ledger
    from study.report import write_report

    folder = study_folder(name or latest_study())
    path = write_report(read_ledger(folder), out or folder / "report.html")
    console.print(f"report: {path}", soft_wrap=True)
