"""Masks and colours of projected points as the release of ssl_3d_recon makes them: every point at every pixel."""

import torch
from torch import Tensor


def dense_mask(rows: Tensor, cols: Tensor, size: int, variance: float) -> Tensor:
    """[B, N] -> [B, S, S]; `proj_codes.py`, lines 9 to 44."""
    pixels = torch.arange(size, dtype=rows.dtype)
    down = torch.exp(-((rows[:, :, None, None] - pixels[:, None]) ** 2) / (2 * variance))
    across = torch.exp(-((cols[:, :, None, None] - pixels) ** 2) / (2 * variance))
    return torch.tanh((down * across).sum(dim=1))


def dense_colour(rows: Tensor, cols: Tensor, depths: Tensor, rgb: Tensor, size: int) -> Tensor:
    """[B, N], colours [B, N, 3] -> [B, 3, S, S]; lines 46 to 92."""
    pixels = torch.arange(size, dtype=rows.dtype)
    near_row = (rows[:, :, None, None] - pixels[:, None]).abs() <= 1
    near_col = (cols[:, :, None, None] - pixels).abs() <= 1
    well = (near_row & near_col).to(rows)
    weight = torch.softmax((100 / (depths + 1 + 1e-5))[:, :, None, None].expand_as(well), dim=1) * well
    weight = weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-30)
    return torch.einsum("bnij,bnc->bcij", weight, rgb)
