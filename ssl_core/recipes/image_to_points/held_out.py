"""What validation objects say of a trial: clouds against the pack's points after one rotation, pictures, poses."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.data.augment import to_float
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.alignment import fit_rotation, rotation_angles
from ssl_core.evaluation.cloud_metrics import unit_cube
from ssl_core.evaluation.extract import image_features
from ssl_core.evaluation.few_shot import FewShotProbe, few_shot
from ssl_core.losses.chamfer import chamfer
from ssl_core.losses.silhouette import mask_iou
from ssl_core.models.reconstruction import different_azimuths
from ssl_core.recipes.image_to_points.config import ImageToPointsConfig
from ssl_core.recipes.image_to_points.image_set import SharedCamera, image_set
from ssl_core.recipes.image_to_points.shape_and_pose import ShapeAndPose
from ssl_core.render.point_splatting import OrbitLens, orbit_rotation, project_points, splat_colour, splat_mask

TRUE_POINTS = 1024
"""of an object, at most"""
_TURNS = 8
"""about the vertical from which the alignment is searched: elevations tell what is up"""
_AT_ONCE = 32


class HeldOut:
    """The validation objects of a trial, the same in every epoch."""

    def __init__(self, config: ImageToPointsConfig, pack: ObjectPack, lens: OrbitLens, camera: SharedCamera) -> None:
        self.config, self.pack, self.lens, self.camera = config, pack, lens, camera
        self.images = image_set(config, pack, "val").first(config.validation.objects)
        self.truth = torch.stack([_points(pack, index) for index in self.images.objects.tolist()])
        # as the reference, which clips at the box that its true clouds fill: one stray point must not scale a cloud
        self.reach = float(self.truth.abs().max())
        # who learns one class is not asked about all of the pack in every epoch
        several = len(config.data.classes) != 1 and several_classes(pack)
        self.probe = FewShotProbe(pack, few_shot(config.validation)) if several else None

    def metrics(self, networks: ShapeAndPose, encoder: nn.Module) -> dict[str, float]:
        """Fits the alignment, which is part of the reconstructor, before it measures.

        `val/chamfer` is CD-L2 of N predicted and at most 1,024 true points in a cube of side 1, `val/pose_error` the
        median in degrees under the clouds' own alignment; poses that show a symmetric object alike are one.
        """
        images, masks = to_float(self.images.images), to_float(self.images.masks)
        device = next(networks.parameters()).device
        parts = [(*networks.shape(some), networks.pose(some)) for some in images.to(device).split(_AT_ONCE)]
        points, colours, poses = (torch.cat([part[i] for part in parts]).float().cpu() for i in range(3))
        rotation = fit_rotation(points, self.truth, _upright_turns()).rotation
        networks.set_alignment(self.camera.unit * rotation)
        turned = unit_cube(self.camera.unit * points @ rotation.T, reach=self.reach)
        distances = chamfer(turned, unit_cube(self.truth))
        return {
            "val/chamfer": float(distances.mean()),
            "val/diversity": float(chamfer(turned, turned.roll(1, dims=0)).mean()),
            **self._pictures(points, colours, poses, (images, masks)),
            **self._poses(poses, rotation),
            **self._probes(encoder),
        }

    def _pictures(
        self, points: Tensor, colours: Tensor, poses: Tensor, seen: tuple[Tensor, Tensor]
    ) -> dict[str, float]:
        """Drawn again from the poses that the network tells."""
        on_screen = project_points(points, orbit_rotation(poses[:, 0], poses[:, 1]), self.lens)
        loss, size = self.config.loss, self.lens.size
        drawn = splat_mask(on_screen, size, loss.variance)
        squared = (splat_colour(on_screen, colours, size, loss.sharpness) - seen[0]).square().mean(dim=(1, 2, 3))
        psnr = -10 * torch.log10(squared.clamp_min(1e-10))
        return {"val/mask_iou": float(mask_iou(drawn, seen[1]).mean()), "val/psnr": float(psnr.mean())}

    def _poses(self, poses: Tensor, rotation: Tensor) -> dict[str, float]:
        """Nothing where the pack has no cameras."""
        truth = self.images.poses
        if not torch.isfinite(truth).all():
            return {}
        true = orbit_rotation(truth[:, 0], truth[:, 1])
        period = 2 * different_azimuths(self.config.networks.mirror)
        told = (orbit_rotation(poses[:, 0] + turn, poses[:, 1]) @ rotation.T for turn in (0.0, period))
        error = torch.stack([torch.rad2deg(rotation_angles(each, true)) for each in told]).amin(0)
        return {
            "val/pose_error": float(error.median()),
            "val/pose_within_30": float((error <= 30).double().mean()),
        }

    def _probes(self, encoder: nn.Module) -> dict[str, float]:
        """Nothing of one class."""
        if self.probe is None:
            return {}
        views, size = self.config.validation.views, self.config.networks.image_size
        features = image_features(encoder, self.pack, self.probe.objects, size, views=views, background="black")
        return self.probe.metrics({"image": [features.max(axis=1)]})


def several_classes(pack: ObjectPack) -> bool:
    """Whether its training objects are of more than one."""
    return len(np.unique(pack.labels[pack.objects("fit")])) > 1


def _points(pack: ObjectPack, index: int) -> Tensor:
    """[M, 3] of one object, at most `TRUE_POINTS`, evenly spaced in its rows; repeated where there are fewer."""
    rows = int(pack.num_rows[index])
    some = np.arange(TRUE_POINTS) * rows // TRUE_POINTS + int(pack.first_row[index])
    return torch.from_numpy(pack.gaussians[some, :3].astype(np.float32))


def _upright_turns() -> Tensor:
    """[8, 3, 3] rotations about the vertical axis."""
    angles = torch.arange(_TURNS) * (2 * math.pi / _TURNS)
    zero, one = torch.zeros(_TURNS), torch.ones(_TURNS)
    sine, cosine = angles.sin(), angles.cos()
    rows = [(cosine, -sine, zero), (sine, cosine, zero), (zero, zero, one)]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
