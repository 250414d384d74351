"""Why a trial is what it is: where its values came from, what was known then, and what ended it.

Everything is read from the journal. What the sampler had seen is not stored with the trial: the journal is followed
up to the line in which the trial was asked for, and what was known there is told.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ssl_core.config import Config
from ssl_core.errors import StudyError
from study.engine.history import History, existing_journal, read_history
from study.record.journal_lines import Op
from study.record.trial_record import Origin, TrialRecord, Verdict
from study.spec.outcome import Outcome, better


class Seen(Config):
    """A configuration that the sampler knew."""

    source: str  # `trial 12`, or the study and trial of an earlier study
    number: int | None = None  # the trial, None for one of an earlier study
    told: str  # COMPLETE, PRUNED (stopped or diverged), FAIL (nothing was learnt) or RUNNING
    values: tuple[float, ...] | None = None  # told objectives
    progress: dict[int, float] = Field(default_factory=dict)  # epoch -> best value of a stopped one
    params: dict[str, Any] = Field(default_factory=dict)  # its values in Optuna's terms


class Sibling(Config):
    """Another trial of the same configuration."""

    number: int
    repeat: int
    state: str
    seed: int | None
    best: float | None


class Explanation(Config):
    """A trial, explained."""

    study: str
    trial: TrialRecord  # its record
    metric: str  # what it was judged by
    direction: str  # of it
    origin: Origin | None  # where its values came from; None in a journal that another program wrote
    seen: tuple[Seen, ...] = ()  # what the sampler knew, best first; empty for values that no sampler chose
    siblings: tuple[Sibling, ...] = ()  # trials of the same configuration, itself left out
    verdicts: tuple[Verdict, ...] = ()  # of the scheduler, in order
    attempts: int = 1  # starts so far
    standing: int | None = None  # its place among the trials that have a value, 1 for the best
    comparable: int = 0  # how many those are
    # `ended`, or what an unfinished trial waits for
    phase: Literal["ended", "not started or not yet reported", "running, or to be continued"] = "ended"


def explain(folder: Path, number: int) -> Explanation:
    """Explain a trial of a study.

    Raises:
        StudyError: no such study, or no such trial; the text says which there are.
    """
    history = read_history(folder)
    records = history.records()
    by_number = {record.number: record for record in records}
    if number not in by_number:
        there = f"it has 0 .. {max(by_number)}" if by_number else "it has none yet"
        raise StudyError(f"study '{history.state.name}' has no trial {number}; {there}")
    record = by_number[number]
    others = [by_number[other] for other in history.trials_of(history.configuration(number)) if other != number]
    standing, comparable = _standing(record, records, history.spec.direction)
    return Explanation(
        study=history.state.name or folder.name,
        trial=record,
        metric=history.spec.metric,
        direction=history.spec.direction,
        origin=record.origin,
        seen=_seen(folder, record),
        siblings=tuple(
            Sibling(number=r.number, repeat=r.repeat, state=r.state, seed=r.seed, best=r.best_value) for r in others
        ),
        verdicts=record.verdicts,
        attempts=_attempts(record),
        standing=standing,
        comparable=comparable,
        phase=_phase(record),
    )


def _seen(folder: Path, record: TrialRecord) -> tuple[Seen, ...]:
    if record.origin is None or record.origin.kind not in ("startup", "sampler"):
        return ()
    journal = existing_journal(folder)
    history = History(journal.path, follow_sampler=True)
    for line in journal.read():
        if line["op_code"] == Op.CREATE_TRIAL and len(history.state.trials) == record.number:
            break
        history.apply(line)
    direction = history.spec.vector[0].direction
    entries = [
        Seen(
            source=entry.user_attrs.get("from") or f"trial {entry.user_attrs['number']}",
            number=entry.user_attrs.get("number"),
            told=entry.state.name,
            values=None if entry.values is None else tuple(entry.values),
            progress=dict([*entry.intermediate_values.items()][-1:]) if entry.values is None else {},
            params=dict(entry.params),
        )
        for entry in history.view.storage.entries
    ]
    return tuple(sorted(entries, key=lambda entry: _place(entry, direction)))


def _place(entry: Seen, direction: str) -> tuple[int, float]:
    order = {"COMPLETE": 0, "PRUNED": 1, "RUNNING": 2}.get(entry.told, 3)
    value = entry.values[0] if entry.values else next(iter(entry.progress.values()), None)
    return (order, float("inf") if value is None else -value if direction == "maximize" else value)


def _standing(record: TrialRecord, records: list[TrialRecord], direction: str) -> tuple[int | None, int]:
    comparable = [r for r in records if r.outcome and r.outcome.has_value and r.best_value is not None]
    if record not in comparable or record.best_value is None:
        return None, len(comparable)
    ahead = sum(r.best_value is not None and better(r.best_value, record.best_value, direction) for r in comparable)
    return 1 + ahead, len(comparable)


def _attempts(record: TrialRecord) -> int:
    """A crash ends an attempt; the last one did not crash unless that is how the trial ended."""
    return record.crashes + (0 if record.outcome is Outcome.CRASHED and record.crashes else 1)


def _phase(record: TrialRecord) -> Literal["ended", "not started or not yet reported", "running, or to be continued"]:
    if record.outcome is not None:
        return "ended"
    return "running, or to be continued" if record.curve else "not started or not yet reported"
