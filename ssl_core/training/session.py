"""One trial: models, data, optimiser and schedule, advancing by epochs, resumable bit for bit on the CPU."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch

from ssl_core.data.pack import Pack
from ssl_core.errors import CheckpointError
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import encoder_card
from ssl_core.recipe import Modality, Recipe, RecipeConfig
from ssl_core.training.best import PREFIX, BestEncoders
from ssl_core.training.checkpoint import CheckpointState, load_checkpoint, save_checkpoint
from ssl_core.training.costs import PeakMemory, measured_costs
from ssl_core.training.device import choose_device
from ssl_core.training.loop import Training, train_epoch
from ssl_core.training.optim import build_optimizer, learning_rate_factor


class TrialSession:
    """A running trial.

    Args:
        recipe: what is trained.
        config: its config.
        pack: the data.
        seed: source of initial weights and of every random draw.

    Raises:
        InfeasibleError: the pack cannot serve the config.
    """

    def __init__(self, recipe: Recipe, config: RecipeConfig, pack: Pack, seed: int) -> None:
        recipe.check(config, pack)
        self.recipe, self.config, self.pack, self.seed = recipe, config, pack, seed
        settings = config.training
        device = choose_device(settings.device)
        self._peak = PeakMemory(device)
        self.data = recipe.data(config, pack, seed, device)
        self.objective = recipe.objective(config, seed)
        module = self.objective.module().to(device)
        total = settings.epochs * self.data.iterations_per_epoch

        def rate(iteration: int) -> float:
            return settings.optimizer.lr * learning_rate_factor(settings.schedule, iteration, total)

        amp = settings.amp and device.type == "cuda"
        self.training = Training(
            objective=self.objective,
            module=module,
            optimizer=build_optimizer(settings.optimizer, module.parameters()),
            scaler=torch.amp.GradScaler(device.type, enabled=amp),
            rate=rate,
            device=device,
            amp=amp,
        )
        self.epoch = 0
        self.epochs = settings.epochs
        self.metrics: dict[str, float] = {}
        self.best = BestEncoders()

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch, validate, and return all metrics. Raises DivergedError."""
        began = time.perf_counter()
        metrics = train_epoch(self.training, self.data.epoch(self.epoch))
        trained = time.perf_counter()
        metrics.update(self.data.validate(self.objective))
        self.epoch += 1
        metrics["seconds/train"] = trained - began
        metrics["seconds/validate"] = time.perf_counter() - trained
        metrics.update(measured_costs(self.metrics, self.training.module, self.objective.encoders(), self._peak))
        self.metrics = metrics
        self.best.observe(self.objective.encoders(), metrics)
        return metrics

    def save(self, folder: Path) -> None:
        """Write a checkpoint to `folder`, whole or not at all."""
        training = {
            "optimizer": self.training.optimizer.state_dict(),
            "scaler": self.training.scaler.state_dict(),
        }
        model = {**self.training.module.state_dict(), **self.best.tensors()}
        save_checkpoint(folder, model, training, self._state())

    def load(self, folder: Path, transfer: bool = False) -> None:
        """Continue from a checkpoint of this very trial. Raises CheckpointError when it is another's.

        With `transfer` it may be of another trial with weights of the same shapes: those, the optimiser's state and the
        epoch are taken, while settings such as weight decay are this trial's own.
        """
        model, training, state = load_checkpoint(folder, self.training.device)
        ours = self._state()
        for field in ("recipe", "pack_digest") if transfer else ("recipe", "config_digest", "pack_digest", "seed"):
            if getattr(state, field) != getattr(ours, field):
                raise CheckpointError(
                    f"checkpoint {folder} has {field} {getattr(state, field)}, this trial {getattr(ours, field)}; "
                    "it belongs to another trial"
                )
        own = [{k: v for k, v in group.items() if k != "params"} for group in self.training.optimizer.param_groups]
        self.best.restore(model, state.best)
        self.training.module.load_state_dict({k: v for k, v in model.items() if not k.startswith(PREFIX)})
        self.training.optimizer.load_state_dict(training["optimizer"])
        if transfer:
            for group, settings in zip(self.training.optimizer.param_groups, own, strict=True):
                group.update(settings)
        self.training.scaler.load_state_dict(training["scaler"])
        self.training.iteration, self.epoch = state.iteration, state.epoch
        self.metrics = dict(state.metrics)

    def _state(self) -> CheckpointState:
        return CheckpointState(
            recipe=self.recipe.name,
            config_digest=self.config.digest(),
            pack_digest=self.pack.digest,
            seed=self.seed,
            epoch=self.epoch,
            iteration=self.training.iteration,
            metrics=self.metrics,
            best=dict(self.best.values),
        )

    def export(self, folder: Path, lineage: Mapping[str, str]) -> dict[Modality, Path]:
        """Write a bundle per encoder (`folder/points`, `folder/image`): each as it was at the best epoch of its own
        validation probe so far, since the branches of one trial do not peak together."""
        written: dict[Modality, Path] = {}
        self.training.module.eval()
        for modality, trained in self.best.applied_to(self.objective.encoders()).items():
            target = folder / modality
            card = encoder_card(trained.encoder.contract, trained.backbone)
            save_bundle(trained.encoder, card, target, name=self.recipe.model_name(modality), lineage=lineage)
            written[modality] = target
        return written
