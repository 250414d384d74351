"""The dense probing task: linear probes of segmentation and depth on frozen tokens, beside the original network's.

Probes are fitted on validation scenes and asked about test scenes (of a pack with one scene: its validation and test
views). What decides is each test view's mean IoU. What a fine-tuned encoder has to beat is the network that it began
at, alone and given twice, since a wider probe may win by its width (FiT3D, table 13); an encoder without fine-tuned
tokens, the same network untrained.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.dense_answers import DenseAnswer, DenseTruth, probed
from ssl_core.evaluation.dense_data import TokenMaps, scene_of, token_maps, views_of
from ssl_core.evaluation.dense_gains import depth_gain, iou_gain
from ssl_core.evaluation.dense_metrics import class_ious
from ssl_core.evaluation.dense_pictures import PicturedDense, dense_pictures
from ssl_core.evaluation.report import Measure, Scores, Steps, beside, strongest
from ssl_core.evaluation.statistics import Interval, bootstrap_mean, paired_bootstrap
from ssl_core.evaluation.task_contract import Context, Evaluation
from ssl_core.evaluation.tasks.dense_report import DenseProbingConfig, DenseProbingReport, DenseRow
from ssl_core.evaluation.view_consistency import SharedPoints, agreement, shared_points
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import DenseEncoder, DenseTokens, assembled
from ssl_core.models.modes import device_of

ORIGINAL, TWICE, UNTRAINED, ALONE = "original", "original twice", "untrained network", "fine-tuned alone"
_LEAST_SPREAD = 1e-4
"""of tokens, relative to their size: below it they are all alike"""


@dataclass(frozen=True)
class _Judged:
    """Features and what was answered from them. members: as many as answered for one row."""

    features: Tensor  # [V, C, h, w] of all views
    answers: tuple[DenseAnswer, ...]

    @property
    def by_view(self) -> NDArray[np.float64]:
        return np.asarray(np.mean([answer.by_view for answer in self.answers], axis=0))


@dataclass(frozen=True)
class _Protocol:
    """Views that are fitted on, then those asked about."""

    pack: ScenePack
    config: DenseProbingConfig
    views: NDArray[np.int64]
    fitted: int
    size: tuple[int, int]
    truth: DenseTruth
    shared: tuple[SharedPoints, ...]

    @property
    def test(self) -> NDArray[np.int64]:
        return self.views[self.fitted :]

    def judged(self, features: Tensor, whole: Tensor) -> _Judged:
        test = np.arange(len(self.views)) >= self.fitted
        answer = probed((features, whole), self.truth, (~test, test), self.config.probe, self.config.probe_seeds)
        return _Judged(features, (answer,))


def evaluate_dense(
    encoder: nn.Module,
    card: DenseEncoderCard,
    pack: ScenePack,
    config: DenseProbingConfig,
    context: Context = Context(),
) -> Evaluation[DenseProbingReport]:
    """Rows of the encoder's features, of its parts and of what it is set beside.

    Raises InfeasibleError: the pack has no validation or no test views, or neither labels nor depth of them.
    """
    assert isinstance(encoder, DenseEncoder)
    start = time.perf_counter()
    task = _protocol(card, pack, config)
    tokens = token_maps(encoder, pack, task.views, task.size)
    features = _features(card, tokens)
    finite = all(bool(torch.isfinite(each).all()) for each in features.values())
    twins = config.twin_seeds if card.tuning is None else ()
    steps = Steps(context.title, len(features) + len(twins), context.tell, what="probes")
    judged: dict[str, _Judged] = {}
    if finite:
        for name, each in features.items():
            judged[name] = task.judged(each, tokens.whole)
            steps.step()
        if card.tuning is None:
            judged[UNTRAINED] = _untrained(task, card, encoder, steps)
    report = _report(task, judged, _defects(tokens, finite), time.perf_counter() - start)
    pictures = dense_pictures(pack, task.test, _pictured(task, tokens, judged)) if judged else {}
    return Evaluation(report, pictures)


def _protocol(card: DenseEncoderCard, pack: ScenePack, config: DenseProbingConfig) -> _Protocol:
    fit, test = views_of(pack, "val"), views_of(pack, "test")
    if len(fit) == 0 or len(test) == 0:
        raise InfeasibleError(
            f"pack {pack.path} has {len(fit)} validation and {len(test)} test views, and dense features are probed on "
            "both; pack scenes with some of each"
        )
    views, size = np.concatenate((fit, test)), (card.height, card.width)
    grid = size[0] // card.multiple, size[1] // card.multiple
    shared = shared_points(pack, test, partners=config.partners)
    return _Protocol(pack, config, views, len(fit), size, DenseTruth(pack, views, grid, config.probe.finer), shared)


def _features(card: DenseEncoderCard, tokens: TokenMaps) -> dict[str, Tensor]:
    """[V, C, h, w] of each row by its name, the encoder's own first."""
    original = {ORIGINAL: tokens.original}
    if card.tuning is None:
        return original
    own = {"concat": "original ⊕ fine-tuned", "add": "original + fine-tuned", "fine": ALONE}[card.assembly]
    both = DenseTokens(tokens.original, tokens.fine, tokens.whole)
    twice = torch.cat((tokens.original, tokens.original), dim=1)
    return {own: assembled(both, card.assembly), ALONE: assembled(both, "fine"), **original, TWICE: twice}


