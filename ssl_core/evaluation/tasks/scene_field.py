"""The scene-field task: labels and colours of the test views of a scene, beside the teacher's and an untrained field's.

What decides is the mIoU of each test view against the pack's true labels, over the classes that the view has; where the
pack has no labels, against what the teacher says of the same view, and it is called agreement with the teacher; without
either, the negated squared error of colours. Dataset-level numbers, over one confusion of all views, stand beside it,
and the mean of what Label-3DGS counts for one picture: over classes that either map has. Pixels that the field leaves
void count as wrong.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.label_metrics import Confusion, Labels, image_miou
from ssl_core.evaluation.report import Scores, Steps, beside, strongest
from ssl_core.evaluation.task_contract import Context, Evaluation
from ssl_core.evaluation.tasks.scene_field_report import (
    MODEL,
    NAMES,
    TEACHER,
    UNTRAINED,
    Against,
    LabelClassRow,
    LabelRow,
    SceneFieldConfig,
    SceneFieldReport,
)
from ssl_core.inspect.field_pictures import ShownView, views_png
from ssl_core.losses.photometric import ssim
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.gaussian_field import GaussianField
from ssl_core.models.modes import device_of, evaluating

_LEAST_SPREAD = 1e-3
"""of colours over all test views, in [0, 1]: below it the field is constant"""


@dataclass(frozen=True)
class _Drawn:
    """What a field shows of the test views."""

    images: list[NDArray[np.float32]]  # [H, W, 3]
    labels: list[Labels]
    depths: list[NDArray[np.float32]]
    errors: NDArray[np.float64]  # [views] mean squared errors of colours
    likeness: float  # mean SSIM
    seconds: float  # a view


@dataclass(frozen=True)
class _Reference:
    """What label maps are compared with. places: which of the test views have labels to compare, ascending."""

    against: Against
    places: list[int]
    maps: list[Labels]  # of these views

    def scores(self, labels: Sequence[Labels], classes: int) -> Scores:
        """Of label maps of all test views."""
        pairs = zip(self.places, self.maps, strict=True)
        values = [round(Confusion.of([(truth, labels[i])], classes).miou, 8) for i, truth in pairs]
        return _scores(self.against, values)

    def image_miou(self, labels: Sequence[Labels], classes: int) -> float:
        """Mean over the views of what Label-3DGS ships."""
        pairs = zip(self.places, self.maps, strict=True)
        return float(np.mean([image_miou(truth, labels[i], classes) for i, truth in pairs]))

    def confusion(self, labels: Sequence[Labels], classes: int) -> Confusion:
        return Confusion.of(((m, labels[i]) for i, m in zip(self.places, self.maps, strict=True)), classes)


def evaluate_field(
    field: nn.Module, card: SceneFieldCard, pack: ScenePack, config: SceneFieldConfig, context: Context = Context()
) -> Evaluation[SceneFieldReport]:
    """Draw every test view of the field's scene with it and with untrained fields.

    Raises InfeasibleError: the pack has no such scene, no test views of it, or other classes.
    """
    assert isinstance(field, GaussianField), "the card of a scene field builds one"
    start = time.perf_counter()
    views = test_views(pack, card)
    steps = Steps(context.title, (1 + len(config.twin_seeds)) * len(views), context.tell)
    with steps.block("test views", len(views)):
        mine = _draw(field, pack, views, steps.step)
    taught = _teachers_labels(field, card, pack, views)
    reference = _reference(card, pack, views, taught)
    twins = []
    for seed in config.twin_seeds:
        with steps.block("test views of untrained fields", len(views)):
            twins.append(_draw(card.build(seed).to(device_of(field)), pack, views, steps.step))
    report = _report(card, pack, views, mine, twins, taught, reference, config)
    shown = _shown(pack, views, mine, taught, config.shown) if report.deciding is not None else []
    pictures = {"views.png": views_png(shown, card.colours)} if shown else {}
    seconds = round(time.perf_counter() - start, 3)
    return Evaluation(report.model_copy(update={"seconds": seconds}), pictures)


def test_views(pack: ScenePack, card: SceneFieldCard) -> list[int]:
    """Indices of the test views of the card's scene. Raises InfeasibleError as `evaluate_field`."""
    names = [scene.name for scene in pack.scenes]
    if card.scene and card.scene not in names:
        raise InfeasibleError(f"pack {pack.path} has no scene '{card.scene}', but {', '.join(names)[:200]}")
    if card.classes and pack.classes and card.classes != pack.classes:
        raise InfeasibleError(
            f"pack {pack.path} has the classes {', '.join(pack.classes)[:120]}, the field "
            f"{', '.join(card.classes)[:120]}; pack the scene with the same classes.json"
        )
    found: list[int] = pack.views("test", names.index(card.scene) if card.scene else 0).tolist()
    if not found:
        raise InfeasibleError(f"pack {pack.path} has no test views; pack the scene with some held out")
    return found


