"""Image augmentation for whole batches, with an explicit generator and no loop over samples."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def to_float(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 in [0, 1]."""
    return images.to(torch.float32) / 255.0


def resize(images: Tensor, size: int) -> Tensor:
    """[B, 3, H, W] -> [B, 3, size, size], antialiased bilinear; unchanged when it has that size."""
    if images.shape[-1] == size and images.shape[-2] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def random_resized_crop(
    images: Tensor, size: int, min_scale: float, generator: torch.Generator, *, flip: bool = True
) -> Tensor:
    """Random crop of area share [min_scale, 1] and aspect ratio [3/4, 4/3], resized; horizontal flip with p = 1/2.

    Szegedy et al. 2015 ("Going deeper with convolutions"), §6. Crop corners are continuous, so one affine grid serves
    the batch. A crop that would not fit is cut to the image, where torchvision would draw again. Images larger than
    `size` are sampled on a finer grid and averaged, so that shrinking does not alias.

    Args:
        images: [B, 3, H, W] float in [0, 1].
        size: output side in pixels.
        min_scale: smallest share of the area, in (0, 1].
        generator: source of all randomness, on the CPU.
    """
    batch = images.shape[0]
    draws = torch.rand(5, batch, generator=generator)
    area = min_scale + (1 - min_scale) * draws[0]
    log_ratio = math.log(4 / 3) * (2 * draws[1] - 1)
    width = (area * torch.exp(log_ratio)).sqrt().clamp(max=1.0)
    height = (area * torch.exp(-log_ratio)).sqrt().clamp(max=1.0)
    centre_x = (2 * draws[2] - 1) * (1 - width)  # in the [-1, 1] coordinates of grid_sample
    centre_y = (2 * draws[3] - 1) * (1 - height)
    mirror = torch.where(draws[4] < 0.5, -1.0, 1.0) if flip else torch.ones(batch)
    zero = torch.zeros(batch)
    theta = torch.stack(
        [
            torch.stack([width * mirror, zero, centre_x], dim=-1),
            torch.stack([zero, height, centre_y], dim=-1),
        ],
        dim=1,
    ).to(images.device)
    finer = min(4, math.ceil(images.shape[-1] / size))
    grid = functional.affine_grid(theta, [batch, images.shape[1], finer * size, finer * size], align_corners=False)
    crops = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return functional.avg_pool2d(crops, finer) if finer > 1 else crops


def color_distortion(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Random hue, saturation and brightness per image, so that colour alone does not tell which object it is.

    Chen et al. 2020 (SimCLR, §3.3) show that crops of one picture share their colours, which a network takes as a
    shortcut; two views of one object do so even more. Hue turns colours about the grey axis (Rodrigues' formula).

    Args:
        images: [B, 3, H, W] float in [0, 1].
        strength: in [0, 1]; hue by up to +-180 degrees x strength, saturation by a factor within 1 +- strength,
            brightness by a factor within 1 +- 0.3 strength. 0 returns the images as they are.
        generator: source of all randomness, on the CPU.
    """
    if strength == 0:
        return images
    draws = strength * (2 * torch.rand(3, len(images), generator=generator) - 1)
    angle, saturation, brightness = math.pi * draws[0], 1 + draws[1], 1 + 0.3 * draws[2]
    grey = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    turn = angle.cos()[:, None, None] * (torch.eye(3) - grey) + angle.sin()[:, None, None] * cross
    matrix = (brightness[:, None, None] * (grey + saturation[:, None, None] * turn)).to(images.device)
    mixed = torch.bmm(matrix.to(images.dtype), images.flatten(2))
    return mixed.reshape(images.shape).clamp(0, 1)
