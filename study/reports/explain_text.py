"""An explanation as text for a terminal."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from study.analysis.words import short, values_text
from study.engine.explain import Explanation, Seen
from study.engine.replay import Replayed
from study.reports.text_table import TextRows
from study.spec.outcome import Outcome

SHOWN = 10
"""Configurations that the sampler had seen which are listed; `--json` has all."""


def explanation_text(found: Explanation) -> Group:
    """Paragraphs, and a table of what the sampler had seen."""
    record = found.trial
    values = record.params if record.values is None else record.values
    parts: list[RenderableType] = [
        _line(f"[bold]trial {record.number}[/] of study {escape(found.study)} · {escape(values_text(values))}"),
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
        parts.append(_table(found))
    return Group(*parts)


def replay_text(found: Replayed) -> Group:
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


def _origin(found: Explanation) -> str:
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


def _knew(found: Explanation) -> str:
    origin = found.origin
    counts = {"COMPLETE": "complete", "PRUNED": "stopped or diverged", "FAIL": "failed"}
    known = [f"{count} {counts.get(state, state)}" for state, count in (origin.known if origin else {}).items()]
    if origin and origin.running:
        known.append(f"{len(origin.running)} running ({', '.join(map(str, origin.running))})")
    if origin and origin.warm:
        known.append(f"{origin.warm} of earlier studies")
    return f"knew {', '.join(known)}" if known else "knew of no trial"


def _fate(found: Explanation) -> str:
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


def _siblings(found: Explanation) -> str:
    told = [
        f"trial {other.number} (seed {other.seed}) {other.state}"
        + ("" if other.best is None else f" {short(other.best)}")
        for other in found.siblings
    ]
    return f"this is repeat {found.trial.repeat} of its configuration; beside it " + ", ".join(told)


def _table(found: Explanation) -> TextRows:
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


def _value(seen: Seen) -> str:
    if seen.values:
        return ", ".join(short(value) for value in seen.values)
    return ", ".join(f"{short(value)} by epoch {epoch}" for epoch, value in seen.progress.items())
