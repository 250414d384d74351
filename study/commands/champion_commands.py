"""Who is champion, and why: promote, rollback, history, compare."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ssl_core.errors import IntegrityError, StorageError
from study.reports.console import evaluation_progress, print_json, say, table
from study.spec.home import home

if TYPE_CHECKING:
    from registry.champions.compare import Comparison
    from registry.champions.promotion_history import Line
    from registry.versions.store import EncoderStore

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
Reason = Annotated[str, typer.Option(help="why; it is written into the history")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(promote)
    app.command()(rollback)
    app.command()(history)
    app.command()(compare)


def promote(
    reference: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION")], reason: Reason, json: Json = False
) -> None:
    """Make a registered encoder champion by hand; `evaluate` is the way through the gate."""
    from registry.champions.promote import promote_by_hand

    with _store() as store:
        version = store.resolve(reference)
        decision = promote_by_hand(store, version, reason)
    if json:
        print_json({"reference": version.reference, **decision.model_dump(mode="json")})
    else:
        after = f" after version {decision.incumbent}" if decision.incumbent is not None else ""
        say(f"{version.reference} is champion{after}: {decision.reason}")


def rollback(name: Annotated[str, typer.Argument(help="registered model")], reason: Reason, json: Json = False) -> None:
    """Give the alias champion back to the version that had it before."""
    from registry.champions.promote import rollback as roll_back

    with _store() as store:
        store.known(name)
        version = roll_back(store, name, reason)
    if json:
        print_json({"reference": version.reference, "reason": version.events[-1].reason})
    else:
        say(f"{version.reference} is champion again: {version.events[-1].reason}")


def history(name: Annotated[str, typer.Argument(help="registered model")], json: Json = False) -> None:
    """Every decision about a model's champion, from its promotion history."""
    from registry.champions.history_store import HistoryStore
    from registry.versions.records import CHAMPION

    with _store() as store:
        store.known(name)
        holder, histories = store.with_alias(name, CHAMPION), HistoryStore(store, name)
        told, broken = histories.read(strict=False), None
        try:
            histories.read()
        except IntegrityError as error:
            broken = error
    now = told.champion.version if told.champion is not None else None
    stands = holder.version if holder is not None else None
    if json:
        lines = [line.model_dump(mode="json") for line in told.lines]
        found = {"name": name, "champion": stands, "by_ledger": now, "sound": broken is None}
        print_json({**found, "lines": lines})
    elif told.lines:
        columns = ["line", "time (UTC)", "what", "version", "against", "difference", "by"]
        table(f"promotion history of {name}", columns, [_row(line) for line in told.lines])
        for line in told.lines:  # beside the table a sentence has ten letters' room
            say(f"{line.sequence:>4}  {line.reason}")
    elif broken is None:
        say(f"nothing has been decided about {name} yet")
    if broken is not None:
        raise broken
    if now != stands and told.lines and not json:
        where = f"at version {stands}" if stands is not None else "nowhere"
        say(f"the alias champion stands {where}: it was moved by hand, which the next decision writes down")


def compare(
    left: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION")],
    right: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION")],
    pack: Annotated[str | None, typer.Option(help="evaluate both on this pack, where they are not yet")] = None,
    out: Annotated[Path | None, typer.Option(help="PNG to write; default: under the home folder")] = None,
    json: Json = False,
) -> None:
    """Two encoders side by side, with intervals: a table and a picture."""
    from registry.champions.compare_picture import comparison_png
    from ssl_core.evaluation.report import scale_of

    found = _comparison(left, right, pack)
    both = f"{found.left} and {found.right}".replace("/", "-v").replace(" ", "-")
    path = out or home() / "comparisons" / f"{both}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(comparison_png(found))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}; choose another --out") from None
    if json:
        print_json({**found.model_dump(mode="json"), "verdict": found.verdict, "picture": str(path)})
        return
    scale = scale_of(found.measure)
    rows = [
        [row.label, scale.interval(row.left), scale.interval(row.right), scale.interval(row.difference, signed=True),
         "paired" if row.paired else "unpaired"]
        for row in found.rows if row.main
    ]  # fmt: skip
    title = f"test {scale.axis}, {found.test_units} of pack {found.pack_digest}"
    table(title, ["measured", found.left, found.right, "difference", "compared"], rows)
    say(f"{found.verdict}\npicture: {path}")


def _comparison(left: str, right: str, pack: str | None) -> "Comparison":
    from registry.champions.compare import compare_reports, stored_report
    from registry.champions.promote import evaluate_version
    from ssl_core.training.device import choose_device
    from study.datasets.pack_storage import open_data

    opened = open_data(pack) if pack is not None else None
    with _store() as store, evaluation_progress() as tell:
        versions = [store.resolve(reference) for reference in (left, right)]
        mine, theirs = (
            stored_report(store, version)
            if opened is None
            else evaluate_version(store, opened, version, device=choose_device(), tell=tell)
            for version in versions
        )
    return compare_reports(mine, theirs, (versions[0].reference, versions[1].reference))


@contextmanager
def _store() -> "Iterator[EncoderStore]":
    from registry.tracking.run_log import open_run_log
    from registry.versions.store import EncoderStore

    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
        yield EncoderStore(log)


def _row(line: "Line") -> list[Any]:
    from ssl_core.evaluation.report import Measure, scale_of

    numbers = line.numbers
    apart = ""
    if {"difference", "low", "high"} <= numbers.keys():
        change = scale_of(next((measure for measure in get_args(Measure) if measure in numbers), "accuracy")).change
        mean, low, high = (change(numbers[name]) for name in ("difference", "low", "high"))
        apart = f"{mean} ({low} to {high})"
    return [
        line.sequence,
        line.time[:19].replace("T", " "),
        line.kind if line.how == "gate" else f"{line.kind} ({line.how})",
        "nobody" if line.version is None else str(line.version),
        "" if line.incumbent is None else str(line.incumbent),
        apart,
        line.by,
    ]
