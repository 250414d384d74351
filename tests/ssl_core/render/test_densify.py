"""Which Gaussians are cloned, split and removed, one at a time."""

import numpy as np
import torch

from ssl_core.render.densify import DensifyConfig, Pulls, densified
from ssl_core.render.gaussian_table import LOG_SCALES, OPACITY, QUATERNION, XYZ

CONFIG = DensifyConfig()
EXTENT = 10.0
"""Smaller than 0.1 is cloned, larger than 1 is removed."""


def table(*scales: float, logit: float = 0.0) -> torch.Tensor:
    """Round Gaussians of these sizes, opacity a half."""
    rows = torch.zeros(len(scales), 14)
    rows[:, XYZ] = torch.arange(3 * len(scales)).view(-1, 3).float()
    rows[:, QUATERNION] = torch.tensor([1.0, 0, 0, 0])
    rows[:, LOG_SCALES] = torch.tensor(scales).log()[:, None].expand(-1, 3)
    rows[:, OPACITY] = logit
    return rows


def pulls(*means: float, radius: float = 5.0) -> Pulls:
    """Seen twice each."""
    count = len(means)
    return Pulls(2 * torch.tensor(means), torch.full((count,), 2.0), torch.full((count,), radius))


def change(rows: torch.Tensor, pulled: Pulls, config: DensifyConfig = CONFIG, *, large_go: bool = False):
    return densified(rows, pulled, EXTENT, config, np.random.default_rng(0), large_go=large_go)


def test_small_ones_are_cloned_and_large_ones_split() -> None:
    rows = table(0.05, 0.5, 0.05)
    found = change(rows, pulls(2e-4, 1.0, 1.9e-4))
    assert found.kept.tolist() == [0, 2], "a split Gaussian goes, the others stay"
    assert found.parents.tolist() == [0, 1, 1]
    assert torch.equal(found.added[0], rows[0])
    parts = found.added[1:]
    assert torch.allclose(parts[:, LOG_SCALES].exp(), torch.tensor(0.5 / 1.6))
    assert not torch.equal(parts[0, XYZ], parts[1, XYZ])
    assert (parts[:, XYZ] - rows[1, XYZ]).norm(dim=1).max() < 5 * 0.5
    assert torch.equal(parts[:, OPACITY:], rows[1:2, OPACITY:].expand(2, -1))


def test_parts_lie_where_their_gaussian_is_dense() -> None:
    """Drawn from it: along its long axis after its rotation, a quarter turn about z."""
    rows = table(0.5).repeat(4000, 1)
    rows[:, XYZ] = 0
    rows[:, LOG_SCALES] = torch.tensor([0.5, 1e-3, 1e-3]).log()
    rows[:, QUATERNION] = torch.tensor([0.5**0.5, 0, 0, 0.5**0.5])
    parts = change(rows, pulls(*[1.0] * 4000)).added
    assert abs(float(parts[:, 1].std()) - 0.5) < 0.02
    assert parts[:, [0, 2]].abs().max() < 0.01


def test_faint_ones_go_and_large_ones_once_opacities_were_reset() -> None:
    faint = table(0.05, 0.05, logit=-6.0)
    assert change(faint, pulls(0, 1.0)).kept.tolist() == []
    assert len(change(faint, pulls(0, 1.0)).added) == 0
    large = table(0.05, 1.1, 2.0)
    assert change(large, pulls(0, 0, 1.0)).kept.tolist() == [0, 1]
    gone = change(large, pulls(0, 0, 1.0), large_go=True)
    assert gone.kept.tolist() == [0]
    assert len(gone.added) == 0, "parts of 2 / 1.6 are too large as well"


def test_the_radius_on_the_screen_counts_only_if_asked() -> None:
    """The authors meant 20 pixels; their code never removes one for it."""
    rows, wide = table(0.05, 0.05), pulls(0, 0, radius=21)
    assert len(change(rows, wide, large_go=True).kept) == 2
    meant = DensifyConfig(max_radius=20)
    assert len(change(rows, wide, meant, large_go=True).kept) == 0
    assert len(change(rows, wide, meant, large_go=False).kept) == 2


def test_no_more_than_allowed_and_the_strongest_first() -> None:
    rows = table(0.05, 0.5, 0.05, 0.05)
    strength = pulls(0.3, 0.9, 0.1, 0.5)
    for most, parents in ((4, []), (5, [1, 1]), (6, [3, 1, 1]), (3, []), (99, [0, 2, 3, 1, 1])):
        found = change(rows, strength, DensifyConfig(max_gaussians=most))
        assert found.parents.tolist() == parents
        assert len(found.kept) + len(found.added) <= max(most, 4)


def test_pulls_are_means_of_lengths_in_half_pictures() -> None:
    seen = Pulls.none(2, torch.device("cpu"))
    seen.see(torch.tensor([[3e-6, 2e-6], [1.0, 1.0]]), torch.tensor([4.0, 0.0]), (200, 400))
    seen.see(torch.tensor([[0.0, 1e-6], [1.0, 1.0]]), torch.tensor([2.0, 0.0]), (200, 400))
    assert torch.allclose(seen.gradients, torch.tensor([5e-4 + 2e-4, 0.0]))
    assert seen.visits.tolist() == [2, 0]
    assert seen.radii.tolist() == [4, 0]
