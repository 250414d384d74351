"""A scene field made of a fit: its card, and the module that draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssl_core.data.scene_pack import VOID, ScenePack
from ssl_core.models.field_card import CameraNumbers, SceneFieldCard
from ssl_core.models.gaussian_field import GaussianField, camera_vector
from ssl_core.recipes.label_3dgs.config import (
    FeatureVariant,
    FolderTeacher,
    Label3dgsConfig,
    OracleTeacher,
    ProbeTeacher,
)
from ssl_core.recipes.label_3dgs.field_channels import FieldChannels
from ssl_core.recipes.label_3dgs.teacher_labels import Pixels, TeacherLabels
from ssl_core.render.scene_fit import Fit
from ssl_core.render.scene_start import scene_extent
from ssl_core.scenes.cameras import Camera

EXAMPLES = 2
MOST_WORK = 800_000_000
"""Gaussians times pixels of the program's picture: it evaluates each at each, and is checked on 20 pictures."""
LEAST_PICTURE = 16
MAX_TEACHER_BYTES = 2**25
"""Of the teacher's labels of test views that a field holds: of so many views as fit."""


@dataclass(frozen=True)
class FieldParts:
    """What a field of a trial has besides its Gaussians."""

    config: Label3dgsConfig
    pack: ScenePack
    scene: int
    teacher: TeacherLabels
    channels: FieldChannels

    @property
    def cameras(self) -> list[Camera]:
        """Of the training views."""
        return [self.pack.camera(view) for view in self.pack.views("train", self.scene).tolist()]

    def card(self, gaussians: int) -> SceneFieldCard:
        """Of a field of so many Gaussians."""
        config, cameras = self.config, self.cameras
        size = _picture(cameras[0], min(config.picture, math.isqrt(MOST_WORK // gaussians)))
        held = self.teacher_maps()
        shape = np.max([each.shape for each in held.values()], axis=0).tolist() if held else [0, 0]
        variant = config.variant
        return SceneFieldCard(
            scene=self.pack.scenes[self.scene].name,
            gaussians=gaussians,
            sh_degree=config.fit.sh_degree,
            classes=tuple(each.name for each in self.teacher.classes),
            palette=tuple(each.colour for each in self.teacher.classes),
            channels=self.channels.count,
            activation=self.channels.activation,
            embedding=variant.embedding if isinstance(variant, FeatureVariant) else 0,
            decodes=self.channels.decoder is not None,
            normalised=self.channels.normalised,
            width=size[0],
            height=size[1],
            background=config.fit.background,
            near=config.fit.near,
            examples=_examples(cameras, size),
            depths=self._depths(cameras),
            cameras=len(cameras),
            teacher=_said(config),
            teacher_views=tuple(held),
            teacher_size=(shape[0], shape[1]),
            geometry_from_labels=not config.fit.detach_geometry and self.channels.loss is not None,
        )

    def teacher_maps(self) -> dict[str, Pixels]:
        """The teacher's labels of test views, by the views' names."""
        found: dict[str, Pixels] = {}
        space = MAX_TEACHER_BYTES
        for view in self.pack.views("test", self.scene).tolist():
            labels = self.teacher.maps.get(view)
            if labels is not None and labels.size <= space:
                found[self.pack.manifest.views[view].name] = labels
                space -= labels.size
        return found

    def _depths(self, cameras: Sequence[Camera]) -> tuple[float, float]:
        """Where the scene's points lie before cameras; of a scene without points as far as the cameras stand apart."""
        points = self.pack.points_of(self.scene)
        if points is not None:
            seen = [camera.viewmat[2, :3] @ points.xyz.T + camera.viewmat[2, 3] for camera in cameras[:EXAMPLES]]
            ahead = np.concatenate([depth[depth > self.config.fit.near] for depth in seen])
            if len(ahead):
                low, high = np.quantile(ahead, [0.02, 0.98]).tolist()
                return low, high
        extent = scene_extent(cameras)
        return 0.5 * extent, 2 * extent


@torch.no_grad()
def fitted_field(fit: Fit, parts: FieldParts) -> tuple[GaussianField, SceneFieldCard]:
    """A copy of what has been fitted, on the fit's device."""
    gaussians, cameras, held = fit.gaussians(), parts.cameras, parts.teacher_maps()
    card = parts.card(len(gaussians.xyz))
    field = card.build(0).to(gaussians.xyz.device)
    assert gaussians.sh is not None
    values: dict[str, Tensor] = {
        "xyz": gaussians.xyz,
        "quaternions": gaussians.quaternions,
        "log_scales": gaussians.log_scales,
        "opacity_logits": gaussians.opacity_logits,
        "sh": gaussians.sh,
        "channels": fit.channels.detach(),
        "cameras": torch.stack([camera_vector(camera) for camera in cameras]),
        "sizes": torch.tensor([[camera.width, camera.height] for camera in cameras], dtype=torch.int32),
        "teacher_labels": torch.from_numpy(_stacked(list(held.values()), card.teacher_size)),
    }
    if parts.channels.embeddings is not None:
        values["embeddings"] = parts.channels.embeddings
    if parts.channels.decoder is not None:
        values |= {f"decoder.{name}": value for name, value in parts.channels.decoder.state_dict().items()}
    own = field.state_dict()
    for name, value in values.items():
        own[name].copy_(value)
    return field, card


def _stacked(maps: Sequence[Pixels], size: tuple[int, int]) -> Pixels:
    """[T, h, w], void beyond smaller ones."""
    found = np.full((len(maps), *size), VOID, np.uint8)
    for place, labels in enumerate(maps):
        found[place, : labels.shape[0], : labels.shape[1]] = labels
    return found


def _picture(camera: Camera, longer: int) -> tuple[int, int]:
    """Width and height with the camera's shape, not larger than its picture."""
    share = min(1.0, max(LEAST_PICTURE, longer) / max(camera.width, camera.height))
    width, height = (max(4, round(share * side)) for side in (camera.width, camera.height))
    return width, height


def _examples(cameras: Sequence[Camera], size: tuple[int, int]) -> tuple[CameraNumbers, ...]:
    some = [cameras[i * len(cameras) // EXAMPLES] for i in range(EXAMPLES)]
    numbers = ([round(float(value), 6) for value in camera_vector(camera, size)] for camera in some)
    return tuple((*each[:4], *each[4:8], *each[8:12], *each[12:]) for each in numbers)  # type: ignore[misc]


def _said(config: Label3dgsConfig) -> str:
    match config.teacher.source:
        case OracleTeacher() as oracle if oracle.is_truth:
            return "the pack's labels"
        case OracleTeacher() as oracle:
            return (
                f"the pack's labels with {100 * oracle.noise:g} % of blocks of {oracle.block} pixels replaced by "
                f"random classes and regions grown by {oracle.dilation} pixels"
            )
        case FolderTeacher():
            return "label maps of a teacher, as they lay in a folder"
        case ProbeTeacher():
            return "a linear probe over a dense encoder, fitted on labels of the pack's validation scenes"
