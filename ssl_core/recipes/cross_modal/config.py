"""Settings of the cross-modal recipe, and its presets."""

from typing import Annotated, Literal, Self, assert_never

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.config_roles import LIVE
from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.data.batches import Negatives
from ssl_core.data.point_augment import UNCHANGED, PointAugment
from ssl_core.evaluation.few_shot import FewShotConfig
from ssl_core.models.build import ImageBackbone, PointBackbone, has_feature_transform
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.pointnet2 import PointNet2MSGConfig
from ssl_core.models.teachers import PackagedTeacher, Teacher, initial_supervision, supervision_of
from ssl_core.training.config import (
    AdamWConfig,
    CosineSchedule,
    MilestoneSchedule,
    RecipeConfig,
    SGDConfig,
    TrainingConfig,
)

TEMPERATURE = 0.1
Part = Literal["backbone", "hidden", "head"]

# What earlier versions lacked is left out of the text while it has its default, so that their configs, studies and
# checkpoints keep their digests.


def _zero(value: float) -> bool:
    return value == 0


def _usual(value: float) -> bool:
    return value == TEMPERATURE


def _unchanged(value: PointAugment) -> bool:
    return value == UNCHANGED


class LossConfig(Config):
    """L = triplet + beta * (sum of three matching cross-entropies) + transform_weight * T-Net regulariser, and three
    terms of agreement (NT-Xent) between two descriptions of an object, with the weights `agreement_*`."""

    beta: float = Field(default=3.0, ge=0)
    margin: float = Field(default=2.0, ge=0)
    normalise_features: bool = Field(default=False, description="unit-length features in the triplet term")
    transform_weight: float = Field(default=0.0, ge=0, description="weight of |I - A A^T| of the feature T-Net")
    agreement_points: float = Field(default=0.0, ge=0, exclude_if=_zero, description="of two samplings of its points")
    agreement_views: float = Field(default=0.0, ge=0, exclude_if=_zero, description="of two of its views")
    agreement_cross: float = Field(default=0.0, ge=0, exclude_if=_zero, description="of its points and each view")
    agreement_temperature: float = Field(default=TEMPERATURE, gt=0, exclude_if=_usual)


class AugmentConfig(Config):
    """Training crops of the views, and what is done to the points."""

    crop_min_scale: float = Field(default=0.08, gt=0, le=1)
    flip: bool = True
    color: float = Field(default=0.0, ge=0, le=1, description="strength of random hue, saturation and brightness")
    points: PointAugment = Field(default=UNCHANGED, exclude_if=_unchanged)


class NoHeads(Config):
    """Agreement is asked of the backbones' features, which are what is exported."""

    kind: Literal["none"] = "none"


class MlpHeads(Config):
    """A head of two layers over each backbone: agreement is asked of its output, and any of its layers is exported."""

    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(default=512, ge=1, le=16384)
    output: int = Field(default=128, ge=1, le=16384)
    points: tuple[Part, ...] = Field(default=("hidden",), min_length=1, max_length=3, description="exported parts")
    image: tuple[Part, ...] = Field(default=("backbone",), min_length=1, max_length=3, description="exported parts")


Heads = Annotated[NoHeads | MlpHeads, Field(discriminator="kind")]


class RandomWeights(Config):
    """The image backbone begins at random weights, or at those of `image_backbone.weights_file`."""

    kind: Literal["random"] = "random"


class TrainableWeights(Config):
    """The image backbone is another's trained network, and trains on. `image` and `image_backbone` are not read."""

    kind: Literal["trainable"] = "trainable"
    network: Teacher = PackagedTeacher()
    rate: float = Field(default=0.1, gt=0, le=10, description="factor on the learning rate")


class FrozenWeights(Config):
    """The image backbone is another's trained network as it is; its head trains. `image` and `image_backbone` are not
    read. It runs in every step: each step has crops of its own, of which no stage can hold the features."""

    kind: Literal["frozen"] = "frozen"
    network: Teacher = PackagedTeacher()


ImageWeights = Annotated[RandomWeights | TrainableWeights | FrozenWeights, Field(discriminator="kind")]


def _none(value: Heads) -> bool:
    return isinstance(value, NoHeads)


def _random(value: ImageWeights) -> bool:
    return isinstance(value, RandomWeights)


class ValidationConfig(FewShotConfig):
    """The probe that decides, on the held-out part of train, and how often matching is tried."""

    matching_repeats: int = Field(default=3, ge=1)


