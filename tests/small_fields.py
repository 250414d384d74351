"""Scene fields without a fit: a Gaussian at each pixel of a pack's training views, at its depth, of its colour and
label."""

import numpy as np
import torch

from ssl_core.data.scene_pack import ScenePack
from ssl_core.gaussians.gaussian_cloud import SH_C0
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.gaussian_field import GaussianField, camera_vector

SURE = 4.0
"""Score of a Gaussian's own class, and its opacity logit."""


def true_field(pack: ScenePack, *, scene: int = 0, stride: int = 2, labelled: bool = True, **values: object):
    """(field, card) of the pixels of every training view, every `stride`-th each way."""
    views = pack.views("train", scene).tolist()
    xyz, colours, labels, sizes = [], [], [], []
    for view in views:
        camera, depth = pack.camera(view), pack.depth(view)
        assert depth is not None
        v, u = np.mgrid[stride // 2 : camera.height : stride, stride // 2 : camera.width : stride].reshape(2, -1)
        z = depth[v, u].astype(np.float64)
        seen = z > 0
        rays = np.linalg.solve(camera.K, np.stack([u + 0.5, v + 0.5, np.ones(len(u))]))
        points = (rays * z).T - camera.viewmat[:3, 3]
        xyz.append((points @ camera.viewmat[:3, :3])[seen])
        colours.append(pack.image(view)[v, u][seen] / 255)
        labels.append(np.zeros(seen.sum(), np.uint8) if pack.labels(view) is None else pack.labels(view)[v, u][seen])
        sizes.append((0.3 * stride * z / camera.K[0, 0])[seen])
    count, classes = sum(map(len, xyz)), pack.classes if labelled else ()
    camera = pack.camera(views[0])
    card = SceneFieldCard.model_validate(
        {
            "scene": pack.scenes[scene].name, "gaussians": count, "classes": classes, "channels": len(classes),
            "width": camera.width, "height": camera.height, "depths": (0.5, 4.0),
            "examples": tuple(tuple(camera_vector(pack.camera(view)).tolist()) for view in views[:2]), **values,
        }
    )  # fmt: skip
    field = card.build(0)
    with torch.no_grad():
        field.xyz.copy_(torch.from_numpy(np.concatenate(xyz)))
        field.log_scales.copy_(torch.from_numpy(np.log(np.concatenate(sizes)))[:, None].expand(-1, 3))
        field.opacity_logits.fill_(SURE)
        field.sh[:, 0].copy_(torch.from_numpy((np.concatenate(colours) - 0.5) / SH_C0))
        if classes:
            field.channels.copy_(SURE * torch.eye(len(classes))[torch.from_numpy(np.concatenate(labels)).long()])
    return field, card


def mislabelled(field: GaussianField, share: float, seed: int = 0) -> GaussianField:
    """The field with the scores of a share of its Gaussians exchanged among each other, in place."""
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(field.channels), generator=generator)[: int(share * len(field.channels))]
    with torch.no_grad():
        field.channels[some] = field.channels[some[torch.randperm(len(some), generator=generator)]]
    return field


def recoloured(field: GaussianField, amount: float, seed: int = 0) -> GaussianField:
    """The field with colours a little off, in place."""
    with torch.no_grad():
        field.sh += amount * torch.randn(field.sh.shape, generator=torch.Generator().manual_seed(seed))
    return field
