"""Settings of fit3d, and its presets."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.evaluation.dense_probes import DenseProbeConfig
from ssl_core.models.dense_encoder import Assembly, HeadTuning, LoraTuning, NetworkTuning, Tuning
from ssl_core.models.dense_sources import DenseSource, PackagedSource, source_supervision
from ssl_core.render.densify import DensifyConfig
from ssl_core.render.scene_fit_config import SceneFitConfig
from ssl_core.training.config import AdamWConfig, ConstantSchedule, CosineSchedule, RecipeConfig, TrainingConfig


class ViewsConfig(Config):
    """Pictures as the network takes them."""

    side: int = Field(
        default=128, ge=16, le=4096, description="longer side in pixels; sides are squeezed to multiples of the patch"
    )


class ClosedFormLift(Config):
    """Each Gaussian has the mean of the features that it is seen with, weighted by how much it is seen."""

    kind: Literal["closed_form"] = "closed_form"
    finer: int = Field(default=4, ge=1, le=32, description="pixels of a picture of features, per token and side")


class OptimisedLift(Config):
    """Features of few channels and one convolution after them, trained until pictures are the network's (stage I of
    the reference). Their rates follow from `geometry.channel_travel` and `geometry.decoder_travel`."""

    kind: Literal["optimised"] = "optimised"
    low_dim: int = Field(default=64, ge=1, le=512, description="channels of a Gaussian")
    kernel: Literal[1, 3] = Field(default=3, description="side of the decoder's convolution")
    weight: float = Field(default=1.0, gt=0, description="of the absolute error of features")


Lift = Annotated[ClosedFormLift | OptimisedLift, Field(discriminator="kind")]


class LiftConfig(Config):
    """From the views' features to those of the scene, and back into each view."""

    geometry: SceneFitConfig = SceneFitConfig()
    lift: Lift = ClosedFormLift()
    target: Literal["lift", "identity", "wrong_scene"] = Field(
        default="lift",
        description="what is learnt: the scene's features. Controls: the view's own, which nothing can be learnt from; "
        "those of another training scene, which say nothing about this one",
    )
    seed: int = Field(default=0, ge=0, description="of the fits")


class TuningSettings(Config):
    """What is trained, and towards what."""

    trainable: Literal["all", "last_k", "lora", "head"] = "all"
    last_k: int = Field(default=2, ge=1, le=64, description="blocks that are trained (trainable=last_k)")
    lora_rank: int = Field(default=8, ge=1, le=512, description="(trainable=lora)")
    head_hidden: int = Field(default=256, ge=1, le=8192, description="(trainable=head)")
    loss: Literal["l1", "l2", "cosine"] = "l1"
    hflip: float = Field(default=0.5, ge=0, le=1, description="share of pictures that are mirrored, with their target")

    @property
    def kind(self) -> Tuning:
        """As the card says it."""
        match self.trainable:
            case "lora":
                return LoraTuning(rank=self.lora_rank)
            case "head":
                return HeadTuning(hidden=self.head_hidden)
            case _:
                return NetworkTuning()


class Fit3dConfig(RecipeConfig):
    """All settings of one trial."""

    backbone: DenseSource = PackagedSource()
    views: ViewsConfig = ViewsConfig()
    lift: LiftConfig = LiftConfig()
    tuning: TuningSettings = TuningSettings()
    assembly: Assembly = Field(default="concat", description="of original and fine-tuned tokens in the output `dense`")
    probe: DenseProbeConfig = DenseProbeConfig(steps=120)
    training: TrainingConfig = TrainingConfig(
        epochs=1, batch_size=2, optimizer=AdamWConfig(lr=1e-5, weight_decay=1e-4), schedule=ConstantSchedule()
    )

    def supervision(self, output: str) -> str:
        return source_supervision(self.backbone)

    @model_validator(mode="after")
    def _fine_alone_has_an_output(self) -> Self:
        if self.assembly == "fine":
            raise ValueError("assembly 'fine' is the output `fine`; choose concat or add for the output `dense`")
        return self


def quick() -> Fit3dConfig:
    """Minutes on two cores: rooms of 64 to 128 pixels, EfficientNet-Lite0, features lifted in closed form."""
    geometry = SceneFitConfig(
        iterations=100, rates=3.0, sh_degree=0, densify=DensifyConfig(enabled=False), random_points=4000
    )
    return Fit3dConfig(
        lift=LiftConfig(geometry=geometry),
        training=TrainingConfig(
            epochs=4,
            batch_size=8,
            optimizer=AdamWConfig(lr=3e-4, weight_decay=1e-4),
            schedule=CosineSchedule(warmup=0.1),
            clip_norm=1.0,
        ),
    )


def paper() -> Fit3dConfig:
    """The published run, over the packaged network unless a file of DINOv2's weights is named: 30,000 iterations a
    scene, 64 channels, one epoch at a rate of 1e-5, all parameters, batches of two."""
    return Fit3dConfig(
        views=ViewsConfig(side=876),
        lift=LiftConfig(lift=OptimisedLift()),
        probe=DenseProbeConfig(steps=2000, bins=256),
        training=TrainingConfig(
            epochs=1,
            batch_size=2,
            optimizer=AdamWConfig(lr=1e-5, weight_decay=1e-4),
            schedule=ConstantSchedule(),
            clip_norm=0.1,
        ),
    )
