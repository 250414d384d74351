"""The status of a study as a table for a terminal."""

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from study.analysis.words import COLOURS, clock_text, values_text
from study.reports.status import BudgetStatus, StudyStatus, TrialStatus
from study.reports.text_table import TextRows
from study.spec.outcome import Outcome

MOST = 50


def format_status(status: StudyStatus) -> RenderableType:
    """Best trials first, unfinished and failed ones below; budget, rungs, receipt and what is amiss under them."""
    ended = [trial for trial in status.trials if trial.outcome in Outcome.__members__]
    open_ = [trial for trial in status.trials if trial.outcome not in Outcome.__members__]
    rows = TextRows(
        title=f"study {status.study} · {status.state} · {status.metric} {status.direction}d",
        columns=("trial", "outcome", "best", "epochs", "s", "values and reason"),
        cells=[_cells(trial) for trial in (*ended[:MOST], *open_)],
        numbers=frozenset({"trial", "best", "epochs", "s"}),
    )
    parts: list[RenderableType] = [rows]
    if len(ended) > MOST:
        parts.append(Text(f"{len(ended) - MOST} more trials; --json has them all", style="dim"))
    if status.rungs:
        parts.append(_rungs(status))
    parts += [Text(line, style=style) for line, style in _lines(status)]
    return Group(*parts)


def _cells(trial: TrialStatus) -> list[str]:
    known = trial.outcome in Outcome.__members__
    colour = COLOURS[Outcome(trial.outcome)] if known else "cyan"
    lines = [trial.reason, f"began anew: {trial.unusable}" if trial.unusable else "", _source(trial)]
    below = "".join(f"\n[dim]{escape(line)}[/]" for line in lines if line)
    return [
        str(trial.number),
        f"[{colour}]{trial.outcome}[/]",
        "" if trial.best is None else f"{trial.best:.4g}",
        f"{trial.epochs}/{trial.epochs_planned or '?'}",
        f"{trial.seconds:.0f}",
        escape(values_text(trial.params, brief=True)) + below,
    ]


def _source(trial: TrialStatus) -> str:
    if trial.origin is None:
        return ""
    match trial.origin.kind:
        case "repeat":
            return f"repeat {trial.repeat} of trial {trial.configuration}"
        case "confirmation":
            return "confirmation"
        case "base" | "enqueued":
            return trial.origin.kind
        case "startup" | "sampler":
            return ""


def _rungs(status: StudyStatus) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in ("rung", "reached", "passed", "stopped", "bar"):
        table.add_column(name, justify="right")
    for rung in status.rungs:
        bar = "" if rung.bar is None else f"{rung.bar:.4g}"
        table.add_row(str(rung.epoch), str(rung.reached), str(rung.passed), str(rung.stopped), bar)
    return table


def _lines(status: StudyStatus) -> list[tuple[str, str]]:
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items()) or "no trials yet"
    lines = [(f"{counts} · {clock_text(status.seconds)} of training", "")]
    if status.budget:
        lines.append(("used: " + ", ".join(_use(use) for use in status.budget), ""))
    held = status.receipt.held
    if held > 0:
        receipt = status.receipt
        kinds = {"useful": receipt.useful, "stopped": receipt.stopped}
        kinds |= {"failed": receipt.failed, "overhead": receipt.overhead}
        shares = ", ".join(f"{name} {seconds / held:.0%}" for name, seconds in kinds.items())
        lines.append((f"held {clock_text(held)} of slots: {shares}", ""))
    if status.holder is not None:
        lines.append((f"run by {status.holder}", ""))
    tracking = status.tracking
    if tracking.waiting or tracking.trouble:
        why = f": {tracking.trouble}" if tracking.trouble else ""
        lines.append((f"{tracking.waiting} records wait for the tracking server{why}", "yellow"))
    if tracking.refused:
        latest = f"; the latest: {tracking.refusals[-1]}" if tracking.refusals else ""
        lines.append((f"the tracking server refused {tracking.refused} values for good{latest}", "yellow"))
    return lines


def _use(use: BudgetStatus) -> str:
    used = "–" if use.used is None else f"{use.used:.4g}"
    return f"{used} of {use.limit:g} {use.name.replace('_', ' ')}"
