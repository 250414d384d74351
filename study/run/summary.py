"""How a study stands when its driver leaves it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.tracking.cursor import read_cursor
from registry.tracking.names import STUDY_RUN
from study.engine.ledger import Ledger
from study.record.trial_record import TrialRecord, leaders


@dataclass(frozen=True)
class StudySummary:
    """How a study stands when `run_study` returns.

    Attributes:
        outcomes: count by outcome, unfinished ones under UNFINISHED.
        leaders: the best trials, best first, whose checkpoints are under `folder/trials/<number>/best`.
        reason: why no more trials were started.
        interrupted: a signal ended it; the same command continues.
        was_finished: nothing was left to do, and nothing was done.
        run_id: of the parent MLflow run, None without a run log.
    """

    name: str
    folder: Path
    outcomes: Mapping[str, int]
    leaders: tuple[TrialRecord, ...]
    reason: str
    interrupted: bool = False
    was_finished: bool = False
    run_id: str | None = None
    seconds: float = 0.0

    @property
    def best(self) -> TrialRecord | None:
        """The winner."""
        return self.leaders[0] if self.leaders else None


def summary_of(ledger: Ledger, reason: str, *, interrupted: bool, was_finished: bool, seconds: float) -> StudySummary:
    """The summary of a study as its ledger has it."""
    records, spec = ledger.records(), ledger.spec
    return StudySummary(
        name=ledger.name,
        folder=ledger.folder,
        outcomes=dict(Counter(record.state for record in records)),
        leaders=tuple(leaders(records, spec.direction, spec.top_k)),
        reason=reason,
        interrupted=interrupted,
        was_finished=was_finished,
        run_id=read_cursor(ledger.folder).runs.get(STUDY_RUN),
        seconds=seconds,
    )


def nothing_finished(ledger: Ledger) -> str:
    """Why there is no result: the outcomes, and the most frequent reason."""
    records = ledger.records()
    if not records:
        return f"no trial of study '{ledger.name}' began before its time was used; give it more time"
    counts = Counter(record.state for record in records)
    reasons = Counter(record.reason for record in records if record.reason)
    most = reasons.most_common(1)
    why = f"; mostly: {most[0][0]}" if most else ""
    listed = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"no trial of study '{ledger.name}' finished ({listed}){why}; mend that and use another --name"