def _untrained(task: _Protocol, card: DenseEncoderCard, encoder: DenseEncoder, steps: Steps) -> _Judged:
    found = []
    for seed in task.config.twin_seeds:
        twin = card.build(seed).to(device_of(encoder))
        tokens = token_maps(twin, task.pack, task.views, task.size)
        found.append(task.judged(tokens.original, tokens.whole))
        steps.step()
    return _Judged(found[0].features, tuple(answer for each in found for answer in each.answers))


def _report(
    task: _Protocol, judged: dict[str, _Judged], defects: tuple[str, ...], seconds: float
) -> DenseProbingReport:
    names = list(judged)
    known = ~np.isnan(judged[names[0]].by_view) if judged else np.zeros(len(task.test), np.bool_)
    scores = {name: _scores(task.pack, each.by_view[known]) for name, each in judged.items()}
    mine = scores[names[0]] if names else None
    others = {name: scores[name].values for name in names[1:] if name != ALONE}
    beaten = {} if mine is None else beside(mine.values, others, task.config.confidence)
    best = strongest(beaten)
    return DenseProbingReport(
        data_digest=task.pack.digest,
        config=task.config,
        view_names=tuple(task.pack.manifest.views[view].name for view in task.test[known]),
        fitted_views=task.fitted,
        scenes=tuple(task.pack.scenes[scene].name for scene in np.unique(scene_of(task.pack, task.test))),
        class_names=task.pack.classes,
        rows=tuple(_row(task, name, judged, known) for name in names),
        class_ious={name: _ious(each) for name, each in judged.items() if each.answers[0].counts is not None},
        deciding=mine,
        baseline=None if best is None else scores[best],
        baseline_name=best or ORIGINAL,
        baselines=beaten,
        defects=defects,
        seconds=round(seconds, 3),
    )


def _scores(pack: ScenePack, values: NDArray[np.float64]) -> Scores:
    labelled = bool(pack.classes)
    name = "mean IoU of each test view" if labelled else "pixels of each test view within 25 % of their depth"
    measure: Measure = "mean iou" if labelled else "accuracy"
    return Scores(name=name, unit="test views", values=(tuple(np.round(values, 6).tolist()),), measure=measure)


def _row(task: _Protocol, name: str, judged: dict[str, _Judged], known: NDArray[np.bool_]) -> DenseRow:
    each, confidence = judged[name], task.config.confidence
    answers, metrics = each.answers, [answer.metrics() for answer in each.answers]
    gains: dict[str, Interval | None] = {}
    if name != ORIGINAL and ORIGINAL in judged:
        base, scenes = judged[ORIGINAL].answers[0], scene_of(task.pack, task.test)
        gains = {
            "miou_gain": iou_gain(answers[0], base, scenes, confidence),
            "rmse_gain": depth_gain(answers[0], base, scenes, confidence),
            "by_view_gain": paired_bootstrap(
                each.by_view[known], judged[ORIGINAL].by_view[known], confidence=confidence
            ),
        }
    agreed = agreement(each.features[task.fitted :], task.shared)
    return DenseRow(
        name=name,
        width=each.features.shape[1],
        metrics={key: float(np.mean([one[key] for one in metrics])) for key in metrics[0]},
        by_view=bootstrap_mean(each.by_view[known], confidence=confidence),
        same_point=None if agreed is None else round(agreed.same, 6),
        other_point=None if agreed is None else round(agreed.other, 6),
        **gains,
    )


def _ious(each: _Judged) -> tuple[float | None, ...]:
    """By class, over all test pixels; mean over seeds and members."""
    counts = [answer.counts for answer in each.answers if answer.counts is not None]
    found = np.mean([class_ious(some.sum(axis=1)).mean(axis=0) for some in counts], axis=0)
    return tuple(None if np.isnan(value) else round(float(value), 6) for value in found)


def _pictured(task: _Protocol, tokens: TokenMaps, judged: dict[str, _Judged]) -> PicturedDense:
    own = next(iter(judged.values()))
    fine = tokens.fine
    return PicturedDense(
        original=tokens.original[task.fitted :],
        fine=None if fine is None else fine[task.fitted :],
        features=own.features[task.fitted :],
        whole=tokens.whole[task.fitted :],
        heads=own.answers[0].heads,
    )


def _defects(tokens: TokenMaps, finite: bool) -> tuple[str, ...]:
    if not finite:
        return ("collapsed: features hold NaN or infinity",)
    found = tokens.original if tokens.fine is None else tokens.fine
    spread = float(found.std(dim=(0, 2, 3)).mean() / found.abs().mean().clamp_min(1e-12))
    if spread < _LEAST_SPREAD:
        return (f"collapsed: all tokens are nearly alike (spread {spread:.1e} of their size)",)
    return ()
