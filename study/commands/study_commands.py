"""Studies as they stand: status, report."""

from pathlib import Path
from typing import Annotated

import typer

from study.commands.options import Json
from study.reports.console import console, print_json
from study.spec.home import latest_study, study_folder

Name = Annotated[str | None, typer.Argument(help="study; the latest when left out")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(status)
    app.command()(report)


def status(name: Name = None, json: Json = False) -> None:
    """Every trial of a study with its outcome and reason; budget, rungs and receipt."""
    from study.reports.status import read_status
    from study.reports.status_table import format_status

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
    from study.engine.ledger import read_ledger
    from study.reports.study_report import write_report

    folder = study_folder(name or latest_study())
    path = write_report(read_ledger(folder), out or folder / "report.html")
    console.print(f"report: {path}", soft_wrap=True)
