"""Settings of label_3dgs, and its presets."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.config_roles import LIVE
from ssl_core.evaluation.dense_probes import DenseProbeConfig
from ssl_core.losses.label_field import LabelLossKind
from ssl_core.render.densify import DensifyConfig
from ssl_core.render.scene_fit_config import SceneFitConfig
from ssl_core.training.config import RecipeBase


class OracleTeacher(Config):
    """The pack's own labels, made worse: what a segmentation network of known quality would say. Without noise and
    dilation they are the pack's label maps as they are, whoever made these."""

    kind: Literal["oracle"] = "oracle"
    noise: float = Field(default=0.2, ge=0, le=1, description="share of blocks whose label is a random class")
    block: int = Field(default=4, ge=1, le=256, description="side of a block in pixels")
    dilation: int = Field(default=1, ge=0, le=32, description="pixels by which regions grow over their neighbours")
    seed: int = Field(default=0, ge=0, description="of the noise, which differs from view to view")

    @property
    def is_truth(self) -> bool:
        """Whether nothing is changed."""
        return self.noise == 0 and self.dilation == 0


class FolderTeacher(Config):
    """Label maps of a network of yours: `<folder>/<name of the view>.png` (or .npy), or in a folder of the scene's name
    below, and `<folder>/classes.json`."""

    kind: Literal["folder"] = "folder"
    folder: str = Field(min_length=1, description="on storage that all workers see")
    revision: str = Field(
        default="", description="of the maps: another word when they change, or those of before count"
    )


class ProbeTeacher(Config):
    """A linear probe over a dense encoder of ours, fitted on the labels of the pack's validation scenes."""

    kind: Literal["probe"] = "probe"
    folder: str = Field(min_length=1, description="a dense encoder, as `splatsweep pull` leaves it")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its encoder.safetensors")
    probe: DenseProbeConfig = DenseProbeConfig()
    seed: int = Field(default=0, ge=0, description="of the probe")


LabelTeacher = Annotated[OracleTeacher | FolderTeacher | ProbeTeacher, Field(discriminator="kind")]


class SceneTeacherConfig(Config):
    """Whose labels are learnt, and of which scene: what the stage depends on."""

    source: LabelTeacher = OracleTeacher()
    scene: str = Field(default="", description="name of one scene of the pack; empty: its first one for training")


class LabelVariant(Config):
    """Each Gaussian carries a score of each class (Label-3DGS)."""

    kind: Literal["label"] = "label"
    start: Literal["zeros", "teacher_vote"] = Field(
        default="zeros", description="teacher_vote: logarithms of what the teacher's labels vote for, before the fit"
    )


class FeatureVariant(Config):
    """Each Gaussian carries a feature, compared with an embedding of each class (Feature 3DGS). Features are random
    unit embeddings of the teacher's labels with noise: in place of those of a network with a text encoder."""

    kind: Literal["feature"] = "feature"
    embedding: int = Field(default=64, ge=4, le=1024, description="width of the features")
    speed_up: bool = Field(default=True, description="a quarter of the channels, and a linear layer that decodes them")
    noise: float = Field(default=0.05, ge=0, description="standard deviation of each number of a feature")
    seed: int = Field(default=0, ge=0, description="of embeddings and noise")

    @property
    def channels(self) -> int:
        """Of a Gaussian."""
        return self.embedding // 4 if self.speed_up else self.embedding


class VoteVariant(Config):
    """Plain 3DGS, and each Gaussian's scores in closed form after it: the share of each class among the teacher's
    labels in the pixels that it is seen in, by rendering weight."""

    kind: Literal["vote"] = "vote"


Variant = Annotated[LabelVariant | FeatureVariant | VoteVariant, Field(discriminator="kind")]


class LabelLossConfig(Config):
    """weight * loss of the labels, beside that of the pictures. `ssl_core.losses.label_field` has the equations."""

    kind: LabelLossKind = "ce_logits"
    weight: float = Field(default=0.05, gt=0, description="of the labels' loss")
    feature_weight: float = Field(default=1.0, gt=0, description="of the features' absolute difference")
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the target that all classes have alike")
    class_balance: Literal["none", "inv_freq"] = "none"
    gamma: float = Field(default=2.0, ge=0, description="of the focal loss")
    normalise_alpha: bool = Field(default=False, description="blended scores are divided by coverage")


class Label3dgsConfig(RecipeBase):
    """All settings of one trial: one scene. An epoch is `chunk` iterations of the fit, each of one view."""

    teacher: SceneTeacherConfig = SceneTeacherConfig()
    labelled_views: int | None = Field(
        default=None, ge=1, description="training views that have labels, evenly spread; None: all"
    )
    variant: Variant = LabelVariant()
    loss: Annotated[LabelLossConfig, LIVE] = LabelLossConfig()
    fit: SceneFitConfig = SceneFitConfig(channel_travel=30.0)
    start_points: int | None = Field(
        default=None, ge=4, description="of the scene's points, so many at most are begun with"
    )
    chunk: int = Field(default=1000, ge=1, description="iterations of an epoch")
    picture: int = Field(
        default=64,
        ge=16,
        le=512,
        description="longer side of the picture that the exported program draws; less with many Gaussians",
    )
    device: str = "auto"

    @property
    def epochs(self) -> int:
        """Of a trial; the last one may be shorter."""
        return -(-self.fit.iterations // self.chunk)

    def supervision(self, output: str) -> str:
        """The teacher, or the scene's own labels where it is one that was made of them."""
        match self.teacher.source:
            case OracleTeacher() as oracle:
                return "labels of the scene" + ("" if oracle.is_truth else ", made worse")
            case FolderTeacher():
                return "label maps of a teacher"
            case ProbeTeacher():
                return "labels of other scenes, by a linear probe"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        variant, loss = self.variant, self.loss
        if loss.kind == "nll_of_blended_probs" and isinstance(variant, LabelVariant) and loss.normalise_alpha:
            raise ValueError("loss.nll_of_blended_probs divides by coverage as it is; set loss.normalise_alpha=false")
        if isinstance(variant, VoteVariant) and not self.fit.detach_geometry:
            raise ValueError("variant.kind=vote has no loss of labels, so fit.detach_geometry=false says nothing")
        return self


def quick() -> Label3dgsConfig:
    """A minute of one core: pictures of 64 pixels, 1,000 iterations, at most some thousand Gaussians."""
    return Label3dgsConfig(
        fit=SceneFitConfig(
            iterations=1000,
            sh_degree=1,
            xyz_lr=1.6e-3,
            final_xyz_lr=1.6e-5,
            quaternion_lr=1e-2,
            log_scale_lr=2e-2,
            sh_dc_lr=1e-2,
            sh_rest_lr=5e-4,
            channel_travel=30.0,
            densify=DensifyConfig(enabled=False),
            random_points=2000,
        ),
        start_points=1500,
        chunk=100,
    )


def paper() -> Label3dgsConfig:
    """As released: softmax twice, weight .05, rate 1e-3 over 30,000 iterations, colours of degree 3, every point."""
    return Label3dgsConfig(
        loss=LabelLossConfig(kind="ce_on_softmax"), fit=SceneFitConfig(channel_travel=30.0), picture=128
    )
