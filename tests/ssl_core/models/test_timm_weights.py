"""Weights that the real timm made become image encoders with timm's features; its other networks are refused."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import Tensor

from ssl_core.errors import ConfigError
from ssl_core.models.image import read_resnet
from ssl_core.models.imported import IMAGENET_MEAN, IMAGENET_STD, ImageImport, import_image_weights
from tests.ssl_core.models.reference_checkpoints import saved

torch.set_num_threads(1)
KINDS = ("resnet18", "resnet34", "resnet50")


def network(kind: str, seed: int = 0, **settings: Any) -> torch.nn.Module:
    """timm's network in evaluation mode, its normalisations' statistics random, too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: torch.nn.Module = timm.create_model(kind, pretrained=False, **settings)
    for name, tensor in made.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return made.eval()


def features(file: Path, kind: str, views: Tensor, **settings: Any) -> Tensor:
    """Those of the imported encoder, every tensor of the file placed."""
    imported = import_image_weights(file, ImageImport.model_validate({"model": kind, "image_size": 64, **settings}))
    assert imported.report.summary.endswith("tensors placed (100 %)")
    with torch.no_grad():
        return imported.models["image"].module(views)


def features_by_timm(made: Any, views: Tensor, mean: Any = IMAGENET_MEAN, std: Any = IMAGENET_STD) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    with torch.no_grad():
        return made.global_pool(made.forward_features((views - mean) / std))


def close(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def views() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_timm(kind: str, views: Tensor, tmp_path: Path) -> None:
    made = network(kind)
    wanted = features_by_timm(made, views)
    assert wanted.abs().max() > 0.1
    safetensors.torch.save_file(made.state_dict(), tmp_path / "model.safetensors")
    close(features(tmp_path / "model.safetensors", kind, views), wanted)
    close(features(saved(made.state_dict(), tmp_path / "model.pth"), kind, views), wanted)


def test_the_other_normalisation_of_timm(views: Tensor, tmp_path: Path) -> None:
    published = timm.get_pretrained_cfg("resnet34.ra4_e3600_r224_in1k")
    made = network("resnet34")
    file = saved(made.state_dict(), tmp_path / "model.pth")
    wanted = features_by_timm(made, views, published.mean, published.std)
    close(features(file, "resnet34", views, normalisation="half"), wanted)


def test_without_a_classifier_or_with_another(views: Tensor, tmp_path: Path) -> None:
    for classes in (0, 7):
        made = network("resnet18", num_classes=classes)
        close(features(saved(made.state_dict(), tmp_path / "w.pth"), "resnet18", views), features_by_timm(made, views))


@pytest.mark.parametrize("averaged", [False, True], ids=["plain", "averaged"])
def test_a_checkpoint_of_timms_training_script(averaged: bool, views: Tensor, tmp_path: Path) -> None:
    """With its arguments, optimizer and bookkeeping; timm itself loads the moving average where there is one."""
    made, average = network("resnet18"), ModelEmaV3(network("resnet18", seed=1)) if averaged else None
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1, momentum=0.9)
    given = argparse.Namespace(model="resnet18", lr=0.1, mean=[0.5, 0.5, 0.5], resume="")
    folder = str(tmp_path)
    CheckpointSaver(made, optimizer, given, average, checkpoint_dir=folder, recovery_dir=folder).save_checkpoint(3, 0.5)
    file = tmp_path / "last.pth.tar"
    again = network("resnet18", seed=2)
    timm.models.load_checkpoint(again, str(file))
    close(features(file, "resnet18", views), features_by_timm(again, views))
    report = import_image_weights(file, ImageImport()).report
    assert [note.startswith("these are the moving average") for note in report.notes] == [True] * averaged
    assert "arch, args, epoch" in report.left[0]


