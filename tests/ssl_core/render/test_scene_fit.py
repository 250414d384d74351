"""The fit of scenes against its plain restatement, and the laws of channels: detached, resumed, decoded."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.plain_scene_fit import PlainFit
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssl_core.errors import CheckpointError, DataError, DivergedError
from ssl_core.meshes.household import household_mesh
from ssl_core.render.densify import DensifyConfig
from ssl_core.render.mesh_raster import render_mesh_views
from ssl_core.render.scene_fit import ChannelLoss, Fit, FitViews
from ssl_core.render.scene_fit_config import FitSchedule, OriginalDefects, SceneFitConfig
from ssl_core.render.scene_start import random_points, scene_extent, starting_gaussians
from ssl_core.scenes.cameras import ScenePoints, orbit_cameras

GEOMETRY = ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest")
CONFIG = SceneFitConfig(
    iterations=24,
    reference_iterations=24,
    sh_every=6,
    densify=DensifyConfig(
        every=6, after=3, until=21, reset_opacity_every=10, every_at_least=1, after_at_least=0, reset_at_least=1
    ),
)
"""Everything happens in it: degrees 1 to 3, three densifications, resets and removal of large ones."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def problem(views: int = 5, size: int = 24) -> FitViews:
    mesh = household_mesh("chair", np.random.default_rng(0)).normalised()
    cameras = orbit_cameras(views, size, elevations=(-40, 70))
    pictures = render_mesh_views(mesh, cameras)
    return FitViews([picture.rgb for picture in pictures], cameras)


def points(alone: int = 16, groups: int = 4) -> ScenePoints:
    """Points far from each other, whose Gaussians are split, and some in tight groups, whose Gaussians are cloned."""
    rng = np.random.default_rng(1)
    found = random_points(problem().cameras, alone + groups, rng)
    index = np.concatenate([np.arange(alone), np.repeat(np.arange(alone, alone + groups), 5)])
    near = np.where(index[:, None] >= alone, rng.normal(0, 0.01, (len(index), 3)), 0)
    return ScenePoints(found.xyz[index] * 0.5 + near, found.colours[index])


def fit(config: SceneFitConfig = CONFIG, channels: int = 0, **others) -> Fit:
    return Fit(config, problem(), points(), channels=channels, **others)


def brightness(view: int, drawn: Tensor) -> Tensor:
    """Asks every channel for the picture's brightness."""
    return (drawn - torch.as_tensor(problem().images[view]).mean(-1, keepdim=True)).abs().mean()


def same(first: Fit, second: Fit) -> list[str]:
    """Which arrays of two fits are equal in every bit."""
    a, b = first.cloud(), second.cloud()
    return [name for name in GEOMETRY if np.array_equal(getattr(a, name), getattr(b, name))]


def test_a_fit_is_the_plain_restatement_step_by_step() -> None:
    """In float64, where rounding does not decide where Adam turns."""
    doubles = [image.astype(np.float64) for image in problem().images]
    ours = Fit(CONFIG, FitViews(doubles, problem().cameras), points())
    ours.load({k: v.double() if v.is_floating_point() else v for k, v in ours.state().items()})
    start = ours.gaussians()
    named = {
        "xyz": start.xyz, "f_dc": start.sh[:, :1], "f_rest": start.sh[:, 1:], "opacity": start.opacity_logits[:, None],
        "scaling": start.log_scales, "rotation": start.quaternions,
    }  # fmt: skip
    images = [torch.as_tensor(image) for image in doubles]
    order = [ours.view_at(i) for i in range(24)]
    plain = PlainFit(named, images, problem().cameras, order, every=6, after=3, until=21, reset=10, sh_every=6)
    counts = []
    for _ in range(6):
        progress = ours.advance(4)
        plain.run(4)
        assert np.allclose(progress.losses, plain.losses[-4:], rtol=1e-5)
        assert len(ours) == len(plain.p["xyz"])
        counts.append(len(ours))
    assert len(set(counts)) == 3, "Gaussians came and went"
    # a gradient of nothing but rounding has a sign too, and Adam goes its full way along it: a handful of Gaussians
    found = ours.gaussians()
    for mine, theirs in (
        (found.xyz, plain.p["xyz"]),
        (found.log_scales, plain.p["scaling"]),
        (found.opacity_logits[:, None], plain.p["opacity"]),
    ):
        apart = (mine - theirs.detach()).abs().amax(1)
        assert apart.quantile(0.9) < 2e-5
        assert apart.max() < 0.02


def test_geometry_is_bit_for_bit_that_without_channels() -> None:
    plain, beside = fit(), fit(channels=9)
    plain.advance(24)
    beside.advance(24, brightness)
    assert same(plain, beside) == list(GEOMETRY)
    assert beside.channels.shape == (len(plain), 9)
    assert (beside.channels != 0).any()


