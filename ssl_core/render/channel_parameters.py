"""The channels of Gaussians that are being fitted, and the decoder that their picture goes through."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.render.adam import Adam
from ssl_core.render.scene_fit_config import SceneFitConfig


class ChannelParameters:
    """A table [N, C] and the parameters of a decoder, each with its Adam.

    Args:
        size: Gaussians and channels.
        decoder: a module without buffers, or None; stays the caller's, and is moved to the device.
        config: where channels begin, and the rates.
        rng: for channels that begin at random.
        device: of everything.
    """

    def __init__(
        self,
        size: tuple[int, int],
        decoder: nn.Module | None,
        config: SceneFitConfig,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        random = config.channel_start == "random"
        values = rng.standard_normal(size, dtype=np.float32) if random else np.zeros(size, dtype=np.float32)
        rate, decoder_rate = (
            torch.tensor(travel / config.iterations, device=device)
            for travel in (config.channel_travel, config.decoder_travel)
        )
        self.decoder = decoder
        self._decoder = [] if decoder is None else [Adam(p, decoder_rate) for p in decoder.to(device).parameters()]
        self._table = Adam(torch.tensor(values, device=device).requires_grad_(), rate)

    @property
    def values(self) -> Tensor:
        """[N, C], a leaf of the gradient."""
        return self._table.parameters

    def leaves(self) -> list[Tensor]:
        """What gradients are asked for, in the order of `move`."""
        return [each.parameters for each in self.optimisers().values()]

    def move(self, gradients: Sequence[Tensor | None]) -> None:
        """One step of everything that has a gradient."""
        for optimiser, gradient in zip(self.optimisers().values(), gradients, strict=True):
            if gradient is not None:
                optimiser.step(gradient)

    def replace_rows(self, kept: Tensor, parents: Tensor) -> None:
        """As Gaussians come and go; those added have the channels of their parents."""
        self._table.replace_rows(kept, self.values.detach()[parents])

    def optimisers(self) -> dict[str, Adam]:
        """By the names that states have for them."""
        return {"channels": self._table} | {f"decoder.{i}": each for i, each in enumerate(self._decoder)}

    @torch.no_grad()
    def give_to_decoder(self) -> None:
        """Into the module's own parameters, after a state was loaded into others."""
        parameters = [] if self.decoder is None else list(self.decoder.parameters())
        for own, optimiser in zip(parameters, self._decoder, strict=True):
            own.copy_(optimiser.parameters)
            optimiser.parameters = own
