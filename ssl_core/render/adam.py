"""Adam with one learning rate per column, on tables whose rows come and go."""

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-15
"""As Kerbl et al. 2023: gradients of a mean over pixels are tiny, and a larger one would drown them."""


class Adam:
    """Moves `parameters` [N, ...] in place; `rates` broadcast to them, as [D] one learning rate per column.

    Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1. Why not torch.optim: its first use in a
    process loads torch's compiler, which takes seconds, as long as fitting one object does.
    """

    def __init__(self, parameters: Tensor, rates: Tensor) -> None:
        self.parameters = parameters
        self.rates = rates
        self.steps = 0
        self.mean = torch.zeros_like(parameters, requires_grad=False)
        self.square = torch.zeros_like(parameters, requires_grad=False)

    @torch.no_grad()
    def step(self, gradient: Tensor, share: float = 1.0) -> None:
        """One update along `gradient` [N, ...], with `share` of every rate."""
        self.steps += 1
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.lerp_(gradient * gradient, 1 - BETAS[1])
        mean = self.mean / (1 - BETAS[0] ** self.steps)
        root = (self.square / (1 - BETAS[1] ** self.steps)).sqrt_().add_(EPSILON)
        self.parameters.sub_(mean.div_(root).mul_(self.rates * share))

    @torch.no_grad()
    def replace_rows(self, kept: Tensor, added: Tensor) -> None:
        """Leave the rows `kept` (indices) and append `added` [M, ...], whose moments are zero."""
        self.parameters = torch.cat([self.parameters[kept], added]).requires_grad_()
        self.mean, self.square = (
            torch.cat([moment[kept], torch.zeros_like(added)]) for moment in (self.mean, self.square)
        )

    def state(self) -> dict[str, Tensor]:
        """Parameters, moments and the number of steps: `load` goes on bit for bit."""
        return {
            "parameters": self.parameters.detach(),
            "mean": self.mean,
            "square": self.square,
            "steps": torch.tensor(self.steps),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Take a `state()` over, whatever its number of rows."""
        device = self.parameters.device
        self.mean, self.square = state["mean"].to(device).clone(), state["square"].to(device).clone()
        self.parameters = state["parameters"].to(device).clone().requires_grad_()
        self.steps = int(state["steps"])
