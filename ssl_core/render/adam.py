"""Adam with one learning rate per column of one parameter tensor.

Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1. Why not torch.optim: its first
use in a process loads torch's compiler, which takes seconds, as long as fitting one object does.
"""

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-15
"""As Kerbl et al. 2023: gradients of a mean over pixels are tiny, and a larger one would drown them."""


class Adam:
    """Moves `parameters` [N, D] in place; `rates` [D] are the learning rates."""

    def __init__(self, parameters: Tensor, rates: Tensor) -> None:
        self.parameters = parameters
        self.rates = rates
        self.steps = 0
        self._mean = torch.zeros_like(parameters, requires_grad=False)
        self._square = torch.zeros_like(parameters, requires_grad=False)

    @torch.no_grad()
    def step(self, gradient: Tensor, share: float = 1.0) -> None:
        """One update along `gradient` [N, D], with `share` of every rate."""
        self.steps += 1
        self._mean.lerp_(gradient, 1 - BETAS[0])
        self._square.lerp_(gradient * gradient, 1 - BETAS[1])
        mean = self._mean / (1 - BETAS[0] ** self.steps)
        root = (self._square / (1 - BETAS[1] ** self.steps)).sqrt_().add_(EPSILON)
        self.parameters.sub_(mean.div_(root).mul_(self.rates * share))
