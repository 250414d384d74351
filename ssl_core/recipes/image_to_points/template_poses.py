"""The stage `template`: one symmetric shape that all training images are seen as, and the pose of each.

    template.npy  [points, 3] float32 in the networks' frame and units; its first half or quarter gives the others
    poses.npy     [objects, 2] float32 azimuth and elevation in radians of the images that a trial reads
    objects.npy   [objects] int64, indices into the pack: those training objects, in their order
    facts.json    pack, and the mean error of the poses

Shape and poses of single images explain each other: a network that may give each image a shape of its own makes one
that fits from a wrong side. One shape for all of them cannot. It is found as in ab-initio reconstruction from electron
microscopes (stochastic expectation and maximisation; Punjani et al., Nature Methods 2017): each step holds it against
some images from a grid of poses, draws a pose for each (later takes the best), and moves it there. It begins as a ball.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ssl_core.config import Config
from ssl_core.data.augment import to_float
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import ConfigError, InfeasibleError
from ssl_core.losses.dispersion import dispersion
from ssl_core.losses.silhouette import chamfer_2d
from ssl_core.models.reconstruction import Mirror, copies, different_azimuths, symmetric
from ssl_core.recipes.image_to_points.config import CameraConfig, DataConfig, ImageToPointsConfig, TemplateConfig
from ssl_core.recipes.image_to_points.image_set import UNIT_DISTANCE, image_set, shared_camera
from ssl_core.recipes.image_to_points.pose_refinement import AFFINITY, DISPERSION, Refined, Refinement, candidates
from ssl_core.recipes.image_to_points.pose_search import pose_grid
from ssl_core.render.point_splatting import OrbitLens, orbit_rotation, project_points
from ssl_core.training.contract import Stage
from ssl_core.training.stage_progress import tell_stage

_RADIUS = 0.5
_PIXELS = 48
"""of a silhouette that are drawn for an error"""
_DRAWN_SHARE = 0.7
"""of the steps poses are drawn in; then the best one counts"""
_AT_ONCE = 64


class TemplateSettings(Config):
    """What decides the shape and the poses."""

    template: TemplateConfig
    data: DataConfig
    camera: CameraConfig
    image_size: int
    mirror: Mirror
    azimuth_range: float
    elevations: tuple[float, float]


def _settings(config: ImageToPointsConfig) -> TemplateSettings:
    return TemplateSettings(
        template=config.template,
        data=config.data.model_copy(update={"flip": False}),
        camera=config.camera,
        image_size=config.networks.image_size,
        mirror=config.networks.mirror,
        azimuth_range=config.poses.azimuth_range,
        elevations=config.poses.elevations,
    )


def _wanted(config: ImageToPointsConfig, pack: ObjectPack) -> bool:
    return config.poses.source == "template"


@dataclass(frozen=True)
class Outlines:
    """Silhouettes [n, S, S] of which distances to many clouds are asked."""

    inside: Tensor  # [n, S, S] bool
    nearest: Tensor  # [n, S * S, 2] row and column of the covered pixel nearest to each pixel

    @classmethod
    def of(cls, inside: Tensor) -> "Outlines":
        """From silhouettes [n, S, S] bool, none of them empty."""
        found = [distance_transform_edt(~mask, return_indices=True)[1] for mask in inside.numpy()]
        return cls(inside, torch.from_numpy(np.stack(found)).flatten(2).mT.float())

    def errors(
        self, some: Tensor, template: Tensor, poses: Tensor, lens: OrbitLens, generator: torch.Generator
    ) -> Tensor:
        """[B, K] mean squared distance in pixels of the template [M, 3] seen from poses [K, 2] and of silhouettes
        `some` [B], both ways; the way back by drawn pixels."""
        seen = project_points(template.expand(len(poses), -1, -1), orbit_rotation(*poses.unbind(1)), lens)
        points, size = torch.stack((seen.rows, seen.cols), dim=-1), lens.size  # [K, M, 2]
        pixel = points.round().clamp(0, size - 1)
        place = (pixel[..., 0] * size + pixel[..., 1]).long().flatten()
        near = self.nearest[some][:, place].unflatten(1, points.shape[:2])  # [B, K, M, 2]
        outside = (near - pixel).abs().sum(-1) > 0
        there = ((points - near).square().sum(-1) * outside).mean(-1)
        drawn = torch.multinomial(self.inside[some].flatten(1).float(), _PIXELS, True, generator=generator)
        white = torch.stack((drawn // size, drawn % size), dim=-1).float()  # [B, 48, 2]
        apart = (
            white.square().sum(-1)[:, None, :, None] - 2 * white[:, None] @ points.mT + points.square().sum(-1)[:, None]
        )
        found: Tensor = there + apart.amin(-1).clamp_min(0).mean(-1)
        return found


class FoundTemplate(NamedTuple):
    """One shape and the poses in which each image fits it best."""

    template: Tensor  # [M, 3]
    poses: Tensor  # [n, H, 2], the best first
    error: float  # of the best, mean over images, squared pixels


def best_template(masks: Tensor, settings: TemplateSettings, lens: OrbitLens) -> FoundTemplate:
    """From silhouettes [n, S, S] in [0, 1]: the best of `template.starts`. From one in three beginnings or so the shape
    that comes out is wrong way round for half of the images, and fits worse."""
    seeds = np.random.SeedSequence(settings.template.seed).generate_state(settings.template.starts)
    found = []
    for start, seed in enumerate(seeds.tolist()):
        tell_stage(start, len(seeds), "shapes of all images")
        found.append(found_template(masks, settings, lens, seed))
    return min(found, key=lambda each: each.error)


def found_template(masks: Tensor, settings: TemplateSettings, lens: OrbitLens, seed: int) -> FoundTemplate:
    """From silhouettes [n, S, S] in [0, 1], from one beginning."""
    asked, generator = settings.template, torch.Generator().manual_seed(seed)
    covered = settings.data.covered
    outlines = Outlines.of(masks > covered)
    reach = min(math.radians(settings.azimuth_range), different_azimuths(settings.mirror))
    low, high = (math.radians(angle) for angle in settings.elevations)
    part = F.normalize(torch.randn(asked.points // copies(settings.mirror), 3, generator=generator), dim=1)
    part = (part * _RADIUS * torch.rand(len(part), 1, generator=generator) ** (1 / 3)).requires_grad_()
    optimiser = torch.optim.Adam([part], lr=asked.rate)
    for step in range(asked.steps):
        done = step / asked.steps
        for group in optimiser.param_groups:
            group["lr"] = asked.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        some = torch.randint(len(masks), (min(asked.batch_size, len(masks)),), generator=generator)
        turn = torch.rand(1, generator=generator)
        grid, whole = pose_grid(asked.azimuths, reach, (low, high), turn), symmetric(part, settings.mirror)
        with torch.no_grad():
            errors = outlines.errors(some, whole, grid, lens, generator)
        poses = grid[_picked(errors, asked.temperature * (1 - done / _DRAWN_SHARE), generator)]
        seen = project_points(whole.expand(len(some), -1, -1), orbit_rotation(*poses.unbind(1)), lens)
        apart = chamfer_2d(seen.rows, seen.cols, masks[some], squared=True, threshold=covered)
        loss = AFFINITY * apart.mean() + DISPERSION * dispersion(whole[None]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    template = symmetric(part.detach(), settings.mirror)
    # a finer grid, so that angles are told to a quarter of a step
    grid = pose_grid(3 * asked.azimuths, reach, (low, high), torch.full((1,), 0.5))
    everything = torch.arange(len(masks)).split(_AT_ONCE)
    errors = torch.cat([outlines.errors(some, template, grid, lens, generator) for some in everything])
    poses = candidates(errors, grid, asked.followed, 2 * different_azimuths(settings.mirror))
    return FoundTemplate(template, poses, float(errors.amin(1).mean()))


def refine(masks: Tensor, found: FoundTemplate, settings: TemplateSettings, lens: OrbitLens) -> Refined:
    """The shape and each image's best pose, after gradients."""
    low, high = (math.radians(angle) for angle in settings.elevations)
    refinement = Refinement(masks, settings.data.covered, settings.mirror, (low, high), lens)
    return refinement.run(found.template, found.poses, settings.template.refined)


