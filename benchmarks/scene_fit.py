"""The fit of real scenes beside its plain restatement, and features lifted by optimisation and in closed form."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.table import Comparison, Samples, Section, Table, digits, ratio_table, seconds
from benchmarks.timing import one_thread
from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.errors import MissingDependencyError
from ssl_core.losses.photometric import psnr
from ssl_core.meshes.household import household_mesh
from ssl_core.models.dense_maps import dense_features
from ssl_core.models.teachers import PackagedTeacher, build_teacher
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.render.densify import DensifyConfig
from ssl_core.render.gaussian_raster import render_channels
from ssl_core.render.lift import lift_features
from ssl_core.render.mesh_raster import render_mesh_views
from ssl_core.render.scene_fit import ChannelLoss, Fit, FitViews
from ssl_core.render.scene_fit_config import SceneFitConfig
from ssl_core.render.scene_start import random_points
from ssl_core.scenes.cameras import Camera, ScenePoints, intrinsics, look_at, orbit_cameras
from tests.reference.plain_scene_fit import PlainFit

SCENES = Path(__file__).resolve().parents[2] / "shared" / "data" / "scenes"
"""Real scenes beside the checkout; without them a household object is measured."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    compared_side: int = 64
    compared_iterations: int = 60
    side: int = 128
    iterations: int = 100
    feature_size: int = 256
    coded: int = 32
    gaussians: int = 20_000
    gaussians_side: int = 128
    channels: tuple[int, ...] = (0, 1, 16, 64, 256)
    repetitions: int = 3


QUICK = Sizes(
    compared_side=16,
    compared_iterations=4,
    side=16,
    iterations=4,
    feature_size=64,
    coded=4,
    gaussians=60,
    gaussians_side=16,
    channels=(0, 2),
    repetitions=1,
)


@dataclass(frozen=True)
class Scene:
    """Views to fit, views to judge by, points to begin at."""

    name: str
    train: FitViews
    held: FitViews
    points: ScenePoints


def measure(quick: bool = False) -> Section:
    """Two real scenes, or a household object with tiny settings when quick."""
    sizes = QUICK if quick else Sizes()
    with one_thread():
        small = scenes(sizes.compared_side, quick)
        beside = [row for scene in small for row in compared(scene, sizes)]
        lifted = [row for scene in scenes(sizes.side, quick) for row in lifts(scene, sizes)]
        costs = tuple(cost_of_channels(count, sizes) for count in sizes.channels)
    return Section(
        title="Fit of scenes",
        shows=f"{sizes.compared_iterations} iterations at {sizes.compared_side} px, the longer side, on "
        f"{' and '.join(scene.name for scene in small)}; then features of EfficientNet-Lite0 on Gaussians of "
        f"{sizes.iterations} iterations at up to {sizes.side} px.",
        baseline="The baseline is the tests' plain restatement: every Gaussian at every pixel in whole-tensor "
        "operations and automatic gradients, with the same start, views, schedule and draws.",
        tables=(ratio_table(beside, "plain"), Table(LIFT_HEADER, tuple(lifted)), Table(COST_HEADER, costs)),
        notes=(
            "Errors are root mean squares over held-out views, so their ratio says how much worse the plain one is; "
            "beside them stand no repetitions, as a seed is a seed.",
            "Cosines are means over pixels of held-out views that Gaussians cover (alpha above 0.5), between features "
            "drawn and those of the photograph; the constant is the mean feature of the views fitted to. The network "
            "saw each view as a square, whatever its shape.",
            f"The last table is of {sizes.gaussians:,} Gaussians on the walls of a room at {sizes.gaussians_side} px.",
        ),
    )


COST_HEADER = ("channels", "an iteration", "of the channels alone")
LIFT_HEADER = ("scene, Gaussians, PSNR", "lift", "channels", "held-out cosine", "seconds")


def scenes(side: int, quick: bool) -> list[Scene]:
    """The real ones at a size, or one object."""
    found = [] if quick else [path for path in (SCENES / "colmap_fox9", SCENES / "blender_duck") if path.is_dir()]
    with tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as folder:
        real = [packed(path, Path(folder) / path.name, side) for path in found]
    return real or [household(side)]


def packed(path: Path, out: Path, side: int) -> Scene:
    """A scene through its pack, as users get it; pictures copied, because the pack goes."""
    pack = write_scene_pack(path, out, ScenePackConfig(max_side=side), workers=1)
    train, held = views(pack, pack.views("train")), views(pack, np.concatenate([pack.views("val"), pack.views("test")]))
    points = pack.points_of(0)
    if points is None:
        points = random_points(train.cameras, 1500, np.random.default_rng(0))
    return Scene(path.name, train, held, ScenePoints(np.array(points.xyz), np.array(points.colours)))