def _draw(field: GaussianField, pack: ScenePack, views: Sequence[int], step: Callable[[], None]) -> _Drawn:
    images, labels, depths, errors, likeness, seconds = [], [], [], np.zeros(len(views)), [], 0.0
    with evaluating(field):
        for place, index in enumerate(views):
            began = time.perf_counter()
            drawn = field.draw(pack.camera(index))
            image = drawn.image.float().cpu()
            seconds += time.perf_counter() - began
            truth, mask = torch.from_numpy(np.array(pack.image(index))) / 255, pack.mask(index)
            weights = np.ones(truth.shape[:2]) if mask is None else mask / 255.0
            squared = (image.double() - truth.double()).square().mean(2).numpy()
            errors[place] = (squared * weights).sum() / max(weights.sum(), 1e-12)
            likeness.append(float(ssim(image, truth)))
            images.append(image.numpy())
            labels.append(drawn.label.cpu().numpy())
            depths.append(drawn.depth.float().cpu().numpy())
            step()
    return _Drawn(images, labels, depths, errors, float(np.mean(likeness)), seconds / len(views))


def _teachers_labels(
    field: GaussianField, card: SceneFieldCard, pack: ScenePack, views: Sequence[int]
) -> dict[int, Labels]:
    """What the field's weights hold of its teacher, by place among the test views."""
    held = field.get_buffer("teacher_labels").cpu().numpy()
    found = {}
    for place, index in enumerate(views):
        view = pack.manifest.views[index]
        if view.name in card.teacher_views:
            found[place] = held[card.teacher_views.index(view.name), : view.height, : view.width]
    return {place: labels for place, labels in found.items() if (labels < len(card.classes)).any()}


def _reference(
    card: SceneFieldCard, pack: ScenePack, views: Sequence[int], taught: dict[int, Labels]
) -> _Reference | None:
    """True labels where the pack has them, else the teacher's; None without either."""
    if not card.classes:
        return None
    true = {place: labels for place, index in enumerate(views) if (labels := pack.labels(index)) is not None}
    true = {place: labels for place, labels in true.items() if (labels < len(card.classes)).any()}
    if true:
        return _Reference("true labels", list(true), list(true.values()))
    return _Reference("labels of the teacher", list(taught), list(taught.values())) if taught else None


def _report(
    card: SceneFieldCard,
    pack: ScenePack,
    views: Sequence[int],
    mine: _Drawn,
    twins: list[_Drawn],
    taught: dict[int, Labels],
    reference: _Reference | None,
    config: SceneFieldConfig,
) -> SceneFieldReport:
    finite = all(np.isfinite(image).all() for image in mine.images)
    names = tuple(pack.manifest.views[index].name for index in views)
    report = SceneFieldReport(
        data_digest=pack.digest,
        config=config,
        scene=card.scene or pack.scenes[0].name,
        against=reference.against if reference is not None else "colours",
        view_names=names if reference is None else tuple(names[i] for i in reference.places),
        deciding=None,
        baseline=None,
        defects=_defects(mine, finite, labelled=bool(card.classes)),
        gaussians=card.gaussians,
        bytes_per_gaussian=round(card.bytes_per_gaussian, 3),
        seconds_per_view=round(mine.seconds, 5),
        geometry_from_labels=card.geometry_from_labels,
    )
    if not finite:
        return report
    colours = [_scores("colours", np.round(-each.errors, 8).tolist()) for each in (mine, *twins)]
    values = {"colours": colours[0], "ssim": round(mine.likeness, 6), "agreement": _agreement(mine, taught, card)}
    if reference is None:
        return report.model_copy(update={**values, **_deciding(colours[0], {UNTRAINED: colours[1:]}, config)})
    kept = [[each.values[0][i] for i in reference.places] for each in colours[:1]]
    values["colours"] = _scores("colours", kept[0])
    return report.model_copy(update={**values, **_labelled(card, mine, twins, taught, reference, config)})


