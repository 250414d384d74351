"""What a trained model is: a closed union of cards, one for each kind of artefact.

A card is a frozen config that builds the model, makes an input for it and describes it to a person. Bundles, programs,
ONNX files, MLflow's signature and the model card ask the card and know no kinds. A further kind is a class here (mypy
names what it must offer), a member of `Card`, and a task in `ssl_core.evaluation.tasks`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, assert_never

from pydantic import Field, field_validator
from torch import Tensor

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.errors import ConfigError
from ssl_core.models.build import (
    Encoder,
    ImageBackbone,
    PointBackbone,
    build_image_encoder,
    build_point_encoder,
)
from ssl_core.models.card_contract import CardText, ModelCard
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dgcnn import DGCNNConfig
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.image import ResNetConfig, TimmConfig
from ssl_core.models.readout import ReadoutConfig
from ssl_core.models.reconstruction import ReconCnnConfig
from ssl_core.models.reconstruction_cards import PoseEstimatorCard, ReconstructorCard
from ssl_core.models.small_cnn import SmallCnnConfig

_FROZEN = (
    "The features are meant to be used frozen, under a linear model or a nearest-neighbour search, or as a start for "
    "fine-tuning."
)


def _unset(value: ReadoutConfig | None) -> bool:
    return value is None


def _false(value: bool) -> bool:
    return not value


class _EncoderCard(ModelCard):
    """An input contract, a backbone and what is read out over it -> features [B, F]."""

    output_name = "features"
    contract: PointsContract | ImageContract
    backbone: PointBackbone | ImageBackbone
    # left out of the text when unset, so that cards of before keep their digests
    readout: ReadoutConfig | None = Field(default=None, exclude_if=_unset)

    def untrained(self) -> Self:
        """The card of its random twins: the backbone alone, as a random head only loses of what it is given."""
        return self.model_copy(update={"readout": None})

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.contract.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        columns = self.backbone.feature_dim
        return (columns if self.readout is None else self.readout.width(columns),)

    def example(self, batch: int) -> Tensor:
        return self.contract.example(batch)


class PointEncoderCard(_EncoderCard):
    """Points [B, N, D] -> features [B, F]."""

    input_name = "points"
    kind: Literal["point_encoder"] = "point_encoder"
    contract: PointsContract
    backbone: PointBackbone

    @property
    def near_ties(self) -> float:
        """DGCNN chooses neighbours by distances between computed features."""
        return 1 / 3 if isinstance(self.backbone, DGCNNConfig) else 0.0

    def build(self, seed: int) -> Encoder:
        return build_point_encoder(self.contract, self.backbone, seed=seed, readout=self.readout)

    def describe(self) -> CardText:
        contract = self.contract
        lines = [
            *(f"- columns {start}–{end - 1}: `{group}`" for group, start, end in contract.places()),
            f"- kept: Gaussians with alpha = sigmoid(opacity logit) above {contract.alpha_threshold:g}",
            f"- points: {contract.num_points} per object, sampling `{contract.sampling}`",
            "- position: centred on the mean, scaled to the unit sphere",
        ]
        if contract.standardise_attributes:
            lines.append("- attributes: log-scales, opacity and SH brought to order one; unit quaternions, w >= 0")
        return CardText(
            title="Point encoder",
            network=self.backbone.kind,
            does=f"turns 3D Gaussian splats into vectors of {self.output_shape[0]} numbers",
            purpose=_FROZEN,
            takes="\n".join(lines),
            sample=f"torch.zeros(4, {contract.num_points}, {contract.columns})  # objects, prepared as under Input",
            reads="Gaussians",
            method="encode_ply",
            limits=("Not invariant to rotation: objects are expected upright, as in training.",),
        )


class ImageEncoderCard(_EncoderCard):
    """Images [B, 3, S, S] in [0, 1] -> features [B, F]."""

    input_name = "image"
    kind: Literal["image_encoder"] = "image_encoder"
    contract: ImageContract
    backbone: ImageBackbone
    frozen_backbone: bool = Field(
        default=False, exclude_if=_false, description="the backbone is somebody else's, unchanged: only the head is new"
    )

    @field_validator("backbone", mode="before")
    @classmethod
    def _without_file(cls, backbone: Any) -> Any:
        """A config loses the file of its initial weights, whose path means nothing elsewhere. A card that was read and
        names one is refused: it would be opened wherever the model is built."""
        if isinstance(backbone, ResNetConfig):
            return backbone.model_copy(update={"weights_file": None})
        if isinstance(backbone, Mapping) and backbone.get("weights_file") is not None:
            raise ValueError("weights_file names another file; a bundle brings its own weights")
        return backbone

    def build(self, seed: int) -> Encoder:
        return build_image_encoder(self.contract, self.backbone, seed=seed, readout=self.readout)

    def describe(self) -> CardText:
        contract, size = self.contract, self.contract.image_size
        return CardText(
            title="Image encoder",
            network=self.backbone.kind,
            does=f"turns images of objects into vectors of {self.output_shape[0]} numbers",
            purpose=_FROZEN,
            takes=(
                f"RGB in [0, 1] over a {contract.background} background. Mean {list(contract.mean)} and standard "
                f"deviation {list(contract.std)} are applied inside. Several views of one object: encode each, take "
                "the elementwise maximum of the features."
            ),
            sample=f"torch.rand(4, 3, {size}, {size})  # four views, RGB in [0, 1]",
            reads="images",
            method="encode_images",
            limits=(f"Views are expected as in training: one object, centred, {contract.background} background.",),
        )


Card = Annotated[
    PointEncoderCard | ImageEncoderCard | DenseEncoderCard | SceneFieldCard | ReconstructorCard | PoseEstimatorCard,
    Field(discriminator="kind"),
]
CardKind = Literal["point_encoder", "image_encoder", "dense_encoder", "scene_field", "reconstructor", "pose_estimator"]


_IMAGE_BACKBONES = ResNetConfig | TimmConfig | SmallCnnConfig | ReconCnnConfig


def encoder_card(
    contract: PointsContract | ImageContract, backbone: PointBackbone | ImageBackbone
) -> PointEncoderCard | ImageEncoderCard:
    """The card of an encoder. Raises ConfigError when contract and backbone are of different modality."""
    match contract:
        case ImageContract() if isinstance(backbone, _IMAGE_BACKBONES):
            return ImageEncoderCard(contract=contract, backbone=backbone)
        case PointsContract() if not isinstance(backbone, _IMAGE_BACKBONES):
            return PointEncoderCard(contract=contract, backbone=backbone)
        case ImageContract() | PointsContract():
            raise ConfigError(
                f"backbone.kind '{backbone.kind}' does not read {contract.modality}; choose one for that modality"
            )
        case _:
            assert_never(contract)