def test_channels_that_are_not_detached_move_the_geometry() -> None:
    attached = CONFIG.model_copy(update={"detach_geometry": False})
    plain, beside = fit(attached, channels=2), fit(attached, channels=2)
    plain.advance(5)
    beside.advance(5, brightness)
    assert not {"xyz", "opacity_logits", "log_scales"} & set(same(plain, beside))


def test_a_fit_resumes_bit_for_bit(tmp_path: Path) -> None:
    at = 7

    def decoded(decoder: nn.Module) -> ChannelLoss:
        return lambda view, drawn: brightness(view, decoder(drawn))

    decoders = [nn.Linear(3, 4) for _ in range(3)]
    for decoder in decoders[1:]:
        decoder.load_state_dict(decoders[0].state_dict())
    whole, cut = (fit(channels=3, decoder=decoder) for decoder in decoders[:2])
    whole.advance(18, decoded(decoders[0]))
    cut.advance(at, decoded(decoders[1]))
    save_file(cut.state(), tmp_path / "fit.safetensors")
    resumed = fit(channels=3, decoder=decoders[2])
    resumed.load(load_file(tmp_path / "fit.safetensors"))
    resumed.advance(18 - at, decoded(decoders[2]))
    expected, found = whole.state(), resumed.state()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torch.equal(decoders[0].weight, decoders[2].weight)
    assert not torch.equal(decoders[0].weight, decoders[1].weight)


def test_a_decoder_waits_for_channels_that_are_not_zero() -> None:
    """At the first iteration it has no gradient at all, while the channels have one."""
    decoder = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    before = decoder.weight.detach().clone()
    trained = fit(channels=3, decoder=decoder)

    def decoded(view: int, drawn: Tensor) -> Tensor:
        return brightness(view, decoder(drawn.permute(2, 0, 1)[None])[0].permute(1, 2, 0))

    trained.advance(1, decoded)
    assert torch.equal(decoder.weight, before)
    assert trained.channels.abs().max() > 0
    trained.advance(1, decoded)
    assert not torch.equal(decoder.weight, before)


def test_channels_alone_are_trained_on_gaussians_that_stay() -> None:
    trained = fit()
    trained.advance(8)
    trained.begin_channels(4)
    before = trained.cloud()
    losses = trained.advance_channels(20, brightness).channel_losses
    assert losses[-5:].mean() < losses[:5].mean()
    assert np.array_equal(trained.cloud().xyz, before.xyz)
    assert trained.iteration == 8
    assert len(trained.advance_channels(99, brightness).channel_losses) == 4, "no further than the config says"
    assert len(trained.advance(99).losses) == 16


def test_a_fit_gets_better_on_views_it_has_not_seen() -> None:
    unseen = problem(views=9)
    held = FitViews(unseen.images[5:], unseen.cameras[5:])
    config = SceneFitConfig(iterations=60, random_points=150, rates=3, background=(1, 1, 1))
    trained = Fit(config, problem(), None)
    before = trained.psnr(held)
    trained.advance(60)
    assert trained.psnr(held) > before + 5


def test_masked_pixels_are_not_fitted() -> None:
    """Whatever stands in them, bit for bit, and whether they count in the mean is a switch."""
    masks = [np.where(np.arange(24) < 12, 255, 0).astype(np.uint8)[None].repeat(24, 0) for _ in problem().images]
    spoilt = [
        np.where(mask[..., None] > 0, image, 7.0).astype(np.float32)
        for mask, image in zip(masks, problem().images, strict=True)
    ]
    fits = []
    for images in (problem().images, spoilt):
        fits.append(Fit(CONFIG, FitViews(images, problem().cameras, masks), points()))
        losses = fits[-1].advance(10).losses
    assert same(*fits) == list(GEOMETRY)
    counted = CONFIG.model_copy(update={"defects": OriginalDefects(masked_pixels_counted=True)})
    shipped = Fit(counted, FitViews(spoilt, problem().cameras, masks), points()).advance(1).losses
    assert shipped[0] == pytest.approx(losses[0] / 2, rel=1e-5)


def test_the_authors_lost_steps_are_switches() -> None:
    defects = OriginalDefects(last_step_lost=True, changed_step_lost=True)
    ours, shipped = fit(), fit(CONFIG.model_copy(update={"defects": defects}))
    ours.advance(5)
    shipped.advance(5)
    assert same(ours, shipped) == list(GEOMETRY)
    before = set(shipped.cloud().opacity_logits.tolist())
    ours.advance(1)
    shipped.advance(1)
    assert len(shipped) > 36, "it adds Gaussians at this iteration"
    assert set(shipped.cloud().opacity_logits.tolist()) <= before
    assert not set(ours.cloud().opacity_logits.tolist()) & before
    shipped.advance(17)
    before = shipped.cloud()
    shipped.advance(1)
    assert np.array_equal(shipped.cloud().xyz, before.xyz)


