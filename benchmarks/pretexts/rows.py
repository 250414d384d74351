"""What is trained: a preset and what differs from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Group = Literal["loss terms", "feature sets", "fitted Gaussians", "images", "lines"]


@dataclass(frozen=True)
class Row:
    """One configuration of a recipe. The recipe `supervised` is the same point network trained with all labels.

    name: unique. outputs: those that are evaluated on the test split.
    """

    name: str
    group: Group
    recipe: str = "multiview_contrast"
    values: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("points",)


_NORMALS = ["xyz", "normal_tensor"]
_BASE: Mapping[str, Any] = {
    "points.features": _NORMALS,
    "points.num_points": 512,
    "teacher.network.image_size": 160,
}


def _row(name: str, group: Group, outputs: tuple[str, ...] = ("points",), **changes: Any) -> Row:
    values = {**_BASE, **{key.replace("__", "."): value for key, value in changes.items()}}
    return Row(name, group, values=values, outputs=outputs)


def _features(name: str, group: Group, *features: str) -> Row:
    return _row(name, group, points__features=list(features))


ROWS: tuple[Row, ...] = (
    _row("global", "loss terms", outputs=("points", "image")),
    _row("global, backbone read", "loss terms", heads__points=["backbone"]),
    _row("global, head read", "loss terms", heads__points=["head"]),
    _row("local", "loss terms", loss__global_weight=0, loss__local_weight=1, heads__points=["backbone"]),
    _row("global + local", "loss terms", loss__local_weight=0.3),
    _row("agreement", "loss terms", loss__global_weight=0, loss__agreement_weight=1),
    _row("global + agreement", "loss terms", loss__agreement_weight=0.3),
    _row("ridge regression, no step", "loss terms", heads__kind="ridge", training__epochs=1),
    _features("xyz", "feature sets", "xyz"),
    _features("xyz, normals", "feature sets", "xyz", "normals"),
    _features("Gaussians: xyz", "fitted Gaussians", "xyz"),
    _features("Gaussians: xyz, n n^T", "fitted Gaussians", "xyz", "normal_tensor"),
    _features("Gaussians: xyz, opacity", "fitted Gaussians", "xyz", "opacity"),
    _features("Gaussians: xyz, n n^T, opacity", "fitted Gaussians", "xyz", "normal_tensor", "opacity"),
    _features("Gaussians: xyz, covariance", "fitted Gaussians", "xyz", "covariance"),
    _row(
        "student ResNet-18",
        "images",
        outputs=("image",),
        image__kind="student",
        heads__image=["ridge"],
        heads__image_penalty=30,
        training__epochs=40,
    ),
    Row("supervised, all labels", "lines", "supervised", {"points.features": ["xyz"], "points.num_points": 512}),
)
