"""Synthetic features: classes as clouds around centres, so that the truth about an encoder is known."""

import numpy as np

from ssl_core.evaluation.probe_grid import Cells, Labels, feature_health, probe_grid
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig, ProbingReport, defects_of

CLASSES, WIDTH = 5, 32
LABELS = Labels(np.arange(100) % CLASSES, np.arange(80) % CLASSES, CLASSES)
CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=3, draws=6), LabelSetting(fraction=0.5, draws=3), LabelSetting()),
    probes=("svm", "knn", "linear"),
    point_draws=2,
    twin_seeds=(0, 1),
)


def clouds(noise: float, seed: int, draws: int = 2) -> list[np.ndarray]:
    """Features of train then test objects, one array per point draw; `noise` makes the classes hard."""
    centres = np.random.default_rng(5).normal(size=(CLASSES, WIDTH))
    classes = np.concatenate([LABELS.train, LABELS.test])
    rng = np.random.default_rng(seed)
    body = centres[classes] + noise * rng.normal(size=(len(classes), WIDTH))
    return [(body + 0.1 * rng.normal(size=body.shape)).astype(np.float32) for _ in range(draws)]


def report_of(
    cells: Cells,
    twins: list[Cells] | None = None,
    config: EvaluationConfig = CONFIG,
    pack: str = "pack",
) -> ProbingReport:
    """The report that evaluation would write for these features."""
    most = max(cells, key=lambda views: views or 0)
    grid = probe_grid(cells, {"random twin": twins or []}, LABELS, config, None if most is None else "max")
    health = feature_health(cells[most][0][100:], LABELS.test)
    return ProbingReport(
        kind="point_encoder" if most is None else "image_encoder",
        data_digest=pack,
        config=config,
        class_names=tuple("abcde"),
        train_objects=100,
        test_objects=80,
        max_views=most,
        health=health,
        rows=grid.rows,
        deciding=grid.deciding.encoder,
        baseline=grid.deciding.baseline,
        baseline_name=grid.deciding.baseline_name,
        baselines=grid.deciding.baselines,
        full_labels=grid.full_labels.encoder,
        defects=defects_of(health, grid.full_labels.encoder, CLASSES),
        confusion=tuple(tuple(row) for row in grid.confusion.tolist()),
    )
