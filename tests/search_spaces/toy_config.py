"""A small config with what real ones have: nesting, a union, a list, a rule across fields."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.errors import ConfigError


class Adam(Config):
    kind: Literal["adam"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    eps: float = Field(default=1e-8, gt=0)


class Sgd(Config):
    kind: Literal["sgd"] = "sgd"
    lr: float = Field(default=1e-2, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)


class Points(Config):
    features: tuple[Literal["xyz", "opacity", "sh_dc"], ...] = ("xyz",)
    num_points: int = Field(default=256, ge=8)


class Toy(Config):
    points: Points = Points()
    optimizer: Annotated[Adam | Sgd, Field(discriminator="kind")] = Adam()
    beta: float = Field(default=3.0, ge=0)
    margin: float = Field(default=2.0, ge=0)
    epochs: int = Field(default=4, ge=1)
    heavy: bool = False

    @model_validator(mode="after")
    def _rule(self) -> Self:
        if self.margin > 90 and self.beta > 90:
            raise ValueError("margin and beta cannot both be above 90")
        return self


def toy_preset(recipe: str, preset: str) -> Toy:
    if (recipe, preset) != ("toy", "quick"):
        raise ConfigError(f"unknown recipe or preset '{recipe}/{preset}'")
    return Toy()
