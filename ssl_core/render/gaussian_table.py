"""All parameters of Gaussians as the columns of one table [N, 11 + 3K], so that one optimiser step is a few operations.

Columns are centre, quaternion, log-scales, opacity logit and K spherical-harmonic coefficients of three colours.
"""

import numpy as np
import torch
from torch import Tensor

from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.render.gaussian_tensors import GaussianTensors

XYZ = slice(0, 3)
QUATERNION = slice(3, 7)
LOG_SCALES = slice(7, 10)
OPACITY = 10
SH_DC = slice(11, 14)
_WIDTHS = (3, 4, 3, 1)


def table_of(cloud: GaussianCloud, device: str | torch.device) -> Tensor:
    """A leaf of the gradient with a cloud's values."""
    columns = [
        cloud.xyz,
        cloud.quaternions,
        cloud.log_scales,
        cloud.opacity_logits[:, None],
        cloud.sh_dc,
        cloud.sh_rest.reshape(len(cloud), -1),
    ]
    return torch.tensor(np.concatenate(columns, axis=1), device=device).requires_grad_()


def tensors_of(table: Tensor, coefficients: int | None = None) -> GaussianTensors:
    """The columns by name; of the harmonics the first `coefficients` per colour, or all."""
    xyz, quaternions, log_scales, opacity, sh = table.split([*_WIDTHS, table.shape[1] - sum(_WIDTHS)], dim=1)
    colours = sh.reshape(len(table), -1, 3)
    return GaussianTensors(
        xyz=xyz,
        quaternions=quaternions,
        log_scales=log_scales,
        opacity_logits=opacity[:, 0],
        sh=colours if coefficients is None else colours[:, :coefficients],
    )


def cloud_of(table: Tensor) -> GaussianCloud:
    """The table as a cloud."""
    found = tensors_of(table.detach().cpu())
    assert found.sh is not None
    return GaussianCloud(
        xyz=found.xyz.numpy(),
        opacity_logits=found.opacity_logits.numpy(),
        log_scales=found.log_scales.numpy(),
        quaternions=found.quaternions.numpy(),
        sh_dc=found.sh[:, 0].numpy(),
        sh_rest=found.sh[:, 1:].numpy(),
    )
