"""Plain image weights, as torchvision and timm publish them, as image encoders.

The input contract is the one such weights were trained under: 224 pixels, and ImageNet's mean and standard deviation
per channel unless the weights are said to take others. The classifier is kept beside.
"""

from pathlib import Path
from typing import Literal, assert_never

from pydantic import Field

from ssl_core.config import Config
from ssl_core.contracts import ImageContract
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.image import ResNetConfig
from ssl_core.models.imported import Imported, ImportedModel, ImportReport, Placement
from ssl_core.models.resnet_weights import read_resnet
from ssl_core.models.weights_file import file_sha256, some

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

    Raises:
        ConfigError: the file cannot be read as data, is of another network, or holds values that are not finite.
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
