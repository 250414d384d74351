"""Image augmentation for whole batches, on any device, with an explicit generator and no loop over samples."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_CACHED_BYTES = 2**22
"""float32 pictures taken at a time on the CPU: as long as they stay in its cache, a crop costs half"""


def to_float(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 in [0, 1]."""
    return images.to(torch.float32).div_(255.0)


def resize(images: Tensor, size: int) -> Tensor:
    """[B, 3, H, W] -> [B, 3, size, size], antialiased bilinear; unchanged when it has that size."""
    if images.shape[-1] == size and images.shape[-2] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def whole_images(images: Tensor, size: int) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 [B, 3, size, size] in [0, 1], uncropped: `to_float`, then `resize`."""
    return torch.cat([resize(to_float(some), size) for some in images.split(_at_once(images))])


@dataclass(frozen=True)
class Crops:
    """One rectangle per image, as shares of its width and height, each [B] float on the CPU; `mirrored` [B] bool."""

    left: Tensor
    top: Tensor
    width: Tensor
    height: Tensor
    mirrored: Tensor


def random_resized_crop(
    images: Tensor, size: int, min_scale: float, generator: torch.Generator, *, flip: bool = True
) -> Tensor:
    """Random crop of area share [min_scale, 1] and aspect ratio [3/4, 4/3], resized; horizontal flip with p = 1/2.

    Szegedy et al. 2015 ("Going deeper with convolutions"), §6. The same generator gives the same crops on any device.

    Args:
        images: [B, 3, H, W] uint8, or float in [0, 1].
        size: output side in pixels.
        min_scale: smallest share of the area, in (0, 1].
        generator: source of all randomness, on the CPU.

    Returns:
        [B, 3, size, size] float32 in [0, 1], on the images' device.
    """
    return crop_and_resize(images, draw_crops(len(images), min_scale, generator, flip=flip), size)


def draw_crops(batch: int, min_scale: float, generator: torch.Generator, *, flip: bool = True) -> Crops:
    """Rectangles of `random_resized_crop`. One that would not fit is cut to the image; torchvision would draw again."""
    draws = torch.rand(5, batch, generator=generator)
    area = min_scale + (1 - min_scale) * draws[0]
    log_ratio = math.log(4 / 3) * (2 * draws[1] - 1)
    width = (area * torch.exp(log_ratio)).sqrt().clamp(max=1.0)
    height = (area * torch.exp(-log_ratio)).sqrt().clamp(max=1.0)
    mirrored = draws[4] < 0.5 if flip else torch.zeros(batch, dtype=torch.bool)
    return Crops(draws[2] * (1 - width), draws[3] * (1 - height), width, height, mirrored)


def crop_and_resize(images: Tensor, crops: Crops, size: int) -> Tensor:
    """The crops of a batch, each brought to `size`; one grid for all samples, edges need not lie between pixels.

    Where a crop shrinks, it is taken from a box pyramid (Williams 1983, "Pyramidal parametrics"): pixels are averaged
    in squares of the power of two nearest to the source pixels per output pixel, which keeps out what would alias,
    and the rest is bilinear.

    Args:
        images: [B, 3, H, W] uint8, or float in [0, 1].
        crops: of the batch.
        size: output side in pixels.

    Returns:
        [B, 3, size, size] float32 in [0, 1], on the images' device.
    """
    _, channels, height, width = images.shape
    cropped = _empty((len(images), channels, size, size), images.device)
    shrink = (crops.width * width * crops.height * height).sqrt() / size
    levels = shrink.log2().round().clamp(min=0).to(torch.int64)  # on the CPU, as the crops: no device is waited for
    scale = 1.0 if images.is_floating_point() else 1.0 / 255.0
    for level in levels.unique().tolist():
        for some in (levels == level).nonzero().squeeze(1).split(_at_once(images)):
            there = some.to(images.device)
            source = images.index_select(0, there).to(torch.float32)
            if level > 0:
                source = functional.avg_pool2d(source, 2**level, ceil_mode=True)
            grid = _grid(crops, some, size, images, 2**level)
            taken = functional.grid_sample(source, grid, "bilinear", "border", align_corners=False)
            cropped.index_copy_(0, there, taken.mul_(scale).clamp_(0, 1))
    return cropped


def _empty(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Uninitialised float32; on the CPU from numpy, which asks for huge pages: page faults cost a fifth then."""
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, dtype=np.float32))
    return torch.empty(shape, device=device)


def _at_once(images: Tensor) -> int:
    """How many images to take at a time."""
    return max(1, _CACHED_BYTES // (4 * images[0].numel()) if images.device.type == "cpu" else len(images))


def _grid(crops: Crops, some: Tensor, size: int, images: Tensor, box: int) -> Tensor:
    """Where the pixels of `some` crops lie, [b, size, size, 2] in grid_sample's [-1, 1] over images averaged in boxes.

    An image that is no multiple of `box` wide ends in a narrower box, so the boxes reach a little beyond it.
    """
    centre = (torch.arange(size) + 0.5) / size
    across = torch.where(crops.mirrored[some, None], 1 - centre, centre)
    shares = (
        crops.left[some, None] + crops.width[some, None] * across,
        crops.top[some, None] + crops.height[some, None] * centre,
    )
    grid = torch.empty(len(some), size, size, 2, device=images.device)
    for axis, (share, pixels) in enumerate(zip(shares, (images.shape[-1], images.shape[-2]), strict=True)):
        place = (share * (2 * pixels / (box * math.ceil(pixels / box))) - 1).to(images.device)
        grid[..., axis] = place[:, None, :] if axis == 0 else place[:, :, None]
    return grid


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
