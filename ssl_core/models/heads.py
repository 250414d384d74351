"""Heads on top of encoders, trained with them and thrown away after pretraining."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusionNetwork(nn.Module):
    """Does this image belong to these points? Two linear layers on the concatenated features.

    Args:
        dim_image, dim_points: widths of the two features, [B, dim_image] and [B, dim_points].
        hidden: width between them (the cross-modal reference: 256).
    """

    def __init__(self, dim_image: int, dim_points: int, hidden: int = 256) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim_image + dim_points, hidden)
        self.output = nn.Linear(hidden, 2)

    def forward(self, image_features: Tensor, point_features: Tensor) -> Tensor:
        """Logits [B, 2]: index 1 means that the two belong together."""
        joined = torch.cat([image_features, point_features], dim=-1)
        logits: Tensor = self.output(F.relu(self.hidden(joined)))
        return logits
