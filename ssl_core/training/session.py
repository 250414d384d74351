"""A `Trial` as a `Session`: epochs, best states, checkpoints, export; resumable bit for bit on the CPU."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from ssl_core.errors import CheckpointError
from ssl_core.files.whole import standing
from ssl_core.models.bundle import save_bundle
from ssl_core.training.checkpoint import (
    PREFIX,
    BestStates,
    CheckpointState,
    check_owner,
    has_checkpoint,
    load_checkpoint,
    replace_checkpoint,
    save_checkpoint,
)
from ssl_core.training.config import RecipeConfig, SteppedGroups, choose_device, learning_rate_factor
from ssl_core.training.contract import AnyRecipe, Data, Session, Trial, untrained_metrics
from ssl_core.training.loop import Training, train_epoch
from ssl_core.training.trial_costs import PeakMemory, measured_costs


def trained(trial: Trial, config: RecipeConfig, recipe: AnyRecipe, data: Data, seed: int) -> "TrainedSession":
    """Train a trial by the one loop. A checkpoint of another recipe, config, data or seed is refused.

    The trial is on the device that `config.training.device` names (its `module` is brought there) and has a model for
    each output of the recipe. `seed` is that of every random draw.
    """
    return TrainedSession(trial, config, recipe, data, seed)


class TrainedSession:
    """A running trial; a `Session`."""

    def __init__(self, trial: Trial, config: RecipeConfig, recipe: AnyRecipe, data: Data, seed: int) -> None:
        self.trial, self.config, self.recipe, self.data, self.seed = trial, config, recipe, data, seed
        settings = config.training
        device = choose_device(settings.device)
        self._peak = PeakMemory(device)
        trial.module.to(device)
        total = settings.epochs * trial.steps_per_epoch
        amp = settings.amp and device.type == "cuda"
        self.training = Training(
            trial=trial,
            optimizers={
                name: SteppedGroups(settings.optimizer, groups, settings.clip_norm)
                for name, groups in trial.parameters().items()
            },
            scaler=torch.amp.GradScaler(device.type, enabled=amp),
            factor=lambda iteration: learning_rate_factor(settings.schedule, iteration, total),
            device=device,
            amp=amp,
        )
        self.epoch, self.epochs = 0, settings.epochs
        self.metrics: dict[str, float] = {}
        self.best = BestStates(recipe.outputs_of(config, data))

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch, validate, and return all metrics.

        Raises:
            DivergedError: a loss is not finite.
            ConfigError: after the last epoch, when the score of an output never came.
        """
        began = time.perf_counter()
        metrics = train_epoch(self.training, self.trial.batches(self.epoch))
        ended = time.perf_counter()
        metrics.update(self.trial.validate())
        self.epoch += 1
        metrics["seconds/train"] = ended - began
        metrics["seconds/validate"] = time.perf_counter() - ended
        metrics.update(measured_costs(self.metrics, self.trial.module, self.trial.models(), self._peak))
        self.metrics = metrics
        self.best.observe(self._modules(), metrics, self.trial.module)
        if self.epoch >= self.epochs:
            self.best.require()
        return metrics

    def untrained(self) -> dict[str, float]:
        """Held-out metrics of the models as they are; nothing of the trial changes by it."""
        device = self.training.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return self.trial.validate()

    def save(self, folder: Path) -> None:
        """Write a checkpoint to `folder`, whole or not at all."""
        training = {
            "optimizers": {name: one.optimizer.state_dict() for name, one in self.training.optimizers.items()},
            "scaler": self.training.scaler.state_dict(),
        }
        save_checkpoint(folder, {**self.trial.module.state_dict(), **self.best.tensors()}, training, self._state())

    def load(self, folder: Path, transfer: bool = False) -> None:
        """Continue from a checkpoint of this very trial. Raises CheckpointError when it is another's.

        With `transfer` it may be of another trial with weights of the same shapes: those, the optimisers' state and
        the epoch are taken, while settings such as weight decay are this trial's own.
        """
        model, training, state = load_checkpoint(folder, self.training.device)
        check_owner(folder, state, self._state(), transfer)
        self.best.restore(model, state.best, state.metrics)
        self.trial.module.load_state_dict({k: v for k, v in model.items() if not k.startswith(PREFIX)})
        saved = training.get("optimizers")
        if saved is None:  # written before there could be several
            saved = dict.fromkeys(self.training.optimizers, training["optimizer"])
        for name, one in self.training.optimizers.items():
            own = [{k: v for k, v in group.items() if k != "params"} for group in one.optimizer.param_groups]
            one.optimizer.load_state_dict(saved[name])
            if transfer:
                for group, settings in zip(one.optimizer.param_groups, own, strict=True):
                    group.update(settings)
        self.training.scaler.load_state_dict(training["scaler"])
        self.training.iteration, self.epoch = state.iteration, state.epoch
        self.metrics = dict(state.metrics)

    def export(self, folder: Path, lineage: Mapping[str, str]) -> dict[str, Path]:
        """Write a bundle per output (`folder/<output>`): each as it was at the epoch of its own best score so far,
        since the outputs of one trial do not peak together.

        Raises ConfigError: the score of an output never came.
        """
        cards = {name: card for name, (_, card) in self.trial.models().items()}
        written = {}
        for output, model in self.best.applied_to(self._modules()).items():
            name = self.recipe.model_name(output)
            save_bundle(model.eval(), cards[output], folder / output, name=name, lineage=lineage)
            written[output] = folder / output
        return written

    def _modules(self) -> dict[str, nn.Module]:
        return {name: module for name, (module, _) in self.trial.models().items()}

    def _state(self) -> CheckpointState:
        return CheckpointState(
            recipe=self.recipe.name,
            config_digest=self.config.digest(),
            pack_digest=self.data.digest,
            seed=self.seed,
            epoch=self.epoch,
            iteration=self.training.iteration,
            metrics=self.metrics,
            best=dict(self.best.values),
        )


