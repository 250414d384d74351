"""The network that a trial begins at, frozen. A small vision transformer of our own is trained first, without labels of
the training scenes (`vit_pretraining`), once per pack and settings, beside the stages' folders:

    <root>/fit3d-vit-<digest>/network.safetensors
"""

import json
from functools import partial
from pathlib import Path

import safetensors.torch
import torch

from ssl_core.config import short_digest
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.dense_data import picture_batch, views_of
from ssl_core.files.whole import derived_folder
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import DenseEncoder
from ssl_core.models.dense_sources import DenseSource, OwnVitSource, load_source, multiple_of, source_card
from ssl_core.recipes.fit3d.vit_pretraining import pretrain

_VERSION = 2
"""of the pretraining: raised when the same settings give another network"""
_FILE = "network.safetensors"


def input_size(source: DenseSource, pack: ScenePack, side: int) -> tuple[int, int]:
    """(H, W) of pictures: the first view's proportions, the longer side about `side`, multiples of the patch."""
    m, view = multiple_of(source), pack.manifest.views[0]
    factor = side / max(view.height, view.width)
    height, width = (m * max(1, round(factor * length / m)) for length in (view.height, view.width))
    return height, width


def original_network(
    source: DenseSource, pack: ScenePack, side: int, root: Path, device: torch.device
) -> tuple[DenseEncoder, DenseEncoderCard]:
    """In evaluation mode; no parameter asks for a gradient. `root` is where the stages' folders lie.

    Raises ConfigError, RegistryError, MissingDependencyError: as `load_source`.
    """
    card = source_card(source, input_size(source, pack, side))
    encoder = card.build(source.seed if isinstance(source, OwnVitSource) else 0)
    made = None
    if isinstance(source, OwnVitSource) and source.steps:
        facts = [_VERSION, source.to_json(), card.height, card.width, pack.digest]
        make = partial(_pretrain, source, card, pack, device)
        made = derived_folder(root, f"fit3d-vit-{short_digest(json.dumps(facts))}", make) / _FILE
    load_source(source, encoder, made)
    return encoder.to(device).eval().requires_grad_(False), card


def _pretrain(
    source: OwnVitSource, card: DenseEncoderCard, pack: ScenePack, device: torch.device, folder: Path
) -> None:
    views = views_of(pack, "train")
    if len(views) == 0:
        raise InfeasibleError(f"{pack.path} has no training views to train a network on; pack scenes for training")
    encoder = card.build(source.seed)
    pretrain(source, encoder, picture_batch(pack, views, (card.height, card.width)), device)
    state = encoder.original.network.state_dict()
    safetensors.torch.save_file(
        {name: value.detach().cpu().contiguous() for name, value in state.items()}, folder / _FILE
    )