def test_the_schedule_is_the_references() -> None:
    """Numbers of the authors' code at 30,000 iterations, and a tenth of each at 3,000."""
    for iterations, scale in ((30_000, 1), (3000, 10)):
        densify = DensifyConfig(every_at_least=1, after_at_least=0, reset_at_least=1)
        schedule = FitSchedule(SceneFitConfig(iterations=iterations, densify=densify))
        steps = range(1, iterations + 1)
        assert [i * scale for i in steps if schedule.densifies(i)] == list(range(600, 15_000, 100))
        assert [i * scale for i in steps if schedule.resets_opacity(i)] == [3000, 6000, 9000, 12_000]
        assert [schedule.coefficients(i // scale) for i in (999, 1000, 2000, 3000, 30_000)] == [1, 4, 9, 16, 16]
        assert not schedule.removes_large(3000 // scale)
        assert schedule.removes_large(3000 // scale + 1)
        assert schedule.xyz_rate(0) == pytest.approx(1.6e-4)
        assert schedule.xyz_rate(iterations // 2) == pytest.approx(1.6e-5)
        assert schedule.xyz_rate(iterations) == pytest.approx(1.6e-6)
    white = FitSchedule(SceneFitConfig(background=(1, 1, 1)))
    assert [i for i in range(1, 4000) if white.resets_opacity(i)] == [500, 3000]
    assert [i for i in range(1, 601) if FitSchedule(SceneFitConfig(iterations=600)).densifies(i)] == [150, 200, 250]


def test_a_scene_begins_as_the_reference_does() -> None:
    xyz = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3], [9, 9, 9]], float)
    colours = np.tile(np.uint8([255, 0, 51]), (5, 1))
    start = starting_gaussians(ScenePoints(xyz, colours), 2)
    assert start.log_scales[0] == pytest.approx(np.log(np.sqrt((1 + 4 + 9) / 3)))
    assert start.alphas() == pytest.approx(0.1)
    assert (0.5 + 0.28209479 * start.sh_dc[0]).tolist() == pytest.approx([1, 0, 0.2], abs=1e-6)
    assert start.sh_rest.shape == (5, 8, 3)
    assert not start.sh_rest.any()
    together = starting_gaussians(ScenePoints(np.zeros((4, 3)), colours[:4]), 0)
    assert np.exp(together.log_scales) == pytest.approx(np.sqrt(1e-7))


def test_random_points_lie_where_the_cameras_look() -> None:
    cameras = orbit_cameras(8, 32, radius=2.6)
    moved = [type(c)(c.viewmat.copy(), c.K, c.width, c.height) for c in cameras]
    for camera in moved:
        camera.viewmat[:3, 3] -= camera.viewmat[:3, :3] @ [5, 6, 7]
    found = random_points(moved, 4000, np.random.default_rng(0))
    half = 2.6 * np.tan(np.radians(25))
    assert found.xyz.mean(0) == pytest.approx([5, 6, 7], abs=0.1)
    assert np.abs(found.xyz - [5, 6, 7]).max() == pytest.approx(half, rel=0.02)
    assert scene_extent(moved) == pytest.approx(scene_extent(cameras))


def refused(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_wrong_fits_are_refused() -> None:
    views = problem()
    refused(lambda: FitViews(views.images[:2], views.cameras), DataError, "one camera per image")
    refused(lambda: FitViews([], []), DataError, "0 images")
    refused(lambda: FitViews([views.images[0][:9]], views.cameras[:1]), DataError, r"view 0: image \[9, 24, 3\]")
    refused(lambda: FitViews(views.images, views.cameras, [np.ones((3, 3))] * 5), DataError, r"mask \[3, 3\]")
    refused(lambda: FitViews(views.images, views.cameras, []), DataError, "0 masks")
    one = FitViews(views.images[:1], views.cameras[:1])
    refused(lambda: Fit(CONFIG, one, points()), DataError, "1 cameras at one point")
    refused(lambda: Fit(CONFIG, views, points(3, 0)), DataError, "3 points are too few")
    spoilt = FitViews([image * np.nan for image in views.images], views.cameras)
    refused(lambda: Fit(CONFIG, spoilt, points()).advance(1), DivergedError, "iteration 1")
    refused(lambda: fit(channels=2).load(fit(channels=3).state()), CheckpointError, r"channels.* \[3\], this fit \[2\]")
    refused(lambda: fit(channels=2, decoder=nn.Linear(2, 2)).load(fit(channels=2).state()), CheckpointError, "decoder")
