"""A study at a glance, for people and for scripts; read from the ledger, while it runs or afterwards.

`splatsweep status --json` prints a `StudyStatus`: its attributes are the keys. Keys are only ever added; a script that
needs one that is missing reads another `format`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from registry.tracking.cursor import Cursor, read_cursor
from registry.tracking.names import STUDY_RUN
from ssl_core.config import Config
from ssl_core.training.stage_progress import stages_in_progress
from study.analysis.fidelity import RungSummary, rungs
from study.analysis.first_epochs import first_epoch_warning, untrained_values
from study.cluster.driver_lock import Holder, running_holder
from study.engine.cost_report import study_receipt
from study.engine.ledger import JOURNAL, Ledger, read_ledger
from study.engine.limits import UsageCounters
from study.record.journal import count_lines
from study.record.metrics_file import metrics_path
from study.record.trial_record import Origin, TrialRecord, Verdict, configuration_of, leaders, ranked
from study.reports.live_state import Use, budget_use, read_totals
from study.reports.verdicts import EncoderVerdict, read_verdicts
from study.spec.home import derived_root

_DIGITS = {"gpu_hours": 6}

State = Literal["running", "interrupted", "finished"]


class ReceiptStatus(Config):
    """Slot-seconds by what became of them (`study.engine.cost_report`); `held` is their sum."""

    useful: float
    stopped: float
    failed: float
    overhead: float
    held: float
    gpu_hours: float


class TrackingStatus(Config):
    """What the tracking server lacks: `waiting` lines of the journal, and why it does not take more; what it refused.

    `refusals` says of the latest values that it will never take which they are and why; `files_why` of the latest of
    the `files` that it has not taken and that the next command sends again.
    """

    waiting: int = 0
    refused: int = 0
    trouble: str = ""
    refusals: tuple[str, ...] = ()
    files: int = 0
    files_why: str = ""


class TrialStatus(Config):
    """One trial."""

    number: int  # from 0
    outcome: str  # COMPLETE, STOPPED, INFEASIBLE, DIVERGED, CRASHED or UNFINISHED
    reason: str  # why, when it is not COMPLETE
    # epochs and epochs_planned: done and to do; 0 planned: not known yet
    epochs: int
    epochs_planned: int
    # best and best_epoch: of the objective
    best: float | None
    best_epoch: int | None
    params: dict[str, Any]  # dotted config values
    seed: int | None  # of the training
    # configuration and repeat: number of the first trial with these values, and which repeat of it this is
    configuration: int
    repeat: int
    origin: Origin | None  # where the values came from
    verdicts: tuple[Verdict, ...]  # of the scheduler, in order
    vector: dict[str, float]  # objectives, constraints and costs at the best epoch
    crashes: int  # failed attempts
    # seconds and held: of training, and of holding a slot
    seconds: float
    held: float
    share: float  # of the study's resources per trial, 1 unless it ran out of memory
    run_id: str | None  # of the tracking server, None while it does not have the run
    # started and ended: local time, ISO 8601
    started: datetime | None
    ended: datetime | None
    untrained: float | None = None  # objective before the first epoch, where that was measured
    unusable: str = ""  # why a checkpoint was put aside and the trial began anew; empty if none was


class StudyStatus(Config):
    """A study."""

    format: Literal[1] = 1  # of this document
    # study and folder: name and place
    study: str
    folder: str
    state: State  # `running` (a process holds it), `finished`, or `interrupted` (the same command continues it)
    holder: Holder | None  # the process that runs it
    # metric and direction: what trials are compared by; `objectives` what the sampler is told
    metric: str
    direction: Literal["maximize", "minimize"]
    objectives: tuple[str, ...]
    identity: dict[str, Any]  # recipe, space and pack that the study belongs to; `facts` its lineage
    facts: dict[str, Any]
    # run_id and tracking_uri: of the tracking server
    run_id: str | None
    tracking_uri: str | None
    tracking: TrackingStatus  # what it has not received yet
    planned: int | None  # trials, None when other limits end the study
    budget: tuple[Use, ...]  # use of every limit
    counts: dict[str, int]  # trials by outcome
    seconds: float  # of training over all trials; `wall_seconds` under a driver
    wall_seconds: float
    receipt: ReceiptStatus  # what was held and what for
    rungs: tuple[RungSummary, ...]  # where trials were compared
    best: int | None  # number of the best trial, None before one has a value
    leaders: tuple[int, ...]  # best trials, one per configuration, whose checkpoints are kept
    warning: str = ""  # where training did not help: trials that are best in their first epoch
    stages: tuple[str, ...] = ()  # what is being made that trials wait for, and how far it is
    encoders: tuple[EncoderVerdict, ...] = ()  # registered models of the study, as they were judged when last looked at
    trials: tuple[TrialStatus, ...] = Field(default=())  # best first, then those without a value by number


def read_status(folder: Path) -> StudyStatus:
    """The study in `folder` as it stands.

    Raises:
        StudyError: no study there.
    """
    ledger = read_ledger(folder)
    records, spec, attrs = ledger.records(), ledger.spec, ledger.attrs
    kept = tuple(record.number for record in leaders(records, spec.direction, spec.top_k))
    cursor, receipt = read_cursor(folder), study_receipt(ledger)
    untrained, state = untrained_values(folder, records, spec.metric), study_state(ledger, records)
    return StudyStatus(
        study=ledger.name,
        folder=str(ledger.folder),
        state=state,
        holder=running_holder(folder),
        metric=spec.metric,
        direction=spec.direction,
        objectives=tuple(objective.metric for objective in spec.vector),
        identity=attrs.get("identity", {}),
        facts=attrs.get("facts", {}),
        run_id=cursor.runs.get(STUDY_RUN),
        tracking_uri=cursor.address or None,
        tracking=_tracking(cursor, folder),
        planned=spec.planned,
        budget=budget_status(ledger, records),
        counts=dict(Counter(record.state for record in records)),
        seconds=round(sum(record.seconds for record in records), 3),
        wall_seconds=round(read_totals(folder).seconds, 3),
        receipt=ReceiptStatus(
            **{name: round(getattr(receipt, name), _DIGITS.get(name, 3)) for name in ReceiptStatus.model_fields}
        ),
        rungs=rungs(records, spec.scheduler),
        best=kept[0] if kept else None,
        leaders=kept,
        warning=first_epoch_warning(records, untrained, spec.direction),
        stages=_stages(attrs.get("identity", {})) if state == "running" else (),
        encoders=read_verdicts(folder),
        trials=tuple(
            _trial(record, folder, cursor, untrained.get(record.number)) for record in ranked(records, spec.direction)
        ),
    )


def _stages(identity: Mapping[str, Any]) -> tuple[str, ...]:
    """What is being made of the study's data, by any process."""
    digest = str(identity.get("pack_digest", ""))
    return tuple(progress.text for progress in stages_in_progress(derived_root(), digest))


