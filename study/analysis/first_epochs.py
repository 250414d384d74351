"""Whether training helped at all: trials that are best in their first epoch, or never better than untrained."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from study.record.metrics_file import read_untrained
from study.record.trial_record import TrialRecord
from study.spec.outcome import better

ADVICE = "lower the learning rate, or try another loss, recipe or more data"


def best_at_once(record: TrialRecord) -> bool:
    """Whether a trial trained on and never got better than in its first epoch."""
    return record.epoch > 1 and record.best_epoch is not None and record.best_epoch == min(record.curve)


def untrained_values(folder: Path, records: Sequence[TrialRecord], metric: str) -> dict[int, float]:
    """What the untrained models of each trial scored in a metric, by number, where that was measured."""
    found = {record.number: read_untrained(folder, record.number).get(metric) for record in records}
    return {number: value for number, value in found.items() if value is not None}


def first_epoch_warning(records: Sequence[TrialRecord], untrained: Mapping[int, float], direction: str) -> str:
    """A sentence where training did not help, empty where it did.

    Args:
        untrained: of `untrained_values`.
    """
    trained = [r for r in records if r.epoch > 1 and r.best_value is not None and not r.confirms]
    early = sum(best_at_once(record) for record in trained)
    never = sum(
        not better(record.best_value, untrained[record.number], direction)
        for record in trained
        if record.best_value is not None and record.number in untrained
    )
    if not early and not never:
        return ""
    kinds = ((early, "best in their first epoch"), (never, "never better than their untrained models"))
    said = " and ".join(f"{count} of {len(trained)} trials are {what}" for count, what in kinds if count)
    return f"{said}: pretraining did not help there; {ADVICE}"
