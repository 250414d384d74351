"""What is trained: a preset and what differs from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Group = Literal["loss terms", "feature sets", "backbones", "images"]


@dataclass(frozen=True)
class Row:
    """One configuration of a recipe.

    name: unique. base: of the same group, what it is one change away from.
    """

    name: str
    group: Group
    recipe: str = "multiview_contrast"
    values: Mapping[str, Any] = field(default_factory=dict)


_NORMALS = ["xyz", "normal_tensor"]
_BASE: Mapping[str, Any] = {
    "points.features": _NORMALS,
    "points.num_points": 512,
    "teacher.network.image_size": 160,
}


def _row(name: str, group: Group, **changes: Any) -> Row:
    return Row(name, group, values={**_BASE, **{key.replace("__", "."): value for key, value in changes.items()}})


ROWS: tuple[Row, ...] = (
    _row("global", "loss terms"),
    _row("global, backbone", "loss terms", heads__points=["backbone"]),
    _row("global, head", "loss terms", heads__points=["head"]),
    _row("agreement", "loss terms", loss__global_weight=0, loss__agreement_weight=1),
    _row("global + agreement", "loss terms", loss__agreement_weight=0.3),
    _row("xyz", "feature sets", points__features=["xyz"]),
    _row("xyz, normals", "feature sets", points__features=["xyz", "normals"]),
    _row("xyz, opacity", "feature sets", points__features=["xyz", "opacity"]),
    _row("xyz, normal tensor, opacity", "feature sets", points__features=[*_NORMALS, "opacity"]),
    _row("xyz, scale", "feature sets", points__features=["xyz", "scale"]),
    Row("cross_modal", "loss terms", recipe="cross_modal", values={"points.num_points": 512}),
)
