"""Settings of the mock recipe, and its presets."""

from typing import Annotated

from pydantic import Field

from ssl_core.config import Config
from ssl_core.config_roles import EPOCHS, LIVE
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.gaussian_field import camera_vector
from ssl_core.scenes.cameras import orbit_cameras


class PicturesConfig(Config):
    """What the stage depends on."""

    every: int = Field(default=1, ge=1, description="of the training views, so manyth is kept")


def field_card(gaussians: int = 64, size: int = 12) -> SceneFieldCard:
    """A field without classes, seen from an orbit."""
    examples = tuple(tuple(camera_vector(camera).tolist()) for camera in orbit_cameras(4, size))
    values = {"gaussians": gaussians, "width": size, "height": size, "examples": examples, "depths": (1.6, 3.6)}
    return SceneFieldCard.model_validate(values)


class MockConfig(Config):
    """Gaussians in a fixed number, and how they are trained."""

    field: SceneFieldCard = field_card()
    pictures: PicturesConfig = PicturesConfig()
    epochs: Annotated[int, EPOCHS] = Field(default=4, ge=1)
    batch: int = Field(default=4, ge=1, description="views of a step")
    rate: Annotated[float, LIVE] = Field(default=0.03, gt=0, description="of Adam")


def quick() -> MockConfig:
    """A few seconds."""
    return MockConfig()


def paper() -> MockConfig:
    """As many as a real scene has."""
    return MockConfig(field=field_card(4096), epochs=200, rate=0.005)