def _labelled(
    card: SceneFieldCard,
    mine: _Drawn,
    twins: list[_Drawn],
    taught: dict[int, Labels],
    reference: _Reference,
    config: SceneFieldConfig,
) -> dict[str, object]:
    """Fields of the report that are about labels."""
    count = len(card.classes)
    others = {UNTRAINED: [reference.scores(twin.labels, count) for twin in twins]}
    maps: list[tuple[str, Sequence[Labels]]] = [(MODEL, mine.labels)]
    teachers = None
    if reference.against == "true labels" and set(reference.places) <= taught.keys():
        said = [taught.get(place, labels) for place, labels in enumerate(mine.labels)]
        # a teacher that is the truth itself is no line to be passed
        if any(
            (taught[i] != truth)[truth < count].any() for i, truth in zip(reference.places, reference.maps, strict=True)
        ):
            others[TEACHER] = [reference.scores(said, count)]
        maps.append((TEACHER, said))
        teachers = reference.confusion(said, count)
    maps += [(UNTRAINED, twins[0].labels)] if twins else []
    found = reference.confusion(mine.labels, count)
    return {
        "rows": tuple(_row(name, labels, reference, count) for name, labels in maps),
        "classes": tuple(_class_rows(card, found, teachers)),
        **_deciding(reference.scores(mine.labels, count), others, config),
    }


def _deciding(mine: Scores, others: dict[str, list[Scores]], config: SceneFieldConfig) -> dict[str, object]:
    """The scores that a gate reads: of baselines with several draws the mean."""
    means = {
        name: mine.model_copy(update={"values": (tuple(np.mean([each.values[0] for each in some], axis=0).tolist()),)})
        for name, some in others.items()
        if some
    }
    beaten = beside(mine.values, {name: scores.values for name, scores in means.items()}, config.confidence)
    best = strongest(beaten)
    baseline = {} if best is None else {"baseline": means[best], "baseline_name": best}
    return {"deciding": mine, "baselines": beaten, **baseline}


def _row(name: str, labels: Sequence[Labels], reference: _Reference, classes: int) -> LabelRow:
    found = reference.confusion(labels, classes)
    precise = found.precision[np.isfinite(found.recall)]
    return LabelRow(
        name=name,
        miou=found.miou,
        accuracy=found.accuracy,
        precision=_known(float(np.nanmean(precise))) if np.isfinite(precise).any() else None,
        recall=float(np.nanmean(found.recall)),
        image_miou=reference.image_miou(labels, classes),
        void=found.void,
    )


def _class_rows(card: SceneFieldCard, found: Confusion, teachers: Confusion | None) -> list[LabelClassRow]:
    pixels = found.counts.sum(1)
    return [
        LabelClassRow(
            class_name=name,
            pixels=int(pixels[i]),
            iou=_known(found.iou[i]),
            precision=_known(found.precision[i]),
            recall=_known(found.recall[i]),
            teacher_iou=None if teachers is None else _known(teachers.iou[i]),
        )
        for i, name in enumerate(card.classes)
        if pixels[i] or np.isfinite(found.iou[i])
    ]


def _agreement(mine: _Drawn, taught: dict[int, Labels], card: SceneFieldCard) -> float | None:
    if not taught:
        return None
    pairs = ((labels, mine.labels[place]) for place, labels in taught.items())
    return _known(Confusion.of(pairs, len(card.classes)).miou)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _scores(against: Against, values: Sequence[float]) -> Scores:
    measure = "squared error" if against == "colours" else "mean iou"
    return Scores(name=NAMES[against], unit="test views", values=(tuple(values),), measure=measure)


def _defects(mine: _Drawn, finite: bool, *, labelled: bool) -> tuple[str, ...]:
    if not finite:
        return ("collapsed: views hold NaN or infinity",)
    found = []
    spread = float(np.concatenate([image.reshape(-1, 3) for image in mine.images]).std(axis=0).max())
    if spread < _LEAST_SPREAD:
        found.append(f"collapsed: all views have nearly one colour (spread {spread:.1e}, at least {_LEAST_SPREAD:g})")
    if labelled and len(np.unique(np.concatenate([labels.ravel() for labels in mine.labels]))) == 1:
        found.append("collapsed: all pixels of all test views have one label")
    return tuple(found)


def _shown(
    pack: ScenePack, views: Sequence[int], mine: _Drawn, taught: dict[int, Labels], count: int
) -> list[ShownView]:
    return [
        ShownView(
            photograph=pack.image(index),
            image=mine.images[place],
            depth=mine.depths[place],
            label=mine.labels[place],
            truth=pack.labels(index),
            teacher=taught.get(place),
        )
        for place, index in list(enumerate(views))[:count]
    ]
