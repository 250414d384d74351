"""One trial: a scene's Gaussians and their labels, fitted in epochs of so many iterations. Resumable bit for bit."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssl_core.data.scene_pack import VOID, ScenePack, ViewSplit
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.label_metrics import Confusion
from ssl_core.losses.photometric import psnr
from ssl_core.models.bundle import save_bundle
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.gaussian_field import GaussianField
from ssl_core.models.modes import evaluating
from ssl_core.recipes.label_3dgs.config import Label3dgsConfig
from ssl_core.recipes.label_3dgs.field_channels import FieldChannels
from ssl_core.recipes.label_3dgs.fitted_field import FieldParts, fitted_field
from ssl_core.recipes.label_3dgs.teacher_labels import TEACHER, Pixels, TeacherLabels, check_teacher, scene_number
from ssl_core.render.scene_fit import Fit, FitViews
from ssl_core.scenes.cameras import ScenePoints
from ssl_core.training.checkpoint import PREFIX, CheckpointState, check_owner, load_checkpoint, save_checkpoint
from ssl_core.training.config import choose_device
from ssl_core.training.trial_costs import PeakMemory, measured_costs

RECIPE, FIELD = "label_3dgs", "field"
SCORE = "val/label_score"
"""mIoU of held-out views against the pack's true labels, or against the teacher's where the pack has none."""
LEAST_POINTS = 4
"""Fewer give no Gaussian a size."""
_FIT = "fit."
"""Of the fit's tensors in a checkpoint."""


def check(config: Label3dgsConfig, pack: ScenePack) -> None:
    """Cheap: no picture is read. Raises InfeasibleError, PackError."""
    check_teacher(config.teacher, pack)
    scene = scene_number(pack, config.teacher.scene)
    needed: tuple[tuple[ViewSplit, int], ...] = (("train", 2), ("val", 1))
    for split, least in needed:
        if (found := len(pack.views(split, scene))) < least:
            raise InfeasibleError(
                f"scene '{pack.scenes[scene].name}' of {pack.path} has {found} {split} views, at least {least} are "
                "needed; pack the scene with more pictures"
            )


