"""Plain image weights of torchvision's and timm's names become image encoders; the classifier is left beside."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from ssl_core.errors import ConfigError
from ssl_core.models.imported import IMAGENET_MEAN, IMAGENET_STD, ImageImport, import_image_weights
from tests.reference.plain_resnet import plain_resnet18
from tests.ssl_core.models.reference_checkpoints import parallel, random_checkpoint, random_state, saved

torch.set_num_threads(1)
HEAD = {"fc.weight": torch.ones(1000, 512), "fc.bias": torch.zeros(1000)}
SMALL = ImageImport(image_size=40)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """ResNet-18 with its classifier, every tensor random."""
    return {**random_state("resnet18"), **HEAD}


def features(file: Path, config: ImageImport, views: torch.Tensor) -> np.ndarray:
    encoder = import_image_weights(file, config).models["image"].module
    assert not encoder.training
    with torch.no_grad():
        return encoder(views).numpy()


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    return torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("normalisation", ["imagenet", "none"])
def test_features_are_those_of_the_plain_statement(
    normalisation: str, state: dict[str, torch.Tensor], views: torch.Tensor, tmp_path: Path
) -> None:
    file = saved(state, tmp_path / "resnet18.pth")
    config = ImageImport.model_validate({"image_size": 40, "normalisation": normalisation})
    x = views.double().numpy()
    if normalisation == "imagenet":
        mean, std = (np.array(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        x = (x - mean) / std
    plain = plain_resnet18({name: tensor.numpy() for name, tensor in state.items()}, x)
    np.testing.assert_allclose(features(file, config, views), plain, atol=1e-5, rtol=1e-5)


def test_the_same_weights_however_they_were_saved(
    state: dict[str, torch.Tensor], views: torch.Tensor, tmp_path: Path
) -> None:
    wanted = features(saved(state, tmp_path / "plain.pth"), SMALL, views)
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    without_counters = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    files = [
        tmp_path / "model.safetensors",
        saved({"state_dict": parallel(state), "epoch": 3}, tmp_path / "wrapped.pth"),
        saved({"model": state, "optimizer": {}}, tmp_path / "training.pth"),
        saved(without_counters, tmp_path / "old.pth"),
        saved({name: state[name] for name in state if not name.startswith("fc.")}, tmp_path / "headless.pth"),
    ]
    for file in files:
        np.testing.assert_array_equal(features(file, SMALL, views), wanted)


@pytest.mark.parametrize(("kind", "width"), [("resnet34", 512), ("resnet50", 2048)])
def test_the_other_resnets(kind: str, width: int, tmp_path: Path) -> None:
    network = torchvision.models.get_model(kind, weights=None).eval()
    file = saved(network.state_dict(), tmp_path / f"{kind}.pth")
    imported = import_image_weights(file, ImageImport.model_validate({"model": kind, "image_size": 32}))
    network.fc = torch.nn.Identity()
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    normalised = torchvision.transforms.functional.normalize(x, IMAGENET_MEAN, IMAGENET_STD)
    with torch.no_grad():
        torch.testing.assert_close(imported.models["image"].module(x), network(normalised))
    assert imported.models["image"].module.feature_dim == width
    assert "(100 %)" in imported.report.summary


def test_the_account_says_what_became_of_the_classifier(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    imported = import_image_weights(saved({"model": state, "epoch": 4}, tmp_path / "w.pth"), SMALL)
    (placement,) = imported.report.placements
    assert (placement.tensors, placement.encoder, placement.beside) == (len(state), len(state) - 2, tuple(HEAD))
    assert placement.kept_as == "classifier head"
    assert imported.report.left == ("training state: epoch",)
    assert torch.equal(imported.beside["classifier_head"]["fc.weight"], HEAD["fc.weight"])


def test_half_precision_is_widened(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    encoder = import_image_weights(saved(halves, tmp_path / "half.pth"), SMALL).models["image"].module
    assert all(value.dtype == torch.float32 for value in encoder.parameters())
    assert torch.equal(encoder.backbone.state_dict()["conv1.weight"], halves["conv1.weight"].float())


def test_what_does_not_fit_is_refused_by_name(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    odd: list[tuple[Any, str]] = [
        (torchvision.models.resnet34(weights=None).state_dict(), "not a torchvision resnet18 state dict.*layer1.2"),
        ({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, r"conv1.weight \[64, 1, 7, 7\] for \[64, 3, 7, 7\]"),
        ({**state, "conv1.0.weight": torch.zeros(1)}, "unknown: conv1.0.weight"),
        ({**state, "bn1.running_var": torch.full((64,), torch.nan)}, "'bn1.running_var' holds NaN"),
        (
            {name: state[name] for name in state if name != "bn1.num_batches_tracked"},
            "missing: bn1.num_batches_tracked",
        ),
        ({"student": state, "teacher": state}, "expected a state dict.*under .*state_dict or model"),
        ({}, "it holds nothing"),
        (random_checkpoint(), "checkpoint of the cross-modal reference.*--model pointnet_cls"),
    ]
    for content, said in odd:
        with pytest.raises(ConfigError, match=rf"odd.pth.*{said}") as caught:
            import_image_weights(saved(content, tmp_path / "odd.pth"), SMALL)
        assert "\n" not in str(caught.value)
