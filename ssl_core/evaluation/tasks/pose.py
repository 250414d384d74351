"""The pose task: from where one view of each test object was taken, beside the best constant answer.

A pose that was learnt without poses is known up to one rotation of the objects' frame, the same for all images. It is
fitted on validation views in closed form, the chordal mean of what lies between predicted and true cameras (Hartley,
Trumpf, Dai, Li 2013, section 5.3). What decides is the negated geodesic error of each test view after it. Objects that
look alike from several sides are not favoured: the error is to the camera that took the view.
"""

import json
import time
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config, short_digest
from ssl_core.data.object_pack import Pack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.alignment import nearest_rotation, rotation_angles
from ssl_core.evaluation.reconstruction_data import SingleViews
from ssl_core.evaluation.report import (
    Measurement,
    Report,
    Scores,
    Steps,
    TaskConfig,
    beside,
    markdown_table,
    strongest,
)
from ssl_core.evaluation.statistics import Interval, bootstrap_mean, in_percent
from ssl_core.evaluation.task_contract import Context, Evaluation
from ssl_core.models.modes import device_of
from ssl_core.models.reconstruction_cards import PoseEstimatorCard
from ssl_core.render.point_splatting import orbit_rotation

MODEL, CONSTANT, UNTRAINED = "pose estimator", "constant pose", "untrained network"
NEAR = 30.0
"""degrees: the share of errors up to this is the field's accuracy at pi / 6 (Tulsiani, Malik, CVPR 2015)"""
_LEAST_SPREAD = 1e-3
"""radians between predictions: below it every image gives the same pose"""


class PoseConfig(TaskConfig):
    """What is asked of a pose estimator."""

    task: Literal["pose"] = Field(default="pose", description="tells protocols apart, whose other keys may be alike")
    protocol: Literal["1"] = Field(default="1", description="version of the rules")
    view_seed: int = Field(default=0, description="which view of each object is read")
    twin_seeds: tuple[int, ...] = Field(default=(0, 1, 2), description="of the untrained networks")
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)

    @property
    def deciding_key(self) -> str:
        """The rules and the views."""
        return short_digest(json.dumps(["pose", self.protocol, self.view_seed]))

    def covers(self, other: TaskConfig) -> bool:
        return self == other

    def not_measured(self) -> tuple[str, ...]:
        return ()


class PoseRow(Config):
    """One answer's errors over the test views, in degrees. near: share of errors up to 30 degrees."""

    name: str
    mean: Interval
    median: float
    near: Interval


class PoseReport(Report):
    """The answer: errors of the cameras' rotations."""

    kind: Literal["pose_estimator"] = "pose_estimator"
    config: PoseConfig
    object_names: tuple[str, ...]
    rows: tuple[PoseRow, ...]
    validation_views: int

    @property
    def headline_text(self) -> str:
        """For example `median error 21.0°, 63.0 % within 30° over 100 test objects (constant pose 78.2°)`."""
        if self.deciding is None:
            return "no result: angles hold NaN or infinity"
        mine = self.rows[0]
        text = f"median error {mine.median:.1f}°, {in_percent(mine.near.mean)} % within 30°"
        text += f" over {len(self.object_names)} test objects"
        other = next((row for row in self.rows if row.name == self.baseline_name), None)
        return text if other is None else f"{text} ({other.name} {other.median:.1f}°)"

    def overview(self) -> list[dict[str, Any]]:
        return [
            {
                "poses": row.name,
                "median error °": f"{row.median:.1f}",
                "mean error °": f"{row.mean.mean:.1f} ± {row.mean.half_width:.1f}",
                "within 30°, %": row.near.percent(),
            }
            for row in self.rows
        ]

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self.rows:
            place = f"pose/{row.name.replace(' ', '_')}"
            found |= {f"{place}/median": row.median, f"{place}/mean": row.mean.mean, f"{place}/near": row.near.mean}
        return found

    def markdown(self) -> str:
        text = (
            f"Cameras of one view of each of {len(self.object_names)} test objects of pack `{self.data_digest}`, "
            f"protocol {self.config.protocol}: degrees between predicted and true rotation, after one rotation of the "
            f"objects' frame that was fitted on {self.validation_views} validation views."
        )
        rows = [list(map(str, row.values())) for row in self.overview()]
        heads = ("poses", "median error °", "mean error °", "within 30°, %")
        return f"{text}\n\n{markdown_table(heads, rows)}"

    def paired(self) -> tuple[tuple[Measurement, Scores], ...]:
        if self.deciding is None:
            return ()
        value = bootstrap_mean(self.deciding.values[0], confidence=self.config.confidence)
        return ((Measurement(key="pose", label="error of poses", value=value, main=True), self.deciding),)


