"""A small convolutional network for images of 32 to 96 pixels: what a laptop's core can train in a minute."""

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config


class SmallCnnConfig(Config):
    """Convolutions of 3 x 3 and stride 2, each with batch normalisation and ReLU; averaged over the last map."""

    kind: Literal["small_cnn"] = "small_cnn"
    channels: tuple[int, ...] = Field(default=(32, 64, 128, 256), min_length=1, max_length=8)

    @property
    def feature_dim(self) -> int:
        """Width of the pooled features."""
        return self.channels[-1]


class SmallCnn(nn.Module):
    """[B, 3, H, W] -> [B, channels[-1]], non-negative."""

    def __init__(self, config: SmallCnnConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
                )
                for before, after in pairwise((3, *config.channels))
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features
