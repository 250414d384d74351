"""The reconstruction task: a cloud from one view of each test object, beside what can be said without looking.

What decides is the negated CD-L2 of each test object (`ssl_core.evaluation.cloud_metrics`), after one rotation of the
whole set that was fitted on validation objects. Baselines are answered on the same objects: the constant clouds that
fit the training objects best, and untrained networks, each with a rotation of its own.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.data.object_pack import Pack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.alignment import Alignment, fit_rotation, rotation_angle
from ssl_core.evaluation.cloud_metrics import CloudDistances, cloud_distances, earth_mover, unit_cube
from ssl_core.evaluation.constant_clouds import constant_clouds
from ssl_core.evaluation.encoder_transfer import transfer_to
from ssl_core.evaluation.part_transfer import transferred_parts
from ssl_core.evaluation.reconstruction_data import SingleViews, true_points
from ssl_core.evaluation.reconstruction_pictures import drawn_views, object_pictures, view_agreement
from ssl_core.evaluation.report import Scores, Steps, beside, strongest
from ssl_core.evaluation.statistics import bootstrap_mean, paired_bootstrap
from ssl_core.evaluation.task_contract import Context, Evaluation
from ssl_core.evaluation.tasks.reconstruction_report import (
    MODEL,
    AlignmentFacts,
    ClassRow,
    EncoderTransfer,
    ReconstructionConfig,
    ReconstructionReport,
    ReconstructionRow,
)
from ssl_core.models.modes import device_of
from ssl_core.models.reconstruction_cards import ReconstructorCard

MEAN, MEDOID, UNTRAINED = "mean shape", "medoid shape", "untrained network"
_LEAST_SPREAD = 1e-3
"""Of clouds between objects, as a share of their own size: below it every image gives the same cloud."""


@dataclass(frozen=True)
class _Answer:
    """Clouds of the test objects in the cube, [n, N, 3], and their distances from the true ones."""

    clouds: Tensor
    distances: list[CloudDistances]

    def of(self, name: str) -> list[float]:
        return [getattr(each, name) for each in self.distances]


@dataclass(frozen=True)
class _Judged:
    """What the model made of the test objects, in the true frame, and how it got there."""

    clouds: Tensor  # [n, N, 6] aligned, in the pack's units
    alignment: Alignment
    spread: float


class _Protocol:
    """Test, validation and training objects of a pack, as one evaluation reads them."""

    def __init__(self, pack: Pack, card: ReconstructorCard, config: ReconstructionConfig) -> None:
        self.test = SingleViews(pack, card, "test", config.view_seed)
        self.val = SingleViews(pack, card, "val", config.view_seed)
        self.fit = SingleViews(pack, card, "fit", config.view_seed)
        everything = np.concatenate([self.test.objects, self.val.objects, self.fit.objects])
        self.points = true_points(pack, everything, config.points)
        self.truth = self.test.clouds(self.points)
        self.known = self.val.clouds(self.points)
        self.cubes = unit_cube(self.truth)
        self.reach = float(self.known.abs().max())

    def answer(self, clouds: Tensor) -> _Answer:
        """Of clouds [n, N, 3] in the true frame."""
        cubes = unit_cube(clouds, self.reach)
        return _Answer(cubes, cloud_distances(cubes, self.cubes))

    def judged(self, model: nn.Module, look_for_mirror: bool) -> _Judged | None:
        """None: something is not finite."""
        known, clouds = self.val.answers(model), self.test.answers(model)
        if not (torch.isfinite(known).all() and torch.isfinite(clouds).all()):
            return None
        found = fit_rotation(known[..., :3], self.known, look_for_mirror=look_for_mirror)
        xyz = clouds[..., :3]
        apart = float(xyz.std(dim=0).mean()) if len(xyz) > 1 else float("inf")
        size = float((xyz - xyz.mean(1, keepdim=True)).square().sum(-1).mean().sqrt())
        turned = torch.cat((found.scale * xyz @ found.rotation.T, clouds[..., 3:]), dim=2)
        return _Judged(turned, found, apart / max(size, 1e-12))


def evaluate_reconstructor(
    model: nn.Module,
    card: ReconstructorCard,
    pack: Pack,
    config: ReconstructionConfig,
    context: Context = Context(),
) -> Evaluation[ReconstructionReport]:
    """Clouds of every test object by the model and by the baselines.

    Raises InfeasibleError: the pack has no views, masks or classes that the card asks for, or next to no points.
    """
    start, steps = time.perf_counter(), Steps(context.title, 4 + len(config.twin_seeds), context.tell)
    task = _Protocol(pack, card, config)
    steps.what = "test objects"
    judged = task.judged(model, look_for_mirror=True)
    steps.step()
    if judged is None:
        return Evaluation(_without_result(task, card, config, time.perf_counter() - start))
    mine = task.answer(judged.clouds[..., :3])
    steps.step()
    others = _baselines(task, model, card, config, steps)
    report = _report(task, judged, mine, others, config)
    report = report.model_copy(update=_transfer(task, judged.clouds, config, context))
    pictures = object_pictures(task.test, judged.clouds, mine.of("cd_l2"), config.shown)
    steps.step()
    seconds = round(time.perf_counter() - start, 3)
    return Evaluation(report.model_copy(update={"seconds": seconds}), pictures)


def _baselines(
    task: _Protocol, model: nn.Module, card: ReconstructorCard, config: ReconstructionConfig, steps: Steps
) -> dict[str, list[_Answer]]:
    """By name, one answer for each draw of it."""
    steps.what = "constant clouds"
    constant = constant_clouds(task.fit.clouds(task.points), card.num_points)
    found = {
        name: [task.answer(cloud.expand(len(task.test), -1, -1))]
        for name, cloud in ((MEAN, constant.mean), (MEDOID, constant.medoid))
    }
    steps.step()
    steps.what = "untrained networks"
    for seed in config.twin_seeds:
        twin = task.judged(card.build(seed).to(device_of(model)), look_for_mirror=False)
        if twin is not None:
            found.setdefault(UNTRAINED, []).append(task.answer(twin.clouds[..., :3]))
        steps.step()
    return found


def _report(
    task: _Protocol,
    judged: _Judged,
    mine: _Answer,
    others: Mapping[str, list[_Answer]],
    config: ReconstructionConfig,
) -> ReconstructionReport:
    pack, deciding = task.test.pack, _scores([mine])
    scores = {name: _scores(answers) for name, answers in others.items()}
    beaten = beside(deciding.values, {name: each.values for name, each in scores.items()}, config.confidence)
    best = strongest(beaten)
    assert best is not None, "constant clouds are always there"
    rows = [_row(MODEL, [mine], task, config, judged.clouds)]
    rows += [_row(name, answers, task, config) for name, answers in others.items()]
    return ReconstructionReport(
        data_digest=pack.digest,
        config=config,
        object_names=tuple(pack.manifest.objects[index].key for index in task.test.objects.tolist()),
        points=(judged.clouds.shape[1], task.points),
        rows=tuple(rows),
        classes=_by_class(task, deciding, scores[best], config),
        alignment=_facts(judged.alignment, len(task.val)),
        parts=transferred_parts(task.fit, task.test, mine.clouds, task.points, config.confidence),
        deciding=deciding,
        baseline=scores[best],
        baseline_name=best,
        baselines=beaten,
        defects=_defects(judged),
    )


def _transfer(
    task: _Protocol, clouds: Tensor, config: ReconstructionConfig, context: Context
) -> dict[str, EncoderTransfer | str | None]:
    """Fields of the report; nothing where no encoder of points was asked for."""
    if not config.point_encoder:
        return {}
    try:
        train = (task.fit, task.val)
        tried = (transfer_to(each, train, task.test, clouds, config.confidence) for each in context.companions)
        found = next((each for each in tried if each is not None), None)
    except InfeasibleError as error:
        return {"transfer_left_out": str(error)}
    if found is None:
        return {"transfer_left_out": "it encodes no points, or the pack has one class"}
    return {"transfer": found}


def _scores(answers: list[_Answer]) -> Scores:
    """Negated CD-L2 of each test object, the mean over draws."""
    values = -np.mean([answer.of("cd_l2") for answer in answers], axis=0)
    return Scores(
        name="Chamfer distance of test objects",
        unit="test objects",
        values=(tuple(np.round(values, 9).tolist()),),
        measure="chamfer distance",
    )


def _row(
    name: str, answers: list[_Answer], task: _Protocol, config: ReconstructionConfig, clouds: Tensor | None = None
) -> ReconstructionRow:
    means = {
        key: bootstrap_mean(np.mean([each.of(key) for each in answers], axis=0), confidence=config.confidence)
        for key in ("cd_l2", "cd_l1", "f_1", "f_2")
    }
    count = min(config.matched, len(task.test))
    some = [i * len(task.test) // count for i in range(count)]
    matched = [earth_mover(answers[0].clouds[i], task.cubes[i]) for i in some]
    drawn = None if clouds is None else drawn_views(task.test, clouds)
    iou, psnr = (None, None) if drawn is None else view_agreement(task.test, drawn)
    return ReconstructionRow(
        name=name, **means, emd=float(np.mean(matched)) if matched else None, mask_iou=iou, colour_psnr=psnr
    )


def _by_class(task: _Protocol, mine: Scores, best: Scores, config: ReconstructionConfig) -> tuple[ClassRow, ...]:
    """Empty where there is one class: the row would say what the first says."""
    pack = task.test.pack
    labels = pack.labels[task.test.objects]
    present = np.unique(labels).tolist()
    if len(present) < 2:
        return ()
    ours, theirs = np.array(mine.values[0]), np.array(best.values[0])
    return tuple(
        ClassRow(
            class_name=pack.manifest.class_names[label],
            objects=int((labels == label).sum()),
            cd_l2=bootstrap_mean(-ours[labels == label], confidence=config.confidence),
            difference=paired_bootstrap(ours[labels == label], theirs[labels == label], confidence=config.confidence),
        )
        for label in present
    )


def _facts(found: Alignment, objects: int) -> AlignmentFacts:
    return AlignmentFacts(
        objects=objects,
        rotation=tuple(tuple(round(value, 6) for value in row) for row in found.rotation.tolist()),
        degrees=round(float(np.degrees(rotation_angle(found.rotation, torch.eye(3)))), 3),
        scale=round(found.scale, 6),
        distance=found.distance,
        mirrored=found.mirrored,
    )


def _defects(judged: _Judged) -> tuple[str, ...]:
    found = []
    if judged.spread < _LEAST_SPREAD:
        found.append(
            f"collapsed: every image gives nearly the same cloud (spread {judged.spread:.1e} of its size, at least "
            f"{_LEAST_SPREAD:g} is asked)"
        )
    if judged.alignment.is_mirrored:
        found.append(
            "mirrored: the clouds are mirror images of the true ones, which no rotation mends (distance "
            f"{judged.alignment.distance:.3g}, mirrored {judged.alignment.mirrored:.3g}); train from another seed"
        )
    return tuple(found)


def _without_result(
    task: _Protocol, card: ReconstructorCard, config: ReconstructionConfig, seconds: float
) -> ReconstructionReport:
    return ReconstructionReport(
        data_digest=task.test.pack.digest,
        config=config,
        object_names=tuple(task.test.pack.manifest.objects[index].key for index in task.test.objects.tolist()),
        points=(card.num_points, task.points),
        rows=(),
        deciding=None,
        baseline=None,
        baseline_name=MEAN,
        defects=("collapsed: points hold NaN or infinity",),
        seconds=round(seconds, 3),
    )