def evaluate_pose(
    model: nn.Module, card: PoseEstimatorCard, pack: Pack, config: PoseConfig, context: Context = Context()
) -> Evaluation[PoseReport]:
    """Errors of the model, of the best constant pose and of untrained networks.

    Raises InfeasibleError: the pack has no views, masks or cameras, or no objects of the card's classes.
    """
    start, steps = time.perf_counter(), Steps(context.title, 2 + len(config.twin_seeds), context.tell)
    val, test = (SingleViews(pack, card, split, config.view_seed) for split in ("val", "test"))
    true = _true_rotations(val), _true_rotations(test)
    steps.what = "test objects"
    mine = _errors(model, (val, test), true)
    spread = _spread(model, test)
    steps.step()
    constant = nearest_rotation(true[0].mean(0))
    others = {CONSTANT: [rotation_angles(constant.expand_as(true[1]), true[1]).numpy()]}
    steps.step()
    steps.what = "untrained networks"
    for seed in config.twin_seeds:
        errors = _errors(card.build(seed).to(device_of(model)), (val, test), true)
        if errors is not None:
            others.setdefault(UNTRAINED, []).append(errors)
        steps.step()
    deciding = None if mine is None else _scores([mine])
    scores = {name: _scores(answers) for name, answers in others.items()}
    compared = {} if deciding is None else {name: each.values for name, each in scores.items()}
    beaten = {} if deciding is None else beside(deciding.values, compared, config.confidence)
    best = strongest(beaten) or CONSTANT
    rows = {} if mine is None else {MODEL: [mine], **others}
    report = PoseReport(
        data_digest=pack.digest,
        config=config,
        object_names=tuple(pack.manifest.objects[index].key for index in test.objects.tolist()),
        rows=tuple(_row(name, answers, config.confidence) for name, answers in rows.items()),
        validation_views=len(val),
        deciding=deciding,
        baseline=None if deciding is None else scores[best],
        baseline_name=best,
        baselines=beaten,
        defects=_defects(mine is not None, spread),
        seconds=round(time.perf_counter() - start, 3),
    )
    return Evaluation(report)


def _true_rotations(some: SingleViews) -> Tensor:
    """[n, 3, 3] world to camera."""
    cameras = some.cameras()
    if cameras is None:
        raise InfeasibleError(
            f"pack {some.pack.path} has no cameras, without which poses cannot be measured; pack views with their "
            "cameras, or meshes, whose views bring their own"
        )
    return torch.from_numpy(np.stack([camera.viewmat[:3, :3] for camera in cameras])).float()


def _errors(
    model: nn.Module, some: tuple[SingleViews, SingleViews], true: tuple[Tensor, Tensor]
) -> NDArray[np.float64] | None:
    """[test views] radians; None where an angle is not finite."""
    angles = [each.answers(model) for each in some]
    if not all(bool(torch.isfinite(each).all()) for each in angles):
        return None
    known, asked = (orbit_rotation(each[:, 0], each[:, 1]) for each in angles)
    between = frame_between(known, true[0])
    found: NDArray[np.float64] = rotation_angles(asked @ between.T, true[1]).numpy()
    return found


def frame_between(predicted: Tensor, true: Tensor) -> Tensor:
    """The rotation A, x' = A x, from the predictions' frame of the objects to the true one.

    A camera R that was predicted for x sees R x = R A^T x', so that true rotations [n, 3, 3] are nearest to R A^T.
    """
    return nearest_rotation((true.mT @ predicted).mean(0))


def _spread(model: nn.Module, some: SingleViews) -> float:
    """Mean square of the radians between predictions and their mean."""
    angles = some.answers(model)
    rotations = orbit_rotation(angles[:, 0], angles[:, 1])
    if not bool(torch.isfinite(rotations).all()):
        return float("nan")
    return float(rotation_angles(rotations, nearest_rotation(rotations.mean(0)).expand_as(rotations)).square().mean())


def _scores(answers: list[NDArray[np.float64]]) -> Scores:
    values = -np.mean(answers, axis=0)
    return Scores(
        name="error of poses", unit="test objects", values=(tuple(np.round(values, 8).tolist()),), measure="angle"
    )


def _row(name: str, answers: list[NDArray[np.float64]], confidence: float) -> PoseRow:
    degrees = np.degrees(np.stack(answers))
    return PoseRow(
        name=name,
        mean=bootstrap_mean(degrees.mean(axis=0), confidence=confidence),
        median=float(np.median(degrees)),
        near=bootstrap_mean((degrees <= NEAR).mean(axis=0), confidence=confidence),
    )


def _defects(finite: bool, spread: float) -> tuple[str, ...]:
    if not finite:
        return ("collapsed: angles hold NaN or infinity",)
    if spread < _LEAST_SPREAD**2:
        return ("collapsed: every image gives nearly the same pose",)
    return ()
