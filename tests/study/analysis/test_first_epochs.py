"""Trials that training did not help."""

from pathlib import Path

import pytest
from study_records import CONFIRMS, record

from study.analysis.first_epochs import best_at_once, first_epoch_warning, untrained_values
from study.record.metrics_file import MetricsFile
from study.spec.outcome import EpochReport, Outcome

HELPED, EARLY = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]


def test_a_trial_of_one_epoch_is_not_best_in_its_first() -> None:
    assert best_at_once(record(0, EARLY))
    assert not best_at_once(record(0, HELPED))
    assert not best_at_once(record(0, [0.3]))
    assert not best_at_once(record(0, {}, outcome=Outcome.CRASHED))


def test_the_warning_counts_both_kinds_among_trials_that_trained_on() -> None:
    records = [record(0, HELPED), record(1, EARLY), record(2, EARLY), record(3, [0.9])]
    records.append(record(4, EARLY, origin=CONFIRMS))
    assert first_epoch_warning(records[:1], {0: 0.05}, "maximize") == ""
    assert first_epoch_warning([], {}, "maximize") == ""
    said = first_epoch_warning(records, {}, "maximize")
    assert said.startswith("2 of 3 trials are best in their first epoch: pretraining did not help there; ")
    said = first_epoch_warning(records, {0: 0.3, 1: 0.05, 3: 1.0}, "maximize")
    assert "2 of 3 trials are best in their first epoch and 1 of 3 trials are never better than" in said


@pytest.mark.parametrize(("direction", "warns"), [("maximize", True), ("minimize", False)])
def test_better_than_untrained_is_in_the_direction_of_the_study(direction: str, warns: bool) -> None:
    trial = record(0, [0.5, 0.6] if direction == "maximize" else [0.6, 0.5], direction=direction)
    assert bool(first_epoch_warning([trial], {0: 0.7}, direction)) is warns


def test_untrained_values_come_from_the_metrics_files(tmp_path: Path) -> None:
    told = MetricsFile(tmp_path)
    first = EpochReport(number=0, epoch=1, epochs=2, metrics={"m": 0.5}, untrained={"m": 0.4, "other": 1.0})
    told.reported(record(0, [0.5], outcome=None), first)
    told.reported(record(1, [0.5], outcome=None), first.model_copy(update={"number": 1, "untrained": {}}))
    assert untrained_values(tmp_path, [record(0, [0.5]), record(1, [0.5]), record(2, [0.5])], "m") == {0: 0.4}
