"""Crops: where they look, what they keep, and that they repeat."""

import pytest
import torch

from ssl_core.data.augment import random_resized_crop, resize, to_float


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ramp(batch, size):
    """Red grows with x from 0 to 1, green with y."""
    x = (torch.arange(size) + 0.5) / size
    return torch.stack([x.expand(size, size), x[:, None].expand(size, size), torch.zeros(size, size)]).repeat(
        batch, 1, 1, 1
    )


def test_same_generator_same_crops_and_range():
    images = torch.rand(5, 3, 40, 40, generator=generator(1))
    a, b = (random_resized_crop(images, 24, 0.1, generator(2)) for _ in range(2))
    assert torch.equal(a, b)
    assert a.shape == (5, 3, 24, 24)
    assert 0 <= a.min() <= a.max() <= 1


@pytest.mark.parametrize("source", [32, 96])
def test_crops_cover_the_asked_share_of_the_area(source):
    crops = random_resized_crop(ramp(400, source), 32, 0.25, generator(), flip=False)
    width = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) * 32 / 31
    height = (crops[:, 1, -1, 0] - crops[:, 1, 0, 0]) * 32 / 31
    area = width * height
    assert 0.2 < area.min() < 0.35
    assert 0.9 < area.max() <= 1.01
    assert ((width / height).min() > 0.7) & ((width / height).max() < 1.4)


def test_flip_is_half_of_the_time():
    crops = random_resized_crop(ramp(1000, 16), 16, 0.9, generator())
    flipped = (crops[:, 0, 0, 0] > crops[:, 0, 0, -1]).float().mean()
    assert 0.42 < flipped < 0.58


def test_shrinking_does_not_alias():
    checker = ((torch.arange(96)[:, None] + torch.arange(96)) % 2).float().expand(4, 3, 96, 96)
    crops = random_resized_crop(checker, 24, 1.0, generator(), flip=False)
    assert (crops - 0.5).abs().mean() < 0.12


def test_resize_and_to_float():
    images = to_float(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8))
    assert torch.equal(resize(images, 8), images)
    assert torch.allclose(resize(images, 4), torch.ones(2, 3, 4, 4))
