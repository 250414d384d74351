"""Fine-tuning with its control: encoder and a linear head learn from the labelled objects, from the encoder's weights
and from random ones.

What frozen probes cannot say: whether the pretrained weights are a better place to start from than random ones. What
is trained of which encoder, and what its control is, says `ssl_core.evaluation.learner`; how much is done within a
budget, `ssl_core.evaluation.fine_tuning_plan`.

Label draws and seeds are crossed; a seed decides the head, the order of the objects and, of the control, all weights.
The draws are those of the probes, so a row can be read beside the linear SVM of the same labels. What each training
found is kept, so that one that was cut short goes on, and encoders of an architecture share their control.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.config import Config, short_digest
from ssl_core.evaluation.extract import ExtractionLog, FeatureCache, FeatureKey, Features, indices_digest
from ssl_core.evaluation.features import FeatureSource
from ssl_core.evaluation.fine_tune import FineTuningConfig, TrainingCosts, fine_tune, measured_costs
from ssl_core.evaluation.fine_tuning_plan import (
    FineTuningSettings,
    PlannedRow,
    TrainingPlan,
    least_seconds,
    planned,
)
from ssl_core.evaluation.learner import Learner, LearnerPair, Trained, pair_of, trainings_source
from ssl_core.evaluation.probe_grid import labelled
from ssl_core.evaluation.report import Table
from ssl_core.evaluation.statistics import Interval, paired_intervals
from ssl_core.evaluation.task_contract import Found, LeftOutError, Section, Subject, plain
from ssl_core.models.modes import device_of

_STEPS = 100
"""of `EvaluationProgress`, for the whole section"""


class FineTuningRow(Config):
    """The whole encoder trained with labels, from its own weights and from random ones, test accuracies."""

    labels: str
    runs: int
    """trainings behind each mean: label draws times seeds"""
    epochs: int
    accuracy: Interval
    scratch: Interval
    gain: Interval
    """fine-tuned minus from scratch, over the same labels and seeds"""
    over: Literal["label draws", "seeds", "test objects"]
    """seeds: reports of before"""
    trained: Trained = "encoder"


def words(rows: Sequence[FineTuningRow]) -> str:
    """For example `fine-tuned, 5 per class: 78.1 ± 3.0 % (from scratch 70.2 ± 4.1, gain +7.9 ± 2.2)`; a row each."""
    return "; ".join(
        f"fine-tuned, {row.labels}: {row.accuracy.percent()} % "
        f"(from scratch {row.scratch.percent()}, gain {row.gain.percent(signed=True)})"
        for row in rows
    )


@dataclass
class _Trainings:
    """Makes the trainings of a plan, or finds them where they were kept."""

    subject: Subject
    settings: FineTuningSettings
    compared: LearnerPair
    source: FeatureSource
    total: float = 1.0
    done: float = 0.0
    told: int = field(default=0)

    def correct(self, learner: Learner, chosen: NDArray[np.int64], config: FineTuningConfig, seed: int) -> Features:
        """[test objects] 1 where the trained model was right."""
        subject, before = self.subject, self.done

        def compute() -> Features:
            shape = (learner.width, subject.labels.classes)
            data = self.compared.data(chosen, config, seed)
            found = fine_tune(learner.start(seed), shape, data, config, seed, lambda: self._step(len(chosen)))
            return np.asarray(found.predictions == subject.labels.test, dtype=np.float32)[:, None]

        what = f"trained {config.digest()} {indices_digest(chosen)} {seed}"
        found = self.source.recall(what, subject.encoder, learner.identity, compute)
        self.done = before + config.epochs * len(chosen)
        self._step(0)
        return found[:, 0]

    def _step(self, objects: int) -> None:
        """So many objects were trained on."""
        self.done += objects
        due = min(_STEPS, int(_STEPS * self.done / self.total))
        if due > self.told:
            self.subject.steps.step(due - self.told)
            self.told = due


def _measure(subject: Subject, settings: FineTuningSettings, found: Found) -> tuple[FineTuningRow, ...]:
    compared, source = pair_of(subject), trainings_source(subject.source)
    plan = _plan(subject, settings, compared, source.cache)
    if plan.cut:
        found.left_out.append(f"to stay within {_budget(subject, settings):.0f} s of CPU, " + "; ".join(plan.cut))
    trainings = _Trainings(subject, settings, compared, source, total=_objects(plan))
    return tuple(_row(trainings, row) for row in plan.rows)


def _plan(
    subject: Subject, settings: FineTuningSettings, compared: LearnerPair, cache: FeatureCache | None
) -> TrainingPlan:
    """What fits, as it was found for the first encoder of the architecture, whose control the others share."""
    counts = [len(labelled(subject.labels, setting, subject.config, 0)) for setting in settings.label_settings]
    if settings.budget is None:
        whole = planned(settings, counts, None, 0.0)
        assert whole is not None
        return whole

    seconds, costs = _budget(subject, settings), _costs(subject, settings, compared, cache)
    plan = planned(settings, counts, costs, seconds)
    if plan is None:
        least = least_seconds(settings, counts, costs)
        raise LeftOutError(f"the least of it takes about {least:.0f} s of CPU, and its budget is {seconds:.0f} s")
    return plan


def _costs(
    subject: Subject, settings: FineTuningSettings, compared: LearnerPair, cache: FeatureCache | None
) -> TrainingCosts:
    """Measured once for all that share a control: from the same costs follows the same plan."""

    def measure() -> Features:
        first = labelled(subject.labels, settings.label_settings[0], subject.config, 0)
        data = compared.data(first, settings.training, 0)
        shape, tests = (compared.own.width, subject.labels.classes), len(subject.labels.test)
        costs = measured_costs(compared.own.start(0), shape, data, settings.training, tests)
        return np.array([[costs.per_object, costs.test]], dtype=np.float32)

    if cache is None or not compared.control.identity:
        found = measure()
    else:
        key = FeatureKey(
            encoder=compared.control.identity,
            contract=subject.card.contract.digest(),
            pack=subject.pack.manifest.pack_digest,
            objects=indices_digest(subject.source.objects),
            what=f"costs of {settings.digest()}",
            device=device_of(subject.encoder).type,
        )
        found = cache.recall(key, measure, ExtractionLog())
    return TrainingCosts(*map(float, found[0]))


def _budget(subject: Subject, settings: FineTuningSettings) -> float:
    return 0.0 if settings.budget is None else settings.budget.of(len(subject.labels.train))


def _objects(plan: TrainingPlan) -> float:
    """Objects that encoder and control are trained on, epochs counted."""
    return float(max(1, sum(2 * row.trainings * row.epochs * row.labelled for row in plan.rows)))


def _row(trainings: _Trainings, planned_row: PlannedRow) -> FineTuningRow:
    subject, setting, seeds = trainings.subject, planned_row.setting, planned_row.seeds
    training = trainings.settings.training.model_copy(update={"epochs": planned_row.epochs})
    places = list(product(range(setting.draws), seeds))
    draws = {draw: labelled(subject.labels, setting, subject.config, draw) for draw in range(setting.draws)}
    compared, start = trainings.compared, training.from_scratch()
    tuned = [trainings.correct(compared.own, draws[draw], training, seed) for draw, seed in places]
    # encoders that are evaluated at the same time begin with another training of their shared control each
    turn = int(short_digest(compared.own.identity), 16) % len(places)
    controls = {
        (draw, seed): trainings.correct(compared.control, draws[draw], start, seed)
        for draw, seed in (*places[turn:], *places[:turn])
    }
    shape = (setting.draws, len(seeds), len(subject.labels.test))
    a, b = np.reshape(tuned, shape), np.reshape([controls[place] for place in places], shape)
    # with one draw over test objects: two or three seeds alone say ±0 where they happen to agree, and ±50 where not
    over = "label draws" if len(a) > 1 else "test objects"
    mine, control = (each.reshape(len(each), -1) if len(each) > 1 else each.mean(axis=1) for each in (a, b))
    accuracy, from_scratch, gain = paired_intervals(mine, control, subject.config.confidence)
    return FineTuningRow.model_validate(
        {"labels": setting.name, "runs": len(tuned), "epochs": training.epochs, "trained": compared.trained}
        | {"accuracy": accuracy, "scratch": from_scratch, "gain": gain, "over": over}
    )


def _table(rows: tuple[FineTuningRow, ...]) -> Table:
    heads = ["labels", "trainings", "fine-tuned", "from scratch", "gain", "interval over"]
    cells = [
        [
            *(row.labels, str(row.runs)),
            *(row.accuracy.percent(), row.scratch.percent(), row.gain.percent(signed=True)),
            row.over,
        ]
        for row in rows
    ]
    part = "of the whole encoder" if rows[0].trained == "encoder" else "of the read-out, its network left as it is"
    return f"Fine-tuning {part}, %", heads, cells


def _metrics(rows: tuple[FineTuningRow, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        place = f"fine_tuning/{plain(row.labels)}"
        found |= {place: row.accuracy.mean, f"{place}/scratch": row.scratch.mean, f"{place}/gain": row.gain.mean}
        if np.isfinite(row.gain.half_width):
            found[f"{place}/gain_half_width"] = row.gain.half_width
    return found


def _steps(settings: FineTuningSettings) -> int:
    return _STEPS


FINE_TUNING = Section("fine_tuning", _steps, _measure, _table, _metrics)
