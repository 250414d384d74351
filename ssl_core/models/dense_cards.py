"""The card of what gives features at every patch of an image, and one vector of the whole."""

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from ssl_core.contracts import ImageContract
from ssl_core.models.build import seeded_weights
from ssl_core.models.card_contract import CardText, ModelCard
from ssl_core.models.dense_encoder import Assembly, DenseEncoder, Tuning, fine_tokens
from ssl_core.models.dense_networks import DenseBackbone, DenseMapConfig, build_dense_network

MAX_SIDE = 4096


class DenseEncoderCard(ModelCard):
    """Images [B, 3, H, W] in [0, 1] -> features [B, C + G, h, w]: C channels of tokens, then the vector of the whole
    image, the same at each token.

    The module takes images of any size whose sides are multiples of the patch; program, ONNX and signature are of
    `height` and `width`.
    """

    input_name, output_name = "image", "features"
    kind: Literal["dense_encoder"] = "dense_encoder"
    height: int = Field(default=96, ge=4, le=MAX_SIDE, description="of images in training, in pixels")
    width: int = Field(default=128, ge=4, le=MAX_SIDE)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    backbone: DenseBackbone = DenseMapConfig()
    tuning: Tuning | None = Field(default=None, description="how the fine-tuned tokens come about; null: none are")
    assembly: Assembly = Field(default="concat", description="of original and fine-tuned tokens")

    @model_validator(mode="after")
    def _whole_tokens(self) -> Self:
        if self.height % self.multiple or self.width % self.multiple:
            raise ValueError(
                f"height {self.height} and width {self.width} have to be multiples of the patch, {self.multiple} pixels"
            )
        return self

    @property
    def multiple(self) -> int:
        """What the sides of an image have to be multiples of: pixels from one token to the next."""
        return self.backbone.multiple

    @property
    def token_dim(self) -> int:
        """C."""
        both = self.tuning is not None and self.assembly == "concat"
        return self.backbone.channels * (2 if both else 1)

    @property
    def global_dim(self) -> int:
        """G."""
        return self.backbone.global_dim

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (3, self.height, self.width)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.token_dim + self.global_dim, self.height // self.multiple, self.width // self.multiple)

    def original(self) -> Self:
        """The card of the network as it was."""
        return self.model_copy(update={"tuning": None})

    def build(self, seed: int) -> DenseEncoder:
        with seeded_weights(seed):
            network = build_dense_network(self.backbone, (self.height, self.width))
            fine = None if self.tuning is None else fine_tokens(self.tuning, network, self.backbone.channels)
        return DenseEncoder((self.mean, self.std), network, fine, self.assembly)

    def example(self, batch: int) -> Tensor:
        wide = ImageContract(image_size=max(self.height, self.width, 8)).example(batch)
        return wide[:, :, : self.height, : self.width].contiguous()

    def describe(self) -> CardText:
        c, m = self.token_dim, self.multiple
        parts = {"concat": "original ⊕ fine-tuned", "add": "original + fine-tuned", "fine": "fine-tuned"}
        what = "original" if self.tuning is None else parts[self.assembly]
        return CardText(
            title="Dense encoder",
            network=_network_name(self.backbone),
            does=f"gives {c} features ({what}) at every patch of {m} x {m} pixels of an image",
            purpose=(
                "Tokens are meant to be used frozen, under a linear layer that segments or estimates depth; the vector "
                "of the whole image goes with each of them."
            ),
            takes=(
                f"RGB in [0, 1], sides multiples of {m} pixels ({self.height} x {self.width} in training and in the "
                f"exported program). Mean {list(self.mean)} and standard deviation {list(self.std)} are applied "
                f"inside.\n\nOutput: channels 0–{c - 1} are tokens, {c}–{c + self.global_dim - 1} the image's vector."
            ),
            sample=f"torch.rand(4, 3, {self.height}, {self.width})  # four images, RGB in [0, 1]",
            reads="images",
            method="encode_dense",
            limits=("Fine-tuned tokens know the kind of scenes that they were trained on.",),
        )


def _network_name(backbone: DenseBackbone) -> str:
    if isinstance(backbone, DenseMapConfig):
        return f"{getattr(backbone.network, 'network', backbone.network.kind)}, stride {backbone.stride}"
    return backbone.network or f"vision transformer, {backbone.depth} blocks"
