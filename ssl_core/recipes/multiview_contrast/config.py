"""Settings of multi-view contrast, and its presets."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.config_roles import FIXED, LIVE
from ssl_core.contracts import PointsContract
from ssl_core.data.point_augment import PointAugment
from ssl_core.evaluation.few_shot import FewShotConfig
from ssl_core.losses.contrast import GlobalLoss
from ssl_core.models.build import ImageBackbone, PointBackbone, has_feature_transform, has_point_features
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.readout import Part
from ssl_core.models.small_cnn import SmallCnnConfig
from ssl_core.models.teachers import (
    BundleTeacher,
    FileTeacher,
    PackagedTeacher,
    initial_supervision,
    supervision_of,
)
from ssl_core.recipes.multiview_contrast.pair_settings import PairsConfig
from ssl_core.training.config import (
    AdamConfig,
    AdamWConfig,
    CosineSchedule,
    RecipeConfig,
    StepSchedule,
    TrainingConfig,
)


class TrainedTeacher(Config):
    """A network trained here by NT-Xent between views of the pack's own training objects, before it is frozen."""

    kind: Literal["trained"] = "trained"
    backbone: ImageBackbone = SmallCnnConfig()
    image_size: int = Field(default=64, ge=8, le=1024)
    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=64, ge=2, description="objects; the others of a batch are the negatives")
    views: int = Field(default=2, ge=1, description="in each of the two sets that are to agree")
    temperature: float = Field(default=0.1, gt=0)
    hidden: int = Field(default=256, ge=1, le=16384, description="width of the head's hidden layer")
    feature_dim: int = Field(default=128, ge=1, le=16384, description="width of the head's output")
    crop_min_scale: float = Field(default=0.5, gt=0, le=1, description="smallest share of a crop's area")
    lr: float = Field(default=2e-3, gt=0)
    seed: int = Field(default=0, ge=0)


TeacherNetwork = Annotated[PackagedTeacher | FileTeacher | BundleTeacher | TrainedTeacher, Field(discriminator="kind")]


class TeacherConfig(Config):
    """The frozen image network, and how much of each object it sees. Decides the stage's address."""

    network: TeacherNetwork = PackagedTeacher()
    views: int = Field(default=8, ge=1, description="per object, evenly spaced over those that the pack has")


class HeadConfig(Config):
    """The heads over the point backbone and over the image network, and what is read of them."""

    kind: Literal["mlp", "ridge"] = Field(
        default="mlp",
        description="ridge: no gradient step at all; both outputs are ridge regressions over networks as they are",
    )
    hidden: int = Field(default=512, ge=1, le=16384)
    points: tuple[Part, ...] = Field(default=("hidden",), min_length=1, description="parts that are exported (mlp)")
    image: tuple[Part, ...] = Field(default=("hidden",), min_length=1, description="the same of the image encoder")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="of the teacher's features, before the adapter")
    points_penalty: float = Field(default=100.0, gt=0, description="of the points' ridge regression, per object")
    image_penalty: float = Field(default=300.0, gt=0, description="the same of the images'")

    @property
    def read_points(self) -> tuple[Part, ...]:
        """Parts of the exported point encoder."""
        return self.points if self.kind == "mlp" else ("ridge",)

    @property
    def read_image(self) -> tuple[Part, ...]:
        """Parts of the exported image encoder."""
        return self.image if self.kind == "mlp" else ("ridge",)


class AdapterConfig(Config):
    """The image encoder is the frozen network under a head that learns what the point encoder says."""

    kind: Literal["adapter"] = "adapter"
    views: int = Field(
        default=4, ge=1, description="per object and step; pooled in the hidden layer, as when it is read"
    )
    rate: float = Field(default=2.0, gt=0, description="factor on training.optimizer.lr")
    steps: int = Field(default=1, ge=1, description="gradient steps per training step, each on other views")
    learns: Literal["read", "hidden"] = Field(
        default="read", description="of the point network: the exported parts, or its head's hidden layer in any case"
    )


class StudentConfig(Config):
    """The image encoder is a network from scratch, distilled from the whole object's features view by view."""

    kind: Literal["student"] = "student"
    backbone: ImageBackbone = ResNetConfig()
    image_size: int = Field(default=64, ge=8, le=1024)
    crop_min_scale: float = Field(default=0.65, gt=0, le=1, description="smallest share of a training crop's area")
    rate: float = Field(default=0.5, gt=0, description="factor on training.optimizer.lr")
    target: Literal["teacher", "points"] = Field(
        default="points",
        description="the teacher's pooled features, or the point encoder's, which are better (docs/LOG.md)",
    )


ImageOutput = Annotated[AdapterConfig | StudentConfig, Field(discriminator="kind")]


