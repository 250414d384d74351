"""What a study asks of a trial, and what a recipe must offer. This page is the contract; nothing else is asked.

A recipe writes a `Trial` (models, batches, losses, validation); `ssl_core.training.session.trained` makes it a
`Session`: epochs, best states, checkpoints, exact resume, export. A recipe that trains otherwise brings its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from ssl_core.config import Config

if TYPE_CHECKING:  # the study reads this page, and starts without torch
    import torch
    from torch import Tensor, nn

    from ssl_core.models.card_contract import ModelCard
    from ssl_core.models.cards import Card

C = TypeVar("C", bound=Config)
"""Config of a recipe."""
D = TypeVar("D")
"""Data that it reads: `ObjectPack` or `ScenePack`."""

Batch = Mapping[str, "Tensor"]

# metrics of what a trial costs
PARAMETERS = "cost/parameters"
PEAK_MEMORY = "cost/peak_memory_bytes"
DEVICE_MEMORY = "cost/device_memory_bytes"
LATENCY = "cost/latency_ms"


class Data(Protocol):
    """What is asked of any data set: an `ObjectPack` or a `ScenePack`, whose content its digest names."""

    @property
    def digest(self) -> str:
        """16 hex digits."""


class Session(Protocol):
    """One trial in progress: all that a study ever sees of it."""

    @property
    def epoch(self) -> int:
        """Epochs done."""

    @property
    def epochs(self) -> int:
        """Epochs to do."""

    def run_epoch(self) -> Mapping[str, float]:
        """Train one epoch and return its metrics. Raises DivergedError."""

    def save(self, folder: Path) -> None:
        """Write a checkpoint into a folder that does not exist yet."""

    def load(self, folder: Path, transfer: bool = False) -> None:
        """Continue from a checkpoint. Raises CheckpointError when it is not one of this trial.

        With `transfer` one of another trial is welcome too: same recipe and data, other values and seed.
        """

    def export(self, folder: Path, lineage: Mapping[str, str]) -> Mapping[str, Path]:
        """Write a bundle per output into `folder`; their folders by name of the output."""


def untrained_metrics(session: Session) -> dict[str, float]:
    """What a fresh session's models score before their first epoch, by its own `untrained()`.

    For people only: it decides nothing. Empty where the session has no such method, has trained, or cannot say.
    """
    measure: Callable[[], Mapping[str, float]] | None = getattr(session, "untrained", None)
    if measure is None or session.epoch > 0:
        return {}
    try:
        return {name: value for name, value in measure().items() if math.isfinite(value)}
    except Exception:  # what is amiss shows in the first epoch, which is the trial's own
        return {}


class Score(Config):
    """What decides between states of a model: a metric that trials report, and which way is better."""

    metric: str
    direction: Literal["maximize", "minimize"] = "maximize"

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value improves on the best so far; a value that is not finite never does."""
        if value != value or value in (float("inf"), float("-inf")):
            return False
        if than is None:
            return True
        return value > than if self.direction == "maximize" else value < than


@dataclass(frozen=True)
class Output:
    """What a trial leaves behind.

    Attributes:
        name: short; the registered model is `<recipe>-<name>`.
        card: kind of model (`ssl_core.models.cards`).
        select: which epoch is exported.
        when: whether a trial of (config, data) leaves it; None: always.
    """

    name: str
    card: type[ModelCard]
    select: Score
    when: Callable[[Any, Any], bool] | None = None


@dataclass(frozen=True)
class Stage(Generic[C, D]):
    """Work that trials with equal settings share: made once by the first that needs it, the others wait.

    Attributes:
        name: lower case, of a folder.
        settings: the part of the config that it depends on.
        make: writes it into an empty folder, from (config, data, folder, device). Where it takes long it says how far
            it is: `ssl_core.training.stage_progress.tell_stage`.
        version: of `make`: raise it when the same settings give something else.
        when: whether trials of (config, data) need it; None: always.
    """

    name: str
    settings: Callable[[C], Config]
    make: Callable[[C, D, Path, torch.device], None]
    version: int = 1
    when: Callable[[C, D], bool] | None = None


@dataclass(frozen=True)
class Recipe(Generic[C, D]):
    """One published system, or one of your own.

    Attributes:
        name: of its folder under `recipes/`, the value of `recipe:` in a space file.
        title: how the paper is called in texts.
        config: its config class. `LIVE` marks what may change while it trains (`ssl_core.config_roles`).
        presets: functions returning a config, by name; `quick` and `paper` at least in this project.
        reads: class of the data.
        outputs: what a trial exports; the first one's score is a study's objective unless it names another.
        check: raises InfeasibleError when the data cannot serve the config; cheap.
        open: builds the session from (config, data, folder of each stage, seed).
        stages: what trials share.
        measures: metrics that other recipes may report too, each with the part of the config that says how it is
            measured: where the parts are equal, so is the measurement, and one study may compare the recipes by it.
    """

    name: str
    title: str
    config: type[C]
    presets: Mapping[str, Callable[[], C]]
    reads: type[D]
    outputs: tuple[Output, ...]
    check: Callable[[C, D], None]
    open: Callable[[C, D, Mapping[str, Path], int], Session]
    stages: tuple[Stage[C, D], ...] = ()
    measures: Mapping[str, Callable[[C], Config]] = field(default_factory=dict)

    def outputs_of(self, config: C, data: D) -> tuple[Output, ...]:
        """What a trial of this config and data exports: the first of `outputs` always."""
        return tuple(output for output in self.outputs if output.when is None or output.when(config, data))

    def stages_of(self, config: C, data: D) -> tuple[Stage[C, D], ...]:
        """The stages that it needs."""
        return tuple(stage for stage in self.stages if stage.when is None or stage.when(config, data))

    def model_name(self, output: str) -> str:
        """Registered-model name: `cross-modal-points`."""
        return f"{self.name.replace('_', '-')}-{output}"


AnyRecipe = Recipe[Any, Any]


# ---- what most recipes write


@dataclass(frozen=True)
class LossTerms:
    """A differentiable total and each named term, as scalars."""

    total: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are stepped alike.

    Attributes:
        rate: factor on `training.optimizer.lr`; the schedule scales it.
        weight_decay: of the group; None takes the optimiser's.
        clip_norm: largest norm of the group's gradient; None takes `training.clip_norm`, over the whole optimiser.
    """

    parameters: Sequence[nn.Parameter]
    rate: float = 1.0
    weight_decay: float | None = None
    clip_norm: float | None = None


class Trial(Protocol):
    """Models, batches, losses and validation of one trial, on its device.

    Attributes:
        module: what is trained and kept in checkpoints. Frozen networks (a teacher) stay outside: they are neither put
            into training mode nor saved.
        steps_per_epoch: batches of an epoch.
    """

    module: nn.Module
    steps_per_epoch: int

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch number `epoch` (from 0): the same ones whenever they are asked for. None at all where
        nothing is trained by gradients."""

    def samples(self, batch: Batch) -> int:
        """How many samples a batch holds; for the speed that is told."""

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """One loss per optimiser, usually one; an optimiser without one makes no step. Each changes its own optimiser's
        parameters only."""

    def parameters(self) -> Mapping[str, Sequence[ParameterGroup]]:
        """Groups of each optimiser, under the names of `losses`."""

    def validate(self) -> dict[str, float]:
        """Held-out metrics. Must neither read the test split nor change what is trained; what is solved in closed form
        over it (a ridge regression) may be solved here."""

    def models(self) -> Mapping[str, tuple[nn.Module, Card]]:
        """What each output exports: part of `module`, or made of its parts."""
