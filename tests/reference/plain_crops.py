"""Crops as torchvision makes them, one image at a time."""

import torch
from torch import Tensor
from torchvision.transforms import functional as transforms

from ssl_core.data.augment import Crops


def plain_crops(images: Tensor, crops: Crops, size: int) -> Tensor:
    """Each sample cropped to its rectangle, to whole pixels, then shrunk with antialiasing and mirrored."""
    height, width = images.shape[-2:]
    found = []
    for number, image in enumerate(images.to(torch.float32) / (1 if images.is_floating_point() else 255)):
        box = [
            round(float(share[number]) * pixels)
            for share, pixels in (
                (crops.top, height),
                (crops.left, width),
                (crops.height, height),
                (crops.width, width),
            )
        ]
        crop = transforms.resized_crop(image, *box, [size, size], antialias=True)
        found.append(transforms.hflip(crop) if crops.mirrored[number] else crop)
    return torch.stack(found)