def views(pack: ScenePack, chosen: np.ndarray) -> FitViews:
    """At most 12 of the views, evenly."""
    some = chosen[np.linspace(0, len(chosen) - 1, min(12, len(chosen))).astype(int)]
    return FitViews([np.array(pack.image(i)) for i in some], [pack.camera(i) for i in some])


def household(side: int) -> Scene:
    """A chair from six sides and three more."""
    cameras = orbit_cameras(9, side, elevations=(-40, 70))
    mesh = household_mesh("chair", np.random.default_rng(0)).normalised()
    images = [picture.rgb for picture in render_mesh_views(mesh, cameras)]
    points = random_points(cameras, 60, np.random.default_rng(0))
    return Scene("a chair", FitViews(images[:6], cameras[:6]), FitViews(images[6:], cameras[6:]), points)


def compared(scene: Scene, sizes: Sizes) -> list[Comparison]:
    """Seconds an iteration and held-out error, ours and plain."""
    total = sizes.compared_iterations
    every, until, reset = total // 2, total * 3 // 4, total
    densify = DensifyConfig(
        every=every, after=1, until=until, reset_opacity_every=reset, every_at_least=1, after_at_least=0
    )
    config = SceneFitConfig(iterations=total, reference_iterations=total, sh_every=total, densify=densify)
    ours = Fit(config, scene.train, scene.points)
    plain = plain_fit(ours, scene, every, until, reset)
    times = []
    for run in (ours.advance, plain.run):
        started = time.perf_counter()
        run(total)
        times.append(Samples(((time.perf_counter() - started) / total,)))
    with torch.no_grad():
        pairs = list(zip(pictures(scene.held), scene.held.cameras, strict=True))
        quality = [
            float(np.mean([psnr(draw(camera), image) for image, camera in pairs]))
            for draw in (lambda camera: ours.render(camera).image, lambda camera: plain.draw(camera)[0])
        ]
    what = f"{scene.name}, {len(scene.points):,} to {len(ours):,} and {len(plain.p['xyz']):,} Gaussians"
    errors = [Samples((10 ** (-value / 20),)) for value in quality]
    return [
        Comparison(f"{what}: an iteration", *times),
        Comparison(f"{what}: held-out error", *errors, show=lambda e: f"{digits(e)} ({-20 * np.log10(e):.2f} dB)"),
    ]


def plain_fit(ours: Fit, scene: Scene, every: int, until: int, reset: int) -> PlainFit:
    """The restatement, begun where ours begins."""
    start = ours.gaussians()
    assert start.sh is not None
    named = {
        "xyz": start.xyz,
        "f_dc": start.sh[:, :1],
        "f_rest": start.sh[:, 1:],
        "opacity": start.opacity_logits[:, None],
        "scaling": start.log_scales,
        "rotation": start.quaternions,
    }
    total = ours.config.iterations
    images = pictures(scene.train)
    order = [ours.view_at(i) for i in range(total)]
    return PlainFit(
        named, images, list(scene.train.cameras), order, every=every, after=1, until=until, reset=reset, sh_every=total
    )


def lifts(scene: Scene, sizes: Sizes) -> list[tuple[str, ...]]:
    """A row for each way to bring features onto the same Gaussians."""
    config = SceneFitConfig(iterations=sizes.iterations, rates=3.0, channel_travel=20.0, decoder_travel=3.0)
    try:
        train, held = maps(scene.train, sizes), maps(scene.held, sizes)
    except MissingDependencyError as error:
        return [(scene.name, str(error), "", "", "")]
    fit = Fit(config, scene.train, scene.points)
    fit.advance(sizes.iterations)
    what = f"{scene.name}, {len(fit):,}, {fit.psnr(scene.held):.1f} dB"
    rows = [(what, "constant", "", f"{constant(fit, scene, train, held):.3f}", "")]
    started = time.perf_counter()
    values, _ = lift_features(fit.gaussians(), scene.train.cameras, lambda view: train[view], near=config.near)
    passed = time.perf_counter() - started
    rows.append(row(what, "closed form", values, fit, scene, held, passed))
    count = train[0].shape[2]
    for title, channels, decoder in (
        ("optimised", count, None),
        ("optimised, 3 x 3 decoder", sizes.coded, nn.Conv2d(sizes.coded, count, 3, padding=1, bias=False)),
    ):
        fit.begin_channels(channels, decoder)
        started = time.perf_counter()
        fit.advance_channels(sizes.iterations, feature_loss(train, decoder))
        passed = time.perf_counter() - started
        rows.append(row(what, title, fit.channels.detach(), fit, scene, held, passed))
    return rows


