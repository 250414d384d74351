"""What an encoder has to be set beside: features that cost nobody any pretraining on the pack.

* *random twins*: its architecture with random weights, as they were initialised;
* *random twins, calibrated*: the same with the statistics of batch normalisation that the training inputs have. Which
  of the two is stronger depends on the architecture (docs/LOG.md), so both are measured;
* *coordinate quantiles*: 21 numbers, seven quantiles along each axis of the points that the encoder gets. On objects
  that stand upright and face one way they tell much, and no network is needed for them;
* *frozen ImageNet network*: what somebody else's labels give to images, and, where the card says that the encoder is
  built over a network that was not trained here, that *frozen backbone*.

Random twins are probed wherever the encoder is; the others where the gate looks, at all views pooled by their maximum.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

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
from ssl_core.evaluation.probe_grid import most_views
from ssl_core.evaluation.protocol import BaselineKind
from ssl_core.evaluation.report import Steps
from ssl_core.models.build import Encoder
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.image import TimmConfig
from ssl_core.models.modes import device_of
from ssl_core.models.readout import ReadOut
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
        case "random_twins":
            count, measure = len(seeds), partial(_twins, source, device_of(encoder))
            return [Baseline("random twin", count, count * source.batches, True, measure)] if seeds else []
        case "calibrated_twins":
            if not seeds or not _normalised(card.untrained().build(0)):
                return []
            count, measure = len(seeds), partial(_calibrated_twins, source, device_of(encoder), train)
            return [Baseline("random twin, calibrated", count, count * source.batches, False, measure)]
        case "coordinate_quantiles":
            return [_quantiles(source)] if isinstance(card, PointEncoderCard) else []
        case "frozen_networks":
            return _frozen(source, card, encoder) if isinstance(card, ImageEncoderCard) else []
        case _:
            assert_never(kind)


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
    rng = np.random.default_rng([31, source.config.draw_seed])
    objects = rng.permutation(source.objects[:train])[:CALIBRATING]
    for some in np.array_split(objects, max(1, len(objects) // _CALIBRATION_BATCH)):
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
    same = card.backbone == TimmConfig()
    own = _backbone_of(card, encoder)
    teacher = PackagedTeacher(image_size=card.contract.image_size) if same else PackagedTeacher()
    try:
        network = build_teacher(teacher).to(device_of(encoder))
    except MissingDependencyError:
        if own is None:
            raise
        return [_frozen_network(source, "frozen backbone", card.untrained(), own)]
    found = [_frozen_network(source, "frozen ImageNet network", teacher_card(teacher), network)]
    if own is not None and _digest(own) != _digest(network):
        found.append(_frozen_network(source, "frozen backbone", card.untrained(), own))
    return found


def _backbone_of(card: ImageEncoderCard, encoder: nn.Module) -> Encoder | None:
    """The encoder without what is read out over its backbone, where that backbone was not trained here."""
    if not card.frozen_backbone or not isinstance(encoder, Encoder) or not isinstance(encoder.backbone, ReadOut):
        return None
    return Encoder(card.contract, encoder.backbone.backbone, card.backbone.feature_dim).to(device_of(encoder))


def _digest(network: Encoder) -> str:
    """Of the backbone's weights and of what is done to the input."""
    digest = hashlib.sha256(network.contract.to_json().encode())
    for name, tensor in sorted(network.backbone.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _frozen_network(source: FeatureSource, name: str, card: ImageEncoderCard, network: Encoder) -> Baseline:
    theirs = replace(source, card=card)

    def measure(steps: Steps) -> list[PooledCells]:
        return [_deciding_cells(theirs, theirs.raw(network, f"frozen {_digest(network)}", steps=steps))]

    return Baseline(name, 1, theirs.batches, False, measure)


def _deciding_cells(source: FeatureSource, raw: RawFeatures) -> PooledCells:
    """All views by their maximum, or all point draws."""
    cells: PooledCells = source.pooled(raw)
    return {how: {(most := most_views(some)): some[most]} for how, some in cells.items() if how != "mean"}
