"""What was learnt: models, evaluate, pull, and the MLflow pages."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from study.console import console, print_json, table
from study.home import home

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(models)
    app.command()(evaluate)
    app.command()(pull)
    app.command()(ui)


def models(
    name: Annotated[str | None, typer.Argument(help="registered model; all when left out")] = None,
    json: Json = False,
) -> None:
    """Registered encoders: versions, aliases, status and test accuracy."""
    from registry.run_log import open_run_log
    from registry.store import EncoderStore

    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
        found = EncoderStore(log).list(name)
    if json:
        print_json([version.model_dump(mode="json") for version in found])
    elif not found:
        console.print(f"no encoder is registered{f' as {name}' if name else ''} yet; `make sweep` makes the first")
    else:
        table("registered encoders", ["name", "version", "alias", "status", "study", "trial", "test accuracy"], [
            [v.name, v.version, ", ".join(v.aliases), v.status, v.lineage.study, v.lineage.trial,
             v.evaluation.headline if v.evaluation else "not evaluated"]
            for v in found
        ])  # fmt: skip


def evaluate(
    reference: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION")],
    pack: Annotated[Path, typer.Option(help="pack whose test split is used")],
    promote: Annotated[bool, typer.Option(help="let the gate decide about the alias champion")] = True,
    json: Json = False,
) -> None:
    """Evaluate a registered encoder on a pack's test split, beside its random-init twin."""
    from ssl_core.data.pack import Pack
    from study.assess import evaluate_reference

    outcome = evaluate_reference(
        reference, Pack.open(pack), home(), os.environ.get("MLFLOW_TRACKING_URI"), to_gate=promote
    )
    if json:
        print_json(outcome.model_dump(mode="json"))
        return
    print_rows(outcome.rows)
    if outcome.decision:
        console.print(outcome.decision, soft_wrap=True)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Accuracies of a report as a table, in percent with half-widths of the intervals."""
    columns = ["probe", "labels", "views", "accuracy", "random twin", "difference"]
    table("", columns, [[row[column] for column in columns] for row in rows])


def pull(
    reference: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION")],
    to: Annotated[Path, typer.Option(help="folder to make")],
) -> None:
    """Fetch a registered encoder; checksums are verified before the folder appears."""
    from registry.pull import pull as fetch
    from registry.run_log import open_run_log
    from registry.store import EncoderStore

    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
        folder = fetch(EncoderStore(log), reference, to)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            console.print(f"{file}  {file.stat().st_size:,} bytes", soft_wrap=True)


def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Serve MLflow's pages on loopback until Ctrl-C."""
    from registry.pages import serve_pages

    serve_pages(os.environ.get("MLFLOW_TRACKING_URI"), home(), port, announce=console.print)