def study_state(ledger: Ledger, records: Sequence[TrialRecord]) -> State:
    """`running` (a process holds it), `finished`, or `interrupted` (the same command continues it)."""
    if running_holder(ledger.folder) is not None:
        return "running"
    unfinished = any(record.outcome is None for record in records)
    return "interrupted" if unfinished or not ledger.attrs.get("closed") else "finished"


def budget_status(ledger: Ledger, records: Sequence[TrialRecord]) -> tuple[Use, ...]:
    """Use of every limit of the study."""
    totals = read_totals(ledger.folder)
    usage = UsageCounters(ledger.spec.direction, records).usage(totals.seconds, totals.gpu_seconds)
    over = sum(record.outcome is not None and record.spends_budget for record in records)
    return tuple(budget_use(ledger.spec.limit, replace(usage, trials=over)))


def _tracking(cursor: Cursor, folder: Path) -> TrackingStatus:
    tracked = cursor.address or cursor.trouble
    return TrackingStatus(
        waiting=cursor.left(count_lines(folder / JOURNAL)) if tracked else 0,
        refused=cursor.refused,
        trouble=cursor.trouble,
        refusals=cursor.refusals,
        files=cursor.files_left,
        files_why=cursor.waiting_why,
    )


def _trial(record: TrialRecord, folder: Path, cursor: Cursor, untrained: float | None) -> TrialStatus:
    aside = metrics_path(folder, record.number).with_name("unusable.txt")
    return TrialStatus(
        number=record.number,
        outcome=record.state,
        reason=record.reason,
        epochs=record.epoch,
        epochs_planned=record.epochs,
        best=record.best_value,
        best_epoch=record.best_epoch,
        params=record.values or {},
        seed=record.seed,
        configuration=configuration_of(record),
        repeat=record.repeat,
        origin=record.origin,
        verdicts=record.verdicts,
        vector=record.vector,
        crashes=record.crashes,
        seconds=record.seconds,
        held=record.held,
        share=record.share,
        run_id=cursor.run_of(record.number),
        started=record.started,
        ended=record.ended,
        untrained=untrained,
        unusable=aside.read_text(errors="replace").strip() if aside.is_file() else "",
    )
