"""How alike two pictures are: structural similarity and the loss that Gaussians are fitted with."""

import math
from functools import lru_cache

import torch
from torch import Tensor

WINDOW = 11
SIGMA = 1.5
"""Side of the window in pixels and its standard deviation: Wang et al. 2004, section III.B."""
C1, C2 = 0.01**2, 0.03**2


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity of pictures [H, W, C] in [0, 1]; 1 for equal ones.

    Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment", equation 13; pixels outside are zero, as in the
    code of Kerbl et al. 2023.
    """
    channels = image.shape[2]
    planes = torch.cat([image, target, image * image, target * target, image * target], dim=2)
    mean_x, mean_y, square_x, square_y, product = _blurred(planes).split(channels)
    xx, yy, xy = mean_x * mean_x, mean_y * mean_y, mean_x * mean_y
    same = (2 * xy + C1) * (2 * (product - xy) + C2)
    found: Tensor = same / ((xx + yy + C1) * (square_x - xx + square_y - yy + C2))
    return found.mean()


def photometric_loss(image: Tensor, target: Tensor, dssim: float) -> Tensor:
    """(1 - dssim) mean absolute error + dssim (1 - SSIM) of pictures [H, W, C]: Kerbl et al. 2023, equation 7."""
    error = (image - target).abs().mean()
    return error if dssim == 0 else (1 - dssim) * error + dssim * (1 - ssim(image, target))


def psnr(image: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of a picture, cut to [0, 1], beside one in [0, 1]."""
    error = (image.clamp(0, 1) - target).square().mean().item()
    return -10 * math.log10(max(error, 1e-12))


def _blurred(planes: Tensor) -> Tensor:
    """[H, W, P] -> [P, H, W] weighted means over windows; two products with banded matrices, as the weight is one."""
    rows, columns = (_band(size, planes.dtype, planes.device) for size in planes.shape[:2])
    return rows @ planes.permute(2, 0, 1) @ columns


@lru_cache(maxsize=16)
def _band(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[size, size] symmetric; row i holds the window's weights around i. It is kept, so it has to serve training too,
    whoever asks first."""
    with torch.inference_mode(False):
        return _made_band(size).to(device=device, dtype=dtype)


def _made_band(size: int) -> Tensor:
    place = torch.arange(size, dtype=torch.float64)
    reach = WINDOW // 2
    weights = torch.exp(-torch.arange(-reach, reach + 1, dtype=torch.float64).square() / (2 * SIGMA**2))
    distance = place[:, None] - place
    return torch.where(distance.abs() <= reach, torch.exp(-distance.square() / (2 * SIGMA**2)) / weights.sum(), 0)
