"""What an import gives: encoders made of somebody else's file, and an account of where each of its tensors went. The
import of plain image weights, as torchvision and timm publish them.

A tensor is *placed* when it is in an encoder, or kept beside the encoders under its meaning (a classifier's head, the
fusion network). An import that cannot place every tensor of a network is refused; so the account always reads 100 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never

from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.contracts import ImageContract
from ssl_core.models.cards import Card, ImageEncoderCard
from ssl_core.models.image import ResNetConfig, read_resnet
from ssl_core.models.weights_file import file_sha256, some


class Placement(Config):
    """Where the tensors of one network of the file went."""

    part: str
    """the network, as the file calls it"""
    tensors: int = Field(ge=0)
    """how many the file holds of it"""
    encoder: int = Field(ge=0)
    """how many of them are in an encoder"""
    beside: tuple[str, ...] = ()
    """names of those that are kept beside the encoders"""
    kept_as: str = ""
    """what the ones beside are"""

    @property
    def placed(self) -> int:
        """How many have a place."""
        return self.encoder + len(self.beside)


class ImportReport(Config):
    """The account of one import."""

    file: str
    sha256: str
    model: str
    settings: str
    """digest of the settings of the import"""
    placements: tuple[Placement, ...]
    left: tuple[str, ...] = ()
    """what else the file holds and no network is made of, in words"""
    notes: tuple[str, ...] = ()
    """what a user of the encoders should know"""

    @property
    def summary(self) -> str:
        """`219 of 219 tensors placed (100 %)`."""
        placed, tensors = sum(p.placed for p in self.placements), sum(p.tensors for p in self.placements)
        return f"{placed} of {tensors} tensors placed ({100 * placed // max(1, tensors)} %)"


@dataclass(frozen=True)
class ImportedModel:
    """A model in evaluation mode on the CPU, and its card."""

    module: nn.Module
    card: Card


@dataclass(frozen=True)
class Imported:
    """Models by the last part of the name to register, what is kept beside them (file stem -> tensors by name), and the
    account."""

    models: Mapping[str, ImportedModel]
    report: ImportReport
    beside: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


class ImageImport(Config):
    """How to take a file of image weights."""

    model: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    image_size: int = Field(default=224, ge=8)
    normalisation: Literal["imagenet", "half", "none"] = Field(
        default="imagenet",
        description="applied inside. imagenet: mean and std of its channels; half: both 0.5; none: [0, 1] as it is",
    )

    @property
    def contract(self) -> ImageContract:
        """The input contract of the encoder."""
        match self.normalisation:
            case "imagenet":
                return ImageContract(image_size=self.image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
            case "half":  # some of timm's (resnet34.ra4_e3600_r224_in1k)
                return ImageContract(image_size=self.image_size, mean=HALF, std=HALF)
            case "none":
                return ImageContract(image_size=self.image_size)
            case _:
                assert_never(self.normalisation)


def import_image_weights(file: Path, config: ImageImport) -> Imported:
    """The encoder of a file of image weights.

    Raises ConfigError: the file cannot be read as data, is of another network, or holds values that are not finite.
    """
    card = ImageEncoderCard(contract=config.contract, backbone=ResNetConfig(kind=config.model))
    encoder = card.build(seed=0)
    found = read_resnet(file, encoder.backbone.state_dict(), config.model)
    encoder.backbone.load_state_dict(found.fitting)
    counters = len(found.fitting) - len(found.body)
    notes = [f"{counters} counters of batches are not in the file and stand at 0"] if counters else []
    if found.averaged:
        notes.append(f"these are the moving average of the weights in training ({found.averaged} in the file)")
    placement = Placement(
        part=config.model,
        tensors=len(found.body) + len(found.head),
        encoder=len(found.body),
        beside=tuple(found.head),
        kept_as="classifier head" if found.head else "",
    )
    report = ImportReport(
        file=file.name,
        sha256=file_sha256(file),
        model=config.model,
        settings=config.digest(),
        placements=(placement,),
        left=(f"training state: {some(found.left)}",) if found.left else (),
        notes=tuple(notes),
    )
    beside = {"classifier_head": found.head} if found.head else {}
    return Imported({"image": ImportedModel(encoder.eval(), card)}, report, beside)
