"""A checkpoint of the cross-modal reference becomes encoders that compute what the papers say with its weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_core.models.build import FusionNetwork
from ssl_core.models.imported import Imported
from ssl_core.models.reference_checkpoint import ReferenceImport, import_reference_checkpoint
from tests.reference.plain_pointnet import plain_pointnet
from tests.reference.plain_pointnet2 import plain_pointnet2_msg
from tests.reference.plain_resnet import plain_resnet18
from tests.ssl_core.models.reference_checkpoints import (
    FEATURES,
    FUSION,
    IMAGE,
    POINTS,
    classifier,
    parallel,
    random_checkpoint,
    random_state,
    saved,
)

torch.set_num_threads(1)
CASES = [
    ("pointnet_cls", 3),
    ("pointnet_cls", 10),
    ("pointnet_cls", 54),
    ("pointnet2_cls_msg", 3),
    ("pointnet2_cls_msg", 10),
    ("pointnet2_cls_msg", 54),
]


def settings(model: str = "pointnet_cls", columns: int = 3, **others: object) -> ReferenceImport:
    values = {"model": model, "features": FEATURES[columns], "image_size": 40, **others}
    return ReferenceImport.model_validate(values)


def arrays(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in state.items()}


def clouds(batch: int, points: int, columns: int) -> torch.Tensor:
    """Of different shapes: round, flat, long."""
    x = torch.randn(batch, points, columns, generator=torch.Generator().manual_seed(5))
    x[1::3, :, 2] *= 0.1
    x[2::3, :, :2] *= 0.2
    x[..., :3] /= x[..., :3].norm(dim=-1, keepdim=True).amax(1, keepdim=True)
    return x


def features(imported: Imported, modality: str, x: torch.Tensor) -> np.ndarray:
    encoder = imported.models[modality].module
    assert not encoder.training
    with torch.no_grad():
        return encoder(x).numpy()


def close(ours: np.ndarray, plain: np.ndarray) -> None:
    """To 1e-5, and not because everything is zero or alike."""
    assert np.isfinite(plain).all()
    assert plain.std(0).mean() > 0.01
    assert abs(plain).max() < 100
    np.testing.assert_allclose(ours, plain, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.mark.parametrize(("model", "columns"), CASES)
def test_point_features_are_those_of_the_plain_statement(model: str, columns: int, folder: Path) -> None:
    checkpoint = random_checkpoint(model, columns, seed=columns)
    imported = import_reference_checkpoint(saved(checkpoint, folder / "best_model.pth"), settings(model, columns))
    x = clouds(3, 45, columns)
    plain = plain_pointnet if model == "pointnet_cls" else plain_pointnet2_msg
    close(features(imported, "points", x), plain(arrays(checkpoint[POINTS]), x.numpy()))
    contract = imported.models["points"].module.contract
    assert (contract.num_points, contract.alpha_threshold, contract.standardise_attributes) == (2048, 0.574, False)


def test_image_features_and_matches_are_those_of_the_plain_statement(folder: Path) -> None:
    checkpoint = random_checkpoint(seed=3)
    imported = import_reference_checkpoint(saved(checkpoint, folder / "best_model.pth"), settings())
    views = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    views[1] *= torch.linspace(0, 1, 40)
    plain = plain_resnet18(arrays(checkpoint[IMAGE]), views.numpy())
    close(features(imported, "image", views), plain)
    # the image's features first, as the reference joins them
    joined = np.concatenate([plain, plain_pointnet(arrays(checkpoint[POINTS]), clouds(2, 30, 3).numpy())], axis=1)
    head = {name: value.astype(np.float64) for name, value in arrays(checkpoint[FUSION]).items()}
    hidden = np.maximum(joined @ head["fc1.weight"].T + head["fc1.bias"], 0)
    fusion = FusionNetwork(512, 512)
    fusion.load_state_dict(dict(imported.beside["fusion"]))
    with torch.no_grad():
        logits = fusion(torch.tensor(joined[:, :512]).float(), torch.tensor(joined[:, 512:]).float()).numpy()
    np.testing.assert_allclose(logits, hidden @ head["fc2.weight"].T + head["fc2.bias"], atol=1e-5, rtol=1e-5)


def test_points_drawn_at_random_have_their_centres_searched(folder: Path) -> None:
    file = saved(random_checkpoint("pointnet2_cls_msg", 3), folder / "best_model.pth")
    imported = import_reference_checkpoint(file, settings("pointnet2_cls_msg", sampling="uniform"))
    x = clouds(1, 150, 3)
    state = arrays(random_state("pointnet2_msg D=3"))
    close_to = plain_pointnet2_msg(state, x.numpy(), search=True)
    np.testing.assert_allclose(features(imported, "points", x), close_to, atol=1e-5, rtol=1e-5)
    assert not np.allclose(plain_pointnet2_msg(state, x.numpy()), close_to, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["fps", "uniform"])
def test_more_points_than_centres(sampling: str, folder: Path) -> None:
    file = saved(random_checkpoint("pointnet2_cls_msg", 10), folder / "best_model.pth")
    imported = import_reference_checkpoint(file, settings("pointnet2_cls_msg", 10, sampling=sampling))
    x = clouds(1, 600, 10)
    plain = plain_pointnet2_msg(arrays(random_state("pointnet2_msg D=10")), x.numpy(), search=sampling == "uniform")
    np.testing.assert_allclose(features(imported, "points", x), plain, atol=1e-5, rtol=1e-5)


def test_every_tensor_is_accounted_for(folder: Path) -> None:
    checkpoint = random_checkpoint("pointnet_cls", 10)
    report = import_reference_checkpoint(saved(checkpoint, folder / "c.pth"), settings(columns=10)).report
    tensors = {part: len(checkpoint[part]) for part in (POINTS, IMAGE, FUSION)}
    assert {p.part: p.tensors for p in report.placements} == tensors
    assert {p.part: p.encoder for p in report.placements} == {**tensors, FUSION: 0}
    total = sum(tensors.values())
    assert report.summary == f"{total} of {total} tensors placed (100 %)"
    assert report.left[0] == "it was saved after epoch 99"
    assert "optimizer" in report.left[1]
    assert not report.notes


def test_names_of_data_parallel_training_are_the_same_weights(folder: Path) -> None:
    checkpoint = random_checkpoint()
    wrapped = {**checkpoint, **{part: parallel(checkpoint[part]) for part in (POINTS, IMAGE, FUSION)}}
    plain = import_reference_checkpoint(saved(checkpoint, folder / "a.pth"), settings())
    other = import_reference_checkpoint(saved(wrapped, folder / "b.pth"), settings())
    for modality in ("points", "image"):
        ours, theirs = (made.models[modality].module.state_dict() for made in (plain, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert other.report.placements == plain.report.placements
    assert other.report.sha256 != plain.report.sha256


@pytest.mark.parametrize("model", ["pointnet_cls", "pointnet2_cls_msg"])
def test_a_classifiers_layers_are_kept_beside(model: str, folder: Path) -> None:
    checkpoint, head = random_checkpoint(model), classifier()
    checkpoint[POINTS] |= head
    checkpoint[IMAGE] |= {"fc.weight": torch.ones(10, 512), "fc.bias": torch.zeros(10)}
    imported = import_reference_checkpoint(saved(checkpoint, folder / "head.pth"), settings(model))
    points, image, _ = imported.report.placements
    assert set(points.beside) == set(head) == set(imported.beside["points_classifier_head"])
    assert image.beside == ("fc.weight", "fc.bias")
    assert points.kept_as == image.kept_as == "classifier head"
    assert "(100 %)" in imported.report.summary


def test_what_the_reference_read_as_normals_is_said(folder: Path) -> None:
    checkpoint = random_checkpoint()
    for name in ("feat.stn.conv1.weight", "feat.conv1.weight"):
        checkpoint[POINTS][name] = torch.randn(64, 6, 1)
    config = ReferenceImport(features=("xyz", "normals"), image_size=40)
    report = import_reference_checkpoint(saved(checkpoint, folder / "normals.pth"), config).report
    assert "zeros" in report.notes[0]
