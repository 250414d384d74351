"""From files to features: the same steps as packs and trials take, and errors that say what is wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.data.pack_arrays import rows_of
from ssl_core.data.point_columns import assemble
from ssl_core.data.point_sampler import PointSampler
from ssl_core.data.sampling import farthest_point_order
from ssl_core.encode.model_inputs import points_input
from ssl_core.encode.ready_encoder import LoadedModel
from ssl_core.errors import ConfigError, GaussianFileError, ImageError, InfeasibleError
from ssl_core.evaluation.extract import image_features, point_features
from ssl_core.files.image_files import write_image
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.models.bundle import BundleCard
from ssl_core.models.cards import encoder_card
from ssl_core.models.gaussian_field import camera_of
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.packing.pack_writer import write_pack
from tests.contracts.cards import FIELD
from tests.small_sets import put

torch.set_num_threads(1)
PLAIN = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32)


def ready(contract: PointsContract | ImageContract, seed: int = 0) -> LoadedModel:
    backbone = PLAIN if isinstance(contract, PointsContract) else ResNetConfig()
    card = encoder_card(contract, backbone)
    return LoadedModel(card.build(seed).eval(), BundleCard(name="x", card=card), "x/1")


def a_cloud(count: int = 80, seed: int = 0, *, degree: int = 3, solid: int | None = None) -> GaussianCloud:
    """Of which the first `solid` (by default all) have an alpha of 0.9, the others of 0.1."""
    rng = np.random.default_rng(seed)
    logits = np.full(count, np.log(9.0))
    logits[count if solid is None else solid :] = -np.log(9.0)
    return GaussianCloud(
        xyz=rng.normal(size=(count, 3)),
        opacity_logits=logits,
        log_scales=rng.normal(-3, 0.3, (count, 3)),
        quaternions=rng.normal(size=(count, 4)),
        sh_dc=rng.normal(size=(count, 3)),
        sh_rest=rng.normal(0, 0.1, (count, (0, 3, 8, 15)[degree], 3)),
    )


def pack_of(root: Path, out: Path) -> Pack:
    return write_pack(root / "points", root / "images", out, PackConfig(cached_points=64, starts=2))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"object-{i}.ply" for i in range(5)]
    for i, path in enumerate(paths):
        write_gaussian_ply(path, a_cloud(70 + i, seed=i))
    return paths


def test_a_file_gives_what_a_pack_of_it_gives(tmp_path: Path) -> None:
    """All that an object keeps is its sample, so that the start of the order does not matter to a maximum."""
    put(tmp_path / "set", "chair/train/a", 3)
    pack = pack_of(tmp_path / "set", tmp_path / "pack")
    kept = int(pack.num_rows[0])
    contract = PointsContract(
        features=("xyz", "normals", "opacity", "scale", "rotation", "sh_dc", "sh_rest"), num_points=kept
    )
    encoder = ready(contract)
    (file,) = (tmp_path / "set").rglob("*.ply")
    expected = point_features(encoder.module, PointSampler(pack, contract, np.array([0])), np.array([0]), 0)
    np.testing.assert_allclose(encoder.encode_ply(file), expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_plain_points_gives_what_a_pack_of_it_gives(tmp_path: Path) -> None:
    file = tmp_path / "set/chair/train/a.npy"
    file.parent.mkdir(parents=True)
    normals = np.random.default_rng(0).normal(size=(60, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.save(file, np.hstack([3 * normals, normals]))
    pack = write_pack(tmp_path / "set", None, tmp_path / "pack", PackConfig(cached_points=64, starts=2))
    contract = PointsContract(features=("xyz", "normal_tensor"), num_points=60)
    encoder = ready(contract)
    expected = point_features(encoder.module, PointSampler(pack, contract, np.array([0])), np.array([0]), 0)
    np.testing.assert_allclose(encoder.encode_ply(file), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InfeasibleError, match=r"a\.npy: has no 'opacity' \(it has xyz, normals\)"):
        ready(PointsContract(features=("xyz", "opacity"), num_points=60)).encode_ply(file)


def test_an_image_gives_what_a_pack_of_it_gives(tmp_path: Path) -> None:
    put(tmp_path / "set", "chair/train/a", 3)
    pack = pack_of(tmp_path / "set", tmp_path / "pack")
    encoder = ready(ImageContract(image_size=24))
    files = sorted((tmp_path / "set" / "images").rglob("*.png"))
    expected = image_features(encoder.module, pack, np.array([0]), 24)[0]
    np.testing.assert_allclose(encoder.encode_images(files), expected, rtol=1e-4, atol=1e-5)


def test_batches_and_companions_do_not_matter(files: list[Path]) -> None:
    encoder = ready(PointsContract(num_points=48))
    whole = encoder.encode_ply(files)
    assert whole.shape == (5, 32)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(encoder.encode_ply(files, batch=2), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_ply(str(files[3])), whole[3:4], rtol=1e-5, atol=1e-6)
    assert (encoder.encode_ply(files) == whole).all(), "the same call gives the same bits"


@pytest.mark.parametrize("sampling", ["fps", "uniform", "uniform_with_replacement", "opacity_weighted"])
def test_the_seed_decides_the_sample(sampling: str) -> None:
    contract, cloud = PointsContract(num_points=16, sampling=sampling), a_cloud(200)
    first = points_input(cloud, contract, seed=1)
    assert (points_input(cloud, contract, seed=1) == first).all()
    assert not np.array_equal(points_input(cloud, contract, seed=2), first)
    assert first.shape == (16, 3)
    assert np.isclose(np.linalg.norm(first, axis=1).max(), 1.0)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(20, 120), solid=st.integers(20, 120), seed=st.integers(0, 99))
def test_farthest_points_are_those_of_the_plain_statement(count: int, solid: int, seed: int) -> None:
    cloud = a_cloud(max(count, solid), seed, solid=solid)
    found = points_input(cloud, PointsContract(num_points=20), seed=seed)
    kept = cloud.select(cloud.alphas() > 0.3)
    order = next(
        order
        for start in range(len(kept))
        if (order := farthest_point_order(kept.xyz, 20, start)) is not None
        and np.allclose(assemble(rows_of(kept.select(order))[None], PointsContract(num_points=20))[0], found)
    )
    assert len(set(order.tolist())) == 20


def test_too_few_points_are_refused_by_number_and_repeated_on_demand(tmp_path: Path) -> None:
    contract = PointsContract(num_points=64)
    write_gaussian_ply(tmp_path / "thin.ply", a_cloud(80, solid=37))
    encoder = ready(contract)
    with pytest.raises(InfeasibleError, match=r"thin\.ply: 37 of 80 Gaussians have an alpha above 0\.3.*64 points"):
        encoder.encode_ply(tmp_path / "thin.ply")
    repeated = encoder.encode_ply(tmp_path / "thin.ply", repeat=True)
    # the sphere is centred on the mean of the sample, where repeated points count twice: near, not equal
    assert repeated.shape == (1, 32)
    empty = a_cloud(20, solid=0)
    for repeat in (False, True):
        with pytest.raises(InfeasibleError, match="cloud 0: 0 of 20"):
            encoder.encode_gaussians(empty, repeat=repeat)


@pytest.mark.parametrize("group", ["sh_rest", "reference_color"])
def test_a_missing_feature_group_is_named(group: str) -> None:
    encoder = ready(PointsContract(features=("xyz", group), num_points=16))
    assert encoder.encode_gaussians([a_cloud()]).shape == (1, 32)
    with pytest.raises(InfeasibleError, match=f"cloud 1: .*SH degree 0.*'{group}'"):
        encoder.encode_gaussians([a_cloud(), a_cloud(degree=0)])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    encoder = ready(PointsContract(num_points=16))
    with pytest.raises(GaussianFileError, match=r"nowhere\.ply"):
        encoder.encode_ply(tmp_path / "nowhere.ply")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(GaussianFileError, match=r"notes\.txt"):
        encoder.encode_ply([tmp_path / "notes.txt"])


def test_rows_that_cannot_be_used_are_dropped_on_demand(tmp_path: Path) -> None:
    encoder, cloud = ready(PointsContract(num_points=32)), a_cloud(80)
    write_gaussian_ply(tmp_path / "without.ply", cloud.select(np.arange(1, 80)))
    write_gaussian_ply(tmp_path / "spoilt.ply", cloud)
    content = (tmp_path / "spoilt.ply").read_bytes()
    start = content.index(b"end_header\n") + 11
    spoilt = content[:start] + np.float32(1e20).tobytes() + content[start + 4 :]
    (tmp_path / "spoilt.ply").write_bytes(spoilt)
    with pytest.raises(GaussianFileError, match=r"'x' is 1e\+20.*drop_bad_rows=True"):
        encoder.encode_ply(tmp_path / "spoilt.ply")
    found = encoder.encode_ply(tmp_path / "spoilt.ply", drop_bad_rows=True)
    np.testing.assert_array_equal(found, encoder.encode_ply(tmp_path / "without.ply"))


def test_pictures_of_any_size_and_what_is_none(tmp_path: Path) -> None:
    encoder = ready(ImageContract(image_size=24))
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (31, 47, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", picture)
    features = encoder.encode_images([tmp_path / "a.png", picture])
    assert features.shape == (2, 512)
    assert (features[0] == features[1]).all()
    assert encoder.encode_images(picture).shape == (1, 512)
    for wrong in (picture / 255, picture[..., 0], [[1, 2]], picture[:0]):
        with pytest.raises(ImageError, match="picture 1"):
            encoder.encode_images([picture, wrong])
    with pytest.raises(ImageError, match=r"b\.png"):
        encoder.encode_images(tmp_path / "b.png")


def test_the_wrong_modality_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="x/1 reads Gaussians, not images; use encode_ply"):
        ready(PointsContract()).encode_images([])
    with pytest.raises(ConfigError, match="x/1 reads images, not Gaussians; use encode_images"):
        ready(ImageContract()).encode_ply([])


def test_a_scene_is_asked_for_cameras_of_any_size() -> None:
    scene = LoadedModel(FIELD.build(0).eval(), BundleCard(name="x", card=FIELD), "x/1")
    cameras = [camera_of(FIELD.example(1)[0], size) for size in ((16, 12), (20, 9))]
    views = scene.render(cameras)
    assert [(*view.image.shape, *view.scores.shape[2:]) for view in views] == [(12, 16, 3, 2), (9, 20, 3, 2)]
    assert torch.equal(scene.render(cameras[1])[0].depth, views[1].depth)
    with pytest.raises(ConfigError, match="x/1 reads cameras, not images; use render"):
        scene.encode_images([])
    with pytest.raises(ConfigError, match="x/1 reads Gaussians, not cameras; use encode_ply"):
        ready(PointsContract()).render(cameras)


def test_prepared_input_none_at_all_and_a_bad_batch() -> None:
    encoder = ready(PointsContract(num_points=16))
    x = torch.rand(3, 16, 3)
    assert encoder.encode(x, batch=2).shape == encoder.encode(x.numpy()).shape == (3, 32)
    assert encoder.encode_ply([]).shape == (0, 32)
    with pytest.raises(ConfigError, match="batch 0"):
        encoder.encode(x, batch=0)
    with pytest.raises(ConfigError, match="this point encoder takes"):
        encoder.encode(torch.rand(3, 16, 4))
