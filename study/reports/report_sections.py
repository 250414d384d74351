"""The report's sections about what was found: feature groups, fidelity, rungs, receipt, Pareto front, provenance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_core.inspect.html_page import Html, badge, facts, note, section, strong, table, warning
from study.analysis.attribution import Attribution, from_confirmations, from_trials
from study.analysis.fidelity import fidelity_audit, rungs
from study.analysis.pareto import pareto
from study.analysis.recipe_standings import COLUMNS, recipe_standings, standing_rows, winner_text
from study.analysis.words import clock_text, short, values_text
from study.engine.cost_report import CostReport
from study.record.trial_record import TrialRecord
from study.reports.plots import (
    Charts,
    attribution_plot,
    fidelity_plot,
    pareto_plot,
    receipt_plot,
    rungs_plot,
    volume_plot,
)
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec

STATE_COLOUR = {
    "COMPLETE": "#0072B2",
    "STOPPED": "#E69F00",
    "INFEASIBLE": "#CC79A7",
    "DIVERGED": "#D55E00",
    "CRASHED": "#8b1e1e",
    "UNFINISHED": "#56B4E9",
}
VERDICT_COLOUR = {"safe": "#009E73", "unclear": "#6b7280", "unsafe": "#D55E00"}


def attribution_section(
    records: Sequence[TrialRecord], space: Mapping[str, Any], spec: StudySpec, charts: Charts
) -> str:
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
    about = (
        "How much better the objective is with a group than without it, other parameters allowed for. The "
        f"{everyone.confidence:.0%} intervals of a table hold for all its groups together; one that excludes zero is "
        "in bold."
    )
    if len(found) > 1 and found[1][1] is complete:
        about += " Complete trials are those that no rung stopped, so their table sees the better ones only."
    height = 130 + 46 * len({gain.name for _, one in found for gain in one.gains})
    return section(
        "What each feature group is worth",
        charts.place("attribution", attribution_plot(found, spec.metric), height),
        *(_gains(label, one) for label, one in found),
        note(about),
    )


def _gains(label: str, found: Attribution) -> str:
    columns = [("group", False), ("gain", True), ("interval", True), ("with", True), ("without", True)]
    rows = [
        [
            strong(gain.name) if gain.matters else gain.name,
            f"{gain.gain:+.3g}",
            f"{gain.low:+.3g} … {gain.high:+.3g}",
            str(gain.present),
            str(gain.absent),
        ]
        for gain in found.gains
    ]
    which = numbers_text(found.trials)
    compared = f"{len(found.trials)} trials compared: {which}." if found.trials else "No trials to compare."
    head = f"<h3>{label[0].upper()}{label[1:]}</h3>"
    return head + table(columns, rows) + note(" ".join([*found.notes, compared]))


def numbers_text(trials: Sequence[int]) -> str:
    """`0–7, 9`, shortened in the middle."""
    spans: list[list[int]] = []
    for number in trials:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [str(low) if low == high else f"{low}–{high}" for low, high in spans]
    return ", ".join(texts if len(texts) <= 24 else [*texts[:20], "…", texts[-1]])


def recipes_section(records: Sequence[TrialRecord], space: Mapping[str, Any], spec: StudySpec) -> str:
    """Which recipe won; nothing where there is one."""
    found = recipe_standings(records, space, spec.direction)
    if not found:
        return ""
    about = (
        f"{winner_text(found, spec.metric)} All are measured alike, on the same objects and label draws. The best "
        "of many trials is higher than the best of few; the median is of the complete ones, which no rung stopped."
    )
    columns = [(name, name != "recipe") for name in COLUMNS]
    return section("Which recipe", table(columns, standing_rows(found)), note(about))


def fidelity_section(records: Sequence[TrialRecord], spec: StudySpec, charts: Charts) -> str:
    """Whether early values foretold final ones."""
    audit = fidelity_audit(records, spec.scheduler, spec.direction)
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
            ", ".join(f"trial {number}" for number in rung.finalists_lost),
            badge(rung.verdict, VERDICT_COLOUR[rung.verdict]),
        ]
        for rung in audit.rungs
    ]
    about = "Rank correlation of the best value until each rung with the best value of the whole trial. "
    return section(
        "Fidelity audit: was pruning safe?",
        warning(audit.warning),
        charts.place("fidelity", fidelity_plot(audit), 300),
        table(columns, rows),
        note((about if rows else "") + audit.note),
    )


def rungs_section(records: Sequence[TrialRecord], spec: StudySpec, charts: Charts) -> str:
    """Who passed where; nothing without a scheduler."""
    found = rungs(records, spec.scheduler)
    if not found:
        return ""
    columns = [("epoch", True), ("reached", True), ("passed", True), ("stopped", True), ("last bar", True)]
    rows = [
        [str(r.epoch), str(r.reached), str(r.passed), str(r.stopped), "–" if r.bar is None else f"{r.bar:.4g}"]
        for r in found
    ]
    return section("Rungs", charts.place("rungs", rungs_plot(found), 300), table(columns, rows))


def receipt_section(receipt: CostReport, charts: Charts) -> str:
    """What the study cost; nothing before it was measured."""
    if receipt.held <= 0:
        return ""
    parts = (
        ("useful", receipt.useful, "training of trials that ran to their end, or still may"),
        ("stopped", receipt.stopped, "training of trials that the scheduler ended"),
        ("failed", receipt.failed, "training that diverged, crashed or was lost"),
        ("overhead", receipt.overhead, "start-up, data, stages, checkpoints, waiting, empty slots"),
    )
    columns = [("", False), ("slot time", True), ("share", True), ("GPU-hours", True), ("what", False)]
    rows = [
        [name, clock_text(seconds), f"{seconds / receipt.held:.1%}", f"{seconds * receipt.gpus / 3600:.3g}", what]
        for name, seconds, what in parts
    ]
    rows.append([strong("held"), clock_text(receipt.held), "100%", f"{receipt.gpu_hours:.3g}", "all of the above"])
    return section("Receipt", charts.place("receipt", receipt_plot(receipt), 180), table(columns, rows))


def pareto_section(records: Sequence[TrialRecord], spec: StudySpec, charts: Charts) -> str:
    """Front and volume of several objectives; nothing for one."""
    if len(spec.vector) < 2:
        return ""
    found = pareto(records, spec.vector, spec.constraints)
    values = {record.number: values_text(record.values or {}, brief=True) for record in records}
    front = sorted((p for p in found.points if p.front), key=lambda p: p.values[found.objectives[0]])
    rows = [
        [str(p.number), *(f"{p.values[metric]:.4g}" for metric in found.objectives), values[p.number]] for p in front
    ]
    columns = [("trial", True), *((metric, True) for metric in found.objectives), ("values", False)]
    wanted = ", ".join(f"{objective.metric} {objective.direction}d" for objective in spec.vector)
    about = f"{wanted}. The volume is measured from the worst seen in each objective. " if found.points else ""
    return section(
        "Pareto front",
        charts.place("pareto", pareto_plot(found, spec.vector)),
        table(columns, rows),
        charts.place("volume", volume_plot(found), 280),
        note(about + found.note),
    )


def provenance_section(records: Sequence[TrialRecord], about: Sequence[tuple[str, str]]) -> str:
    """Where the trials' values came from, before the facts of the study."""
    kinds = Counter((r.origin.kind, r.origin.sampler) for r in records if r.origin is not None)
    rows = []
    for (kind, sampler), count in kinds.most_common():
        own = [r for r in records if r.origin is not None and (r.origin.kind, r.origin.sampler) == (kind, sampler)]
        ends = Counter(r.state for r in own)
        states = Html(" ".join(badge(f"{n} {state.lower()}", STATE_COLOUR[state]) for state, n in ends.items()))
        best = [r.best_value for r in own if r.outcome is Outcome.COMPLETE and r.best_value is not None]
        rows.append([kind, sampler, str(count), states, f"{short(min(best))} … {short(max(best))}" if best else "–"])
    columns = [("values from", False), ("sampler", False), ("trials", True), ("ended", False), ("final values", True)]
    return section("Provenance", table(columns, rows), f"<h3>Study</h3>{facts(about)}")
