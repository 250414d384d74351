"""Crops: where they look, what they keep, and that they repeat."""

import pytest
import torch
from torch.nn import functional

from ssl_core.data.augment import (
    Crops,
    color_distortion,
    crop_and_resize,
    draw_crops,
    random_resized_crop,
    resize,
    to_float,
    whole_images,
)
from tests.reference.plain_crops import plain_crops


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


@pytest.mark.parametrize("source", [96, 97, 130, 200])
@pytest.mark.parametrize("min_scale", [0.5, 1.0])
def test_a_fine_checkerboard_turns_grey_when_it_shrinks(source, min_scale):
    checker = ((torch.arange(source)[:, None] + torch.arange(source)) % 2 * 255).to(torch.uint8)
    crops = random_resized_crop(checker.expand(9, 3, source, source), source // 4, min_scale, generator(1))
    assert (crops - 0.5).abs().max() < 0.05


def whole_pixels(crops, size):
    """The same rectangles with edges between pixels."""
    width, height = ((share * size).round().clamp(min=1) / size for share in (crops.width, crops.height))
    left, top = ((share * size).floor() / size for share in (crops.left, crops.top))
    return Crops(torch.minimum(left, 1 - width), torch.minimum(top, 1 - height), width, height, crops.mirrored)


@pytest.mark.parametrize(("source", "size"), [(64, 64), (96, 64), (100, 40), (160, 24), (31, 48), (255, 32)])
@pytest.mark.parametrize("min_scale", [0.08, 0.6])
def test_crops_are_those_of_torchvision(source, size, min_scale):
    coarse = torch.rand(12, 3, 6, 6, generator=generator(source))
    smooth = functional.interpolate(coarse, size=(source, source), mode="bicubic").clamp(0, 1)
    images = (smooth * 255).round().to(torch.uint8)
    crops = whole_pixels(draw_crops(len(images), min_scale, generator(size)), source)
    difference = (crop_and_resize(images, crops, size) - plain_crops(images, crops, size)).abs()
    assert difference.mean() < 0.01


def test_a_crop_that_enlarges_is_bilinear_as_torchvision_draws_it():
    images = torch.randint(0, 256, (8, 3, 40, 40), dtype=torch.uint8, generator=generator(3))
    crops = whole_pixels(draw_crops(8, 0.3, generator(4)), 40)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))  # there, edges see what is outside the rectangle
    torch.testing.assert_close(crop_and_resize(images, crops, 80)[inner], plain_crops(images, crops, 80)[inner])


def test_the_whole_picture_at_its_own_size_is_unchanged():
    images = torch.randint(0, 256, (3, 3, 20, 30), dtype=torch.uint8, generator=generator(5))
    square = images[..., :20]
    whole = Crops(torch.zeros(3), torch.zeros(3), torch.ones(3), torch.ones(3), torch.tensor([False, True, False]))
    expected = to_float(square)
    expected[1] = expected[1].flip(-1)
    torch.testing.assert_close(crop_and_resize(square, whole, 20), expected, rtol=0, atol=1e-5)
    assert crop_and_resize(images, whole, 10).shape == (3, 3, 10, 10), "pictures need not be square"


def test_bytes_and_floats_give_the_same_crops_and_samples_do_not_depend_on_their_batch():
    images = torch.randint(0, 256, (40, 3, 150, 150), dtype=torch.uint8, generator=generator(6))
    crops = draw_crops(40, 0.05, generator(7))
    found = crop_and_resize(images, crops, 30)
    torch.testing.assert_close(found, crop_and_resize(to_float(images), crops, 30), rtol=0, atol=1e-5)
    parts = (crops.left, crops.top, crops.width, crops.height, crops.mirrored)
    alone = Crops(*(part[17:18] for part in parts))
    torch.testing.assert_close(found[17:18], crop_and_resize(images[17:18], alone, 30), rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_crops_on_cuda_are_those_of_the_cpu():
    images = torch.randint(0, 256, (24, 3, 120, 120), dtype=torch.uint8, generator=generator(8))
    expected = random_resized_crop(images, 30, 0.08, generator(9))
    found = random_resized_crop(images.cuda(), 30, 0.08, generator(9))
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


def test_resize_and_to_float():
    images = to_float(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8))
    assert torch.equal(resize(images, 8), images)
    assert torch.allclose(resize(images, 4), torch.ones(2, 3, 4, 4))


@pytest.mark.parametrize("size", [150, 64])
def test_whole_images_are_resized_floats(size):
    images = torch.randint(0, 256, (40, 3, 150, 150), dtype=torch.uint8, generator=generator(2))
    assert torch.equal(whole_images(images, size), resize(to_float(images), size))


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
