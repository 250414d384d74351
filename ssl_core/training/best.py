"""The best state of each output of a trial, by the output's own score.

A trial trains several models with one loss, and their scores peak at different epochs: on small sets the image branch
often peaks in the first ones. What is worth registering of each is its own best epoch.
"""

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ssl_core.errors import ConfigError
from ssl_core.training.contract import Output

PREFIX = "best."
"""Of the names of best tensors in a checkpoint."""


class BestStates:
    """Copies of each output's tensors at the epoch where its score was best."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.values: dict[str, float] = {}
        self._outputs = outputs
        self._states: dict[str, dict[str, Tensor]] = {}
        self._seen: set[str] = set()

    def observe(self, models: Mapping[str, nn.Module], metrics: Mapping[str, float]) -> None:
        """Copy the tensors of every output whose score has improved. Metrics without a score change nothing of it."""
        self._seen.update(metrics)
        for output in self._outputs:
            value = metrics.get(output.select.metric)
            if value is not None and output.select.better(value, self.values.get(output.name)):
                self.values[output.name] = value
                state = models[output.name].state_dict()
                self._states[output.name] = {name: tensor.detach().clone() for name, tensor in state.items()}

    def require(self) -> None:
        """Raises ConfigError for an output whose score never came, naming the metrics that did."""
        for output in self._outputs:
            if output.name not in self._states:
                there = ", ".join(sorted(self._seen)) or "none"
                raise ConfigError(
                    f"output '{output.name}' is selected by '{output.select.metric}', which no epoch reported as a "
                    f"finite number; there is {there}; let the trial report it, or select by another"
                )

    def tensors(self) -> dict[str, Tensor]:
        """All copies by checkpoint name: `best.<output>.<parameter>`."""
        return {
            f"{PREFIX}{output}.{name}": tensor
            for output, state in self._states.items()
            for name, tensor in state.items()
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, float], seen: Mapping[str, float]) -> None:
        """Inverse of `tensors`; `seen` are the metrics of the checkpoint's epoch."""
        self.values, self._seen = dict(values), set(seen)
        self._states = {output: {} for output in values}
        for key, tensor in tensors.items():
            if key.startswith(PREFIX):
                output, _, name = key.removeprefix(PREFIX).partition(".")
                self._states[output][name] = tensor

    def applied_to(self, models: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Copies of the outputs' models with their best tensors. Raises ConfigError as `require`."""
        self.require()
        best = {}
        for output in self._outputs:
            best[output.name] = copy.deepcopy(models[output.name])
            best[output.name].load_state_dict(self._states[output.name])
        return best
