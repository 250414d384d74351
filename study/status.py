"""A study at a glance, for people and for scripts; read from the ledger, while it runs or afterwards."""

from collections import Counter
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.markup import escape
from rich.table import Table

from study.ledger import Ledger, read_ledger
from study.outcome import Outcome
from study.progress import COLOURS, clock_text
from study.trial_record import TrialRecord, leaders, ranked


def study_status(folder: Path) -> dict[str, Any]:
    """JSON-able facts: the study, its counts, its trials (best first), the leaders' numbers.

    Raises:
        StudyError: no study there.
    """
    ledger = read_ledger(folder)
    records, spec, attrs = ledger.records(), ledger.spec, ledger.attrs
    return {
        "study": ledger.name,
        "state": study_state(ledger, records),
        "folder": str(ledger.folder),
        "metric": spec.metric,
        "direction": spec.direction,
        "identity": attrs.get("identity", {}),
        "run_id": attrs.get("run_id"),
        "trials_planned": spec.planned,
        "counts": dict(Counter(record.state for record in records)),
        "seconds": round(sum(record.seconds for record in records), 3),
        "leaders": [record.number for record in leaders(records, spec.direction, spec.top_k)],
        "trials": [_trial_facts(record) for record in ranked(records, spec.direction)],
    }


def study_state(ledger: Ledger, records: list[TrialRecord]) -> str:
    """`running` (a process holds it), `finished`, or `interrupted` (the same command continues it)."""
    try:
        with FileLock(ledger.folder / "driver.lock", timeout=0):
            pass
    except Timeout:
        return "running"
    except OSError:  # a folder we may only read says nothing about who runs it
        return "unknown"
    unfinished = any(record.outcome is None for record in records)
    return "interrupted" if unfinished or not ledger.attrs.get("closed") else "finished"


def format_status(facts: dict[str, Any]) -> Table:
    """A table for a terminal: best first, unfinished and failed trials below, the counts in its caption."""
    counts = ", ".join(f"{count} {state}" for state, count in facts["counts"].items()) or "no trials yet"
    table = Table(
        title=f"study {facts['study']} · {facts['state']} · {facts['metric']} {facts['direction']}d",
        title_justify="left",
        caption=f"{counts}; {facts['trials_planned']} planned · {clock_text(facts['seconds'])} of training",
        caption_justify="left",
        header_style="bold",
    )
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for column in ("best", "epochs", "s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("values and reason", overflow="fold")
    for trial in facts["trials"]:
        table.add_row(*_cells(trial))
    return table


def _cells(trial: dict[str, Any]) -> list[str]:
    known = trial["outcome"] in Outcome.__members__
    colour = COLOURS[Outcome(trial["outcome"])] if known else "cyan"
    reason = f"\n[dim]{escape(trial['reason'])}[/]" if trial["reason"] else ""
    return [
        str(trial["number"]),
        f"[{colour}]{trial['outcome']}[/]",
        "" if trial["best"] is None else f"{trial['best']:.4g}",
        f"{trial['epochs']}/{trial['epochs_planned'] or '?'}",
        f"{trial['seconds']:.0f}",
        escape(values_text(trial["params"], brief=True)) + reason,
    ]


def values_text(values: dict[str, Any], *, brief: bool = False) -> str:
    """`loss.beta=1.2  optimizer.kind=sgd`; brief: `beta=1.2  kind=sgd`, with more of the key where it is needed."""
    names = {key: key for key in values}
    if brief:
        ends = Counter(key.split(".")[-1] for key in values)
        names = {key: ".".join(key.split(".")[-1 - (ends[key.split(".")[-1]] > 1) :]) for key in values}
    return "  ".join(f"{names[key]}={short(value)}" for key, value in values.items())


def short(value: Any) -> str:
    """A config value in few characters: four digits, lists joined by +."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "+".join(str(part) for part in value)
    return str(value)


def _trial_facts(record: TrialRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "outcome": record.state,
        "reason": record.reason,
        "epochs": record.epoch,
        "epochs_planned": record.epochs,
        "best": record.best_value,
        "best_epoch": record.best_epoch,
        "params": record.values or {},
        "seed": record.seed,
        "crashes": record.crashes,
        "seconds": record.seconds,
        "run_id": record.run_id,
    }