def test_the_same_weights_in_every_wrapping(tmp_path: Path) -> None:
    state, other = network("resnet18").state_dict(), network("resnet18", seed=1).state_dict()
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    wrappings: list[Any] = [
        {"model": parallel},
        {"state_dict": {f"_orig_mod.{name}": tensor for name, tensor in parallel.items()}},
        {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
        {"state_dict": other, "state_dict_ema": state},
        {"state_dict": state, "state_dict_ema": None},
        # torchvision's reference training: AveragedModel counts its updates among the tensors
        {"model": other, "model_ema": {"n_averaged": torch.tensor(5), **parallel}, "args": argparse.Namespace(lr=0.1)},
    ]
    wanted = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    for content in wrappings:
        found = read_resnet(saved(content, tmp_path / "wrapped.pth"), wanted, "resnet18")
        assert found.fitting.keys() == wanted.keys()
        assert all(torch.equal(found.fitting[name], tensor) for name, tensor in wanted.items())


def hollow(kind: str, **settings: Any) -> dict[str, Tensor]:
    """The names and shapes of timm's network, each tensor one number repeated."""
    with torch.device("meta"):
        state = timm.create_model(kind, **settings).state_dict()
    return {name: torch.ones((), dtype=tensor.dtype).expand(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("other", "settings", "kind", "differs"),
    [
        ("resnet50d", {}, "resnet50", r"missing: conv1\.weight.*unknown: conv1\.0\.weight"),
        ("resnext50_32x4d", {}, "resnet50", r"misshapen: layer1\.0\.conv1\.weight \[128, 64, 1, 1\] for \[64, 64, 1"),
        ("wide_resnet50_2", {}, "resnet50", r"misshapen: layer1\.0\.conv1\.weight \[128, 64, 1, 1\] for \[64, 64, 1"),
        ("seresnet18", {}, "resnet18", r"unknown: layer1\.0\.se\.fc1\.bias"),
        ("resnet50_gn", {}, "resnet50", r"missing: bn1\.running_mean"),
        ("vit_tiny_patch16_224", {}, "resnet18", r"missing: bn1\.bias.*unknown: blocks\.0\.attn"),
        ("resnet18", {"in_chans": 1}, "resnet18", r"misshapen: conv1\.weight \[64, 1, 7, 7\] for \[64, 3, 7, 7\]"),
        ("resnet34", {}, "resnet18", r"unknown: layer1\.2\.bn1\.bias"),
        ("resnet18", {}, "resnet34", r"missing: layer1\.2\.bn1\.bias"),
    ],
)
def test_another_network_is_refused_by_what_differs(
    other: str, settings: dict[str, int], kind: str, differs: str, tmp_path: Path
) -> None:
    file = saved(hollow(other, **settings), tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=rf"other\.pth: not a torchvision {kind} state dict: .*{differs}"):
        import_image_weights(file, ImageImport.model_validate({"model": kind}))


@pytest.mark.parametrize("other", ["resnetblur18", "resnetblur50", "resnetaa50"])
def test_a_look_alike_is_refused_where_the_file_names_it(other: str, tmp_path: Path) -> None:
    """Its tensors alone would fit, so this is all that can be known."""
    kind = "resnet18" if other.endswith("18") else "resnet50"
    with torch.device("meta"):
        assert {n: t.shape for n, t in timm.create_model(kind).state_dict().items()} == {
            n: t.shape for n, t in timm.create_model(other).state_dict().items()
        }
    for named in (other, f"{other}.a1h_in1k"):
        file = saved({"state_dict": hollow(other), "arch": named}, tmp_path / "alike.pth")
        with pytest.raises(ConfigError, match=rf"alike\.pth: of a {other}, which has the tensors of a {kind} but"):
            import_image_weights(file, ImageImport.model_validate({"model": kind}))


def test_arguments_that_are_more_than_plain_values_are_refused(tmp_path: Path) -> None:
    content = {"state_dict": network("resnet18").state_dict(), "args": argparse.Namespace(out=Path("run"))}
    with pytest.raises(ConfigError, match=r"args\.pth: refused, it holds more than tensors and plain values"):
        import_image_weights(saved(content, tmp_path / "args.pth"), ImageImport())