Report = Callable[[int, Mapping[str, float], float], None]


def train_single(
    session: Session, out: Path, report: Report, *, config: str, lineage: Mapping[str, str]
) -> Mapping[str, Path]:
    """Train to the end, checkpointing each epoch, and export each output of its own best epoch.

    Writes `config.json`, `metrics.jsonl` (a line per epoch, 0 is the untrained models'), `last/` (checkpoint) and
    `encoders/<output>/`.

    Args:
        session: a fresh one; a checkpoint in `out` is continued.
        report: called with (epoch, metrics, estimated seconds left).
        config: of the session, as JSON.

    Raises:
        CheckpointError: `out` holds another trial.
        DivergedError: the loss became non-finite; the last checkpoint stays.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings, log, last = out / "config.json", out / "metrics.jsonl", out / "last"
    if settings.exists() and settings.read_text() != config:
        raise CheckpointError(f"{out} holds a trial of another config; choose another --out")
    settings.write_text(config)
    if has_checkpoint(last):
        session.load(standing(last))
    lines = log.read_text().splitlines() if log.exists() else []
    kept = [line for line in lines if json.loads(line)["epoch"] <= session.epoch]
    if not kept and (untrained := untrained_metrics(session)):
        kept = [json.dumps({"epoch": 0, **untrained})]
    log.write_text("".join(f"{line}\n" for line in kept))
    began, first = time.perf_counter(), session.epoch
    while session.epoch < session.epochs:
        metrics = session.run_epoch()
        replace_checkpoint(session, last)
        with log.open("a") as file:
            file.write(json.dumps({"epoch": session.epoch, **metrics}) + "\n")
        pace = (time.perf_counter() - began) / (session.epoch - first)
        report(session.epoch, metrics, pace * (session.epochs - session.epoch))
    return session.export(out / "encoders", lineage)
