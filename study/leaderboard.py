"""What a person reads when a study has ended: trials, champions, and the next commands."""

from typing import Any

from study.assess import Assessed
from study.console import console, table
from study.driver import StudyPlan, StudySummary
from study.ledger import read_ledger
from study.running import Request
from study.trial_record import ranked

_SHOWN = 10


def study_facts(plan: StudyPlan, summary: StudySummary, judged: list[Assessed]) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "study": plan.name,
        "outcomes": dict(summary.outcomes),
        "reason": summary.reason,
        "interrupted": summary.interrupted,
        "was_finished": summary.was_finished,
        "seconds": summary.seconds,
        "best": [{"trial": r.number, plan.spec.metric: r.best_value, "values": r.values} for r in summary.leaders],
        "encoders": [item.model_dump(mode="json") for item in judged],
    }


def print_study(plan: StudyPlan, summary: StudySummary, judged: list[Assessed], request: Request) -> None:
    """Leaderboard, registered encoders with test accuracies, next commands."""
    if summary.interrupted:
        return
    if summary.was_finished:
        console.print(f"study {plan.name} is finished already; nothing was run again", soft_wrap=True)
    records = ranked(read_ledger(plan.folder).records(), plan.spec.direction)
    rows = [
        [r.number, r.state, "-" if r.best_value is None else f"{r.best_value:.4f}", f"{r.epoch}/{r.epochs}",
         ", ".join(f"{key.split('.', 1)[-1]}={_short(value)}" for key, value in (r.values or {}).items())]
        for r in records[:_SHOWN]
    ]  # fmt: skip
    columns = ["trial", "outcome", plan.spec.metric, "epochs", "values"]
    table(f"{plan.name}: best of {len(records)} trials", columns, rows)
    table(
        "registered encoders, test split: linear SVM at 5 labels per class",
        ["encoder", "version", "trial", "status", "accuracy (against random twin)"],
        [[item.name, item.version, item.trial, item.status, item.headline] for item in judged],
    )
    for item in judged:
        console.print(f"  {item.name} v{item.version}: {item.decision}", soft_wrap=True)
    champions = sorted((item.name for item in judged if item.status == "champion"), reverse=True)
    reference = f"{champions[0]}@champion" if champions else f"{judged[-1].name}@candidate"
    larger = 4 * (plan.spec.planned or 8)
    console.print("\nnext:")
    console.print("  look          make ui        (and make report: one page about this study)")
    console.print(f"  pull          make pull MODEL={reference} TO=pulled", soft_wrap=True)
    console.print(
        f"  bigger study  .venv/bin/splatsweep sweep {request.space} --pack {request.pack} --name {plan.name} "
        f"--trials {larger}",
        soft_wrap=True,
    )


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "+".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
