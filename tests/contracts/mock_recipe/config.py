"""Settings of the mock recipe, and its presets."""

from typing import Annotated

from pydantic import Field

from ssl_core.config import Config
from ssl_core.config_roles import EPOCHS, LIVE
from ssl_core.models.cards import SceneFieldCard


class RaysConfig(Config):
    """What the stage depends on."""

    every: int = Field(default=1, ge=1, description="of the training views' pixels, so manyth is kept")


class MockConfig(Config):
    """A light field network and how it is trained."""

    field: SceneFieldCard = SceneFieldCard(hidden=32, layers=2, frequencies=2)
    rays: RaysConfig = RaysConfig()
    epochs: Annotated[int, EPOCHS] = Field(default=4, ge=1)
    batch: int = Field(default=256, ge=1, description="rays of a step")
    rate: Annotated[float, LIVE] = Field(default=0.01, gt=0, description="of Adam")


def quick() -> MockConfig:
    """A few seconds."""
    return MockConfig()


def paper() -> MockConfig:
    """As large as a network for a real scene."""
    return MockConfig(field=SceneFieldCard(hidden=256, layers=6), epochs=200, batch=4096, rate=0.0005)
