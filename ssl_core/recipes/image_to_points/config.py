"""Settings of image_to_points, and its presets."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.config_roles import FIXED, LIVE
from ssl_core.evaluation.few_shot import FewShotConfig
from ssl_core.models.reconstruction import Latent, Mirror, PoseRepresentation, ReconCnnConfig, copies
from ssl_core.training.config import AdamConfig, ConstantSchedule, CosineSchedule, RecipeConfig, TrainingConfig


class DataConfig(Config):
    """What of a pack is read: one view of each object."""

    classes: tuple[str, ...] = Field(default=(), description="that are read; empty: all of the pack")
    view_seed: int = Field(default=0, ge=0, description="chooses the view of each object")
    flip: bool = Field(
        default=False,
        description="images are mirrored at random, and their poses: two views of a symmetric object",
    )
    covered: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of a pixel above which it belongs to the silhouette that points are held against: thin legs "
        "cover less than half of a large pixel",
    )


class CameraConfig(Config):
    """The camera of all views, where the pack has none of its own: a pack's cameras count for more."""

    focal: float = Field(default=120 / 64, gt=0, description="focal length as a share of the image's side")
    distance: float = Field(default=2.0, gt=0, description="of the camera from the object's centre, in object units")


class NetworksConfig(Config):
    """Both networks; widths as released at width 1."""

    image_size: int = Field(default=64, ge=16, le=256)
    num_points: int = Field(default=1024, ge=8, le=16384)
    bottleneck: int = Field(default=128, ge=8, le=4096)
    latent: Latent = Field(default="relu", description="what follows the bottleneck; few rectified numbers may die out")
    width: float = Field(default=1.0, ge=0.05, le=4.0, description="factor on the networks' channels")
    spread: float = Field(
        default=0.5, ge=0, description="radius of the ball that the points begin in, a camera's distance being 2"
    )
    pose: PoseRepresentation = "sincos"
    mirror: Mirror = Field(
        default="none",
        description="coordinate in which clouds are symmetric by construction (tables: in both); it says where the "
        "networks' frame lies, and with true poses it has to be the data's",
    )

    @property
    def backbone(self) -> ReconCnnConfig:
        """Of the exported image encoder."""
        return ReconCnnConfig(bottleneck=self.bottleneck, width=self.width, latent=self.latent)


