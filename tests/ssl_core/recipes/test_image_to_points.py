"""Shape and pose cycles: which projection teaches what, defects of the release by their switches, and bad input."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_core.config import override
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import ConfigError, InfeasibleError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.losses.chamfer import chamfer
from ssl_core.models.bundle import WEIGHTS, save_bundle
from ssl_core.models.weights_file import file_sha256
from ssl_core.packing.layout import ply_path, view_path
from ssl_core.packing.pack_writer import write_pack
from ssl_core.recipes.image_to_points import IMAGE_TO_POINTS
from ssl_core.recipes.image_to_points.config import ImageToPointsConfig, paper, quick
from ssl_core.recipes.image_to_points.cycle_losses import geometric_cycle, repulsion, symmetry
from ssl_core.recipes.image_to_points.image_set import UNIT_DISTANCE, image_set, shared_camera
from ssl_core.recipes.image_to_points.pose_search import PoseSearch
from ssl_core.recipes.image_to_points.shape_and_pose import ShapeAndPose
from ssl_core.recipes.image_to_points.silhouette_neighbours import nearest_others
from ssl_core.recipes.image_to_points.trial import ImageToPointsTrial, check
from ssl_core.render.point_splatting import OrbitLens, orbit_rotation, project_points, splat_colour, splat_mask
from ssl_core.scenes.cameras import Camera, look_at, orbit_cameras
from ssl_core.training.contract import LossTerms
from ssl_core.training.loop import train_epoch
from ssl_core.training.session import trained
from ssl_core.training.stages import Stages

SIZE, POINTS = 16, 24
SMALL = {
    "networks.image_size": SIZE,
    "networks.num_points": POINTS,
    "networks.width": 0.1,
    "networks.mirror": "none",
    "data.flip": False,
    "poses.source": "network",
    "poses.candidates": 2,
    "training.batch_size": 4,
    "training.epochs": 1,
    "validation.objects": 2,
}
CPU = torch.device("cpu")


def config(**values: Any) -> ImageToPointsConfig:
    return override(quick(), {**SMALL, **values})


class CameraPack:
    """A pack with cameras that the test chooses."""

    def __init__(self, pack: Pack, cameras: Mapping[int, Camera] | list[Camera]) -> None:
        self._pack, self._cameras = pack, cameras

    def camera(self, view: int) -> Camera:
        return self._cameras[view]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pack, name)


@pytest.fixture(scope="module")
def masked(tiny_set: Path, tmp_path_factory) -> Path:
    """Views of 16 pixels with transparency."""
    root, rng = tmp_path_factory.mktemp("views") / "images", np.random.default_rng(0)
    for file in sorted((tiny_set / "images").rglob("*.png")):
        view = np.zeros((SIZE, SIZE, 4), dtype=np.uint8)
        low, high = sorted(rng.integers(2, 12, size=2))
        view[low : high + 3, 3:13] = (*rng.integers(40, 255, size=3), 255)
        place = root / file.relative_to(tiny_set / "images")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(view).save(place)
    return root


@pytest.fixture(scope="module")
def pack(tiny_set: Path, masked: Path, tmp_path_factory) -> Pack:
    out = tmp_path_factory.mktemp("packs") / "pack"
    return write_pack(tiny_set / "points", masked, out, PackConfig(cached_points=16, starts=1))


@pytest.fixture
def orbit(pack: Pack) -> CameraPack:
    """The same with cameras on one orbit."""
    return CameraPack(pack, orbit_cameras(len(pack.views), SIZE))


def trial(pack: Pack, stages: Mapping[str, Path] | None = None, **values: Any) -> ImageToPointsTrial:
    torch.set_num_threads(1)
    return ImageToPointsTrial(config(**values), pack, stages or {}, 3, CPU)


def first_losses(one: ImageToPointsTrial) -> Mapping[str, LossTerms]:
    return one.losses(next(one.batches(0)))


# ---- what each loss teaches


def test_images_lie_over_black_and_masks_say_where(pack) -> None:
    images = image_set(config(), pack, "fit")
    outside = images.masks == 0
    assert outside.any()
    assert int(images.images.permute(0, 2, 3, 1)[outside].max()) == 0
    assert int(images.images.permute(0, 2, 3, 1)[images.masks == 255].min()) > 30
    again = image_set(config(**{"data.view_seed": 1}), pack, "fit")
    assert (again.objects == images.objects).all()
    assert (again.views != images.views).any()
    chosen = image_set(config(**{"data.classes": ["rod"]}), pack, "val")
    assert set(pack.labels[chosen.objects]) == {pack.manifest.class_names.index("rod")}


@pytest.mark.parametrize("source", ["network", "search", "true_pose"])
def test_each_loss_reaches_its_network(orbit, source) -> None:
    one = trial(orbit, **{"poses.source": source})
    losses = first_losses(one)
    assert set(losses) == {"shape", "pose"}
    groups = one.parameters()
    for name, loss in losses.items():
        ours = [p for group in groups[name] for p in group.parameters]
        found = torch.autograd.grad(loss.total, ours, retain_graph=True, allow_unused=True)
        assert sum(float(g.abs().sum()) for g in found if g is not None) > 0, name
    shape = {id(p) for group in groups["shape"] for p in group.parameters}
    assert not shape & {id(p) for group in groups["pose"] for p in group.parameters}
    assert {id(p) for p in one.module.parameters()} == shape | {id(p) for g in groups["pose"] for p in g.parameters}


@pytest.mark.parametrize(("pairing", "skips"), [("init_model", False), ("init_model", True), ("adj_model", False)])
def test_the_last_random_view_counts_unless_it_is_skipped_as_released(pack, pairing, skips) -> None:
    one = trial(pack, **{"loss.pairing": pairing, "released.skip_last_projection": skips})
    drawn = one._drawn(next(one.batches(0)))
    leaf = drawn.pictures.detach().requires_grad_()
    cycle = geometric_cycle(one.config, one.networks, type(drawn)(**{**vars(drawn), "pictures": leaf}))
    cycle.backward()
    by_view = leaf.grad.unflatten(0, (one.config.loss.projections, -1)).abs().sum(dim=(1, 2, 3, 4))
    assert (by_view[:-1] > 0).all()
    assert (float(by_view[-1]) == 0) == skips


def test_the_cycle_is_the_sum_of_chamfer_distances(pack) -> None:
    one = trial(pack)
    drawn = one._drawn(next(one.batches(0)))
    again = [one.networks.shape(part)[0] for part in drawn.pictures.split(len(drawn.images))]
    expected = sum(chamfer(drawn.points, other).mean() for other in again)
    found = geometric_cycle(one.config, one.networks, drawn)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    adjacent = trial(pack, **{"loss.pairing": "adj_model"}).config
    pairs = zip([drawn.points, *again[:-1]], again, strict=True)
    expected = sum(chamfer(*pair).mean() for pair in pairs)
    found = geometric_cycle(adjacent, one.networks, drawn)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_curriculum_begins_with_one_shape_for_all_and_ends_at_the_cycles_own_weight(pack) -> None:
    settings = config(**{"curriculum.cycle_factor": 100.0, "curriculum.share": 0.5}).curriculum
    assert [settings.factor(done) for done in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([100, 10, 1, 1])
    plain, strong = (trial(pack, **{"curriculum.cycle_factor": factor, "loss.cycle": 1e7}) for factor in (1.0, 100.0))
    first = next(plain.batches(0))
    assert float(first["progress"]) == 0
    (alone, more), weight = (one.losses(first)["shape"] for one in (plain, strong)), plain.config.loss.cycle
    assert (more.total - alone.total).item() == pytest.approx(99 * weight * alone.terms["cycle"].item(), rel=1e-3)


def test_released_defects_come_by_their_switches(pack) -> None:
    fixed, released = (
        first_losses(trial(pack, **{"poses.source": "network", "released": values}))
        for values in ({}, {"affinity_l1": True, "bce_logit": True})
    )
    assert released["shape"].terms["mask"].item() > 0.31  # of log 2 on background and 0.313 on the object
    for name in ("mask", "affinity"):
        assert released["shape"].terms[name].item() != fixed["shape"].terms[name].item()
    for name in ("colour", "cycle"):
        assert released["shape"].terms[name].item() == fixed["shape"].terms[name].item()
    with pytest.raises(ConfigError, match="skip_last_projection is a defect"):
        config(**{"released.skip_last_projection": True, "loss.pairing": "adj_model"})


def test_symmetry_keeps_mirrored_pairs_and_as_released_flattens_them() -> None:
    half = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(0))
    whole = torch.cat((half, half * torch.tensor([1.0, -1, 1])), dim=1)
    assert float(symmetry(whole)) == pytest.approx(0, abs=1e-9)
    assert float(symmetry(half)) > 0.1
    assert float(symmetry(whole, shrinks=True)) == pytest.approx(float(2 * half[..., 1].mean() / 3), rel=1e-5)


def test_points_in_one_place_are_driven_apart_and_an_even_spread_is_left_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    heap = (1e-3 * torch.randn(1, 64, 3, generator=generator)).requires_grad_()
    told = repulsion(heap)
    assert told.item() > 0.9
    told.backward()
    assert ((heap.grad * heap).sum() < 0).item()  # downhill is outwards
    even = torch.cartesian_prod(*[torch.arange(4.0)] * 3)[None]
    assert repulsion(even).item() == 0


# ---- poses


def test_the_search_finds_the_pose_that_a_picture_was_drawn_from() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(2)
    points = torch.rand(3, 80, 3, generator=generator) * torch.tensor([1.2, 0.5, 0.8]) - torch.tensor([0.3, 0.2, 0.4])
    rgb = torch.rand(3, 80, 3, generator=generator)
    lens, half = OrbitLens.of(32, 1.0, 2.0), OrbitLens.of(16, 1.0, 2.0)
    search = PoseSearch(8, np.pi, (0.1, 0.8), half, 0.4, colours=True)
    turn = torch.tensor([0.25])
    truth = search.candidates(turn)[torch.tensor([4, 11, 20])]
    seen = project_points(points, orbit_rotation(truth[:, 0], truth[:, 1]), lens)
    pictures = splat_colour(seen, rgb, 32), splat_mask(seen, 32, 0.8)
    told = torch.zeros(3, 2)
    found = search.best((points, rgb), told, pictures, turn)
    assert torch.equal(found[:, 0], truth[:, 0])
    assert (found[:, 1] - truth[:, 1]).abs().max() < 0.3  # one step: outlines hardly tell elevations apart
    assert torch.equal(search.best((points, rgb), truth, pictures, torch.tensor([0.7])), truth)  # it stays


def test_elevations_beyond_the_range_are_pushed_back(pack) -> None:
    one = trial(pack, **{"poses.elevations": [40.0, 60.0]})  # a fresh network tells about 0
    batch = next(one.batches(0))
    told = torch.rad2deg(one.networks.pose(batch["images"] / 255)[:, 1])
    found = torch.rad2deg(one.losses(batch)["pose"].terms["elevation"])
    assert found.item() == pytest.approx((40 - told).mean().item(), rel=1e-4)
    assert "elevation" not in trial(pack, **{"loss.elevation": 0.0}).losses(batch)["pose"].terms


def test_random_poses_keep_to_their_ranges(pack) -> None:
    one = trial(pack, **{"poses.azimuth_range": 45.0, "poses.elevations": [5.0, 20.0], "loss.projections": 5})
    poses = torch.rad2deg(torch.cat([batch["random_poses"].flatten(0, 1) for batch in one.batches(0)]))
    assert poses[:, 0].abs().max() <= 45
    assert 5 <= poses[:, 1].min() < poses[:, 1].max() <= 20
    assert poses[:, 0].abs().max() > 20


# ---- symmetric objects

SYMMETRIC = {"networks.mirror": "x", "data.flip": True, "poses.source": "template", "template.steps": 2}


def test_clouds_have_two_equal_halves_and_flipped_images_their_mirrored_poses(orbit) -> None:
    one = trial(orbit, **SYMMETRIC | {"poses.source": "true_pose"})
    batch = next(one.batches(0))
    points, colours = one.networks.shape(batch["images"] / 255)
    assert torch.equal(points[:, POINTS // 2 :], points[:, : POINTS // 2] * torch.tensor([-1.0, 1, 1]))
    assert torch.equal(colours[:, POINTS // 2 :], colours[:, : POINTS // 2])
    plain = next(trial(orbit, **SYMMETRIC | {"poses.source": "true_pose", "data.flip": False}).batches(0))
    flipped = (batch["images"] != plain["images"]).flatten(1).any(dim=1) | (batch["poses"] != plain["poses"]).any(dim=1)
    assert 0 < int(flipped.sum()) < len(flipped)
    assert torch.equal(batch["images"][flipped], plain["images"][flipped].flip(-1))
    assert torch.equal(batch["masks"][flipped], plain["masks"][flipped].flip(-1))
    # a symmetric cloud is drawn from the mirrored pose as in a mirror
    drawn = [
        splat_mask(project_points(points, orbit_rotation(*poses.unbind(1)), one.lens), SIZE, 1.0)
        for poses in (batch["poses"], plain["poses"])
    ]
    assert torch.allclose(drawn[0][flipped], drawn[1][flipped].flip(-1), atol=1e-5)


def test_tables_have_four_equal_quarters_and_look_alike_from_behind(orbit) -> None:
    one = trial(orbit, **SYMMETRIC | {"poses.source": "true_pose", "networks.mirror": "xy"})
    batch = next(one.batches(0))
    points, colours = one.networks.shape(batch["images"] / 255)
    quarter = points[:, : POINTS // 4]
    signs = ([1.0, 1, 1], [-1.0, 1, 1], [1.0, -1, 1], [-1.0, -1, 1])
    assert torch.equal(points, torch.cat([quarter * torch.tensor(each) for each in signs], dim=1))
    assert torch.equal(colours, colours[:, : POINTS // 4].repeat(1, 4, 1))
    azimuth, elevation = batch["poses"].unbind(1)
    drawn = [
        splat_mask(project_points(points, orbit_rotation(azimuth + turn, elevation), one.lens), SIZE, 1.0)
        for turn in (0.0, torch.pi)
    ]
    assert torch.allclose(*drawn, atol=1e-5)


def test_poses_that_show_a_symmetric_object_alike_are_one(orbit) -> None:
    one = trial(orbit, **SYMMETRIC | {"poses.source": "true_pose", "networks.mirror": "xy"})
    truth = one.held_out.images.poses
    off = [
        one.held_out._poses(truth + torch.tensor([turn, 0.0]), torch.eye(3))["val/pose_error"]
        for turn in (0.0, torch.pi, torch.pi / 2)
    ]
    assert max(off[:2]) < 0.1
    assert off[2] > 30


def test_poses_of_the_template_are_made_once_and_kept(pack, tmp_path) -> None:
    stages = Stages(IMAGE_TO_POINTS, tmp_path / "derived")
    asked = [SYMMETRIC | {"loss.cycle": weight} for weight in (1.0, 2.0)]
    first, other = (trial(pack, stages.made(config(**values), pack), **values) for values in asked)
    assert torch.equal(first.fit.poses, other.fit.poses)
    assert torch.isfinite(first.fit.poses).all()
    assert sum(each.is_dir() for each in (tmp_path / "derived").iterdir()) == 1
    batch = next(first.batches(0))
    assert torch.equal(first._drawn(batch).poses[0], batch["poses"])
    for values in (
        {"networks.mirror": "none"},
        {"networks.num_points": 25},
        {"networks.mirror": "xy", "networks.num_points": 26},
        {"networks.mirror": "xy", "template.points": 30},
    ):
        with pytest.raises(ConfigError, match=r"networks\.(mirror|num_points)"):
            config(**SYMMETRIC | values)
    tables = config(**SYMMETRIC | {"networks.mirror": "xy"})
    half_turn = trial(pack, stages.made(tables, pack), **SYMMETRIC | {"networks.mirror": "xy"}).fit.poses[:, 0]
    assert half_turn.abs().max() <= torch.pi / 2 + 0.3, (
        "azimuths of a half turn show all, and gradients move them little"
    )


# ---- neighbours and warm starts


def bundles(pack: Pack, folder: Path) -> dict[str, tuple[str, str]]:
    """Folder and checksum of an untrained reconstructor and pose estimator."""
    networks = ShapeAndPose(config(), shared_camera(config(), pack), seed=8)
    found = {}
    for name, (module, card) in networks.outputs().items():
        with pytest.MonkeyPatch.context() as patch:  # the program takes seconds to compile
            patch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
            save_bundle(module.eval(), card, folder / name, name=name, lineage={})
        found[name] = str(folder / name), file_sha256(folder / name / WEIGHTS)
    return found


def test_neighbours_are_others_that_look_alike_and_count_beside_the_image(pack, tmp_path) -> None:
    embedding = torch.tensor([[0.0], [1.0], [1.5], [9.0], [9.1]])
    assert nearest_others(embedding, 2).tolist() == [[1, 2], [2, 0], [1, 0], [4, 2], [3, 2]]
    folder, digest = bundles(pack, tmp_path)["reconstructor"]
    source = {"kind": "bundle", "folder": folder, "sha256": digest, "k": 3}
    stages = Stages(IMAGE_TO_POINTS, tmp_path / "derived")
    with_them, off, without = (
        stages.open(config(**{"neighbours.source": given, "neighbours.weight": weight}), pack, 3)
        for given, weight in ((source, 1.0), (source, 0.0), ({"kind": "none"}, 1.0))
    )
    lists = with_them.trial._neighbours
    assert lists.shape == (len(with_them.trial.fit), 3)
    assert not (lists == np.arange(len(lists))[:, None]).any()
    told = [first_losses(session.trial)["shape"] for session in (with_them, off, without)]
    assert "other_mask" in told[0].terms
    assert told[0].total.item() > told[2].total.item()
    for session in (off, without):
        session.run_epoch()
    for name, tensor in without.trial.module.state_dict().items():  # OURS-NN switched off is OURS-CC, bit for bit
        assert torch.equal(tensor, off.trial.module.state_dict()[name]), name


def test_a_start_is_a_registered_models_weights(pack, tmp_path) -> None:
    made = bundles(pack, tmp_path)
    (folder, digest), (pose, pose_digest) = made["reconstructor"], made["pose"]
    start = {"kind": "bundle", "folder": folder, "sha256": digest, "pose_folder": pose, "pose_sha256": pose_digest}
    begun = trial(pack, start=start).networks.state_dict()
    expected = ShapeAndPose(config(), shared_camera(config(), pack), seed=8).state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in expected.items())
    for wrong, message in (
        ({**start, "folder": pose, "sha256": pose_digest}, "holds a pose_estimator; name a reconstructor"),
        ({**start, "sha256": "0" * 64}, "is not the file that its sha256 names"),
        ({**start, "pose_sha256": ""}, "go together"),
    ):
        with pytest.raises(ConfigError, match=message):
            trial(pack, start=wrong)
    with pytest.raises(ConfigError, match=r"other networks.*networks\.\*"):
        trial(pack, start=start, **{"networks.num_points": 32})


# ---- bad input


def test_a_pack_that_cannot_serve_is_refused_before_anything_is_made(pack, tiny_pack, orbit) -> None:
    check(config(), pack)
    check(config(**{"poses.source": "true_pose"}), orbit)
    with pytest.raises(InfeasibleError, match="has no masks"):
        check(config(), tiny_pack)
    with pytest.raises(InfeasibleError, match="no class 'chair'"):
        check(config(**{"data.classes": ["chair"]}), pack)
    with pytest.raises(InfeasibleError, match=r"true_pose reads cameras, and the pack has none; .* search or network"):
        check(config(**{"poses.source": "true_pose"}), pack)
    source = {"kind": "bundle", "folder": "x", "sha256": "0" * 64, "k": 60}
    with pytest.raises(InfeasibleError, match=r"k asks for 60 neighbours of each of \d+ training objects; set it to"):
        check(config(**{"neighbours.source": source}), pack)


@pytest.mark.parametrize(("value", "what"), [(0, "is empty"), (255, "fills its whole picture")])
def test_a_silhouette_without_an_outline_is_refused(pack, value, what) -> None:
    masks = np.array(pack.masks)
    view = int(image_set(config(), pack, "fit").views[2])
    masks[view] = value
    changed = CameraPack(pack, {})
    changed.masks, changed.camera = masks, lambda view: None
    with pytest.raises(InfeasibleError, match=f"the mask of its view . {what}"):
        check(config(), changed)


def test_an_object_that_is_thinner_than_its_pixels_is_named(pack, tmp_path) -> None:
    """Pixels that are covered by four fifths are an outline, and none where nine tenths are asked."""
    chosen = config(**SYMMETRIC)
    masks = np.array(pack.masks)
    view = int(image_set(chosen, pack, "fit").views[2])
    masks[view] = 0
    masks[view, 3:6, 3:6] = 204
    changed = CameraPack(pack, {})
    changed.masks, changed.camera = masks, lambda view: None
    with pytest.raises(InfeasibleError, match=r"covered by more than 0\.9; lower data\.covered"):
        Stages(IMAGE_TO_POINTS, tmp_path).made(override(chosen, {"data.covered": 0.9}), changed)


def test_of_one_class_nothing_is_probed_and_no_encoder_is_left(pack, orbit) -> None:
    assert "val/image_probe" in trial(pack).validate()
    assert "val/image_probe" not in trial(pack, **{"data.classes": [pack.manifest.class_names[0]]}).validate()
    names = [[output.name for output in IMAGE_TO_POINTS.outputs_of(config(), orbit)]]
    orbit.labels = np.zeros_like(pack.labels)
    names.append([output.name for output in IMAGE_TO_POINTS.outputs_of(config(), orbit)])
    assert names == [["reconstructor", "image", "pose"], ["reconstructor", "pose"]]


def test_cameras_that_are_on_no_orbit_are_refused_by_what_is_wrong(pack) -> None:
    views = len(pack.views)
    good = orbit_cameras(views, SIZE, radius=3.0, fov_degrees=40)
    camera = shared_camera(config(), CameraPack(pack, good))
    assert camera.from_pack
    assert camera.distance == pytest.approx(3)
    assert camera.unit == pytest.approx(3 / UNIT_DISTANCE)
    aside = [Camera(look_at(one.position, (0.4, 0, 0)), one.K, SIZE, SIZE) for one in good]
    roll = np.eye(4)
    roll[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    rolled = [Camera(roll @ one.viewmat, one.K, SIZE, SIZE) for one in good]
    far = [*good[: views // 2], *orbit_cameras(views, SIZE, radius=3.2, fov_degrees=40)[views // 2 :]]
    wide = [*good[: views // 2], *orbit_cameras(views, SIZE, radius=3.0, fov_degrees=50)[views // 2 :]]
    for cameras, what in ((aside, "look at the origin"), (rolled, "rolled"), (far, "distances"), (wide, "focal")):
        with pytest.raises(InfeasibleError, match=what):
            shared_camera(config(), CameraPack(pack, cameras))


def test_the_paper_is_the_released_scripts_without_their_defects() -> None:
    given = paper()
    assert (given.networks.image_size, given.networks.num_points, given.networks.bottleneck) == (64, 1024, 128)
    assert (given.loss.colour, given.loss.mask, given.loss.cycle, given.loss.projections) == (100, 100, 1e4, 4)
    assert (given.training.batch_size, given.training.optimizer.lr, given.loss.variance) == (2, 5e-4, 0.4)
    assert not any(given.released.model_dump().values())
    assert (given.camera.focal, given.camera.distance, given.poses.elevations) == (120 / 64, 2.0, (-20.0, 40.0))


# ---- learning


@pytest.mark.slow
@pytest.mark.parametrize("sides", [1, 10])
def test_one_shape_is_learnt_by_heart(tmp_path, sides: int) -> None:
    """A chair of two slabs from one known side, which its symmetry makes two, or from ten: 500 steps fill its outlines
    and find its shape."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    seat = torch.rand(300, 3, generator=generator) * torch.tensor([0.9, 0.9, 0.1]) - torch.tensor([0.45, 0.45, 0.05])
    back = torch.rand(300, 3, generator=generator) * torch.tensor([0.1, 0.9, 0.6]) + torch.tensor([-0.45, -0.45, 0.0])
    cloud = torch.cat((seat, back))
    cameras = orbit_cameras(10, 32, radius=UNIT_DISTANCE)[:sides] * (10 // sides)
    pictures = [drawn_picture(cloud, camera) for camera in cameras]
    alike = CameraPack(pack_of_one_shape(tmp_path, cloud, pictures), cameras)
    values = {
        "poses.source": "true_pose",
        "networks.mirror": "y",
        "loss.variance": 1.0,
        "loss.mask": 100.0,
        "training.batch_size": 4,
        "training.epochs": 250,
    }
    one = ImageToPointsTrial(override(quick(), values), alike, {}, 3, CPU)
    session = trained(one, one.config, IMAGE_TO_POINTS, alike, 3)
    before = one.validate()
    for epoch in range(session.epochs):
        train_epoch(session.training, one.batches(epoch))
    after = one.validate()
    assert session.training.iteration == 500
    assert after["val/mask_iou"] >= 0.8
    assert after["val/chamfer"] <= 0.4 * before["val/chamfer"]


def drawn_picture(cloud: torch.Tensor, camera: Camera) -> np.ndarray:
    """[32, 32, 4] uint8 with its silhouette as transparency."""
    lens = OrbitLens.of(32, camera.K[0, 0] / 32, UNIT_DISTANCE)
    rotation = torch.from_numpy(camera.viewmat[None, :3, :3]).float()
    seen = project_points(cloud[None], rotation, lens)
    alpha = (splat_mask(seen, 32, 0.4) > 0.3).float()
    colour = splat_colour(seen, 0.5 + 0.5 * cloud[None], 32)[0].clamp(0, 1)
    return (torch.cat((colour, alpha)) * 255).byte().permute(1, 2, 0).numpy()


def pack_of_one_shape(root: Path, cloud: torch.Tensor, pictures: list[np.ndarray]) -> Pack:
    """As many objects as pictures, all of one shape."""
    none = np.zeros((len(cloud), 3), dtype=np.float32)
    gaussians = GaussianCloud(
        xyz=cloud.numpy(),
        opacity_logits=none[:, 0] + 4,
        log_scales=none - 4,
        quaternions=np.eye(4, dtype=np.float32)[np.zeros(len(cloud), dtype=int)],
        sh_dc=none,
        sh_rest=np.zeros((len(cloud), 0, 3), dtype=np.float32),
    )
    for number, picture in enumerate(pictures):
        points = ply_path(root / "points", "chair", "train", f"chair_{number}")
        view = view_path(root / "images", "chair", "train", f"chair_{number}", 0)
        for file in (points, view):
            file.parent.mkdir(parents=True)
        write_gaussian_ply(points, gaussians)
        Image.fromarray(picture).save(view)
    return write_pack(root / "points", root / "images", root / "pack", PackConfig(starts=1))
