"""Which settings of a config may change while a trial trains, and which say how long it does.

    class MyConfig(Config):
        beta: Annotated[float, LIVE] = 1.0      changes how weights are updated, not which weights there are
        epochs: Annotated[int, EPOCHS] = 12     says how many epochs there are, not how long each is

A mark on a nested config counts for all that lies in it and has none of its own (`FIXED` takes a key out). Population-
based training moves live keys alone, and `plan` takes it that they hardly change what an epoch costs.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel

from ssl_core.config import Config, dotted_keys, fields_along

Role = Literal["fixed", "live", "epochs"]


class Mark:
    """In `Annotated`, beside the type."""

    def __init__(self, role: Role) -> None:
        self.role = role


LIVE, EPOCHS, FIXED = Mark("live"), Mark("epochs"), Mark("fixed")


def role(kind: type[BaseModel], key: str) -> Role:
    """Of a dotted key: that of the last marked field on the way to it."""
    found: Role = "fixed"
    for field in fields_along(kind, key):
        for mark in field.metadata:
            if isinstance(mark, Mark):
                found = mark.role
    return found


def keys_of(kind: type[BaseModel], wanted: Role) -> Iterator[str]:
    """Dotted keys with a role, outermost first."""
    return (key for key in dotted_keys(kind) if role(kind, key) == wanted)


def changeable(kind: type[BaseModel], key: str) -> bool:
    """Whether a training trial can take on another value: the key is live, of a single value, and chooses no kind."""
    nested = any(other.startswith(f"{key}.") for other in dotted_keys(kind))
    return role(kind, key) == "live" and not nested and key.rpartition(".")[2] != "kind"


def epochs_of(config: Config) -> int | None:
    """How many epochs the config asks for; None when no key is marked as saying so."""
    key = next(keys_of(type(config), "epochs"), None)
    if key is None:
        return None
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value if isinstance(value, int) else None
