"""What was learnt: models, evaluate, pull, and the MLflow pages."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_core.errors import ConfigError, InfeasibleError
from study.reports.console import evaluation_progress, print_json, say, table
from study.spec.home import home

if TYPE_CHECKING:
    from ssl_core.data.dataset import Dataset
    from ssl_core.evaluation.report import TaskConfig
    from ssl_core.evaluation.tasks.task_contract import Task

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


class Protocol(StrEnum):
    """What `evaluate` measures."""

    GATE = "gate"
    FULL = "full"
    REFERENCE = "reference"


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
    """Registered encoders: versions, aliases, status and what the test split said."""
    from registry.tracking.run_log import open_run_log
    from registry.versions.store import EncoderStore

    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
        store = EncoderStore(log)
        found = store.list() if name is None else store.known(name)
    if json:
        print_json([version.model_dump(mode="json") for version in found])
    elif not found:
        say("no encoder is registered yet; `make sweep` makes the first")
    else:
        table("registered models", ["name", "version", "kind", "alias", "status", "study", "trial", "test result"], [
            [v.name, v.version, v.kind, ", ".join(v.aliases), v.status, v.lineage.study, v.lineage.trial,
             v.evaluation.headline if v.evaluation else "not evaluated"]
            for v in found
        ])  # fmt: skip


def evaluate(
    reference: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION")],
    pack: Annotated[str, typer.Option(help="pack whose test split is used: a folder, or a URI such as s3://…")],
    promote: Annotated[bool, typer.Option(help="let the gate decide about the alias champion")] = True,
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="gate: probes beside random twins, in minutes; full: fine-tuning, novel views and robustness too, in "
            "hours; reference: its SVM table, never gated"
        ),
    ] = Protocol.GATE,
    no_fine_tuning: Annotated[
        bool,
        typer.Option(
            "--no-fine-tuning",
            help="with --protocol full: all but fine-tuning, in minutes; the result says that it is not complete",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Evaluate a registered model on a pack's test split, beside what its kind has to beat."""
    from study.datasets.pack_storage import open_data
    from study.registration.assess import evaluate_reference

    if no_fine_tuning and protocol is not Protocol.FULL:
        raise ConfigError("--no-fine-tuning goes with --protocol full; the other protocols have none")
    opened, uri = open_data(pack), os.environ.get("MLFLOW_TRACKING_URI")
    if protocol is Protocol.REFERENCE:
        print_table(reference, opened, uri, json)
        return

    def ask(task: "Task") -> "TaskConfig":
        if protocol is Protocol.GATE:
            return task.config()
        return task.without_training() if no_fine_tuning else task.full()

    outcome = evaluate_reference(reference, opened, home(), uri, to_gate=promote, ask=ask)
    if json:
        print_json(outcome.model_dump(mode="json"))
        return
    print_rows(outcome.rows)
    for title, columns, rows in outcome.sections:
        table(title, list(columns), [list(row) for row in rows])
    if protocol is Protocol.FULL and not outcome.complete:
        gaps = "; ".join(f"{name.replace('_', ' ')}: {reason}" for name, reason in sorted(outcome.left_out.items()))
        say(f"not a complete evaluation by the full protocol, left out: {gaps}")
    saved = f", {100 * outcome.share_saved:.0f} % saved by kept features" if outcome.share_saved else ""
    say(f"{outcome.seconds:.0f} s{saved}")
    if outcome.decision:
        say(outcome.decision)


def print_table(reference: str, pack: "Dataset", tracking_uri: str | None, json: bool) -> None:
    """The cross-modal reference's SVM table of a registered encoder; nothing is stored and the gate is not asked."""
    from registry.tracking.run_log import open_run_log
    from registry.versions.evaluation import reference_table_of
    from registry.versions.store import EncoderStore
    from ssl_core.training.device import choose_device

    with open_run_log(tracking_uri, home()) as log, evaluation_progress() as tell:
        report, times = reference_table_of(EncoderStore(log), reference, pack, device=choose_device(), tell=tell)
    rows = report.by_views()
    if json:
        seconds = {"forward": round(times.forward, 3), "data": round(times.data, 3)}
        print_json({"reference": reference, "rows": rows, "extraction_seconds": seconds})
        return
    if not rows:
        raise InfeasibleError(f"{reference} gives features that are not finite; there is nothing to probe")
    names = list(rows[0])
    title = f"linear SVM, test accuracy in percent, by views and labels ({report.test_objects} test objects)"
    table(title, names, [[row[name] for name in names] for row in rows])
    share = f"{100 * times.forward_share:.0f} % of it in the encoder"
    say(f"features: {times.forward + times.data:.1f} s, {share}")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """What was measured as a table. What the intervals are over is left to --json: a terminal is 80 wide."""
    columns = [name for name in rows[0] if name != "over"] if rows else []
    table("", columns, [[row[column] for column in columns] for row in rows])


def pull(
    reference: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION; with --from the encoder's name there")],
    to: Annotated[Path, typer.Option(help="folder to make")],
    source: Annotated[
        Path | None, typer.Option("--from", help="folder with pulled encoders, instead of the registry: works offline")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a registered encoder; checksums are verified before the folder appears."""
    from registry.tracking.run_log import open_run_log
    from registry.versions.fetching import pull as fetch
    from registry.versions.offline import pull_offline
    from registry.versions.store import EncoderStore

    if source is not None:
        folder = pull_offline(source, to, reference)
    else:
        with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
            folder = fetch(EncoderStore(log), reference, to)
    sizes = {file: file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}
    if json:
        files = {str(file.relative_to(folder)): size for file, size in sizes.items()}
        print_json({"reference": reference, "folder": str(folder), "files": files})
        return
    for file, size in sizes.items():
        say(f"{file}  {size:,} bytes")


def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Serve MLflow's pages on loopback until Ctrl-C."""
    from registry.server.pages import serve_pages

    serve_pages(os.environ.get("MLFLOW_TRACKING_URI"), home(), port, announce=say)
