"""The search for farthest points as a graph of its own, and clouds where the last digit decides."""

import torch
from torch import Tensor

from ssl_core.models.neighbours import farthest_points


class Search(torch.nn.Module):
    """The search alone, as a network of its own."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return farthest_points(x, self.count)


def graph_of(count: int, points: int) -> torch.export.ExportedProgram:
    """The search of `count` centres among `points` points, for any batch."""
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(Search(count), (torch.rand(2, points, 3),), dynamic_shapes=({0: batch},))


def clouds_with_equal_distances(batch: int, count: int, seed: int) -> Tensor:
    """Points of a small lattice: many twice, and many equally far from the chosen ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, (batch, count, 3), generator=generator).float() * 0.1