def _picked(errors: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """[B] of the poses whose errors [B, K] are given: drawn, the lower the likelier, or the best."""
    if temperature <= 0:
        return errors.argmin(dim=1)
    likely = torch.softmax(-errors / (temperature * errors.std() + 1e-9), dim=1)
    return torch.multinomial(likely, 1, generator=generator)[:, 0]


def _make(config: ImageToPointsConfig, pack: ObjectPack, folder: Path, device: torch.device) -> None:
    images, camera = image_set(config, pack, "fit"), shared_camera(config, pack)
    lens = OrbitLens.of(config.networks.image_size, camera.focal, UNIT_DISTANCE)
    settings, masks = _settings(config), to_float(images.masks)
    thin = ~(masks > settings.data.covered).flatten(1).any(dim=1)
    if thin.any():
        key = pack.manifest.objects[int(images.objects[int(thin.nonzero()[0])])].key
        raise InfeasibleError(
            f"object {key[:80]!a}: no pixel of {settings.image_size} a side is covered by more than "
            f"{settings.data.covered:g}; lower data.covered, raise networks.image_size, or leave the object out"
        )
    found = best_template(masks, settings, lens)
    refined = refine(masks, found, settings, lens)
    np.save(folder / "template.npy", refined.template.numpy())
    np.save(folder / "poses.npy", refined.poses.numpy())
    np.save(folder / "objects.npy", images.objects)
    (folder / "facts.json").write_text(json.dumps({"pack": pack.digest, "error": found.error}))


TEMPLATE: Stage[ImageToPointsConfig, ObjectPack] = Stage("template", _settings, _make, when=_wanted)


@dataclass(frozen=True)
class TemplatePoses:
    """A made stage."""

    template: Tensor  # [M, 3]
    poses: Tensor  # [objects, 2]


def read_template(folder: Path, pack: ObjectPack, objects: NDArray[np.int64]) -> TemplatePoses:
    """Raises ConfigError: it was made of other objects."""
    facts = json.loads((folder / "facts.json").read_text())
    if facts["pack"] != pack.digest or not np.array_equal(np.load(folder / "objects.npy"), objects):
        raise ConfigError(f"{folder} was made of other objects than this trial reads; give it its own stage")
    return TemplatePoses(*(torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("template", "poses")))
