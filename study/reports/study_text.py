"""A study's status, the explanation of a trial and a replay as text for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from study.analysis.fidelity import RungSummary
from study.analysis.words import COLOURS, clock_text, short, values_text
from study.reports.live_state import Use
from study.reports.status import StudyStatus, TrialStatus
from study.reports.text_rows import TextRows
from study.reports.verdict_text import bought_lines, verdict_rows
from study.spec.outcome import Outcome

if TYPE_CHECKING:  # and with them the samplers, which a status does without
    from study.engine.explain import Explanation, Seen
    from study.engine.replay import Replayed

MOST = 50
"""Trials that a status lists; `--json` has all."""
SHOWN = 10
"""Configurations that the sampler had seen which are listed; `--json` has all."""


def format_status(status: StudyStatus) -> RenderableType:
    """What pretraining bought; best trials first, unfinished and failed ones below; budget, rungs, receipt, what is
    amiss and the registered models under them."""
    ended = [trial for trial in status.trials if trial.outcome in Outcome.__members__]
    open_ = [trial for trial in status.trials if trial.outcome not in Outcome.__members__]
    rows = TextRows(
        title=f"study {status.study} · {status.state} · {status.metric} {status.direction}d",
        columns=("trial", "outcome", "best", "epochs", "s", "values and reason"),
        cells=[_cells(trial) for trial in (*ended[:MOST], *open_)],
        numbers=frozenset({"trial", "best", "epochs", "s"}),
    )
    parts: list[RenderableType] = [Text(line, style="bold") for line in bought_lines(status.encoders)]
    parts.append(rows)
    if len(ended) > MOST:
        parts.append(Text(f"{len(ended) - MOST} more trials; --json has them all", style="dim"))
    if status.rungs:
        parts.append(rungs_table(status.rungs))
    parts += [Text(line, style=style) for line, style in _lines(status)]
    if status.encoders:
        parts.append(verdict_rows("registered models of this study", status.encoders))
    return Group(*parts)


def _cells(trial: TrialStatus) -> list[str]:
    known = trial.outcome in Outcome.__members__
    colour = COLOURS[Outcome(trial.outcome)] if known else "cyan"
    anew = f"began anew: {trial.unusable}" if trial.unusable else ""
    start = "" if trial.untrained is None else f"untrained {trial.untrained:.4g}"
    early = "best in its first epoch" if trial.best_epoch == 1 and trial.epochs > 1 else ""
    lines = [trial.reason, anew, _source(trial), ", ".join(part for part in (start, early) if part)]
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
    kind = "" if trial.origin is None else trial.origin.kind
    if kind == "repeat":
        return f"repeat {trial.repeat} of trial {trial.configuration}"
    return kind if kind in ("confirmation", "base", "enqueued") else ""


def rungs_table(rungs: Sequence[RungSummary], head: box.Box | None = box.SIMPLE_HEAD) -> Table:
    """Who passed where, a line per rung."""
    redirected = any(rung.redirected for rung in rungs)
    table = Table(box=head, padding=(0, 1), header_style="bold" if head else "dim")
    for name in ("rung", "reached", "passed", "stopped", "bar", *(["redirected"] if redirected else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for rung in rungs:
        bar = "" if rung.bar is None else f"{rung.bar:.4g}"
        cells = [str(rung.epoch), str(rung.reached), str(rung.passed), str(rung.stopped), bar]
        table.add_row(*cells, *([str(rung.redirected)] if redirected else []))
    return table


def _lines(status: StudyStatus) -> list[tuple[str, str]]:
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items()) or "no trials yet"
    lines = [(f"{counts} · {clock_text(status.seconds)} of training", "")]
    if status.budget:
        lines.append(("used: " + ", ".join(_use(use) for use in status.budget), ""))
    held = status.receipt.held
    if held > 0:
        kinds = ("useful", "stopped", "failed", "overhead")
        shares = ", ".join(f"{kind} {getattr(status.receipt, kind) / held:.0%}" for kind in kinds)
        lines.append((f"held {clock_text(held)} of slots: {shares}", ""))
    lines += [(stage, "cyan") for stage in status.stages]
    if status.warning:
        lines.append((status.warning, "yellow"))
    if status.holder is not None:
        at = f"; its Ray is at {status.holder.ray}" if status.holder.ray else ""
        lines.append((f"run by {status.holder}{at}", ""))
    tracking = status.tracking
    if tracking.waiting or (tracking.trouble and not tracking.files):
        why = f": {tracking.trouble}" if tracking.trouble else ""
        lines.append((f"{tracking.waiting} records wait for the tracking server{why}", "yellow"))
    if tracking.files:
        lines.append(
            (f"{tracking.files} files wait for the tracking server; the latest: {tracking.files_why}", "yellow")
        )
    if tracking.refused:
        latest = f"; the latest: {tracking.refusals[-1]}" if tracking.refusals else ""
        lines.append((f"the tracking server refused {tracking.refused} values for good{latest}", "yellow"))
    return lines


def _use(use: Use) -> str:
    used = "–" if use.used is None else f"{use.used:.4g}"
    return f"{used} of {use.limit:g} {use.name.replace('_', ' ')}"


def explanation_text(found: "Explanation") -> Group:
    """Paragraphs, and a table of what the sampler had seen."""
    record = found.trial
    values = escape(values_text(record.params if record.values is None else record.values))
    parts: list[RenderableType] = [
        _line(f"[bold]trial {record.number}[/] of study {escape(found.study)} · {values}"),
        _line(f"[bold]values[/]  {escape(_origin(found))}"),
        _line(f"[bold]fate[/]    {escape(_fate(found))}"),
    ]
    parts += [_line(f"        {escape(verdict.reason)}") for verdict in found.verdicts]
    if found.siblings:
        parts.append(_line(f"[bold]repeats[/] {escape(_siblings(found))}"))
    if record.crashes:
        times = "once" if record.crashes == 1 else f"{record.crashes} times"
        parts.append(_line(f"[bold]crashes[/] {times}; see crash-N.txt in trials/{record.number:04d}"))
    if found.seen:
        parts.append(_seen_table(found))
    return Group(*parts)


def replay_text(found: "Replayed") -> Group:
    """One line of numbers, then one for each difference."""
    summary = (
        f"{found.exact} of {found.derived} suggestions re-derived, "
        f"{len(found.differences)} difference{'' if len(found.differences) == 1 else 's'}"
    )
    given = f" ({found.given} confirmations were given, not suggested)" if found.given else ""
    lines = [_line(f"study {escape(found.study)}: [bold]{summary}[/]{given}")]
    for difference in found.differences:
        where = f"trial {difference.trial}" if difference.trial >= 0 else "study"
        text = f"{where}: {difference.what} is {difference.recorded}, worked out again {difference.derived}"
        lines.append(_line(f"[red]{escape(text)}[/]"))
    return Group(*lines)


def _line(markup: str) -> Text:
    return Text.from_markup(markup, overflow="fold")


def _origin(found: "Explanation") -> str:
    origin = found.origin
    if origin is None:
        return "nobody knows: another program wrote this trial"
    match origin.kind:
        case "base":
            return "the preset itself, tried first so that the search is never worse than not searching"
        case "enqueued":
            return f"given by hand ({origin.note})"
        case "repeat":
            return f"those of trial {origin.of}, trained again with seed {found.trial.seed}"
        case "confirmation":
            return f"given, to compare with trial {origin.of}; the sampler does not hear of it"
        case "startup":
            return f"drawn at random by {origin.sampler}, which {_knew(found)} and needs more to suggest"
        case "sampler":
            note = f", {origin.note}" if origin.note else ""
            return f"suggested by {origin.sampler}{note}, which {_knew(found)}"


def _knew(found: "Explanation") -> str:
    origin = found.origin
    counts = {"COMPLETE": "complete", "PRUNED": "stopped or diverged", "FAIL": "failed"}
    known = [f"{count} {counts.get(state, state)}" for state, count in (origin.known if origin else {}).items()]
    if origin and origin.running:
        known.append(f"{len(origin.running)} running ({', '.join(map(str, origin.running))})")
    if origin and origin.warm:
        known.append(f"{origin.warm} of earlier studies")
    return f"knew {', '.join(known)}" if known else "knew of no trial"


def _fate(found: "Explanation") -> str:
    record = found.trial
    best = f"best {found.metric} {short(record.best_value)} at epoch {record.best_epoch}" if record.curve else ""
    place = f", place {found.standing} of {found.comparable}" if found.standing else ""
    if record.outcome is None:
        reached = f" at epoch {record.epoch} of {record.epochs or '?'}, {best}" if record.curve else ""
        return f"UNFINISHED: {found.phase}{reached}; attempt {found.attempts}"
    ended = {
        Outcome.COMPLETE: f"trained all its {record.epoch} epochs",
        Outcome.STOPPED: f"stopped after epoch {record.epoch} of {record.epochs}",
    }.get(record.outcome, record.reason or "no reason is known")
    tail = f": {record.reason}" if record.outcome is Outcome.STOPPED and not found.verdicts and record.reason else ""
    return f"{record.outcome.value}, {ended}{tail}" + (f"; {best}{place}" if best else "")


def _siblings(found: "Explanation") -> str:
    told = [
        f"trial {other.number} (seed {other.seed}) {other.state}"
        + ("" if other.best is None else f" {short(other.best)}")
        for other in found.siblings
    ]
    return f"this is repeat {found.trial.repeat} of its configuration; beside it " + ", ".join(told)


def _seen_table(found: "Explanation") -> TextRows:
    cells = [
        [escape(seen.source), seen.told, _value(seen), escape(values_text(seen.params, brief=True))]
        for seen in found.seen[:SHOWN]
    ]
    return TextRows(
        title="what the sampler had been told, best first",
        columns=("configuration", "told as", "value", "values"),
        cells=cells,
        more=f"and {len(found.seen) - SHOWN} more; --json has all" if len(found.seen) > SHOWN else "",
    )


def _value(seen: "Seen") -> str:
    if seen.values:
        return ", ".join(short(value) for value in seen.values)
    return ", ".join(f"{short(value)} by epoch {epoch}" for epoch, value in seen.progress.items())
