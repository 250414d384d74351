"""The best state of each encoder of a trial, by its own validation probe.

A trial trains several encoders with one loss, and their probes peak at different epochs: on small sets the image branch
often peaks in the first ones. What is worth registering of each is its own best epoch.
"""

import copy
from collections.abc import Mapping

from torch import Tensor

from ssl_core.recipe import Modality, TrainedEncoder

PREFIX = "best."
"""Of the names of best tensors in a checkpoint."""


class BestEncoders:
    """Copies of encoder weights at the epoch where `val/<modality>_probe` was highest."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self._states: dict[str, dict[str, Tensor]] = {}

    def observe(self, encoders: Mapping[Modality, TrainedEncoder], metrics: Mapping[str, float]) -> None:
        """Copy the weights of every encoder whose probe has improved. Metrics without such a probe change nothing."""
        for modality, trained in encoders.items():
            value = metrics.get(f"val/{modality}_probe")
            if value is not None and value > self.values.get(modality, float("-inf")):
                self.values[modality] = value
                state = trained.encoder.state_dict()
                self._states[modality] = {name: tensor.detach().clone() for name, tensor in state.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All copies by checkpoint name: `best.<modality>.<parameter>`."""
        return {
            f"{PREFIX}{modality}.{name}": tensor
            for modality, state in self._states.items()
            for name, tensor in state.items()
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, float]) -> None:
        """Inverse of `tensors`."""
        self.values = dict(values)
        self._states = {modality: {} for modality in values}
        for key, tensor in tensors.items():
            if key.startswith(PREFIX):
                modality, _, name = key.removeprefix(PREFIX).partition(".")
                self._states[modality][name] = tensor

    def applied_to(self, encoders: Mapping[Modality, TrainedEncoder]) -> dict[Modality, TrainedEncoder]:
        """Copies of the encoders with their best weights; those never observed, as they are."""
        best: dict[Modality, TrainedEncoder] = {}
        for modality, trained in encoders.items():
            encoder = copy.deepcopy(trained.encoder)
            if modality in self._states:
                encoder.load_state_dict(self._states[modality])
            best[modality] = TrainedEncoder(encoder, trained.backbone)
        return best