class DistillationConfig(Config):
    """L = global * distillation + local * InfoNCE + agreement * NT-Xent + transform * T-Net regulariser."""

    global_weight: float = Field(default=1.0, ge=0)
    global_loss: GlobalLoss = "cosine"
    # it decides which networks there are, so it stays while a trial trains
    local_weight: Annotated[float, FIXED] = Field(
        default=0.0, ge=0, description="of points against the pixels that show them; the pack needs cameras"
    )
    local_temperature: float = Field(default=0.5, gt=0)
    agreement_weight: float = Field(default=0.0, ge=0, description="of two samplings of an object, on the head")
    agreement_temperature: float = Field(default=0.1, gt=0)
    transform_weight: float = Field(default=0.0, ge=0, description="of |I - A A^T| of the feature T-Net")


class MultiviewContrastConfig(RecipeConfig):
    """All settings of one trial."""

    points: PointsContract = PointsContract(features=("xyz", "normal_tensor"), num_points=512, sampling="uniform")
    point_backbone: PointBackbone = PointNetConfig(input_transform=False, feature_transform=False)
    teacher: TeacherConfig = TeacherConfig()
    heads: HeadConfig = HeadConfig()
    image: ImageOutput = AdapterConfig()
    pairs: PairsConfig = PairsConfig()
    loss: Annotated[DistillationConfig, LIVE] = DistillationConfig()
    augment: Annotated[PointAugment, LIVE] = PointAugment()
    validation: FewShotConfig = FewShotConfig()
    training: TrainingConfig = TrainingConfig()

    def supervision(self, output: str) -> str:
        """Points that learn from two samplings alone have no teacher; the image output always has."""
        network, loss = self.teacher.network, self.loss
        ridge = "ridge" in self.heads.read_points
        if output == "points" and loss.global_weight == loss.local_weight == 0 and not ridge:
            return ""
        teacher = (
            initial_supervision(network.backbone) if isinstance(network, TrainedTeacher) else supervision_of(network)
        )
        student = ""
        if output == "image" and isinstance(self.image, StudentConfig):
            student = initial_supervision(self.image.backbone)
        return " and ".join(filter(None, (teacher, student)))

    @property
    def taught(self) -> tuple[Part, ...]:
        """Parts of the point network that the image output hears of."""
        hidden = isinstance(self.image, AdapterConfig) and self.image.learns == "hidden" and self.heads.kind == "mlp"
        return ("hidden",) if hidden else self.heads.read_points

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        loss = self.loss
        if loss.transform_weight > 0 and not has_feature_transform(self.point_backbone):
            raise ValueError(
                "loss.transform_weight > 0 needs point_backbone.kind=pointnet with feature_transform=true; set it to 0"
            )
        if loss.global_weight == loss.agreement_weight == loss.local_weight == 0:
            raise ValueError(
                "loss.global_weight, loss.agreement_weight and loss.local_weight are all 0; nothing would be learnt"
            )
        if self.heads.kind == "ridge":
            _check_no_gradients(loss)
        if loss.local_weight > 0 and not has_point_features(self.point_backbone):
            raise ValueError(
                f"loss.local_weight > 0 needs features of single points, and {self.point_backbone.kind} keeps none; "
                "choose point_backbone.kind=pointnet or dgcnn, or set it to 0"
            )
        self.augment.check(self.points)
        return self


def _check_no_gradients(loss: DistillationConfig) -> None:
    """Raises ValueError for a term that only gradient steps would follow."""
    for name in ("local_weight", "agreement_weight", "transform_weight"):
        if getattr(loss, name) > 0:
            raise ValueError(
                f"heads.kind=ridge makes no gradient step, so loss.{name} > 0 teaches nothing; set it to 0"
            )


def quick() -> MultiviewContrastConfig:
    """A minute on two cores: PointNet without T-Nets on 256 points, distilled for 20 epochs."""
    return MultiviewContrastConfig(
        points=PointsContract(features=("xyz", "normal_tensor"), num_points=256, sampling="uniform"),
        teacher=TeacherConfig(network=PackagedTeacher(image_size=96)),
        image=AdapterConfig(learns="hidden"),
        training=TrainingConfig(
            epochs=20, batch_size=32, optimizer=AdamWConfig(lr=2e-3), schedule=CosineSchedule(warmup=0.1)
        ),
    )


def paper() -> MultiviewContrastConfig:
    """The published run: PointNet with T-Nets on 1024 points, mean squares to the teacher and 512 pairs of points and
    pixels per object, 400 epochs of Adam."""
    return MultiviewContrastConfig(
        points=PointsContract(features=("xyz",), num_points=1024),
        point_backbone=PointNetConfig(feature_dim=1024),
        heads=HeadConfig(hidden=512, points=("backbone",)),
        teacher=TeacherConfig(views=12),
        loss=DistillationConfig(global_loss="mse", local_weight=1.0, transform_weight=1e-3),
        pairs=PairsConfig(per_object=512, eps=0.02),
        augment=PointAugment(scale=1, shift=0, jitter=0, drop_points=0),
        training=TrainingConfig(
            epochs=400,
            batch_size=32,
            optimizer=AdamConfig(lr=1e-3),
            schedule=StepSchedule(decay_steps=20 * 124, decay_rate=0.7),
        ),
    )
