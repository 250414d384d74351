"""What a study is to run, what it may ask of its pack, and how it stands when its driver leaves it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.tracking.cursor import read_cursor
from registry.tracking.names import STUDY_RUN
from search_spaces.parameter import Choice
from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError, InfeasibleError
from study.engine.ledger import Ledger, StudyIdentity
from study.record.trial_record import TrialRecord, leaders
from study.spec.study_spec import StudySpec
from study.spec.trial_request import CheckValues, OpenSession


@dataclass(frozen=True)
class StudyPlan:
    """What to run and where."""

    name: str  # of the study, also of its folder
    folder: Path  # `<home>/studies/<name>`, absolute; on storage that all workers see
    pack_digest: str  # of the data; a study belongs to one data set
    # spec and space: how and what to search
    spec: StudySpec
    space: SearchSpace
    open_session: OpenSession  # builds a trial's session in a worker; picklable
    check: CheckValues | None = None  # refuses configurations before they cost a worker
    facts: Mapping[str, str] = field(default_factory=dict)  # lineage for tags, for example revision and pack path
    recipe_digest: str = ""  # of the source of a recipe of the user's own; empty for ours

    @property
    def identity(self) -> StudyIdentity:
        """What must not change between invocations."""
        return StudyIdentity(
            name=self.name,
            recipe=self.space.recipe,
            space_digest=self.space.digest,
            pack_digest=self.pack_digest,
            recipe_digest=self.recipe_digest,
        )


def check_choices(space: SearchSpace, check: CheckValues) -> None:
    """Refuse a space that offers what the pack can never serve, such as a feature group it lacks.

    Each value of each choice is tried alone on top of the base config; combinations that fail only together are
    left to the trials, which end INFEASIBLE with their reason.

    Args:
        space: the study's.
        check: raises InfeasibleError for values that the pack cannot serve.

    Raises:
        InfeasibleError: naming every such value, the reason, and the remedy.
    """
    refused = [
        f"{parameter.key}={value}: {reason}"
        for parameter in space.parameters
        if isinstance(parameter.domain, Choice)
        for value in parameter.domain.values
        for values in space.alone(parameter, value)
        if (reason := _refusal(check, values))
    ]
    if refused:
        raise InfeasibleError(
            f"{space.source}: the pack cannot serve {len(refused)} of the choices: {'; '.join(refused)}. "
            "Take them out of the space, or make a pack that can"
        )


def _refusal(check: CheckValues, values: Mapping[str, Any]) -> str:
    try:
        check(values)
    except InfeasibleError as error:
        return str(error)
    except ConfigError:
        return ""  # wrong alone, perhaps right with the values that go with it
    return ""


@dataclass(frozen=True)
class StudySummary:
    """How a study stands when its driver leaves it."""

    name: str
    folder: Path
    outcomes: Mapping[str, int]  # count by outcome, unfinished ones under UNFINISHED
    # the best trials, best first, whose checkpoints are under `folder/trials/<number>/best`
    leaders: tuple[TrialRecord, ...]
    reason: str  # why no more trials were started
    interrupted: bool = False  # a signal ended it; the same command continues
    was_finished: bool = False  # nothing was left to do, and nothing was done
    run_id: str | None = None  # of the parent MLflow run, None without a run log
    seconds: float = 0.0


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
