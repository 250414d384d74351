"""Settings of the cross-modal recipe, and its presets."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.config_roles import LIVE
from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.data.batches import Negatives
from ssl_core.evaluation.few_shot import FewShotConfig
from ssl_core.models.build import ImageBackbone, PointBackbone, has_feature_transform
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.pointnet2 import PointNet2MSGConfig
from ssl_core.training.config import (
    AdamWConfig,
    CosineSchedule,
    MilestoneSchedule,
    RecipeConfig,
    SGDConfig,
    TrainingConfig,
)


class LossConfig(Config):
    """L = triplet + beta * (sum of three matching cross-entropies) + transform_weight * T-Net regulariser."""

    beta: float = Field(default=3.0, ge=0)
    margin: float = Field(default=2.0, ge=0)
    normalise_features: bool = Field(default=False, description="unit-length features in the triplet term")
    transform_weight: float = Field(default=0.0, ge=0, description="weight of |I - A A^T| of the feature T-Net")


class AugmentConfig(Config):
    """Training crops of the views."""

    crop_min_scale: float = Field(default=0.08, gt=0, le=1)
    flip: bool = True
    color: float = Field(default=0.0, ge=0, le=1, description="strength of random hue, saturation and brightness")


class ValidationConfig(FewShotConfig):
    """The probe that decides, on the held-out part of train, and how often matching is tried."""

    matching_repeats: int = Field(default=3, ge=1)


class CrossModalConfig(RecipeConfig):
    """All settings of one trial. The defaults mend the reference's defects; README.md has the switch for each."""

    points: PointsContract = PointsContract()
    point_backbone: PointBackbone = PointNetConfig()
    image: ImageContract = ImageContract()
    image_backbone: ImageBackbone = ResNetConfig()
    fusion_hidden: int = Field(default=256, ge=1)
    loss: Annotated[LossConfig, LIVE] = LossConfig()
    negatives: Negatives = "other_class"
    augment: Annotated[AugmentConfig, LIVE] = AugmentConfig()
    validation: ValidationConfig = ValidationConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _regulariser_needs_transform(self) -> Self:
        if self.loss.transform_weight > 0 and not has_feature_transform(self.point_backbone):
            raise ValueError(
                "loss.transform_weight > 0 needs point_backbone.kind=pointnet with feature_transform=true; set it to 0"
            )
        return self


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