class PosesConfig(Config):
    """From where an image is taken to be seen, and from where clouds are drawn besides."""

    source: Literal["network", "search", "template", "true_pose"] = Field(
        default="network",
        description="of an image's pose: the pose network; where its mask fits best among `candidates` and the "
        "network's, which learns it; where it fits one shape of all images best, found before training, which the "
        "network learns; the pack's camera (an upper line, and no self-supervision)",
    )
    candidates: int = Field(default=8, ge=2, le=64, description="azimuths that are searched, at three elevations each")
    azimuth_range: float = Field(default=180.0, gt=0, le=180, description="degrees to each side, of random poses")
    elevations: tuple[float, float] = Field(
        default=(-20.0, 40.0), description="degrees, of random poses, and where images are taken from"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.elevations
        if not -90 < low <= high < 90:
            raise ValueError(
                f"poses.elevations {[low, high]} is no range between -90 and 90 degrees; put the lower first"
            )
        return self


class TemplateConfig(Config):
    """The one shape that all training images are seen as, from which their poses are found (poses.source=template)."""

    starts: int = Field(
        default=3, ge=1, le=64, description="shapes that are found from other balls; the one that fits best is taken"
    )
    points: int = Field(default=128, ge=8, le=4096, description="of the shape")
    steps: int = Field(default=300, ge=1)
    batch_size: int = Field(default=32, ge=1, description="images a step")
    azimuths: int = Field(default=16, ge=2, le=360, description="that are tried, at three elevations each")
    rate: float = Field(default=0.02, gt=0, description="Adam's")
    temperature: float = Field(
        default=1.0,
        ge=0,
        description="of the poses drawn at first, in deviations of their errors; falls to 0",
    )
    followed: int = Field(default=4, ge=1, le=16, description="poses of an image that gradients move, the best to stay")
    refined: int = Field(
        default=60,
        ge=0,
        description="steps in which poses, sizes of each object along its axes and the shape move by gradients",
    )
    seed: int = Field(default=0, ge=0)


MaskLossKind = Literal["bce_prob", "l1", "dice"]


class CycleLossConfig(Config):
    """L_shape = colour |I - J0|^2 + mask L(M, M0) + affinity A(M, x0) + cycle sum_k CD(P_k, P0) + repulsion R(P0) +
    dispersion D(P0) + symmetry S(P0) and L_pose = pose_colour |I - J0|^2 + pose_mask L(M, M0) +
    pose |theta - g(J_theta)| + elevation |g(I) beyond its range| + searched |found - g(I)|."""

    projections: Annotated[int, FIXED] = Field(default=4, ge=2, le=32, description="of a cloud: its own pose's first")
    variance: float = Field(default=0.4, gt=0, description="of the mask's kernel, square pixels")
    sharpness: float = Field(default=100.0, gt=0, description="of the softmax over depths")
    mask_loss: MaskLossKind = "bce_prob"
    colour: float = Field(default=100.0, ge=0)
    mask: float = Field(default=100.0, ge=0)
    affinity: float = Field(default=100.0, ge=0, description="2D Chamfer distance of points and silhouette")
    affinity_of: Literal["distance", "square"] = Field(
        default="distance", description="in the affinity: squares make clouds fill their outlines"
    )
    coverage: float = Field(
        default=1.0,
        ge=0,
        le=2,
        description="in the affinity, weight of the silhouette's distances from the points, that of the points' being "
        "2 less it: above 1 what is thin is reached, since points beside it cost less",
    )
    cycle: float = Field(default=1e4, ge=0, description="of the cloud that a rendered view gives and its own")
    pairing: Literal["init_model", "adj_model"] = Field(
        default="init_model", description="clouds of rendered views against the first one, or each against the next"
    )
    repulsion: float = Field(
        default=0.0, ge=0, description="of points nearer to another than an even spread over a surface"
    )
    dispersion: float = Field(default=0.0, ge=0, description="of 1 / distance over all pairs of a cloud's points")
    symmetry: float = Field(default=0.0, ge=0, description="of the cloud and its mirror image at the plane y = 0")
    pose: float = Field(default=1.0, ge=0)
    pose_colour: float = Field(default=1.0, ge=0)
    pose_mask: float = Field(default=1.0, ge=0)
    elevation: float = Field(
        default=10.0, ge=0, description="of elevations outside poses.elevations, in radians: what is above, what below"
    )
    searched: float = Field(
        default=1.0, ge=0, description="of a found pose and the network's (poses.source=search, template)"
    )


class CurriculumConfig(Config):
    """At first one shape for all images, whose poses are found in it; then each image its own.

    The cycle asks for one cloud from all views, and a strong one is obeyed by one cloud for all images.
    """

    cycle_factor: float = Field(default=1.0, ge=1, description="on loss.cycle at the beginning; 1: none")
    share: float = Field(
        default=0.6, gt=0, le=1, description="of the trial, over which the factor falls to 1, by powers"
    )

    def factor(self, progress: float) -> float:
        """Of a share of the trial's steps."""
        return float(self.cycle_factor ** (1 - min(1.0, progress / self.share)))


class ReleasedConfig(Config):
    """Defects of the released code, each by its switch; README.md says what each does."""

    affinity_l1: bool = Field(default=False, description="affinity between each pixel and itself; weight 1e-4 as there")
    bce_logit: bool = Field(default=False, description="masks in [0, 1) taken for logits")
    skip_last_projection: bool = Field(
        default=False, description="the cycle counts the cloud itself, not the last view"
    )
    unwrapped_pose_l1: bool = Field(default=False, description="angles left and right of half a turn are a turn apart")
    symmetry_shrinks: bool = Field(default=False, description="points against their own mirror image: y shrinks")


class NoNeighbours(Config):
    """One image and its own silhouette alone (OURS-CC)."""

    kind: Literal["none"] = "none"


class BundleNeighbours(Config):
    """Clouds shall also fill the silhouettes of images that look alike to a finished model (OURS-NN)."""

    kind: Literal["bundle"] = "bundle"
    folder: str = Field(description="a reconstructor of ours, as `splatsweep pull` leaves it")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its encoder.safetensors")
    k: int = Field(default=4, ge=1, le=64, description="neighbours of an image; each step draws one")


Neighbours = Annotated[NoNeighbours | BundleNeighbours, Field(discriminator="kind")]


class NeighboursConfig(Config):
    """Whose silhouettes count besides."""

    source: Neighbours = NoNeighbours()
    weight: Annotated[float, LIVE] = Field(default=1.0, ge=0, description="factor on mask and affinity of a neighbour")


class RandomStart(Config):
    """Weights of the trial's seed."""

    kind: Literal["random"] = "random"


class BundleStart(Config):
    """Weights of registered models of the same sizes: a reconstructor, and a pose estimator where one is named."""

    kind: Literal["bundle"] = "bundle"
    folder: str = Field(description="a reconstructor of ours, as `splatsweep pull` leaves it")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its encoder.safetensors")
    pose_folder: str = Field(default="", description="a pose estimator of ours; empty: its weights are random")
    pose_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", description="of its encoder.safetensors")


Start = Annotated[RandomStart | BundleStart, Field(discriminator="kind")]


class HeldOutConfig(FewShotConfig):
    """What is measured on held-out objects after each epoch."""

    objects: int = Field(default=64, ge=2, description="validation objects whose clouds are compared, at most")


class ImageToPointsConfig(RecipeConfig):
    """All settings of one trial. Lengths are counted with the camera at 2, as in the reference."""

    data: DataConfig = DataConfig()
    camera: CameraConfig = CameraConfig()
    networks: NetworksConfig = NetworksConfig()
    poses: PosesConfig = PosesConfig()
    template: TemplateConfig = TemplateConfig()
    loss: Annotated[CycleLossConfig, LIVE] = CycleLossConfig()
    curriculum: Annotated[CurriculumConfig, LIVE] = CurriculumConfig()
    released: ReleasedConfig = ReleasedConfig()
    neighbours: NeighboursConfig = NeighboursConfig()
    start: Start = RandomStart()
    pose_rate: float = Field(default=1.0, gt=0, description="factor on training.optimizer.lr, of the pose network")
    validation: HeldOutConfig = HeldOutConfig()
    training: TrainingConfig = TrainingConfig()

    def supervision(self, output: str) -> str:
        """The cameras, where they take the pose network's place."""
        return "cameras of the pack" if self.poses.source == "true_pose" else ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        loss = self.loss
        if loss.colour == loss.mask == loss.affinity == 0:
            raise ValueError("loss.colour, loss.mask and loss.affinity are all 0; nothing would be learnt of images")
        if self.released.skip_last_projection and loss.pairing == "adj_model":
            raise ValueError("released.skip_last_projection is a defect of loss.pairing=init_model; choose that")
        equal = copies(self.networks.mirror)
        if self.networks.num_points % equal or self.template.points % equal:
            raise ValueError(
                f"networks.mirror={self.networks.mirror} makes clouds of {equal} equal parts; set networks.num_points "
                f"and template.points to multiples of {equal}"
            )
        if self.networks.mirror == "none" and (self.data.flip or self.poses.source == "template"):
            raise ValueError(
                "data.flip and poses.source=template take objects for symmetric and need to know the plane; set "
                "networks.mirror to x, y or xy"
            )
        return self


def quick() -> ImageToPointsConfig:
    """Minutes on two cores: 32 pixels, 256 points, half the channels. For symmetric objects: poses are those in which
    images fit one shape best, clouds have two equal halves and few degrees of freedom."""
    return ImageToPointsConfig(
        data=DataConfig(flip=True, covered=0.25),
        networks=NetworksConfig(image_size=32, num_points=256, width=0.5, bottleneck=8, latent="linear", mirror="x"),
        poses=PosesConfig(source="template", elevations=(10.0, 50.0)),
        # a heavy mask with its blurred points makes clouds too small (docs/LOG.md)
        loss=CycleLossConfig(
            projections=2,
            colour=3.0,
            mask=3.0,
            affinity=800.0,
            affinity_of="square",
            cycle=10.0,
            dispersion=0.1,
        ),
        training=TrainingConfig(
            epochs=24, batch_size=32, optimizer=AdamConfig(lr=2e-3), schedule=CosineSchedule(warmup=0.05)
        ),
    )


def paper() -> ImageToPointsConfig:
    """OURS-CC as the released scripts have it, without their defects: 64 pixels, 1024 points, batches of 2, Adam at
    5e-4, poses of the network. 200,000 steps of 4,744 chairs are 84 epochs."""
    return ImageToPointsConfig(
        networks=NetworksConfig(spread=0.0),
        poses=PosesConfig(),
        loss=CycleLossConfig(elevation=0.0),
        training=TrainingConfig(
            epochs=84, batch_size=2, optimizer=AdamConfig(lr=5e-4), schedule=ConstantSchedule(), amp=False
        ),
    )
