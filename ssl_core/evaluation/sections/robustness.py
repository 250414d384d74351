"""Robustness: one SVM, fitted on clean features of all labelled objects, on test objects that were disturbed.

Points are dropped, one by one or on one side, jittered or turned, views taken away. What is disturbed is the batch that
an encoder reads, and all of its columns together: a turned object has turned positions, normals, quaternions and
spherical harmonics. Afterwards the positions are centred and scaled to the unit sphere again, as the preprocessing of a
disturbed object would do, and log-scales follow.

Dropped points are replaced by repeating those that are left, in order, as the sampler does with small objects: maxima
over points do not change by it, and programs of a fixed number of points can be measured too.
"""

from typing import Annotated, Literal, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.contracts import PointsContract
from ssl_core.data.point_columns import spans
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import Features, encoded, point_batches
from ssl_core.evaluation.features import pool
from ssl_core.evaluation.report import Table
from ssl_core.evaluation.rotations import random_rotations, rotation_matrices, sh_rotations, times
from ssl_core.evaluation.statistics import Interval, bootstrap_mean, paired_bootstrap
from ssl_core.evaluation.task_contract import Found, LeftOutError, Section, Subject, plain
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.modes import device_of

MISSING = 0.55
"""Share of the points of a missing part, as the retrieval of whole objects by parts of them has it."""
_STEPS = 5
"""of `EvaluationProgress`, for one disturbance"""


class DroppedPoints(Config):
    """A random share of an object's points is missing."""

    kind: Literal["dropped_points"] = "dropped_points"
    share: float = Field(gt=0, lt=1)

    @property
    def name(self) -> str:
        return f"{100 * self.share:g} % of the points dropped"


class MissingPart(Config):
    """One side of an object is missing: a share of its points, the farthest along a random direction of its own."""

    kind: Literal["missing_part"] = "missing_part"
    share: float = Field(gt=0, lt=1)

    @property
    def name(self) -> str:
        return f"a side with {100 * self.share:g} % of the points missing"


class Jitter(Config):
    """Every centre is moved by normal noise."""

    kind: Literal["jitter"] = "jitter"
    sd: float = Field(gt=0, le=1, description="per axis, in radii of the object")

    @property
    def name(self) -> str:
        return f"jitter of {self.sd:g} radii"


class Turn(Config):
    """Every object is turned by its own random rotation.

    about up: by an angle uniform within +-degrees; about any axis: uniform among all rotations by at most `degrees`.
    180 degrees are all rotations of either kind.
    """

    kind: Literal["turn"] = "turn"
    degrees: float = Field(gt=0, le=180)
    about: Literal["up", "any"] = "any"

    @property
    def name(self) -> str:
        return f"turned by up to {self.degrees:g}° about " + ("up" if self.about == "up" else "any axis")


class FewerViews(Config):
    """Only some views of each object are there, random ones."""

    kind: Literal["fewer_views"] = "fewer_views"
    views: int = Field(ge=1)

    @property
    def name(self) -> str:
        return "1 view" if self.views == 1 else f"{self.views} views"


OfPoints = DroppedPoints | MissingPart | Jitter | Turn
Disturbance = Annotated[OfPoints | FewerViews, Field(discriminator="kind")]


def standard_disturbances() -> tuple[OfPoints | FewerViews, ...]:
    """Three or four levels of each, mild to severe."""
    return (
        *(DroppedPoints(share=share) for share in (0.25, 0.5, 0.75, 0.9)),
        *(MissingPart(share=share) for share in (0.25, MISSING, 0.75)),
        *(Jitter(sd=sd) for sd in (0.01, 0.03, 0.1)),
        *(Turn(degrees=degrees, about="up") for degrees in (15.0, 45.0, 180.0)),
        *(Turn(degrees=degrees) for degrees in (15.0, 45.0, 180.0)),
        *(FewerViews(views=views) for views in (1, 2, 4)),
    )


def light_disturbances() -> tuple[OfPoints | FewerViews, ...]:
    """One level of each; of rotations a small one, and that of objects which face anywhere."""
    turns = (Turn(degrees=15.0), Turn(degrees=180.0, about="up"))
    return (DroppedPoints(share=0.5), MissingPart(share=MISSING), Jitter(sd=0.03), *turns, FewerViews(views=2))


class RobustnessSettings(Config):
    """The linear SVM with the most labels, fitted on clean features and asked about disturbed test objects.

    Disturbances of what the encoder does not read, and of as many views as the pack has, are passed over.
    """

    disturbances: tuple[Disturbance, ...] = Field(default=light_disturbances(), min_length=1)


