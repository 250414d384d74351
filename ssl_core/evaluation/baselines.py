"""What an encoder has to be set beside: features that cost nobody any pretraining on the pack.

* *random twins*: its architecture with random weights, as they were initialised. Of an encoder over a network that was
  not trained here (`frozen_backbone`), what pretraining gave is the read-out, so its twins are random read-outs over
  the same network;
* *random twins, calibrated*: the same with the statistics of batch normalisation that the training inputs have. Which
  of the two is stronger depends on the architecture (docs/LOG.md), so both are measured;
* *coordinate quantiles*: 21 numbers, seven quantiles along each axis of the points that the encoder gets. On objects
  that stand upright and face one way they tell much, and no network is needed for them;
* *frozen ImageNet network*: what somebody else's labels give to images, and, where the card says that the encoder is
  built over a network that was not trained here, that *frozen backbone*.

Random twins, or the network that an encoder is built over, are probed wherever the encoder is; the others where the
gate looks, at all views pooled by their maximum.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_core.data.augment import whole_images
from ssl_core.data.backgrounds import views_over
from ssl_core.errors import MissingDependencyError
from ssl_core.evaluation.extract import Features, point_batch_count, point_batches
from ssl_core.evaluation.features import FeatureSource, PooledCells, RawFeatures
from ssl_core.evaluation.frozen_network import (
    FrozenNetwork,
    frozen_identity,
    frozen_network,
    random_read_out,
    read_out,
)
from ssl_core.evaluation.probe_grid import most_views
from ssl_core.evaluation.protocol import BaselineKind
from ssl_core.evaluation.report import Steps
from ssl_core.models.build import Encoder
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.image import TimmConfig
from ssl_core.models.modes import device_of
from ssl_core.models.teachers import PackagedTeacher, build_teacher, teacher_card

LEVELS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""of coordinate quantiles"""
CALIBRATING, _CALIBRATION_BATCH = 512, 32
"""Inputs at most that batch statistics are taken from, and how many of them at a time."""


@dataclass(frozen=True)
class Baseline:
    """One baseline before it is measured.

    members: features whose answers are averaged. batches: steps of `measure`, where nothing was kept. everywhere:
    whether it is probed wherever the encoder is. measure: the members' cells, of the source's objects.
    """

    name: str
    members: int
    batches: int
    everywhere: bool
    measure: Callable[[Steps], list[PooledCells]]


def baselines_of(
    source: FeatureSource, encoder: Encoder | nn.Module, train: int
) -> tuple[list[Baseline], dict[str, str]]:
    """All that the config asks for and the encoder can have, and what is left out and why, by name.

    Args:
        encoder: on its device; twins are built there.
        train: so many of the source's objects, the first, are training objects.
    """
    found: list[Baseline] = []
    left_out: dict[str, str] = {}
    for kind in source.config.baselines:
        try:
            found += _of_kind(kind, source, encoder, train)
        except MissingDependencyError as error:
            left_out[f"baseline {kind.replace('_', ' ')}"] = str(error)
    return found, left_out


def _of_kind(kind: BaselineKind, source: FeatureSource, encoder: nn.Module, train: int) -> list[Baseline]:
    card, seeds = source.card, source.config.twin_seeds
    match kind:
        case "random_twins" | "calibrated_twins":
            return _random(kind, source, encoder, train) if seeds else []
        case "coordinate_quantiles":
            return [_quantiles(source)] if isinstance(card, PointEncoderCard) else []
        case "frozen_networks":
            return _frozen(source, card, encoder) if isinstance(card, ImageEncoderCard) else []
        case _:
            assert_never(kind)


def _random(
    kind: Literal["random_twins", "calibrated_twins"], source: FeatureSource, encoder: nn.Module, train: int
) -> list[Baseline]:
    """The random twins of one kind; none that are calibrated where nothing in them can be."""
    card, count = source.card, len(source.config.twin_seeds)
    calibrated, parts = kind == "calibrated_twins", frozen_network(card, encoder)
    name = "random twin, calibrated" if calibrated else "random twin"
    if parts is not None and isinstance(card, ImageEncoderCard):
        if calibrated and not _normalised(random_read_out(card, 0)):
            return []
        measure = partial(_read_out_twins, source, card, parts, train if calibrated else None)
        return [Baseline(name, count, 0, False, measure)]
    device = device_of(encoder)
    if not calibrated:
        return [Baseline(name, count, count * source.batches, True, partial(_twins, source, device))]
    if not _normalised(card.untrained().build(0)):
        return []
    return [Baseline(name, count, count * source.batches, False, partial(_calibrated_twins, source, device, train))]


def _read_out_twins(
    source: FeatureSource, card: ImageEncoderCard, parts: FrozenNetwork, train: int | None, steps: Steps
) -> list[PooledCells]:
    """Random read-outs over the network's features, which the encoder needs anyway; calibrated by so many training
    objects, if any."""
    device, found = device_of(parts.network), list[PooledCells]()
    views = source.raw(parts.network, frozen_identity(parts.network), steps=steps).views
    assert views is not None, "an image encoder has views"
    for seed in source.config.twin_seeds:
        twin = random_read_out(card, seed).to(device)
        if train is not None:
            rng, chosen = _calibration_objects(source, train)
            taken = [views[places, rng.integers(0, views.shape[1], len(places))] for places in chosen]
            calibrate(twin, (torch.from_numpy(some).to(device) for some in taken))
        found.append(_deciding_cells(source, RawFeatures(views=read_out(twin, views, device))))
    return found


