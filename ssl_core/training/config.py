"""Settings that every trained recipe has in common."""

from typing import Annotated

from pydantic import Field

from ssl_core.config import Config
from ssl_core.config_roles import EPOCHS, LIVE
from ssl_core.training.optim import AdamWConfig, CosineSchedule, OptimizerConfig, ScheduleConfig


def _unset(value: float | None) -> bool:
    return value is None


class TrainingConfig(Config):
    """How long, on what and by which steps a trial trains."""

    epochs: Annotated[int, EPOCHS] = Field(default=24, ge=1)
    batch_size: int = Field(default=32, ge=2)
    optimizer: Annotated[OptimizerConfig, LIVE] = AdamWConfig()
    schedule: Annotated[ScheduleConfig, LIVE] = CosineSchedule()
    # left out of the text when unset, so that configs and studies of before keep their digests
    clip_norm: Annotated[float | None, LIVE] = Field(
        default=None, gt=0, exclude_if=_unset, description="largest norm of an optimiser's gradient"
    )
    amp: bool = Field(default=True, description="mixed precision on CUDA; the CPU always computes in float32")
    device: str = "auto"


class RecipeConfig(Config):
    """Base of a recipe's config that `ssl_core.training.session.trained` trains."""

    training: TrainingConfig = TrainingConfig()
