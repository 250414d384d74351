"""Pictures of any size to the `[3, S, S]` input of an image encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.contracts import ImageContract
from ssl_core.data.augment import whole_images
from ssl_core.errors import ImageError
from ssl_core.files.image_files import read_image

Picture = Path | str | NDArray[np.uint8]


def image_input(picture: Picture, contract: ImageContract, what: str = "the picture") -> Tensor:
    """[3, S, S] float32 in [0, 1], squeezed to a square as views of a pack are; transparency is laid over white.

    Args:
        picture: a file, or uint8 [H, W, 3].

    Raises:
        ImageError: no readable image, or an array of another shape or type.
    """
    pixels = read_image(picture) if isinstance(picture, Path | str) else _checked(picture, what)
    channels_first = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return whole_images(channels_first[None], contract.image_size)[0]


def image_batch(pictures: Sequence[Picture], contract: ImageContract, first: int = 0) -> Tensor:
    """[B, 3, S, S] of several; `first` is the number of the first of them in errors. Raises as `image_input`."""
    found = [image_input(picture, contract, f"picture {first + i}") for i, picture in enumerate(pictures)]
    return torch.stack(found)


def _checked(pixels: NDArray[np.uint8], what: str) -> NDArray[np.uint8]:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        given = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ImageError(f"{what}: expected a file or uint8 [H, W, 3], got {given}; multiply floats by 255 and convert")
    if pixels.size == 0:
        raise ImageError(f"{what}: has no pixels ({list(pixels.shape)}); leave it out")
    return pixels
