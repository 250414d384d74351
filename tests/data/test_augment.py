"""Crops: where they look, what they keep, and that they repeat."""

import pytest
import torch

from ssl_core.data.augment import color_distortion, random_resized_crop, resize, to_float


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


def test_color_distortion_keeps_grey_grey_and_changes_colours():
    grey = torch.rand(6, 1, 4, 4, generator=generator(3)).expand(6, 3, 4, 4) * 0.7
    out = color_distortion(grey, 1.0, generator())
    assert torch.allclose(out[:, 0], out[:, 1], atol=1e-5)
    assert torch.allclose(out[:, 0], out[:, 2], atol=1e-5)
    red = torch.tensor([0.6, 0.2, 0.2]).view(1, 3, 1, 1).expand(500, 3, 2, 2)
    out = color_distortion(red, 1.0, generator())
    assert 0.25 < (out[:, 0] == out.amax(1)).float().mean() < 0.45, "any channel may become the strongest"
    assert torch.equal(color_distortion(red, 0.0, generator()), red)
    assert torch.equal(out, color_distortion(red, 1.0, generator()))


def test_hue_alone_keeps_the_mean_of_the_channels():
    image = torch.rand(1, 3, 5, 5, generator=generator(1)) * 0.2 + 0.4
    turned = color_distortion(image.expand(50, 3, 5, 5), 0.3, generator())
    ratio = turned.mean(1) / image.mean(1)
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio), atol=1e-4), "brightness is one factor per image"
