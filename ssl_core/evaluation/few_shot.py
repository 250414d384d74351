"""The probe that decides while trials train: a few-shot linear SVM on objects held out of pretraining."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssl_core.config import Config
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.extract import Features
from ssl_core.evaluation.probes import draw_labels, linear_svm


class FewShotConfig(Config):
    """How many labels, how often."""

    labels_per_class: int = Field(default=5, ge=1)
    label_draws: int = Field(default=10, ge=1)
    point_draws: int = Field(default=3, ge=1)
    views: int = Field(default=4, ge=1, description="views per object, max-pooled")
    pool_per_class: int = Field(default=20, ge=1, description="fit objects per class that label draws choose from")


def few_shot(config: FewShotConfig) -> FewShotConfig:
    """What says how the probe measures, without the fields that a recipe's own validation adds."""
    return FewShotConfig.model_validate(config.model_dump(include=set(FewShotConfig.model_fields)))


class FewShotProbe:
    """Label draws from objects of `fit`, scored on all of `val`; the same for every trial and epoch of a study."""

    def __init__(self, pack: ObjectPack, config: FewShotConfig) -> None:
        fit, val = pack.objects("fit"), pack.objects("val")
        pool = draw_pool(pack.labels, fit, config.pool_per_class)
        self.objects: NDArray[np.int64] = np.concatenate([pool, val])
        """those whose features are asked for: the pool, then validation"""
        self._pool, self._labels = len(pool), pack.labels[self.objects]
        self._draws = [
            draw_labels(pack.labels[pool], per_class=config.labels_per_class, seed=seed)
            for seed in range(config.label_draws)
        ]

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """[label draws] accuracy, each a mean over versions of the features, [objects, F] as `objects`."""
        found = [[self._accuracy(x, draw) for x in features] for draw in self._draws]
        return np.array([float(np.mean(each)) for each in found])

    def metrics(self, features: Mapping[str, Sequence[Features]]) -> dict[str, float]:
        """`val/<name>_probe` and its standard error over label draws, for each name."""
        metrics: dict[str, float] = {}
        for name, versions in features.items():
            scores = self.scores(versions)
            error = float(scores.std(ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else 0.0
            metrics[f"val/{name}_probe"], metrics[f"val/{name}_probe_se"] = float(scores.mean()), error
        return metrics

    def _accuracy(self, x: Features, draw: NDArray[np.int64]) -> float:
        pool, labels = self._pool, self._labels
        return linear_svm(x[draw], labels[draw], x[pool:], labels[pool:]).accuracy


def draw_pool(labels: NDArray[np.int64], objects: NDArray[np.int64], per_class: int) -> NDArray[np.int64]:
    """The first `per_class` objects of each class, in pack order."""
    return np.concatenate([objects[labels[objects] == c][:per_class] for c in np.unique(labels[objects])])