def feature_loss(train: list[Tensor], decoder: nn.Module | None) -> ChannelLoss:
    """Mean absolute error of the features drawn, as in FiT3D."""
    return lambda view, drawn: (decoded(drawn, decoder) - train[view]).abs().mean()


def decoded(drawn: Tensor, decoder: nn.Module | None) -> Tensor:
    """[H, W, C] -> [H, W, D]."""
    return drawn if decoder is None else decoder(drawn.permute(2, 0, 1)[None])[0].permute(1, 2, 0)


def maps(views: FitViews, sizes: Sizes) -> list[Tensor]:
    """[H, W, C] of each view, the network's map of stride 16 brought to the picture's size."""
    network = dense_features(build_teacher(PackagedTeacher(image_size=sizes.feature_size)), 16)
    found = []
    with torch.no_grad():
        for picture in pictures(views):
            square = F.interpolate(picture.permute(2, 0, 1)[None], (sizes.feature_size,) * 2, mode="bilinear")
            found.append(F.interpolate(network(square), picture.shape[:2], mode="bilinear")[0].permute(1, 2, 0))
    return found


def row(
    what: str, title: str, values: Tensor, fit: Fit, scene: Scene, held: list[Tensor], passed: float
) -> tuple[str, ...]:
    """One lift, judged on the held-out views."""
    found = []
    with torch.no_grad():
        for camera, feature in zip(scene.held.cameras, held, strict=True):
            drawn = render_channels(fit.gaussians(), values, camera, near=fit.config.near)
            image = decoded(drawn.channels, fit.decoder)
            seen = drawn.alpha > 0.5
            found.append(float(F.cosine_similarity(image[seen], feature[seen], dim=1).mean()))
    return what, title, str(values.shape[1]), f"{np.nanmean(found):.3f}", digits(passed)


def constant(fit: Fit, scene: Scene, train: list[Tensor], held: list[Tensor]) -> float:
    """Cosine of the mean feature of the covered pixels of the views fitted to."""
    covered = [feature[fit.render(c).alpha > 0.5] for c, feature in zip(scene.train.cameras, train, strict=True)]
    mean = torch.cat(covered).mean(0)
    pairs = zip(scene.held.cameras, held, strict=True)
    seen = torch.cat([feature[fit.render(camera).alpha > 0.5] for camera, feature in pairs])
    return float(F.cosine_similarity(seen, mean[None], dim=1).mean())


def cost_of_channels(count: int, sizes: Sizes) -> tuple[str, ...]:
    """Seconds an iteration, with the geometry's and without."""
    side = sizes.gaussians_side
    corners = ((1.5, 1.0), (-1.5, 1.0), (1.5, -1.0), (-1.5, -1.0))
    cameras = [Camera(look_at([x, y, 0], [-x, -y, -0.2]), intrinsics(side, 75), side, side) for x, y in corners]
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in cameras]
    config = SceneFitConfig(densify=DensifyConfig(enabled=False))
    fit = Fit(config, FitViews(images, cameras), walls(sizes.gaussians, rng), channels=count)

    def loss(view: int, drawn: Tensor) -> Tensor:
        return (drawn - 1).abs().mean()

    whole, alone = [], []
    fit.advance(1, loss if count else None)
    for _ in range(sizes.repetitions):
        started = time.perf_counter()
        fit.advance(1, loss if count else None)
        between = time.perf_counter()
        fit.advance_channels(1 if count else 0, loss)
        whole.append(between - started)
        alone.append(time.perf_counter() - between)
    return str(count), Samples(tuple(whole)).text(seconds), Samples(tuple(alone)).text(seconds) if count else ""


def walls(count: int, rng: np.random.Generator) -> ScenePoints:
    """Points of random colours on the walls, floor and ceiling of a room of 4 x 3 x 2.5."""
    xyz = rng.uniform(-1, 1, (count, 3))
    axis = rng.integers(0, 3, count)
    xyz[np.arange(count), axis] = np.sign(xyz[np.arange(count), axis])
    return ScenePoints(xyz * (2, 1.5, 1.25), rng.integers(0, 256, (count, 3), np.uint8))


def pictures(views: FitViews) -> list[Tensor]:
    """[H, W, 3] float32 in [0, 1]."""
    return [torch.as_tensor(i / 255 if i.dtype == np.uint8 else i, dtype=torch.float32) for i in views.images]