class CrossModalConfig(RecipeConfig):
    """All settings of one trial. The defaults mend the reference's defects; README.md has the switch for each."""

    points: PointsContract = PointsContract()
    point_backbone: PointBackbone = PointNetConfig()
    image: ImageContract = ImageContract()
    image_backbone: ImageBackbone = ResNetConfig()
    image_weights: ImageWeights = Field(default=RandomWeights(), exclude_if=_random)
    heads: Heads = Field(default=NoHeads(), exclude_if=_none)
    fusion_hidden: int = Field(default=256, ge=1)
    loss: Annotated[LossConfig, LIVE] = LossConfig()
    negatives: Negatives = "other_class"
    augment: Annotated[AugmentConfig, LIVE] = AugmentConfig()
    validation: ValidationConfig = ValidationConfig()
    training: TrainingConfig = TrainingConfig()

    def supervision(self, output: str) -> str:
        """Both outputs learn from the image weights."""
        match self.image_weights:
            case RandomWeights():
                return initial_supervision(self.image_backbone)
            case TrainableWeights() | FrozenWeights():
                return supervision_of(self.image_weights.network)
            case _:
                assert_never(self.image_weights)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.loss.transform_weight > 0 and not has_feature_transform(self.point_backbone):
            raise ValueError(
                "loss.transform_weight > 0 needs point_backbone.kind=pointnet with feature_transform=true; set it to 0"
            )
        self.augment.points.check(self.points)
        match self.heads:
            case NoHeads():
                self._check_without_heads()
            case MlpHeads():
                _check_heads(self.heads, self.loss)
                if isinstance(self.image_weights, FrozenWeights) and set(self.heads.image) == {"backbone"}:
                    raise ValueError("image_weights.kind=frozen would be exported as it is; add a layer to heads.image")
            case _:
                assert_never(self.heads)
        return self

    def _check_without_heads(self) -> None:
        if isinstance(self.image_weights, FrozenWeights):
            raise ValueError("image_weights.kind=frozen leaves no image weight to train; set heads.kind=mlp")
        same = _random(self.image_weights) and self.point_backbone.feature_dim == self.image_backbone.feature_dim
        if self.loss.agreement_cross > 0 and not same:
            raise ValueError("loss.agreement_cross compares features of one width; set heads.kind=mlp")


def _check_heads(heads: MlpHeads, loss: LossConfig) -> None:
    """Raises ValueError where a layer is exported that no term trains."""
    for name, parts, key, weight in (
        ("points", heads.points, "agreement_points", loss.agreement_points),
        ("image", heads.image, "agreement_views", loss.agreement_views),
    ):
        if set(parts) != {"backbone"} and weight == loss.agreement_cross == 0:
            raise ValueError(f"heads.{name} exports a head that nothing trains; set loss.{key} above 0, or [backbone]")


def quick() -> CrossModalConfig:
    """Minutes on two cores: 256 points, 48-pixel views, AdamW with a cosine."""
    return CrossModalConfig(
        points=PointsContract(num_points=256),
        point_backbone=PointNetConfig(input_transform=False, feature_transform=False),
        image=ImageContract(image_size=48),
        # a small beta and mild crops: with the reference's, few objects teach the image branch less than nothing
        loss=LossConfig(beta=0.5, margin=1.0),
        augment=AugmentConfig(crop_min_scale=0.5),
        training=TrainingConfig(
            epochs=12, batch_size=16, optimizer=AdamWConfig(lr=1e-3), schedule=CosineSchedule(warmup=0.1)
        ),
    )


def paper() -> CrossModalConfig:
    """The reference's run `points_only` as logged: PointNet on xyz, farthest-point sampling, 100 epochs.

    Kept defects, because the logged result depends on them: negatives of any class; raw attributes; the rate dropped
    by hand at restarts (1e-3, 1e-4 from epoch 51, 1e-5 from epoch 71, 124 iterations each) while the configured decay
    never fired; no T-Net regulariser; opacity threshold .3 on the logit, which is .574 in alpha. Not kept: optimiser
    state lost at each restart, and the resume file written only at the end.
    """
    return CrossModalConfig(
        points=PointsContract(num_points=2048, alpha_threshold=0.574, standardise_attributes=False),
        point_backbone=PointNetConfig(),
        image=ImageContract(image_size=224),
        negatives="any",
        training=TrainingConfig(
            epochs=100,
            batch_size=32,
            optimizer=SGDConfig(lr=1e-3, momentum=0.9, weight_decay=5e-4),
            schedule=MilestoneSchedule(milestones=((50 * 124, 0.1), (70 * 124, 0.01))),
        ),
    )


def paper_pointnet2() -> CrossModalConfig:
    """The reference's best run, `pointnet_plus_only_points`: PointNet++ MSG, other drops of the rate."""
    milestones = ((50 * 124, 0.1), (65 * 124, 0.05), (95 * 124, 0.01))
    base = paper()
    return base.model_copy(
        update={
            "point_backbone": PointNet2MSGConfig(),
            "training": base.training.model_copy(update={"schedule": MilestoneSchedule(milestones=milestones)}),
        }
    )
