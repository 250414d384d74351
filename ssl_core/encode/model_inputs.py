"""Files and arrays to what an encoder reads, by the steps that packs and trials take.

A cloud of Gaussians becomes the `[N, D]` input of a point encoder:

    keep alpha above the threshold -> choose num_points (contract's sampling) -> centre, scale, columns of the contract

A cloud's sample depends on the seed and the cloud alone, never on its companions. A picture of any size becomes the
`[3, S, S]` input of what reads images.
"""

from pathlib import Path
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.data.augment import whole_images
from ssl_core.data.backgrounds import over_black
from ssl_core.data.pack_arrays import rows_of
from ssl_core.data.point_columns import REST_GROUPS, assemble, check_groups
from ssl_core.data.sampling import (
    Indices,
    farthest_point_order,
    random_bits,
    seeds,
    smallest,
    uniform_below,
    uniform_keys,
    weighted_keys,
)
from ssl_core.errors import ImageError, InfeasibleError
from ssl_core.files.image_files import read_image, read_with_mask
from ssl_core.gaussians.gaussian_cloud import GAUSSIAN_GROUPS, GaussianCloud
from ssl_core.models.dense_cards import DenseEncoderCard

Array = NDArray[np.float32]
_NEARLY_BLACK = 24
"""of 255"""


def points_input(
    cloud: GaussianCloud,
    contract: PointsContract,
    *,
    seed: int = 0,
    repeat: bool = False,
    what: str = "the cloud",
    groups: tuple[str, ...] = GAUSSIAN_GROUPS,
) -> Array:
    """[num_points, columns] float32, ready for the encoder.

    Args:
        cloud: one object, upright (z up) as in training; of any place and size.
        contract: the encoder's.
        seed: of the sample.
        repeat: let a cloud that keeps too few Gaussians be repeated in order, as small objects of a pack are; features
            of a maximum over points do not change by it.
        what: names the cloud in errors.
        groups: feature groups that are its own; plain points have fewer.

    Raises InfeasibleError: a feature group that the cloud lacks, no or too few Gaussians above the contract's
    threshold.
    """
    _check_groups(cloud, contract, what, groups)
    alphas = cloud.alphas()
    kept = np.flatnonzero(alphas > contract.alpha_threshold)
    if len(kept) == 0 or (len(kept) < contract.num_points and not repeat):
        least = "repeat=True repeats them, " if len(kept) else ""
        raise InfeasibleError(
            f"{what}: {len(kept)} of {len(cloud)} Gaussians have an alpha above {contract.alpha_threshold:g}, but the "
            f"encoder takes {contract.num_points} points; {least}or fit it with more Gaussians"
        )
    cloud = cloud.select(kept)
    picked = _choose(cloud.xyz, alphas[kept], contract, seed)
    picked = picked[np.arange(contract.num_points) % len(picked)]
    found: Array = assemble(rows_of(cloud.select(picked))[None], contract)[0]
    return found


def _check_groups(cloud: GaussianCloud, contract: PointsContract, what: str, groups: tuple[str, ...]) -> None:
    if lacking := [group for group in contract.features if group in GAUSSIAN_GROUPS and group not in groups]:
        raise InfeasibleError(
            f"{what}: has no '{lacking[0]}' (it has {', '.join(groups)}), and the encoder reads "
            f"{', '.join(contract.features)}; take an encoder of other features"
        )
    available = (*groups, "sh_rest") if cloud.sh_degree > 0 else groups
    missing = [group for group in contract.features if group in REST_GROUPS and cloud.sh_degree == 0]
    if missing:
        raise InfeasibleError(
            f"{what}: its colours are of SH degree 0, but the encoder reads '{missing[0]}' (columns "
            f"{', '.join(contract.features)}); train the splat with degree 3, or take an encoder of other features"
        )
    check_groups(contract, available)


def _choose(xyz: Array, alphas: Array, contract: PointsContract, seed: int) -> Indices:
    """Which of the kept Gaussians are the points, in order: at most `num_points`."""
    wanted = contract.num_points
    bits = seeds(seed, np.zeros(1, dtype=np.int64))
    match contract.sampling:
        case "fps":
            return farthest_point_order(xyz, wanted, int(bits[0] % np.uint64(len(xyz))))
        case "uniform_with_replacement":
            drawn: Indices = uniform_below(random_bits(bits, wanted), np.array([len(xyz)]))[0]
            return drawn
        case "uniform":
            keys = uniform_keys(random_bits(bits, len(xyz)))
        case "opacity_weighted":
            keys = weighted_keys(random_bits(bits, len(xyz)), alphas[None])
        case _:
            assert_never(contract.sampling)
    chosen: Indices = smallest(keys, np.ones((1, len(xyz)), dtype=np.bool_), wanted)[0]
    return chosen


Picture = Path | str | NDArray[np.uint8]


def image_input(picture: Picture, contract: ImageContract, what: str = "the picture") -> Tensor:
    """[3, S, S] float32 in [0, 1], over the contract's background.

    Over white, a picture is squeezed to a square as views of a pack are. Over black it is padded to one: what draws the
    object that it sees must not see it distorted.

    Args:
        picture: a file, or uint8 [H, W, 3].

    Raises ImageError: no readable image, or an array of another shape or type.
    """
    if isinstance(picture, Path | str):
        pixels, mask = read_with_mask(picture)
    else:
        pixels, mask = _checked(picture, what), None
    stored = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    match contract.background:
        case "white":
            pass
        case "black":
            stored = _squared(stored if mask is None else over_black(stored, torch.from_numpy(mask)[None]))
        case _:
            assert_never(contract.background)
    return whole_images(stored, contract.image_size)[0]


def dense_input(picture: Picture, card: DenseEncoderCard, what: str = "the picture") -> Tensor:
    """[3, H, W] float32 in [0, 1] whose sides are multiples of the card's patch: at most twice as many pixels as the
    card's images have, in the picture's own proportions.

    Raises ImageError as `image_input`.
    """
    pixels = read_image(picture) if isinstance(picture, Path | str) else _checked(picture, what)
    stored = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / 255
    height, width = pixels.shape[:2]
    shrink = min(1.0, (2 * card.height * card.width / (height * width)) ** 0.5)
    size = [max(1, int(shrink * side) // card.multiple) * card.multiple for side in (height, width)]
    if list(stored.shape[2:]) != size:
        stored = F.interpolate(stored, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    return stored[0]


def has_own_background(picture: Path | str) -> bool:
    """Whether a file knows no transparency and its border is not black: what reads objects over black takes the
    background for part of the object. Raises ImageError."""
    pixels, mask = read_with_mask(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return mask is None and bool(np.median(border.max(axis=1)) > _NEARLY_BLACK)


def _squared(images: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 3, L, L] with the longer side L, zeros on both sides of the shorter one."""
    height, width = images.shape[2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(images, (left, side - width - left, top, side - height - top))


def _checked(pixels: NDArray[np.uint8], what: str) -> NDArray[np.uint8]:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        given = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ImageError(f"{what}: expected a file or uint8 [H, W, 3], got {given}; multiply floats by 255 and convert")
    if pixels.size == 0:
        raise ImageError(f"{what}: has no pixels ({list(pixels.shape)}); leave it out")
    return pixels
