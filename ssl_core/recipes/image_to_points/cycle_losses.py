"""What the two networks minimise (Navaneet et al., CVPR 2020, section 3; README.md has the equations)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ssl_core.losses.chamfer import chamfer
from ssl_core.losses.dispersion import dispersion
from ssl_core.losses.silhouette import RELEASED_AFFINITY, angle_distance, chamfer_2d, mask_loss, released_affinity
from ssl_core.recipes.image_to_points.config import ImageToPointsConfig
from ssl_core.recipes.image_to_points.shape_and_pose import ShapeAndPose
from ssl_core.render.point_splatting import OrbitLens, Projection, splat_mask
from ssl_core.training.contract import LossTerms


@dataclass(frozen=True)
class Drawn:
    """A batch of B images and K pictures of each one's cloud, the first from the image's own pose."""

    images: Tensor  # [B, 3, S, S]
    masks: Tensor  # [B, S, S]
    points: Tensor  # [B, N, 3]
    told: Tensor  # [B, 2] poses by the network
    poses: Tensor  # [K, B, 2] from which it is drawn
    seen: Projection  # [K * B, N], a pose's batch after the other
    pictures: Tensor  # [K * B, 3, S, S]
    progress: float = 1.0  # share of the trial's steps that are done

    @property
    def own(self) -> Projection:
        """From the image's own pose."""
        count = len(self.images)
        return Projection(self.seen.rows[:count], self.seen.cols[:count], self.seen.depths[:count])


def shape_terms(config: ImageToPointsConfig, networks: ShapeAndPose, drawn: Drawn, lens: OrbitLens) -> LossTerms:
    """The shape network's: colour and silhouette of the image, the geometric cycle, symmetry."""
    loss = config.loss
    silhouette = silhouette_terms(config, drawn.own, drawn.masks, lens.size)
    colour = colour_error(drawn)
    terms = {"colour": colour, **silhouette.terms}
    total = loss.colour * colour + silhouette.total
    if loss.cycle > 0:
        terms["cycle"] = geometric_cycle(config, networks, drawn)
        total = total + loss.cycle * config.curriculum.factor(drawn.progress) * terms["cycle"]
    if loss.repulsion > 0:
        terms["repulsion"] = repulsion(drawn.points)
        total = total + loss.repulsion * terms["repulsion"]
    if loss.dispersion > 0:
        terms["dispersion"] = dispersion(drawn.points).mean()
        total = total + loss.dispersion * terms["dispersion"]
    if loss.symmetry > 0:
        terms["symmetry"] = symmetry(drawn.points, shrinks=config.released.symmetry_shrinks)
        total = total + loss.symmetry * terms["symmetry"]
    return LossTerms(total, terms)


def pose_terms(config: ImageToPointsConfig, networks: ShapeAndPose, drawn: Drawn) -> LossTerms:
    """The pose network's: the image under its pose, the pose cycle, the range, a found pose, or the camera's."""
    loss, wrapped = config.loss, not config.released.unwrapped_pose_l1
    count = len(drawn.images)
    told = networks.pose(drawn.pictures[count:])
    terms = {"pose": angle_distance(told, drawn.poses[1:].flatten(0, 1), wrapped=wrapped).mean()}
    total = loss.pose * terms["pose"]
    if loss.elevation > 0:
        low, high = (math.radians(angle) for angle in config.poses.elevations)
        beyond = functional.relu(drawn.told[:, 1] - high) + functional.relu(low - drawn.told[:, 1])
        terms["elevation"] = beyond.mean()
        total = total + loss.elevation * terms["elevation"]
    source = config.poses.source
    if source != "network":
        # without a gradient of its own where the network's pose is the one that was found
        terms["searched"] = angle_distance(drawn.told, drawn.poses[0].detach(), wrapped=wrapped).mean()
        total = total + loss.searched * terms["searched"]
    if source in ("network", "search"):
        kind = "bce_logit" if config.released.bce_logit else loss.mask_loss
        mask = mask_loss(splat_mask(drawn.own, drawn.masks.shape[-1], loss.variance), drawn.masks, kind).mean()
        total = total + loss.pose_colour * colour_error(drawn) + loss.pose_mask * mask
    return LossTerms(total, terms)


def colour_error(drawn: Drawn) -> Tensor:
    """Squared, summed over channels, mean over pixels."""
    return (drawn.images - drawn.pictures[: len(drawn.images)]).square().sum(dim=1).mean()


def silhouette_terms(config: ImageToPointsConfig, seen: Projection, masks: Tensor, size: int) -> LossTerms:
    """Mask and affinity of clouds on the screen against silhouettes [B, S, S], weighted and by name."""
    loss, released = config.loss, config.released
    drawn = splat_mask(seen, size, loss.variance)
    terms = {"mask": mask_loss(drawn, masks, "bce_logit" if released.bce_logit else loss.mask_loss).mean()}
    total = loss.mask * terms["mask"]
    if loss.affinity > 0:
        if released.affinity_l1:
            forward, backward = released_affinity(drawn, masks)
            terms["affinity"] = (forward + backward).mean() / RELEASED_AFFINITY
        else:
            apart = chamfer_2d(
                seen.rows,
                seen.cols,
                masks,
                squared=loss.affinity_of == "square",
                coverage=loss.coverage,
                threshold=config.data.covered,
            )
            terms["affinity"] = apart.mean()
        total = total + loss.affinity * terms["affinity"]
    return LossTerms(total, terms)


def geometric_cycle(config: ImageToPointsConfig, networks: ShapeAndPose, drawn: Drawn) -> Tensor:
    """Chamfer distances of the clouds that the K pictures give, summed over pictures, mean over objects."""
    count = len(drawn.poses)
    first = drawn.points
    pictures = drawn.pictures.unflatten(0, (count, len(first)))
    if config.released.skip_last_projection:
        pictures = pictures[:-1]  # with the cloud itself as the first, at distance 0, they counted to K
    again = networks.shape(pictures.flatten(0, 1))[0].unflatten(0, pictures.shape[:2])
    if config.loss.pairing == "adj_model":
        before = torch.cat((first[None], again[:-1]))
    else:
        before = first[None].expand(len(again), -1, -1, -1)
    # the sum over views of means over objects
    return chamfer(before.flatten(0, 1), again.flatten(0, 1)).mean() * len(again)


def repulsion(points: Tensor) -> Tensor:
    """How much nearer than an even spread points [B, N, 3] are to the nearest other of their cloud, as a share of it.

    Poses that are still wrong push every point into the middle, where all outlines overlap, and inside a filled outline
    nothing moves a point: without this, three of four points end in one place. The spread is that of N points on a
    sphere of radius 0.4, half an object's; after the repulsion of Yu et al. (PU-Net, CVPR 2018).
    """
    wanted = 0.8 * math.sqrt(math.pi / points.shape[1])
    with torch.no_grad():
        apart = torch.cdist(points, points)
        apart.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        nearest = apart.argmin(dim=2)
    other = points.gather(1, nearest[..., None].expand(-1, -1, 3)).detach()
    distance = ((points - other).square().sum(dim=-1) + 1e-8).sqrt()
    return functional.relu(1 - distance / wanted).mean()


def symmetry(points: Tensor, *, shrinks: bool = False) -> Tensor:
    """How far clouds [B, N, 3] are from their mirror images at the plane y = 0 of their frame.

    As released in the script of the neighbours each point is held against its own mirror image, so that it moves onto
    the plane: `shrinks`.
    """
    mirrored = points * points.new_tensor((1.0, -1.0, 1.0))
    return (points - mirrored).abs().mean() if shrinks else chamfer(points, mirrored).mean()