class FieldSession:
    """See `ssl_core.training.contract.Session`."""

    def __init__(self, config: Label3dgsConfig, pack: ScenePack, stages: Mapping[str, Path], seed: int) -> None:
        self.config, self.pack, self.seed = config, pack, seed
        self.device = choose_device(config.device)
        self._peak = PeakMemory(self.device)
        self.scene = scene_number(pack, config.teacher.scene)
        self.teacher = TeacherLabels.read(stages[TEACHER.name])
        train = pack.views("train", self.scene).tolist()
        self.channels = FieldChannels(config, self._labels_of(train), len(self.teacher.classes), seed, self.device)
        self.fit = Fit(
            config.fit,
            self._fit_views(train),
            start_points(pack.points_of(self.scene), config.start_points, seed),
            channels=self.channels.count,
            blended=self.channels.blended,
            decoder=self.channels.decoder,
            seed=seed,
            device=self.device,
        )
        cameras = [pack.camera(view) for view in train]
        self.channels.begin(self.fit, cameras)
        self._cameras = cameras
        self._parts = FieldParts(config, pack, self.scene, self.teacher, self.channels)
        self.epoch, self.epochs = 0, config.epochs
        self.metrics: dict[str, float] = {}
        self._best_value: float | None = None
        self._best: dict[str, Tensor] = {}

    def run_epoch(self) -> dict[str, float]:
        """Fit a chunk of iterations, then draw the validation views.

        Raises DivergedError; InfeasibleError: no pixel of a validation view has a label.
        """
        began = time.perf_counter()
        progress = self.fit.advance(self.config.chunk, self.channels.loss)
        ended = time.perf_counter()
        self.epoch += 1
        field, card = self._field()
        metrics = {"train/photometric": float(progress.losses.mean()), "gaussians": float(progress.gaussians)}
        if self.channels.loss is not None:
            metrics["train/labels"] = float(progress.channel_losses.mean())
        metrics |= self._validate(field)
        if SCORE not in metrics:
            raise InfeasibleError(
                f"no validation view of scene '{self.pack.scenes[self.scene].name}' of {self.pack.path} has a labelled "
                "pixel, in the pack or of the teacher; label one, or hold out others"
            )
        metrics["seconds/train"] = ended - began
        metrics["seconds/iteration"] = (ended - began) / max(1, len(progress.losses))
        metrics["seconds/validate"] = time.perf_counter() - ended
        metrics |= measured_costs(self.metrics, field, {FIELD: (field, card)}, self._peak)
        metrics["cost/bytes_per_gaussian"] = card.bytes_per_gaussian
        metrics["cost/asset_bytes"] = card.bytes_per_gaussian * card.gaussians
        self.metrics = metrics
        if self._best_value is None or metrics[SCORE] > self._best_value:
            self._best_value = metrics[SCORE]
            self._best = {name: value.detach().clone() for name, value in field.state_dict().items()}
        return metrics

    def untrained(self) -> dict[str, float]:
        """Held-out metrics of the Gaussians as they begin."""
        return self._validate(self._field()[0])

    def save(self, folder: Path) -> None:
        """Write a checkpoint to `folder`, whole or not at all."""
        tensors = {f"{_FIT}{name}": value for name, value in self.fit.state().items()}
        tensors |= {f"{PREFIX}{name}": value for name, value in self._best.items()}
        save_checkpoint(folder, tensors, {}, self._state())

    def load(self, folder: Path, transfer: bool = False) -> None:
        """Continue from a checkpoint of this very trial. Raises CheckpointError when it is another's.

        With `transfer` it may be of another trial with as many channels, whose rates this one changes.
        """
        tensors, _, state = load_checkpoint(folder, self.device)
        check_owner(folder, state, self._state(), transfer)
        self.fit.load({name.removeprefix(_FIT): value for name, value in tensors.items() if name.startswith(_FIT)})
        self._best = {name.removeprefix(PREFIX): v for name, v in tensors.items() if name.startswith(PREFIX)}
        self._best_value = state.best.get(FIELD)
        self.epoch, self.metrics = state.epoch, dict(state.metrics)

    def export(self, folder: Path, lineage: Mapping[str, str]) -> dict[str, Path]:
        """Write the field as it was at its best epoch so far."""
        gaussians = len(self._best["xyz"])
        card = self._parts.card(gaussians)
        field = card.build(0)
        field.load_state_dict(self._best)
        save_bundle(field.eval(), card, folder / FIELD, name="label-3dgs-field", lineage=lineage)
        return {FIELD: folder / FIELD}

    def _field(self) -> tuple[GaussianField, SceneFieldCard]:
        self.channels.vote(self.fit, self._cameras)
        return fitted_field(self.fit, self._parts)

    def _validate(self, field: GaussianField) -> dict[str, float]:
        """Of the validation views: mIoU and accuracy against true labels, agreement with the teacher, PSNR, void."""
        views = self.pack.views("val", self.scene).tolist()
        with evaluating(field):
            drawn = {view: field.draw(self.pack.camera(view)) for view in views}
        labels = {view: each.label.cpu().numpy() for view, each in drawn.items()}
        pictures = (
            (each.image.cpu(), torch.from_numpy(np.array(self.pack.image(view)))) for view, each in drawn.items()
        )
        found = {"val/psnr": float(np.mean([psnr(image, truth / 255) for image, truth in pictures]))}
        references = {
            "val/miou": {view: self.pack.labels(view) for view in views},
            "val/agreement": {view: self.teacher.maps.get(view) for view in views},
        }
        for name, maps in references.items():
            pairs = [(truth, labels[view]) for view, truth in maps.items() if truth is not None]
            confusion = Confusion.of(pairs, len(self.teacher.classes))
            if confusion.pixels:
                found |= {name: confusion.miou, "val/void": confusion.void}
                if name == "val/miou":
                    found["val/accuracy"] = confusion.accuracy
                found.setdefault(SCORE, confusion.miou)
        return found

    def _labels_of(self, train: list[int]) -> list[Pixels]:
        """The teacher's maps of the training views; void where it has none, and where views are not to have labels."""
        there = [place for place, view in enumerate(train) if view in self.teacher.maps]
        count = min(self.config.labelled_views or len(there), len(there))
        chosen = {there[(2 * i + 1) * len(there) // (2 * count)] for i in range(count)}
        return [
            self.teacher.maps[view] if place in chosen else np.full(self.pack.image(view).shape[:2], VOID, np.uint8)
            for place, view in enumerate(train)
        ]

    def _fit_views(self, train: list[int]) -> FitViews:
        pack = self.pack
        masks = [pack.mask(view) for view in train]
        return FitViews([pack.image(view) for view in train], [pack.camera(view) for view in train], masks)

    def _state(self) -> CheckpointState:
        return CheckpointState(
            recipe=RECIPE,
            config_digest=self.config.digest(),
            pack_digest=self.pack.digest,
            seed=self.seed,
            epoch=self.epoch,
            iteration=self.fit.iteration,
            metrics=self.metrics,
            best={} if self._best_value is None else {FIELD: self._best_value},
        )


def start_points(points: ScenePoints | None, most: int | None, seed: int) -> ScenePoints | None:
    """At most so many of a scene's points, drawn by the seed; None where there are none to begin with."""
    if points is None or len(points) < LEAST_POINTS:
        return None
    if most is None or len(points) <= most:
        return points
    chosen = np.sort(np.random.default_rng([seed, len(points)]).permutation(len(points))[:most])
    return ScenePoints(np.array(points.xyz[chosen]), np.array(points.colours[chosen]))
