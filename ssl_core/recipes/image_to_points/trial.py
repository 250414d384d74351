"""A shape network and a pose network teach each other on single images of objects. One trial, on one device.

A batch holds `images` [B, 3, S, S] and `masks` [B, S, S] uint8, `poses` [B, 2] of the pack's cameras (NaN without) or
of the stage `template`, `random_poses` [K - 1, B, 2], `turn` [1] of the search's grid, the `progress` of the trial, and
with neighbours, one of each image: `other_images`, `other_masks`, `other_poses`. Everything random follows from (seed,
epoch). Points of the pack are read for validation alone, the test split never.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.data.augment import to_float
from ssl_core.data.batches import Indices, batches_of
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import InfeasibleError
from ssl_core.models.cards import Card
from ssl_core.models.modes import evaluating
from ssl_core.models.reconstruction import mirrored_azimuth
from ssl_core.recipes.image_to_points.config import ImageToPointsConfig
from ssl_core.recipes.image_to_points.cycle_losses import Drawn, pose_terms, shape_terms, silhouette_terms
from ssl_core.recipes.image_to_points.held_out import HeldOut
from ssl_core.recipes.image_to_points.image_set import (
    UNIT_DISTANCE,
    check_images,
    chosen_views,
    image_set,
    shared_camera,
)
from ssl_core.recipes.image_to_points.pose_search import PoseSearch
from ssl_core.recipes.image_to_points.shape_and_pose import ShapeAndPose
from ssl_core.recipes.image_to_points.silhouette_neighbours import NEIGHBOURS, check_neighbours, read_neighbours
from ssl_core.recipes.image_to_points.template_poses import TEMPLATE, read_template
from ssl_core.render.point_splatting import OrbitLens, orbit_rotation, project_points, splat_colour
from ssl_core.training.contract import Batch, LossTerms, ParameterGroup
from ssl_core.training.loop import prefetched


def check(config: ImageToPointsConfig, pack: ObjectPack) -> None:
    """Raises InfeasibleError when the pack cannot serve the config, ConfigError for a model that is not there."""
    fit, val = (len(chosen_views(config, pack, split)[0]) for split in ("fit", "val"))
    if fit < 2 or val < 2:
        raise InfeasibleError(
            f"the pack has {fit} training and {val} validation objects of data.classes; at least 2 of each are needed: "
            "give each class more training objects, or name more classes"
        )
    check_images(config, pack)
    check_neighbours(config, pack)


class ImageToPointsTrial:
    """One trial on one device. Raises InfeasibleError when the pack cannot serve the config."""

    def __init__(
        self, config: ImageToPointsConfig, pack: ObjectPack, stages: Mapping[str, Path], seed: int, device: torch.device
    ) -> None:
        check(config, pack)
        self.config, self.seed, self.device = config, seed, device
        camera = shared_camera(config, pack)
        self.lens = OrbitLens.of(config.networks.image_size, camera.focal, UNIT_DISTANCE)
        self.fit = image_set(config, pack, "fit")
        self.batch_size = min(config.training.batch_size, len(self.fit))
        self.steps_per_epoch = len(self.fit) // self.batch_size
        self.networks = ShapeAndPose(config, camera, seed).to(device)
        self.module: nn.Module = self.networks
        self.held_out = HeldOut(config, pack, self.lens, camera)
        self.search = _search(config, camera.focal)
        self._models = self.networks.outputs()
        neighbours, template = stages.get(NEIGHBOURS.name), stages.get(TEMPLATE.name)
        self._neighbours = None if neighbours is None else read_neighbours(neighbours, pack, self.fit.objects)
        if template is not None:
            found = read_template(template, pack, self.fit.objects)
            self.fit = replace(self.fit, poses=found.poses)
            if config.start.kind == "random":
                self.networks.begin_at(found.template, seed + 3)

    # ---- training

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Images and masks travel as bytes."""
        yield from prefetched(self._gathered(epoch), self.device)

    def samples(self, batch: Batch) -> int:
        """Objects."""
        return len(batch["images"])

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """Of the shape network and of the pose network, in full precision: distances in pixels need it."""
        with torch.autocast(self.device.type, enabled=False):
            drawn = self._drawn(batch)
            shape = shape_terms(self.config, self.networks, drawn, self.lens)
            total = shape.total
            if "other_images" in batch:
                other = self._neighbour_terms(batch, drawn)
                total = total + self.config.neighbours.weight * other.total
                shape = LossTerms(total, {**shape.terms, **{f"other_{name}": v for name, v in other.terms.items()}})
            return {"shape": shape, "pose": pose_terms(self.config, self.networks, drawn)}

    def parameters(self) -> Mapping[str, tuple[ParameterGroup, ...]]:
        """Two optimisers, as in the reference."""
        networks = self.networks
        return {
            "shape": (ParameterGroup(tuple(networks.reconstructor.parameters())),),
            "pose": (ParameterGroup(tuple(networks.pose.parameters()), rate=self.config.pose_rate),),
        }

    def validate(self) -> dict[str, float]:
        """On validation objects; the reconstructor's alignment is fitted anew before that."""
        with evaluating(self.networks):
            return self.held_out.metrics(self.networks, self._models["image"][0])

    def models(self) -> Mapping[str, tuple[nn.Module, Card]]:
        """Reconstructor, image encoder, pose estimator."""
        return self._models

    def _gathered(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, 1, epoch])
        own = np.random.default_rng([self.seed, 2, epoch])  # of neighbours: without them all else is the same
        flips = np.random.default_rng([self.seed, 3, epoch])
        count, rows = self.config.loss.projections - 1, np.arange(len(self.fit))
        total = self.config.training.epochs * self.steps_per_epoch
        for step, some in enumerate(batches_of(rows, self.batch_size, rng), epoch * self.steps_per_epoch):
            batch = {
                "progress": torch.tensor(step / total),
                **self._seen(some, flips),
                "random_poses": self._random_poses(rng, (count, len(some))),
                "turn": torch.from_numpy(rng.random(1, dtype=np.float32)),
            }
            if self._neighbours is not None and self.config.neighbours.weight > 0:
                other = self._neighbours[some, own.integers(0, self._neighbours.shape[1], size=len(some))]
                batch |= {f"other_{name}": seen for name, seen in self._seen(other, flips).items()}
            yield batch

    def _seen(self, some: Indices, flips: np.random.Generator) -> Batch:
        """Images, masks and poses; where data.flip is on, half of them as in a mirror."""
        images, masks, poses = self.fit.images[some], self.fit.masks[some], self.fit.poses[some]
        if self.config.data.flip:
            flipped = torch.from_numpy(flips.random(len(some)) < 0.5)
            images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
            masks = torch.where(flipped[:, None, None], masks.flip(-1), masks)
            azimuth = mirrored_azimuth(poses[:, 0], self.config.networks.mirror)
            poses = torch.stack((torch.where(flipped, azimuth, poses[:, 0]), poses[:, 1]), dim=1)
        return {"images": images, "masks": masks, "poses": poses}

    def _random_poses(self, rng: np.random.Generator, shape: tuple[int, int]) -> Tensor:
        """[K - 1, B, 2]: azimuths and elevations uniform in their ranges, as in the reference."""
        poses = self.config.poses
        azimuth = np.radians(rng.uniform(-poses.azimuth_range, poses.azimuth_range, size=shape))
        elevation = np.radians(rng.uniform(*poses.elevations, size=shape))
        return torch.from_numpy(np.stack((azimuth, elevation), axis=-1).astype(np.float32))

    def _drawn(self, batch: Batch) -> Drawn:
        """The cloud of each image, and its picture from the image's own pose and from random ones."""
        images, masks = to_float(batch["images"]), to_float(batch["masks"])
        points, colours = self.networks.shape(images)
        told = self.networks.pose(images)
        own = self._own_poses(batch, (points, colours), told, (images, masks))
        poses = torch.cat((own[None], batch["random_poses"]))  # [K, B, 2]
        flat, count = poses.flatten(0, 1), len(poses)
        seen = project_points(points.repeat(count, 1, 1), orbit_rotation(flat[:, 0], flat[:, 1]), self.lens)
        pictures = splat_colour(seen, colours.repeat(count, 1, 1), self.lens.size, self.config.loss.sharpness)
        return Drawn(images, masks, points, told, poses, seen, pictures, float(batch["progress"]))

    def _own_poses(
        self, batch: Batch, cloud: tuple[Tensor, Tensor], told: Tensor, seen: tuple[Tensor, Tensor]
    ) -> Tensor:
        """[B, 2] the poses in which clouds are held against their images."""
        match self.config.poses.source:
            case "network":
                return told
            case "true_pose" | "template":
                return batch["poses"]
            case "search":
                found = self.search.best(cloud, told, seen, batch["turn"])
                # where the network's pose is kept its gradient is, too
                return torch.where((found == told).all(dim=1, keepdim=True), told, found)
            case _:
                assert_never(self.config.poses.source)

    def _neighbour_terms(self, batch: Batch, drawn: Drawn) -> LossTerms:
        """The same clouds against the silhouettes of images that look alike, from those images' poses."""
        images, masks = to_float(batch["other_images"]), to_float(batch["other_masks"])
        known = self.config.poses.source in ("true_pose", "template")
        poses = batch["other_poses"] if known else self.networks.pose(images).detach()
        seen = project_points(drawn.points, orbit_rotation(poses[:, 0], poses[:, 1]), self.lens)
        return silhouette_terms(self.config, seen, masks, self.lens.size)


def _search(config: ImageToPointsConfig, focal: float) -> PoseSearch:
    poses, loss = config.poses, config.loss
    low, high = (math.radians(angle) for angle in poses.elevations)
    lens = OrbitLens.of(config.networks.image_size // 2, focal, UNIT_DISTANCE)
    reach = math.radians(poses.azimuth_range)
    return PoseSearch(poses.candidates, reach, (low, high), lens, loss.variance, loss.colour > 0)