class RobustnessRow(Config):
    """The linear SVM with the most labels, fitted on clean features, on disturbed test objects."""

    disturbance: str
    accuracy: Interval
    loss: Interval
    """clean minus disturbed, object by object"""


def disturb(points: Tensor, contract: PointsContract, disturbance: OfPoints, generator: torch.Generator) -> Tensor:
    """The batch as it would be read from disturbed objects: [B, N, D] -> [B, N, D], a new tensor.

    The generator is on the CPU: the same one gives the same on any device. Raises InfeasibleError when spherical
    harmonics are to be turned and the contract leaves some of them out (`reference_color`).
    """
    match disturbance:
        case DroppedPoints():
            ranks = torch.rand(points.shape[:2], generator=generator)
            changed = _dropped(points, disturbance.share, ranks.to(points.device))
        case MissingPart():
            direction = torch.randn(len(points), 3, 1, generator=generator)
            changed = _dropped(points, disturbance.share, (points[..., :3] @ direction.to(points)).squeeze(-1))
        case Jitter():
            noise = disturbance.sd * torch.randn(*points.shape[:2], 3, generator=generator)
            changed = points.clone()
            for span in _columns(contract, "xyz"):
                changed[..., span] += noise.to(points)
        case Turn():
            quaternions = random_rotations(len(points), disturbance.degrees, disturbance.about, generator)
            changed = turned(points, contract, quaternions)
        case _:
            assert_never(disturbance)
    return _normalised(changed, contract)


def turned(points: Tensor, contract: PointsContract, quaternions: Tensor) -> Tensor:
    """[B, N, D] with each object turned about the origin by its unit quaternion, wxyz [B, 4].

    Raises InfeasibleError as `disturb` does.
    """
    if "reference_color" in contract.features:
        raise InfeasibleError(
            "reference_color leaves out the last coefficient of blue, without which its spherical harmonics cannot be "
            "turned; leave rotations out, or use sh_rest"
        )
    out, wide = points.clone(), quaternions.to(torch.float64)
    matrices = rotation_matrices(wide).to(points)
    for group in ("xyz", "normals"):
        for span in _columns(contract, group):
            out[..., span] = torch.einsum("bij,bnj->bni", matrices, points[..., span])
    for group in ("normal_tensor", "covariance"):
        for span in _columns(contract, group):
            out[..., span] = _turned_tensors(points[..., span], matrices)
    for span in _columns(contract, "rotation"):
        product = times(wide.to(points)[:, None], points[..., span])
        if contract.standardise_attributes:  # q and -q are the same rotation: that with w >= 0 is read
            product = torch.where(product[..., :1] < 0, -product, product)
        out[..., span] = product
    for span in _columns(contract, "sh_rest"):
        colours = points[..., span].unflatten(-1, (3, 15))
        out[..., span] = torch.einsum("bkl,bncl->bnck", sh_rotations(wide).to(points), colours).flatten(-2)
    return out


def _turned_tensors(values: Tensor, matrices: Tensor) -> Tensor:
    """R T R^T of symmetric T [B, N, 6] (xx, yy, zz, xy, xz, yz) and R [B, 3, 3]."""
    full = values[..., [0, 3, 4, 3, 1, 5, 4, 5, 2]].unflatten(-1, (3, 3))
    product = torch.einsum("bij,bnjk,blk->bnil", matrices, full, matrices).flatten(-2)
    return product[..., [0, 4, 8, 1, 2, 5]]


def fewer_views(
    features: NDArray[np.float32], disturbance: FewerViews, rng: np.random.Generator
) -> NDArray[np.float32]:
    """[n, V, F] features of views -> [n, views, F]: a random subset of at most V for each object, in order."""
    objects, available, _ = features.shape
    kept = np.sort(rng.random((objects, available)).argsort(axis=1)[:, : disturbance.views], axis=1)
    taken: NDArray[np.float32] = np.take_along_axis(features, kept[:, :, None], axis=1)
    return taken


def _dropped(points: Tensor, share: float, ranks: Tensor) -> Tensor:
    """[B, N, D] of the points of lowest rank [B, N], at least one, repeated in order up to N."""
    count = points.shape[1]
    left = max(1, round((1 - share) * count))
    kept = ranks.argsort(dim=1)[:, :left].sort(dim=1).values
    index = kept[:, torch.arange(count, device=kept.device) % left]
    return points.gather(1, index[:, :, None].expand_as(points))


