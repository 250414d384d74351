"""ResNets: torchvision's network, local weights only, no pickle beyond tensors."""

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision

from ssl_core.contracts import ImageContract
from ssl_core.errors import ConfigError
from ssl_core.models.build import build_image_encoder
from ssl_core.models.image import ResNetConfig

torch.set_num_threads(1)
CONTRACT = ImageContract(image_size=32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A torchvision resnet18 state dict, classifier included, in both formats."""
    torch.manual_seed(1)
    state = torchvision.models.resnet18(weights=None).state_dict()
    folder = tmp_path_factory.mktemp("weights")
    torch.save(state, folder / "resnet18.pth")
    safetensors.torch.save_file(state, folder / "resnet18.safetensors")
    return folder


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_local_weights_give_torchvisions_features(weights: Path, suffix: str) -> None:
    config = ResNetConfig(weights_file=str(weights / f"resnet18.{suffix}"))
    contract = ImageContract(image_size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    encoder = build_image_encoder(contract, config, seed=0).eval()
    theirs = torchvision.models.resnet18(weights=None)
    theirs.load_state_dict(safetensors.torch.load_file(weights / "resnet18.safetensors"))
    theirs.fc = torch.nn.Identity()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        normalised = torchvision.transforms.functional.normalize(x, contract.mean, contract.std)
        torch.testing.assert_close(encoder(x), theirs.eval()(normalised))
        assert (encoder(x) >= 0).all()


@pytest.mark.parametrize(("kind", "width"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_feature_dim(kind: str, width: int) -> None:
    encoder = build_image_encoder(CONTRACT, ResNetConfig(kind=kind), seed=0).eval()
    assert encoder.feature_dim == width == ResNetConfig(kind=kind).feature_dim
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 32, 32)).shape == (1, width)


def test_weights_of_another_kind_are_refused(weights: Path) -> None:
    config = ResNetConfig(kind="resnet34", weights_file=str(weights / "resnet18.pth"))
    wanted = r"resnet18.pth: not a torchvision resnet34 state dict: missing: .*layer1.2.*more"
    with pytest.raises(ConfigError, match=wanted):
        build_image_encoder(CONTRACT, config, seed=0)


class Command:
    """What an ill-meant pickle holds."""

    def __reduce__(self):
        return (Path.touch, (Path("should-not-exist"),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_unreadable_weights_are_refused_by_name(weights: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"x": Command()}))
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "checkpoint.pth")
    (tmp_path / "cut.pth").write_bytes((weights / "resnet18.pth").read_bytes()[:1000])
    expected = {
        "missing.pth": "no such file",
        "evil.pth": "refused|cannot be read",
        "text.pth": "refused|cannot be read",
        "text.safetensors": "cannot be read",
        "cut.pth": "cannot be read",
        "checkpoint.pth": "expected a state dict",
    }
    for name, reason in expected.items():
        with pytest.raises(ConfigError, match=rf"{name}: .*({reason})") as caught:
            build_image_encoder(CONTRACT, ResNetConfig(weights_file=str(tmp_path / name)), seed=0)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "should-not-exist").exists()


@pytest.mark.parametrize(
    "x",
    [
        torch.rand(2, 1, 32, 32),
        torch.rand(3, 32, 32),
        torch.rand(2, 3, 32, 48),
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
    ],
)
def test_an_input_outside_the_contract_is_refused(x: torch.Tensor) -> None:
    encoder = build_image_encoder(CONTRACT, ResNetConfig(), seed=0)
    with pytest.raises(ConfigError, match=r"takes \[B, 3, 32, 32\].*got "):
        encoder(x)
