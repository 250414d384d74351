"""The stage `neighbours`: training images that look alike to a finished model (OURS-NN).

    neighbours.npy  [objects, k] int64, rows of the trial's training objects, nearest first; never the object itself
    objects.npy     [objects] int64, indices into the pack: those training objects, in their order
    facts.json      pack, and how many objects and neighbours

Distances are Euclidean between embeddings [latent, colour] of the one view that a trial reads of each object.
"""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_core.config import Config
from ssl_core.data.augment import to_float
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import ConfigError, InfeasibleError
from ssl_core.models.modes import evaluating
from ssl_core.models.reconstruction import Reconstructor
from ssl_core.recipes.image_to_points.config import (
    BundleNeighbours,
    DataConfig,
    ImageToPointsConfig,
    Neighbours,
)
from ssl_core.recipes.image_to_points.image_set import chosen_views, image_set
from ssl_core.recipes.image_to_points.shape_and_pose import opened
from ssl_core.training.contract import Stage

_AT_ONCE = 256


class NeighbourSettings(Config):
    """What decides the lists."""

    source: Neighbours
    data: DataConfig


def _settings(config: ImageToPointsConfig) -> NeighbourSettings:
    return NeighbourSettings(source=config.neighbours.source, data=config.data)


def _wanted(config: ImageToPointsConfig, pack: ObjectPack) -> bool:
    return config.neighbours.source.kind == "bundle"


def check_neighbours(config: ImageToPointsConfig, pack: ObjectPack) -> None:
    """Raises InfeasibleError: there are fewer objects than neighbours; ConfigError: no such model."""
    source = config.neighbours.source
    if not isinstance(source, BundleNeighbours):
        return
    objects = len(chosen_views(config, pack, "fit")[0])
    if objects <= source.k:
        raise InfeasibleError(
            f"neighbours.source.k asks for {source.k} neighbours of each of {objects} training objects; "
            f"set it to {max(1, objects - 1)} or less"
        )
    opened("neighbours.source.folder", source.folder, source.sha256)


def _make(config: ImageToPointsConfig, pack: ObjectPack, folder: Path, device: torch.device) -> None:
    check_neighbours(config, pack)
    source = config.neighbours.source
    assert isinstance(source, BundleNeighbours)
    model = opened("neighbours.source.folder", source.folder, source.sha256).to(device)
    assert isinstance(model, Reconstructor)
    size = model.network.features.image_size
    sizes = config.networks.model_copy(update={"image_size": size})
    images = image_set(config.model_copy(update={"networks": sizes}), pack, "fit")
    with evaluating(model):
        parts = [model.network.embedding(to_float(some.to(device))) for some in images.images.split(_AT_ONCE)]
    np.save(folder / "neighbours.npy", nearest_others(torch.cat(parts).float().cpu(), source.k))
    np.save(folder / "objects.npy", images.objects)
    facts = {"pack": pack.digest, "objects": len(images), "neighbours": source.k}
    (folder / "facts.json").write_text(json.dumps(facts))


def nearest_others(embedding: torch.Tensor, k: int) -> NDArray[np.int64]:
    """Rows [n, k] of the nearest other rows of `embedding` [n, F], nearest first."""
    distances = torch.cdist(embedding, embedding)
    distances.fill_diagonal_(torch.inf)
    found: NDArray[np.int64] = distances.topk(k, largest=False).indices.numpy()
    return found


NEIGHBOURS: Stage[ImageToPointsConfig, ObjectPack] = Stage("neighbours", _settings, _make, when=_wanted)


def read_neighbours(folder: Path, pack: ObjectPack, objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """[objects, k] of a made stage. Raises ConfigError: it was made of other objects."""
    facts = json.loads((folder / "facts.json").read_text())
    if facts["pack"] != pack.digest or not np.array_equal(np.load(folder / "objects.npy"), objects):
        raise ConfigError(f"{folder} was made of other objects than this trial reads; give it its own stage")
    found: NDArray[np.int64] = np.load(folder / "neighbours.npy")
    return found
