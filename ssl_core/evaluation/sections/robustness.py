"""Robustness: one SVM, fitted on clean features of all labelled objects, on test objects that were disturbed."""

from collections.abc import Callable
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from registry.evaluation.features import FeatureSource, pool
from registry.evaluation.probing import Features, labelled
from registry.evaluation.protocol import RobustnessSettings
from registry.evaluation.section_reports import RobustnessRow
from registry.evaluation.sections.subject import Found, LeftOutError, Subject
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.probes import linear_svm
from ssl_core.evaluation.robustness import Disturbance, DroppedPoints, FewerViews, Jitter, Turn, fewer_views
from ssl_core.evaluation.statistics import bootstrap_mean, paired_bootstrap
from ssl_core.evaluation.together import disturbed_point_features
from ssl_core.models.encoder import PointsContract


def measure_robustness(subject: Subject, settings: RobustnessSettings, found: Found) -> tuple[RobustnessRow, ...]:
    """One row per disturbance of the encoder's modality; points of the first draw, views by their maximum.

    Raises:
        LeftOutError: none of the disturbances is of this modality.
    """
    n = len(subject.labels.train)
    clean = _clean(subject)
    variants: list[tuple[str, Features]] = []
    for disturbance in settings.disturbances:
        try:
            features = _disturbed(subject, disturbance)
        except InfeasibleError as error:
            found.left_out.append(f"{disturbance.name}: {error}")
            continue
        if features is not None:
            variants.append((disturbance.name, features))
    if not variants:
        raise LeftOutError("no disturbance that was asked for applies to this encoder on this pack")
    correct = _correct(subject, clean[:n], [clean[n:], *(features for _, features in variants)])
    confidence = subject.config.confidence
    return tuple(
        RobustnessRow(
            disturbance=name,
            accuracy=bootstrap_mean(disturbed, confidence=confidence),
            loss=paired_bootstrap(correct[0], disturbed, confidence=confidence),
        )
        for (name, _), disturbed in zip(variants, correct[1:], strict=True)
    )


def _clean(subject: Subject) -> Features:
    """[objects, F] of train then test objects."""
    if subject.raw.views is None:
        return subject.raw.points[0]
    return pool(subject.raw.views, np.arange(subject.raw.views.shape[1]), "max")


def _disturbed(subject: Subject, disturbance: Disturbance) -> Features | None:
    """[test objects, F]; None where the disturbance is of the other modality or leaves everything as it is."""
    views = subject.raw.rows(slice(len(subject.labels.train), None)).views
    match disturbance:
        case FewerViews():
            if views is None or disturbance.views >= views.shape[1]:
                return None
            rng = np.random.default_rng([41, subject.config.draw_seed, disturbance.views])
            kept = fewer_views(views, disturbance, rng)
            return pool(kept, np.arange(kept.shape[1]), "max")
        case DroppedPoints() | Jitter() | Turn():
            if not isinstance(subject.source.contract, PointsContract):
                return None
            source = subject.test_source()
            return source.recall(
                f"points {subject.config.point_number(0)}, {disturbance.to_json()}",
                subject.encoder,
                subject.identity,
                _points(subject, source, disturbance),
            )
        case _:
            assert_never(disturbance)


def _points(
    subject: Subject, source: FeatureSource, disturbance: DroppedPoints | Jitter | Turn
) -> Callable[[], Features]:
    number = subject.config.point_number(0)

    def compute() -> Features:
        sampler = subject.source.sampler()
        return disturbed_point_features(
            [subject.encoder], source.pack, source.objects, number, disturbance, sampler=sampler
        )[0]

    return compute


def _correct(subject: Subject, train: Features, tests: list[Features]) -> list[NDArray[np.float64]]:
    """Per variant of the test objects, [test objects] 1 where the one SVM was right, mean over label draws."""
    labels, config, setting = subject.labels, subject.config, subject.most_labels
    count = len(labels.test)
    right = np.zeros(len(tests) * count)
    truth = np.tile(labels.test, len(tests))
    for draw in range(setting.draws):
        chosen = labelled(labels, setting, config, draw)
        result = linear_svm(train[chosen], labels.train[chosen], np.concatenate(tests), truth, C=config.svm_c)
        right += result.predictions == truth
    return list((right / setting.draws).reshape(len(tests), count))
