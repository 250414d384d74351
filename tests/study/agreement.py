"""Do ledger, Optuna and MLflow tell the same story?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from registry.tracking.cursor import read_cursor
from registry.tracking.names import STUDY_RUN
from registry.tracking.run_log import RunLog
from study.engine.ledger import JOURNAL, read_ledger
from study.record.trial_record import TrialRecord
from study.run.study_source import STATUS

Run = tuple[str, dict[str, str], dict[str, float]]
"""Status, tags and last metrics."""


def study_run_of(folder: Path) -> str:
    """Id of the study's run."""
    return read_cursor(folder).runs[STUDY_RUN]


def runs_of(log: RunLog, study_run_id: str) -> dict[int, Run]:
    """By trial number; asserts that no trial has two runs."""
    found = log.client.search_runs(
        [log.connection.experiment_id], f"tags.`mlflow.parentRunId` = '{study_run_id}'", max_results=1000
    )
    numbers = [int(run.data.tags["splatsweep.trial"]) for run in found]
    assert len(set(numbers)) == len(numbers), "a trial has two runs"
    return {n: (r.info.status, r.data.tags, r.data.metrics) for n, r in zip(numbers, found, strict=True)}


def running_in(runs: Mapping[int, Run]) -> list[int]:
    """Trials whose run says that it goes on."""
    return [number for number, (status, *_rest) in runs.items() if status == "RUNNING"]


def optuna_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """As Optuna itself reads the journal."""
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    (study,) = storage.get_all_studies()
    return optuna.load_study(study_name=study.study_name, storage=storage).trials


def assert_agreement(folder: Path, log: RunLog) -> None:
    """Ledger, Optuna and MLflow tell the same story, and nothing is left running in any of them."""
    ledger = read_ledger(folder)
    records = ledger.records()
    study_run = study_run_of(folder)
    runs, trials = runs_of(log, study_run), optuna_trials(folder)
    assert set(runs) == {record.number for record in records} == set(range(len(records)))
    assert len(trials) == len(records)
    assert running_in(runs) == []
    for record in records:
        status, tags, metrics = runs[record.number]
        assert record.outcome is not None
        assert trials[record.number].state.is_finished()
        assert status == STATUS[record.outcome]
        assert tags["splatsweep.outcome"] == record.outcome.value
        assert tags["splatsweep.reason"] == record.reason
        if record.best_value is not None:
            assert metrics["objective"] == pytest.approx(record.best_value)
    assert log.client.get_run(study_run).info.status in ("FINISHED", "FAILED")


STORY = ("number", "params", "values", "seed", "outcome", "reason", "curve", "epochs", "verdicts", "origin")


def story(record: TrialRecord) -> dict[str, Any]:
    """What became of a trial and why, without times and crashes."""
    return {name: getattr(record, name) for name in STORY}
