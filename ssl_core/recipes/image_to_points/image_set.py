"""One image of each object over black, its silhouette, and the camera that all images share."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssl_core.data.augment import whole_images
from ssl_core.data.backgrounds import check_masks, over_black
from ssl_core.data.batches import Indices
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.object_pack import Split
from ssl_core.data.single_views import objects_of, view_of_each
from ssl_core.errors import InfeasibleError
from ssl_core.recipes.image_to_points.config import ImageToPointsConfig
from ssl_core.scenes.cameras import Camera

UNIT_DISTANCE = 2.0
"""From the camera to the object's centre in the units of all losses: the reference's. A pack's own are scaled to it, so
that one set of weights fits packs of any unit."""
TOLERANCE = 0.01
"""of a camera's distance, direction and roll, and of the middle of its pictures"""


@dataclass(frozen=True)
class SharedCamera:
    """What all views have in common."""

    focal: float  # as a share of the picture's side
    distance: float  # of the camera from the origin, object units
    from_pack: bool  # whether the pack says so; else the config does

    @property
    def unit(self) -> float:
        """Object units per unit of the losses."""
        return self.distance / UNIT_DISTANCE


@dataclass(frozen=True)
class ImageSet:
    """Of one split, on the CPU."""

    objects: Indices  # [n] of the pack
    views: Indices  # [n] rows of the pack's views
    images: Tensor  # [n, 3, S, S] uint8 over black
    masks: Tensor  # [n, S, S] uint8, 255 where covered
    poses: Tensor  # [n, 2] azimuth and elevation, radians; NaN where the pack has no cameras

    def __len__(self) -> int:
        return len(self.objects)

    def first(self, count: int) -> "ImageSet":
        """At most `count` objects, evenly spaced in the pack's order, so that every class is among them."""
        some = np.arange(min(count, len(self))) * len(self) // min(count, len(self))
        return ImageSet(
            self.objects[some],
            self.views[some],
            self.images[some],
            self.masks[some],
            self.poses[torch.from_numpy(some)],
        )


def image_set(config: ImageToPointsConfig, pack: ObjectPack, split: Split) -> ImageSet:
    """The images of a split's objects. Raises InfeasibleError: see `check_images`."""
    objects, views = chosen_views(config, pack, split)
    size, masks = config.networks.image_size, check_masks(pack)
    images, silhouettes = [], []
    for some in np.array_split(views, max(1, math.ceil(len(views) / 256))):
        covered = torch.from_numpy(masks[some])
        black = over_black(torch.from_numpy(pack.views[some]), covered)
        images.append(_bytes(whole_images(black, size)))
        # three equal channels: what scales pictures scales silhouettes
        silhouettes.append(_bytes(whole_images(covered[:, None].expand(-1, 3, -1, -1), size))[:, 0])
    poses = torch.tensor([_pose(pack.camera(view)) for view in views.tolist()], dtype=torch.float32).reshape(-1, 2)
    return ImageSet(objects, views, torch.cat(images), torch.cat(silhouettes), poses)


def chosen_views(config: ImageToPointsConfig, pack: ObjectPack, split: Split) -> tuple[Indices, Indices]:
    """Objects of a split and the row of each one's view. Raises InfeasibleError: no such class, an object has none."""
    objects = objects_of(pack, split, config.data.classes)
    return objects, view_of_each(pack, objects, config.data.view_seed)


def check_images(config: ImageToPointsConfig, pack: ObjectPack) -> None:
    """Raises InfeasibleError: no masks, an object without view, a silhouette that is empty or fills its picture, or
    cameras that are on no orbit."""
    masks = check_masks(pack)
    for split in ("fit", "val"):
        objects, views = chosen_views(config, pack, split)
        for index, view in zip(objects.tolist(), views.tolist(), strict=True):
            _check_silhouette(masks[view], pack.manifest.objects[index].key, view - int(pack.first_view[index]))
    shared_camera(config, pack)


def _check_silhouette(mask: np.ndarray, key: str, view: int) -> None:
    covered = mask > 127
    if covered.any() and not covered.all():
        return
    what = "fills its whole picture" if covered.any() else "is empty"
    raise InfeasibleError(
        f"object {key[:80]!a}: the mask of its view {view} {what}, and shapes are learnt from outlines; mend the mask, "
        "leave the object out, or choose other views by data.view_seed"
    )


def shared_camera(config: ImageToPointsConfig, pack: ObjectPack) -> SharedCamera:
    """Of all chosen views. Raises InfeasibleError: true poses are asked for and the pack has no cameras, or its cameras
    do not look at the origin, upright, from one distance with one lens."""
    views = np.concatenate([chosen_views(config, pack, split)[1] for split in ("fit", "val")])
    cameras = [camera for camera in (pack.camera(view) for view in views.tolist()) if camera is not None]
    if not cameras:
        if config.poses.source == "true_pose":
            raise InfeasibleError(
                "poses.source=true_pose reads cameras, and the pack has none; pack views with their cameras, or choose "
                "search or network"
            )
        return SharedCamera(config.camera.focal, config.camera.distance, from_pack=False)
    facts = np.array([_facts(camera) for camera in cameras])
    focal, distance = np.median(facts[:, 0]), np.median(facts[:, 1])
    wrong = (
        ("focal lengths differ by view", np.abs(facts[:, 0] / focal - 1)),
        ("distances from the origin differ by view", np.abs(facts[:, 1] / distance - 1)),
        ("cameras do not look at the origin", facts[:, 2]),
        ("cameras are rolled: the z axis does not point up in the picture", facts[:, 3]),
    )
    for what, off in wrong:
        if off.max() > TOLERANCE:
            raise InfeasibleError(
                f"{what} (by {off.max():.1%}, at most {TOLERANCE:.0%}), and all images are taken to be seen from one "
                "orbit; pack views of `splat` or `pack --meshes`, or images without cameras and set camera.focal and "
                "camera.distance"
            )
    return SharedCamera(float(focal), float(distance), from_pack=True)


def _facts(camera: Camera) -> tuple[float, float, float, float]:
    """Focal length by side; distance; how far from the picture's middle the origin is, by side; roll."""
    centre = camera.viewmat[:3, 3]
    seen = camera.K @ centre
    middle = seen[:2] / max(seen[2], 1e-9)
    off = float(np.abs(middle / (camera.width, camera.height) - 0.5).max()) if seen[2] > 0 else math.inf
    return camera.K[0, 0] / camera.width, float(np.linalg.norm(centre)), off, abs(float(camera.viewmat[0, 2]))


def _pose(camera: Camera | None) -> tuple[float, float]:
    if camera is None:
        return math.nan, math.nan
    x, y, z = camera.position
    return math.atan2(y, x), math.asin(z / math.sqrt(x * x + y * y + z * z))


def _bytes(images: Tensor) -> Tensor:
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)
