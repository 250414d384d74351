"""How much fine-tuning is done: what is asked, and what of it fits a budget of CPU seconds.

A few steps are measured; then seeds, steps, label draws and label settings are cut, in this order, until the trainings
fit. Intervals are over label draws, so draws go after seeds. The plan holds for every encoder of an architecture on a
pack, or their controls could not be shared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from ssl_core.config import Config
from ssl_core.evaluation.fine_tune import FineTuningConfig, TrainingCosts
from ssl_core.evaluation.protocol import LabelSetting


class FineTuningBudget(Config):
    """CPU seconds for the trainings of one version; its controls may take as long once more, for all that share them.

    The larger of the two counts.
    """

    seconds: float = Field(default=45.0, gt=0)
    per_object: float = Field(default=0.1, ge=0, description="seconds for each object of the training split")

    def of(self, objects: int) -> float:
        """Seconds, with so many training objects."""
        return max(self.seconds, self.per_object * objects)


def _unset(value: FineTuningBudget | None) -> bool:
    return value is None


class FineTuningSettings(Config):
    """The whole encoder and a linear head trained with labels, beside the same from random weights."""

    label_settings: tuple[LabelSetting, ...] = Field(
        default=(LabelSetting(per_class=5, draws=3), LabelSetting()), min_length=1
    )
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="of training, per label draw")
    training: FineTuningConfig = FineTuningConfig()
    min_steps: int = Field(default=300, ge=1, description="with few labels: more epochs, until there are so many steps")
    # left out of the text when unset, so that configs of before keep their digests
    budget: FineTuningBudget | None = Field(default=None, exclude_if=_unset, description="None: all that is asked")

    def answers(self, asked: "FineTuningSettings") -> bool:
        """Whether what was measured so answers `asked`: as much of everything, within a budget that is no smaller."""
        if self.budget is not None:
            if asked.budget is None:
                return False
            mine, theirs = self.budget, asked.budget
            if mine.seconds < theirs.seconds or mine.per_object < theirs.per_object:
                return False
        mine_settings = {_amount(setting): setting.draws for setting in self.label_settings}
        enough = all(mine_settings.get(_amount(one), 0) >= one.draws for one in asked.label_settings)
        same = (self.training, self.min_steps) == (asked.training, asked.min_steps)
        return enough and same and set(asked.seeds) <= set(self.seeds)


def automatic_settings(budget: FineTuningBudget = FineTuningBudget()) -> FineTuningSettings:
    """What is measured without being asked: more label draws than the full protocol, as its interval is over them."""
    few = LabelSetting(per_class=5, draws=5)
    return FineTuningSettings(label_settings=(few, LabelSetting()), budget=budget)


class PlannedRow(Config):
    """Trainings with one amount of labels. labelled: objects that carry them."""

    setting: LabelSetting
    seeds: tuple[int, ...]
    epochs: int
    labelled: int

    @property
    def trainings(self) -> int:
        """Draws times seeds."""
        return self.setting.draws * len(self.seeds)

    def seconds(self, costs: TrainingCosts) -> float:
        """What they take."""
        return self.trainings * (self.epochs * self.labelled * costs.per_object + costs.test)


class TrainingPlan(Config):
    """All trainings of one encoder, or of its controls. cut: what was asked and is not done, in sentences."""

    rows: tuple[PlannedRow, ...]
    seconds: float = 0.0
    cut: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Level:
    """How much is cut: None stands for nothing."""

    seeds: int | None = None
    share: float = 1.0
    draws: int | None = None
    first_alone: bool = False


_LEVELS = (
    _Level(),
    _Level(2),
    _Level(1),
    _Level(1, 0.7),
    _Level(1, 0.5),
    _Level(1, 0.35),
    _Level(1, 0.35, 3),
    _Level(1, 0.25, 3),
    _Level(1, 0.5, 3, first_alone=True),
    _Level(1, 0.25, 3, first_alone=True),
)


def planned(
    settings: FineTuningSettings, labelled: Sequence[int], costs: TrainingCosts | None, seconds: float
) -> TrainingPlan | None:
    """The most that fits; None when the least does not.

    Args:
        labelled: objects with labels, of each label setting.
        costs: of steps here. None: nothing is cut.
    """
    for level in _LEVELS if costs is not None else _LEVELS[:1]:
        rows = _rows(settings, labelled, level)
        taken = sum(row.seconds(costs) for row in rows) if costs is not None else 0.0
        if taken <= seconds or costs is None:
            return TrainingPlan(rows=rows, seconds=taken, cut=_cut(_rows(settings, labelled, _Level()), rows))
    return None


def least_seconds(settings: FineTuningSettings, labelled: Sequence[int], costs: TrainingCosts) -> float:
    """What the smallest plan takes."""
    return sum(row.seconds(costs) for row in _rows(settings, labelled, _LEVELS[-1]))


def training_of(settings: FineTuningSettings, labels: int) -> FineTuningConfig:
    """The training with so many labelled objects: few of them are passed over more often."""
    training = settings.training
    steps = math.ceil(labels / training.batch_size)
    return training.model_copy(update={"epochs": max(training.epochs, math.ceil(settings.min_steps / steps))})


def _rows(settings: FineTuningSettings, labelled: Sequence[int], level: _Level) -> tuple[PlannedRow, ...]:
    rows = []
    for setting, count in zip(settings.label_settings, labelled, strict=True):
        draws = min(setting.draws, level.draws or setting.draws)
        # an interval over seeds needs two
        seeds = level.seeds if level.seeds is None or draws > 1 else max(2, level.seeds)
        epochs = math.ceil(level.share * training_of(settings, count).epochs)
        cut = setting.model_copy(update={"draws": draws})
        rows.append(PlannedRow(setting=cut, seeds=settings.seeds[:seeds], epochs=epochs, labelled=count))
    return tuple(rows[:1] if level.first_alone else rows)


def _cut(whole: Sequence[PlannedRow], rows: Sequence[PlannedRow]) -> tuple[str, ...]:
    found = []
    for place, asked in enumerate(whole):
        if place >= len(rows):
            found.append(f"{asked.setting.name}: left out")
            continue
        done = rows[place]
        parts = (
            (done.setting.draws, asked.setting.draws, "label draws"),
            (len(done.seeds), len(asked.seeds), "seeds"),
            (done.epochs, asked.epochs, "epochs"),
        )
        less = [f"{some} of {all_of} {what}" for some, all_of, what in parts if some < all_of]
        if less:
            found.append(f"{asked.setting.name}: {', '.join(less)}")
    return tuple(found)


def _amount(setting: LabelSetting) -> tuple[int | None, float | None]:
    return setting.per_class, setting.fraction
