"""What the tasks of single images read from a pack: images over black, true clouds, cameras."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.data.augment import whole_images
from ssl_core.data.backgrounds import check_masks, views_over
from ssl_core.data.object_pack import Pack, Split
from ssl_core.data.pack_arrays import COLUMNS
from ssl_core.data.single_views import objects_of, view_of_each
from ssl_core.errors import InfeasibleError
from ssl_core.gaussians.gaussian_cloud import SH_C0
from ssl_core.models.modes import device_of, evaluating
from ssl_core.models.reconstruction_cards import PoseEstimatorCard, ReconstructorCard
from ssl_core.scenes.cameras import Camera

_BATCH = 64


class SingleViews:
    """One view of each object of a split, and what is true of it.

    Attributes:
        objects: [n] indices into the pack. views: [n] rows of `pack.views`.
    """

    def __init__(self, pack: Pack, card: ReconstructorCard | PoseEstimatorCard, split: Split, seed: int) -> None:
        self.pack, self.card = pack, card
        self.objects: NDArray[np.int64] = objects_of(pack, split, card.classes)
        if len(self.objects) == 0:
            named = f" of {', '.join(card.classes)}" if card.classes else ""
            raise InfeasibleError(f"pack {pack.path} has no objects{named} in split '{split}'; pack some more")
        self.views = view_of_each(pack, self.objects, seed)

    def __len__(self) -> int:
        return len(self.objects)

    def images(self) -> Tensor:
        """[n, 3, S, S] float32 in [0, 1] over black."""
        return self._sized(views_over(self.pack, self.views, "black"))

    def masks(self) -> Tensor:
        """[n, S, S] float32 in [0, 1]."""
        stored = torch.from_numpy(check_masks(self.pack)[self.views])
        return self._sized(stored[:, None].expand(-1, 3, -1, -1))[:, 0]

    def clouds(self, points: int) -> Tensor:
        """[n, points, 3] float32: the first of each object's rows, which lie in farthest-point order."""
        first = self.pack.first_row[self.objects]
        return torch.from_numpy(np.stack([self.pack.gaussians[row : row + points, :3] for row in first.tolist()]))

    def coloured(self, place: int) -> Tensor:
        """[rows, 6] xyz and RGB in [0, 1] of all rows of one object, by its place in `objects`."""
        item = self.pack.manifest.objects[int(self.objects[place])]
        rows = torch.from_numpy(np.array(self.pack.gaussians[item.first_row : item.first_row + item.rows]))
        return torch.cat((rows[:, :3], (0.5 + SH_C0 * rows[:, COLUMNS["sh_dc"]]).clamp(0, 1)), dim=1)

    def cameras(self) -> list[Camera] | None:
        """One for each view; None where the pack has none."""
        found = [self.pack.camera(view) for view in self.views.tolist()]
        return None if None in found else [camera for camera in found if camera is not None]

    def answers(self, model: nn.Module) -> Tensor:
        """[n, *output_shape] float32 on the CPU: what the model makes of the images."""
        with evaluating(model):
            parts = [model(some.to(device_of(model))).float().cpu() for some in self.images().split(_BATCH)]
        return torch.cat(parts)

    def _sized(self, stored: Tensor) -> Tensor:
        return torch.cat([whole_images(some, self.card.image_size) for some in stored.split(_BATCH)])


def true_points(pack: Pack, objects: NDArray[np.int64], asked: int) -> int:
    """How many points every one of the objects has, at most those asked for. Raises InfeasibleError: next to none."""
    found = min(asked, int(pack.num_rows[objects].min()))
    if found < 8:
        raise InfeasibleError(
            f"pack {pack.path}: an object has {found} points, and clouds are compared with 8 or more; pack surface "
            "points (--surface-points), or leave it out"
        )
    return found