def _normalised(points: Tensor, contract: PointsContract) -> Tensor:
    """Positions centred and scaled to the unit sphere, in place; standardised log-scales and covariances follow."""
    for span in _columns(contract, "xyz"):
        xyz = points[..., span]
        xyz = xyz - xyz.mean(dim=1, keepdim=True)
        radius = xyz.norm(dim=-1).amax(dim=1).clamp_min(1e-12)[:, None, None]
        points[..., span] = xyz / radius
        if contract.standardise_attributes:
            for scale in _columns(contract, "scale"):
                points[..., scale] -= radius.log()
        for tensor in _columns(contract, "covariance"):
            points[..., tensor.start : tensor.start + 3] -= radius.log() / 4
    return points


def _columns(contract: PointsContract, wanted: str) -> list[slice]:
    """Where a feature group stands; empty when the contract does not have it."""
    return [span for group, span in spans(contract) if group == wanted]


def _measure(subject: Subject, settings: RobustnessSettings, found: Found) -> tuple[RobustnessRow, ...]:
    """One row per disturbance of what the encoder reads; points of the first draw, views by their maximum."""
    n, clean = len(subject.labels.train), subject.features
    variants: list[tuple[str, Features]] = []
    for disturbance in settings.disturbances:
        try:
            features = _disturbed(subject, disturbance)
        except InfeasibleError as error:
            found.left_out.append(f"{disturbance.name}: {error}")
            continue
        if features is not None:
            variants.append((disturbance.name, features))
        subject.steps.step(_STEPS)
    if not variants:
        raise LeftOutError("no disturbance that was asked for applies to this encoder on this pack")
    tests = [clean[n:], *(features for _, features in variants)]
    correct = subject.svm_correct(subject.most_labels, clean[:n], tests).mean(axis=0)
    confidence = subject.config.confidence
    return tuple(
        RobustnessRow(
            disturbance=name,
            accuracy=bootstrap_mean(disturbed, confidence=confidence),
            loss=paired_bootstrap(correct[0], disturbed, confidence=confidence),
        )
        for (name, _), disturbed in zip(variants, correct[1:], strict=True)
    )


def _disturbed(subject: Subject, disturbance: Disturbance) -> Features | None:
    """[test objects, F]; None where the encoder does not read what is disturbed, or everything is left as it is."""
    match disturbance, subject.card:
        case FewerViews(), ImageEncoderCard():
            views = subject.raw.rows(slice(len(subject.labels.train), None)).views
            assert views is not None
            if disturbance.views >= views.shape[1]:
                return None
            rng = np.random.default_rng([41, subject.config.draw_seed, disturbance.views])
            kept = fewer_views(views, disturbance, rng)
            return pool(kept, np.arange(kept.shape[1]), "max")
        case DroppedPoints() | MissingPart() | Jitter() | Turn(), PointEncoderCard():
            return disturbed_tests(subject, disturbance)
        case _:
            return None


def disturbed_tests(subject: Subject, disturbance: OfPoints) -> Features:
    """[test objects, F] of disturbed points of the first draw."""
    number, sampler = subject.config.point_number(0), subject.source.sampler
    return subject.test_source().recall(
        f"points {number}, {disturbance.to_json()}",
        subject.encoder,
        subject.identity,
        lambda: disturbed_point_features(subject.encoder, sampler, subject.test, number, disturbance),
    )


def disturbed_point_features(
    encoder: nn.Module,
    sampler: PointSampler,
    objects: NDArray[np.int64],
    draw: int,
    disturbance: OfPoints,
) -> Features:
    """`point_features` of disturbed points. The draw decides what is random in the disturbance as well.

    Raises InfeasibleError as `disturb`.
    """
    generator = torch.Generator().manual_seed(int(np.random.default_rng([29, draw]).integers(2**62)))
    batches = (
        disturb(points, sampler.contract, disturbance, generator).to(device_of(encoder))
        for points in point_batches(sampler, objects, draw)
    )
    return encoded(encoder, batches)


def _table(rows: tuple[RobustnessRow, ...]) -> Table:
    cells = [[row.disturbance, row.accuracy.percent(), row.loss.percent(signed=True)] for row in rows]
    return "Robustness: linear SVM with the most labels, %", ["test objects", "accuracy", "lost"], cells


def _metrics(rows: tuple[RobustnessRow, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        place = f"robustness/{plain(row.disturbance)}"
        found |= {place: row.accuracy.mean, f"{place}/loss": row.loss.mean}
    return found


def _steps(settings: RobustnessSettings) -> int:
    return _STEPS * len(settings.disturbances)


ROBUSTNESS = Section("robustness", _steps, _measure, _table, _metrics)