def _twins(source: FeatureSource, device: torch.device, steps: Steps) -> list[PooledCells]:
    """Random twins; their features are kept, for the next encoder of the architecture."""
    found = []
    for seed in source.config.twin_seeds:
        twin = source.card.untrained().build(seed).to(device)
        identity = f"twin {source.card.backbone.digest()} on {device.type} {seed}"
        found.append(source.pooled(source.raw(twin, identity, steps=steps)))
    return found


def _calibrated_twins(source: FeatureSource, device: torch.device, train: int, steps: Steps) -> list[PooledCells]:
    found = []
    for seed in source.config.twin_seeds:
        twin = source.card.untrained().build(seed).to(device)
        inputs = partial(calibration_inputs, source, train, device)
        identity = f"calibrated twin {source.card.backbone.digest()} on {device.type} {seed}"
        identity += f", {train} objects, draw seed {source.config.draw_seed}"
        found.append(_deciding_cells(source, source.raw(_Calibrated(twin, inputs), identity, steps=steps)))
    return found


def calibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Statistics of batch normalisation become means over `batches` of the statistics of each; weights stay.

    One pass, as in training: a layer's input was normalised by the batches' own statistics before it.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
        layer.train()
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def calibration_inputs(source: FeatureSource, train: int, device: torch.device) -> Iterator[Tensor]:
    """Batches of about equal size of training objects in random order: their first point draw, or one view of each."""
    rng, chosen = _calibration_objects(source, train)
    for some in (source.objects[places] for places in chosen):
        match source.card:
            case PointEncoderCard():
                points = source.sampler.draw(some, source.config.point_number(0))
                yield torch.from_numpy(points).to(device)
            case ImageEncoderCard():
                views = source.pack.first_view[some] + rng.integers(0, source.pack.num_views[some])
                stored = views_over(source.pack, views, source.card.contract.background).to(device)
                yield whole_images(stored, source.card.contract.image_size)
            case _:
                assert_never(source.card)


def _calibration_objects(source: FeatureSource, train: int) -> tuple[np.random.Generator, list[NDArray[np.int64]]]:
    """Batches of places among the source's objects, and the generator that goes on."""
    rng = np.random.default_rng([31, source.config.draw_seed])
    places = rng.permutation(train)[:CALIBRATING]
    return rng, np.array_split(places, max(1, len(places) // _CALIBRATION_BATCH))


class _Calibrated(nn.Module):
    """A network that is calibrated before its first input: not at all where its features were kept."""

    def __init__(self, model: nn.Module, inputs: Callable[[], Iterable[Tensor]]) -> None:
        super().__init__()
        self.model, self._inputs = model, inputs
        self._pending = True

    def forward(self, x: Tensor) -> Tensor:
        if self._pending:
            calibrate(self.model, self._inputs())
            self._pending = False
        features: Tensor = self.model(x)
        return features


def _normalised(model: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def _quantiles(source: FeatureSource) -> Baseline:
    batches = source.config.point_draws * point_batch_count(len(source.objects))
    return Baseline("coordinate quantiles", 1, batches, False, partial(_quantile_cells, source))


def _quantile_cells(source: FeatureSource, steps: Steps) -> list[PooledCells]:
    draws = []
    for draw in range(source.config.point_draws):
        parts = []
        for points in point_batches(source.sampler, source.objects, source.config.point_number(draw)):
            parts.append(coordinate_quantiles(points.numpy()[..., :3]))
            steps.step()
        draws.append(np.concatenate(parts))
    return [{None: {None: draws}}]


def coordinate_quantiles(points: NDArray[np.float32]) -> Features:
    """[B, N, 3] -> [B, 21]: for each axis the quantiles of `LEVELS`, ascending."""
    found = np.quantile(points, LEVELS, axis=1)  # [7, B, 3]
    return found.transpose(1, 2, 0).reshape(len(points), -1).astype(np.float32)


def _frozen(source: FeatureSource, card: ImageEncoderCard, encoder: nn.Module) -> list[Baseline]:
    """The ImageNet network, at the encoder's own image size if that is built over the same, and the network that the
    card says it is built over, if that is another one. Raises MissingDependencyError where the first is not installed
    and nothing stands in for it.
    """
    same, parts = card.backbone == TimmConfig(), frozen_network(card, encoder)
    own = None if parts is None else frozen_identity(parts.network)
    teacher = PackagedTeacher(image_size=card.contract.image_size) if same else PackagedTeacher()
    try:
        network = build_teacher(teacher).to(device_of(encoder))
    except MissingDependencyError:
        if parts is None:
            raise
        return [_frozen_network(source, "frozen backbone", card.untrained(), parts.network, own)]
    found = [_frozen_network(source, "frozen ImageNet network", teacher_card(teacher), network, own)]
    if parts is not None and own != frozen_identity(network):
        found.append(_frozen_network(source, "frozen backbone", card.untrained(), parts.network, own))
    return found


def _frozen_network(
    source: FeatureSource, name: str, card: ImageEncoderCard, network: Encoder, own: str | None
) -> Baseline:
    """own: identity of the network that the encoder is built over."""
    theirs, identity = replace(source, card=card), frozen_identity(network)

    def measure(steps: Steps) -> list[PooledCells]:
        raw = theirs.raw(network, identity, steps=steps)
        return [theirs.pooled(raw) if identity == own else _deciding_cells(theirs, raw)]

    return Baseline(name, 1, 0 if identity == own else theirs.batches, identity == own, measure)


def _deciding_cells(source: FeatureSource, raw: RawFeatures) -> PooledCells:
    """All views by their maximum, or all point draws."""
    cells: PooledCells = source.pooled(raw)
    return {how: {(most := most_views(some)): some[most]} for how, some in cells.items() if how != "mean"}
