"""Novel views: the SVM that learnt from the pack's own views, asked about renderings from other cameras.

Beside them stand as many of the objects' own views, so that the difference is not one of their number. Where the pack's
views were not rendered from its Gaussians, the difference holds the change of the renderer too.
"""

import numpy as np
from numpy.typing import NDArray

from registry.evaluation.features import pool, view_subsets
from registry.evaluation.probing import Features, labelled
from registry.evaluation.protocol import LabelSetting, NovelViewSettings
from registry.evaluation.section_reports import NovelViewRow
from registry.evaluation.sections.subject import LeftOutError, Subject
from ssl_core.evaluation.novel_views import novel_views
from ssl_core.evaluation.probes import linear_svm
from ssl_core.evaluation.statistics import (
    Interval,
    bootstrap_mean,
    mean_interval,
    paired_bootstrap,
    paired_difference,
)
from ssl_core.evaluation.together import view_features
from ssl_core.models.modes import device_of


def measure_novel_views(subject: Subject, settings: NovelViewSettings) -> tuple[NovelViewRow, ...]:
    """One row per label setting, views by their maximum.

    Raises:
        LeftOutError: the encoder reads points.
    """
    views = subject.raw.views
    if views is None:
        raise LeftOutError("a point encoder sees no views")
    count = min(settings.views, views.shape[1])
    n = len(subject.labels.train)
    train = pool(views[:n], np.arange(views.shape[1]), "max")
    subset = view_subsets(views.shape[1], count, [subject.config.view_seed(0)])[0]
    own = pool(views[n:], subset, "max")
    novel = _novel(subject, count).max(axis=1)
    return tuple(_row(subject, setting, count, (train, own, novel)) for setting in subject.config.label_settings)


def _novel(subject: Subject, count: int) -> Features:
    """[test objects, count, F]"""
    source, size = subject.test_source(), subject.pack.manifest.image_size
    seed, device = subject.config.draw_seed, device_of(subject.encoder)

    def compute() -> Features:
        pictures = novel_views(subject.pack, subject.test, views=count, image_size=size, seed=seed, device=device)
        return view_features([subject.encoder], pictures)[0]

    return source.recall(f"novel views {count} of {size} px, {seed}", subject.encoder, subject.identity, compute)


def _row(
    subject: Subject, setting: LabelSetting, count: int, features: tuple[Features, Features, Features]
) -> NovelViewRow:
    train, own, novel = features
    labels, config = subject.labels, subject.config
    m = len(labels.test)
    right = np.zeros((setting.draws, 2 * m))
    truth = np.tile(labels.test, 2)
    for draw in range(setting.draws):
        chosen = labelled(labels, setting, config, draw)
        fitted = linear_svm(train[chosen], labels.train[chosen], np.concatenate([own, novel]), truth, C=config.svm_c)
        right[draw] = fitted.predictions == truth
    mine, theirs = right[:, :m], right[:, m:]
    accuracy, of_own, loss = _intervals(mine, theirs, config.confidence)
    return NovelViewRow(labels=setting.name, views=count, accuracy=accuracy, own=of_own, loss=loss)


def _intervals(
    own: NDArray[np.float64], novel: NDArray[np.float64], confidence: float
) -> tuple[Interval, Interval, Interval]:
    """Of the novel accuracy, the own, and own minus novel: over label draws, or test objects where there is one."""
    if len(own) > 1:
        a, b = own.mean(axis=1), novel.mean(axis=1)
        return mean_interval(b, confidence), mean_interval(a, confidence), paired_difference(a, b, confidence)
    return (
        bootstrap_mean(novel[0], confidence=confidence),
        bootstrap_mean(own[0], confidence=confidence),
        paired_bootstrap(own[0], novel[0], confidence=confidence),
    )
