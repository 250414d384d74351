"""The report's sections about what was found: feature groups, fidelity, rungs, receipt, Pareto front, provenance."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from study.accounts.receipt import Receipt
from study.findings.attribution import Attribution, from_trials
from study.findings.confirmed import from_confirmations
from study.findings.fidelity import FidelityAudit, fidelity_audit
from study.findings.pareto import Pareto, pareto
from study.findings.rungs import Rung, rungs
from study.outcome import Outcome
from study.record.trial_record import TrialRecord
from study.spec import StudySpec
from study.views.report_charts import COLOUR, Chart
from study.views.report_finding_charts import (
    attribution_chart,
    fidelity_chart,
    pareto_chart,
    receipt_chart,
    rungs_chart,
    volume_chart,
)
from study.views.report_page import badge, note, section, table, warning
from study.views.words import clock_text, short, values_text

Place = Callable[[str, Chart | None], str]
"""(element id, chart) -> where it is drawn; the empty text where there is no chart."""

VERDICT = {"safe": "#009E73", "unclear": "#6b7280", "unsafe": "#D55E00"}


def attribution_section(records: Sequence[TrialRecord], space: Mapping[str, Any], spec: StudySpec, place: Place) -> str:
    """What each feature group is worth; nothing where the space does not choose among groups."""
    everyone = from_trials(records, space, spec.direction)
    if everyone is None:
        return ""
    found = [(f"all trials at epoch {everyone.epoch}", everyone)]
    complete = from_trials(records, space, spec.direction, complete_only=True)
    if complete is not None and complete.trials != everyone.trials:
        found.append(("complete trials at their best", complete))
    confirmed = from_confirmations(records, space, spec.direction)
    if confirmed is not None:
        found.append(("confirmations at the winner", confirmed))
    tables = [_gains(label, one) for label, one in found]
    about = (
        "How much better the objective is with a group than without it, other parameters allowed for. The "
        f"{everyone.confidence:.0%} intervals of a table hold for all its groups together; one that excludes zero is "
        "in bold."
    )
    selected = "Complete trials are those that no rung stopped, so their table sees the better ones only."
    said = [about, *([selected] if len(found) > 1 and found[1][1] is complete else [])]
    return section(
        "What each feature group is worth",
        place("attribution", attribution_chart(found, spec.metric)),
        *tables,
        note(" ".join(said)),
    )


def _gains(label: str, found: Attribution) -> str:
    rows = []
    for gain in found.gains:
        name = escape(gain.name)
        rows.append(
            [
                f"<b>{name}</b>" if gain.matters else name,
                f"{gain.gain:+.3g}",
                f"{gain.low:+.3g} … {gain.high:+.3g}",
                str(gain.present),
                str(gain.absent),
            ]
        )
    columns = [("group", False), ("gain", True), ("interval", True), ("with", True), ("without", True)]
    which = _numbers(found.trials)
    head = f"<h3>{escape(label[0].upper() + label[1:])}</h3>"
    compared = f"{len(found.trials)} trials compared: {which}." if found.trials else "No trials to compare."
    return head + (table(columns, rows) if rows else "") + note(" ".join([*found.notes, compared]))


def _numbers(trials: Sequence[int]) -> str:
    """`0–7, 9`, shortened in the middle."""
    spans: list[list[int]] = []
    for number in trials:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [str(low) if low == high else f"{low}–{high}" for low, high in spans]
    return ", ".join(texts if len(texts) <= 24 else [*texts[:20], "…", texts[-1]])


def fidelity_section(records: Sequence[TrialRecord], spec: StudySpec, place: Place) -> str:
    """Whether early values foretold final ones."""
    audit: FidelityAudit = fidelity_audit(records, spec.scheduler, spec.direction)
    columns = [("rung", True), ("complete trials", True), ("stopped here", True), ("Spearman", True)]
    columns += [("95 % interval", True), ("Kendall", True), ("finalists below the bar", False), ("", False)]
    rows = [
        [
            str(rung.epoch),
            str(rung.trials),
            str(rung.stopped),
            f"{rung.spearman:.2f}",
            f"{rung.low:.2f} … {rung.high:.2f}",
            f"{rung.kendall:.2f}",
            escape(", ".join(f"trial {number}" for number in rung.finalists_lost)),
            badge(rung.verdict, VERDICT[rung.verdict]),
        ]
        for rung in audit.rungs
    ]
    about = "Rank correlation of the best value until each rung with the best value of the whole trial. "
    return section(
        "Fidelity audit: was pruning safe?",
        warning(audit.warning),
        place("fidelity", fidelity_chart(audit)),
        table(columns, rows) if rows else "",
        note((about if rows else "") + audit.note),
    )


def rungs_section(records: Sequence[TrialRecord], spec: StudySpec, place: Place) -> str:
    """Who passed where; nothing without a scheduler."""
    found: tuple[Rung, ...] = rungs(records, spec.scheduler)
    if not found:
        return ""
    columns = [("epoch", True), ("reached", True), ("passed", True), ("stopped", True), ("last bar", True)]
    rows = [
        [str(r.epoch), str(r.reached), str(r.passed), str(r.stopped), "–" if r.bar is None else f"{r.bar:.4g}"]
        for r in found
    ]
    return section("Rungs", place("rungs", rungs_chart(found)), table(columns, rows))


def receipt_section(receipt: Receipt, place: Place) -> str:
    """What the study cost; nothing before it was measured."""
    if receipt.held <= 0:
        return ""
    parts = (
        ("useful", receipt.useful, "training of trials that ran to their end, or still may"),
        ("stopped", receipt.stopped, "training of trials that the scheduler ended"),
        ("failed", receipt.failed, "training that diverged, crashed or was lost"),
        ("overhead", receipt.overhead, "start-up, data, checkpoints, waiting, empty slots"),
    )
    columns = [("", False), ("slot time", True), ("share", True), ("GPU-hours", True), ("what", False)]
    rows = [
        [name, clock_text(seconds), f"{seconds / receipt.held:.1%}", f"{seconds * receipt.gpus / 3600:.3g}", what]
        for name, seconds, what in parts
    ]
    rows.append(["<b>held</b>", clock_text(receipt.held), "100%", f"{receipt.gpu_hours:.3g}", "all of the above"])
    return section("Receipt", place("receipt", receipt_chart(receipt)), table(columns, rows))


def pareto_section(records: Sequence[TrialRecord], spec: StudySpec, place: Place) -> str:
    """Front and volume of several objectives; nothing for one."""
    if len(spec.vector) < 2:
        return ""
    found: Pareto = pareto(records, spec.vector, spec.constraints)
    values = {record.number: values_text(record.values or {}, brief=True) for record in records}
    front = sorted((p for p in found.points if p.front), key=lambda p: p.values[found.objectives[0]])
    rows = [
        [str(p.number), *(f"{p.values[metric]:.4g}" for metric in found.objectives), escape(values[p.number])]
        for p in front
    ]
    columns = [("trial", True), *((metric, True) for metric in found.objectives), ("values", False)]
    wanted = ", ".join(f"{objective.metric} {objective.direction}d" for objective in spec.vector)
    about = f"{wanted}. The volume is measured from the worst seen in each objective. " if found.points else ""
    return section(
        "Pareto front",
        place("pareto", pareto_chart(found)),
        table(columns, rows) if rows else "",
        place("volume", volume_chart(found)),
        note(about + found.note),
    )


def provenance_section(records: Sequence[TrialRecord], inside: str) -> str:
    """Where the trials' values came from, before the facts of the study."""
    kinds = Counter((r.origin.kind, r.origin.sampler) for r in records if r.origin is not None)
    rows = []
    for (kind, sampler), count in kinds.most_common():
        own = [r for r in records if r.origin is not None and (r.origin.kind, r.origin.sampler) == (kind, sampler)]
        ends = Counter(r.state for r in own)
        states = " ".join(badge(f"{n} {state.lower()}", COLOUR[state]) for state, n in ends.items())
        best = [r.best_value for r in own if r.outcome is Outcome.COMPLETE and r.best_value is not None]
        span = f"{short(min(best))} … {short(max(best))}" if best else "–"
        rows.append([escape(kind), escape(sampler), str(count), states, span])
    columns = [("values from", False), ("sampler", False), ("trials", True), ("ended", False), ("final values", True)]
    return section("Provenance", table(columns, rows) if rows else "", f"<h3>Study</h3>{inside}")
