"""Fine-tuning with its control: the same training, from the encoder's weights and from random ones.

Label draws and seeds are crossed; a seed decides the head, the order of the objects and, of the control, all weights.
The draws are those of the probes, so a row can be read beside the linear SVM of the same labels.
"""

import math

import numpy as np
from numpy.typing import NDArray

from registry.evaluation.probing import labelled
from registry.evaluation.protocol import FineTuningSettings, LabelSetting
from registry.evaluation.section_reports import FineTuningRow
from registry.evaluation.sections.subject import LeftOutError, Subject
from ssl_core.evaluation.fine_tuning import FineTuningConfig, fine_tune
from ssl_core.evaluation.statistics import (
    Interval,
    bootstrap_mean,
    mean_interval,
    paired_bootstrap,
    paired_difference,
)
from ssl_core.evaluation.supervised_data import supervised_data
from ssl_core.models.encoder import Encoder, PointsContract


def measure_fine_tuning(subject: Subject, settings: FineTuningSettings) -> tuple[FineTuningRow, ...]:
    """One row per label setting.

    Raises:
        LeftOutError: the architecture cannot be built with random weights, so there is no control.
        DivergedError: a training diverged.
    """
    if subject.fresh is None:
        raise LeftOutError("there is no control: the architecture cannot be built with random weights here")
    return tuple(_row(subject, settings, setting) for setting in settings.label_settings)


def _row(subject: Subject, settings: FineTuningSettings, setting: LabelSetting) -> FineTuningRow:
    assert subject.fresh is not None
    tuned, scratch = [], []
    for draw in range(setting.draws):
        chosen = labelled(subject.labels, setting, subject.config, draw)
        config = training_of(settings, len(chosen))
        for seed in settings.seeds:
            tuned.append(_correct(subject, subject.encoder, chosen, config, seed))
            scratch.append(_correct(subject, subject.fresh(seed), chosen, config.from_scratch(), seed))
    shape = (setting.draws, len(settings.seeds), len(subject.labels.test))
    accuracy, control, gain, over = _intervals(
        np.reshape(tuned, shape), np.reshape(scratch, shape), subject.config.confidence
    )
    return FineTuningRow.model_validate(
        {"labels": setting.name, "runs": len(tuned), "epochs": config.epochs}
        | {"accuracy": accuracy, "scratch": control, "gain": gain, "over": over}
    )


def training_of(settings: FineTuningSettings, labels: int) -> FineTuningConfig:
    """The training with so many labelled objects: few of them are passed over more often."""
    training = settings.training
    steps = math.ceil(labels / training.batch_size)
    return training.model_copy(update={"epochs": max(training.epochs, math.ceil(settings.min_steps / steps))})


def _correct(
    subject: Subject, encoder: Encoder, chosen: NDArray[np.int64], config: FineTuningConfig, seed: int
) -> NDArray[np.float64]:
    """[test objects] 1 where the trained encoder was right."""
    points = isinstance(subject.source.contract, PointsContract)
    data = supervised_data(
        subject.pack,
        subject.source.contract,
        subject.train[chosen],
        subject.test,
        config,
        seed,
        sampler=subject.source.sampler() if points else None,
    )
    found = fine_tune(encoder, subject.labels.classes, data, config, seed)
    right: NDArray[np.float64] = (found.predictions == subject.labels.test).astype(np.float64)
    return right


def _intervals(
    a: NDArray[np.float64], b: NDArray[np.float64], confidence: float
) -> tuple[Interval, Interval, Interval, str]:
    """Of `a`, `b` and `a - b`, [label draws, seeds, test objects]: over draws of labels, else seeds, else objects."""
    for axis, over in ((0, "label draws"), (1, "seeds")):
        if a.shape[axis] > 1:
            others = tuple(other for other in range(3) if other != axis)
            x, y = a.mean(axis=others), b.mean(axis=others)
            both = mean_interval(x, confidence), mean_interval(y, confidence)
            return *both, paired_difference(x, y, confidence), over
    x, y = a[0, 0], b[0, 0]
    both = bootstrap_mean(x, confidence=confidence), bootstrap_mean(y, confidence=confidence)
    return *both, paired_bootstrap(x, y, confidence=confidence), "test objects"
