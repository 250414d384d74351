"""Dense encoders: an image network whose tokens stay as they are, beside tokens that something learnt to predict.

    original    the network as it was                                              [B, D, h, w]
    fine        a copy with other weights | the same with low-rank changes (LoRA) | a small head over its tokens

FiT3D (Yue, Das, Engelmann, Tang, Lenssen, ECCV 2024, arXiv 2407.20229) fine-tunes a copy to features rendered from 3D
Gaussians and gives both to a linear probe side by side; what is put together how is the `assembly`.
"""

import copy
from dataclasses import dataclass
from typing import Annotated, Literal, assert_never

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.errors import ConfigError
from ssl_core.models.dense_networks import DenseNetwork

Assembly = Literal["concat", "add", "fine"]
"""Original and fine-tuned tokens side by side; their sum; the fine-tuned ones alone."""


class NetworkTuning(Config):
    """A whole copy of the network, of which all or some weights are others."""

    kind: Literal["network"] = "network"


class LoraTuning(Config):
    """W + B A / rank for W, in linear layers and convolutions of one pixel (Hu et al. 2021, arXiv 2106.09685)."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1, le=512)


class HeadTuning(Config):
    """Tokens plus what a small network of 3 x 3 tokens adds to them; the network stays as it is."""

    kind: Literal["head"] = "head"
    hidden: int = Field(default=256, ge=1, le=8192)


Tuning = Annotated[NetworkTuning | LoraTuning | HeadTuning, Field(discriminator="kind")]


@dataclass(frozen=True)
class DenseTokens:
    """Of a batch of images: the original tokens and the fine-tuned ones (None where nothing was tuned), each
    [B, D, h, w], and the original vector of the whole image [B, G]."""

    original: Tensor
    fine: Tensor | None
    whole: Tensor


class DenseEncoder(nn.Module):
    """Images [B, 3, H, W] in [0, 1] -> [B, C + G, h, w]: C channels of tokens, then the image's vector at each of them.

    Args:
        mean, std: of each colour, applied inside.
        original: the network as it was.
        fine: what gives the other tokens; None: nothing does.
        assembly: of both.
    """

    def __init__(
        self,
        normalisation: tuple[tuple[float, ...], tuple[float, ...]],
        original: DenseNetwork,
        fine: "FineTokens | None" = None,
        assembly: Assembly = "concat",
    ) -> None:
        super().__init__()
        mean, std = normalisation
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)  # the card holds them
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.original, self.fine, self.assembly = original, fine, assembly

    def forward(self, images: Tensor) -> Tensor:
        """Raises ConfigError for anything but [B, 3, H, W] of floats whose sides are multiples of the patch."""
        found = self.tokens(images)
        tokens = assembled(found, self.assembly)
        return torch.cat((tokens, found.whole[:, :, None, None].expand(-1, -1, *tokens.shape[2:])), dim=1)

    def tokens(self, images: Tensor) -> DenseTokens:
        """Each part by itself. Raises ConfigError as `forward`."""
        self.check(images)
        inputs = self.normalised(images)
        original, whole = self.original(inputs)
        return DenseTokens(original, None if self.fine is None else self.fine(inputs, original), whole)

    def normalised(self, images: Tensor) -> Tensor:
        """Less the mean, over the standard deviation."""
        return (images - self.get_buffer("mean")) / self.get_buffer("std")

    def check(self, images: Tensor) -> None:
        """Shape and type. Raises ConfigError."""
        m = self.original.multiple
        fits = images.ndim == 4 and images.shape[1] == 3 and images.is_floating_point()
        if not fits or any(side % m or side < m for side in images.shape[2:]):
            raise ConfigError(
                f"this dense encoder takes [B, 3, H, W] float in [0, 1] with sides that are multiples of {m}, got "
                f"{list(images.shape)} of {str(images.dtype).removeprefix('torch.')}; resize the image"
            )


def assembled(found: DenseTokens, assembly: Assembly) -> Tensor:
    """[B, D or 2 D, h, w]; the original tokens where nothing was tuned."""
    if found.fine is None:
        return found.original
    match assembly:
        case "concat":
            return torch.cat((found.original, found.fine), dim=1)
        case "add":
            return found.original + found.fine
        case "fine":
            return found.fine
        case _:
            assert_never(assembly)


class FineTokens(nn.Module):
    """Tokens of tuned weights; before any step they are the original ones."""

    def forward(self, inputs: Tensor, original: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] and their original tokens [B, D, h, w] -> [B, D, h, w]."""
        raise NotImplementedError


class FineNetwork(FineTokens):
    """Another network of the same architecture. Statistics of batch normalisation stay as they are in training, too:
    batches of a few views of one room would not be what they were collected on."""

    def __init__(self, network: DenseNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, original: Tensor) -> Tensor:
        tokens: Tensor = self.network(inputs)[0]
        return tokens

    def train(self, mode: bool = True) -> "FineNetwork":
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self


class FineHead(FineTokens):
    """What two convolutions over the tokens add to them; the second begins at zero."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, hidden, 3, padding=1)
        self.outer = nn.Conv2d(hidden, channels, 1)
        nn.init.zeros_(self.outer.weight)
        if self.outer.bias is not None:
            nn.init.zeros_(self.outer.bias)

    def forward(self, inputs: Tensor, original: Tensor) -> Tensor:
        found: Tensor = original + self.outer(F.gelu(self.inner(original)))
        return found


def fine_tokens(tuning: Tuning, network: DenseNetwork, channels: int) -> FineTokens:
    """What begins at `network`, which itself stays as it is; random weights are of torch's present generator."""
    match tuning:
        case NetworkTuning():
            return FineNetwork(copy.deepcopy(network))
        case LoraTuning(rank=rank):
            changed = copy.deepcopy(network)
            _add_low_rank(changed, rank)
            return FineNetwork(changed)
        case HeadTuning(hidden=hidden):
            return FineHead(channels, hidden)
        case _:
            assert_never(tuning)


class LowRank(nn.Module):
    """A linear layer or a convolution of one pixel whose weight is W + B A / rank; B begins at zero."""

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        rows, columns = base.weight.shape[:2]
        self.base, self.rank = base, rank
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, x: Tensor) -> Tensor:
        base = self.base
        weight = base.weight + (self.up @ self.down / self.rank).view_as(base.weight)
        if isinstance(base, nn.Linear):
            return F.linear(x, weight, base.bias)
        return F.conv2d(x, weight, base.bias, base.stride, base.padding)


def _add_low_rank(network: nn.Module, rank: int) -> None:
    """In place of every layer that has one."""
    for name, part in list(network.named_children()):
        pointwise = isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and part.groups == 1
        if isinstance(part, nn.Linear) or pointwise:
            assert isinstance(part, nn.Linear | nn.Conv2d)
            setattr(network, name, LowRank(part, rank))
        else:
            _add_low_rank(part, rank)
