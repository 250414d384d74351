"""Ridge regression in closed form (Hoerl & Kennard 1970): a linear layer that no gradient step has seen."""

import torch
from torch import Tensor, nn

_ROWS = 4096


class RidgeRegression:
    """Linear maps of one set of features to any targets: the factorisation is made once.

    With Z the features brought to mean 0 and deviation 1 over all rows, and T the targets less their mean, it solves
    W = (Z^T Z + penalty I)^-1 Z^T T, the minimum of |Z W - T|^2 + penalty |W|^2. Sums are in float64.

    Args:
        features: [objects, F].
        penalty: above 0.
    """

    def __init__(self, features: Tensor, penalty: float) -> None:
        self.mean = features.mean(0, dtype=torch.float64)
        gram = self.mean.new_zeros(features.shape[1], features.shape[1])
        for block in features.split(_ROWS):
            centred = block.double() - self.mean
            gram.addmm_(centred.T, centred)
        variance = gram.diagonal() / len(features)
        # a column that never moves says nothing: its rows of Z are zero, and so are its weights
        self.scale = torch.where(variance > 1e-12, variance, torch.inf).rsqrt()
        gram = self.scale[:, None] * gram * self.scale
        self._factor = torch.linalg.cholesky(gram + penalty * torch.eye(len(gram)).to(gram))
        self._standard = (features.double() - self.mean) * self.scale

    def solve(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Targets [objects, T] -> weight [T, F] and bias [T] over the features as they are, standardisation within."""
        centre = targets.mean(0, dtype=torch.float64)
        solved = torch.cholesky_solve(self._standard.T @ (targets.double() - centre), self._factor)
        weight = (solved * self.scale[:, None]).T
        return weight.float(), (centre - weight @ self.mean).float()

    def solve_into(self, layer: nn.Linear, targets: Tensor) -> None:
        """Make `layer` the map to `targets`."""
        weight, bias = self.solve(targets)
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
