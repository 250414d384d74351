"""What a person reads when a study has ended: trials, champions, and the next commands."""

import json
from typing import Any

from study.analysis.attribution import Attribution, from_confirmations, from_trials
from study.analysis.words import values_text
from study.engine.cost_report import study_receipt
from study.engine.ledger import Ledger, read_ledger
from study.record.trial_record import ranked
from study.registration.assess import Assessed
from study.registration.sweep import Request
from study.reports.console import console, table
from study.run.driver import StudyPlan, StudySummary

_SHOWN = 10


def study_facts(plan: StudyPlan, summary: StudySummary, judged: list[Assessed]) -> dict[str, Any]:
    """The same for scripts."""
    ledger = read_ledger(plan.folder)
    receipt = study_receipt(ledger)
    return {
        "study": plan.name,
        "outcomes": dict(summary.outcomes),
        "reason": summary.reason,
        "interrupted": summary.interrupted,
        "was_finished": summary.was_finished,
        "seconds": summary.seconds,
        "best": [{"trial": r.number, plan.spec.metric: r.best_value, "values": r.values} for r in summary.leaders],
        "receipt": {**receipt.model_dump(mode="json"), "held": receipt.held},
        "groups": [gain.model_dump(mode="json") for gain in _attribution(ledger).gains],
        "encoders": [item.model_dump(mode="json") for item in judged],
    }


def print_study(plan: StudyPlan, summary: StudySummary, judged: list[Assessed], request: Request) -> None:
    """Leaderboard, registered encoders with test accuracies, next commands."""
    if summary.interrupted:
        return
    if summary.was_finished:
        console.print(f"study {plan.name} is finished already; nothing was run again", soft_wrap=True)
    ledger = read_ledger(plan.folder)
    records = ranked([record for record in ledger.records() if not record.confirms], plan.spec.direction)
    rows = [
        [r.number, r.state, "-" if r.best_value is None else f"{r.best_value:.4f}", f"{r.epoch}/{r.epochs}",
         values_text(r.values or {}, brief=True)]
        for r in records[:_SHOWN]
    ]  # fmt: skip
    columns = ["trial", "outcome", plan.spec.metric, "epochs", "values"]
    table(f"{plan.name}: best of {len(records)} trials", columns, rows)
    _print_groups(_attribution(ledger), plan.spec.metric)
    if judged:
        _print_judged(judged)
    console.print("\nnext:")
    console.print("  look          make ui        (and make report: one page about this study)")
    if judged:
        champions = sorted((item.name for item in judged if item.status == "champion"), reverse=True)
        reference = f"{champions[0]}@champion" if champions else f"{judged[-1].name}@candidate"
        console.print(f"  pull          make pull MODEL={reference} TO=pulled", soft_wrap=True)
    if plan.spec.planned is not None:
        console.print(
            f"  bigger study  .venv/bin/splatsweep sweep {request.space} --pack {request.pack} --name {plan.name} "
            f"--trials {4 * plan.spec.planned}",
            soft_wrap=True,
        )


def _print_judged(judged: list[Assessed]) -> None:
    table(
        "registered models, evaluated on the test split",
        ["model", "version", "trial", "status", "found (against its baseline)"],
        [[item.name, item.version, item.trial, item.status, item.headline] for item in judged],
    )
    for item in judged:
        console.print(f"  {item.name} v{item.version}: {item.decision}", soft_wrap=True)


def _attribution(ledger: Ledger) -> Attribution:
    """What feature groups are worth: at the winner where that was confirmed, else by the trials of the search."""
    records, direction = ledger.records(), ledger.spec.direction
    space = json.loads(ledger.attrs.get("space", "{}"))
    confirmed = from_confirmations(records, space, direction)
    if confirmed is not None and confirmed.gains:
        return confirmed
    return from_trials(records, space, direction) or Attribution(source="trials")


def _print_groups(found: Attribution, metric: str) -> None:
    if not any(gain.matters for gain in found.gains):
        return  # the report has the table; nothing in it is sure
    source = "confirmed at the winner" if found.source == "confirmations" else f"by {len(found.trials)} trials"
    table(
        f"what feature groups are worth, {source}: gain in {metric}",
        ["group", "gain", "95 % interval, for all together"],
        [[gain.name, f"{gain.gain:+.3g}", f"{gain.low:+.3g} … {gain.high:+.3g}"] for gain in found.gains],
    )
