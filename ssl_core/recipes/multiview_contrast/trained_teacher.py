"""A frozen network for `teacher` that no label of anybody's has touched: trained here, on the views of this pack.

Two sets of views of an object are to be described alike, and otherwise than other objects (NT-Xent): f describes each
view, the maximum over a set's views goes through a head of two layers, which is thrown away,

    L = NT-Xent(h(max_v f(a_v)), h(max_v f(b_v))),   a and b disjoint sets of views of one object, randomly cropped

after the reference's 2D network, which was never released (Tran et al. 2022; the names of its files point to SimCLR at
32 pixels, temperature 0.5). Only objects of `fit` are seen. Made once per pack and settings, as a bundle:

    <root>/multiview_contrast-trained_teacher-<digest>/encoder/     see `ssl_core.models.bundle`
                                                       losses.json  mean NT-Xent of each epoch
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.config import short_digest
from ssl_core.contracts import ImageContract
from ssl_core.data.augment import random_resized_crop
from ssl_core.data.batches import Indices, batches_of
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import ConfigError, DivergedError, InfeasibleError
from ssl_core.files.whole import derived_folder
from ssl_core.losses.contrast import nt_xent
from ssl_core.models.build import Encoder, seeded_weights
from ssl_core.models.bundle import WEIGHTS, save_bundle
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.readout import Head, ReadoutConfig
from ssl_core.models.teachers import BundleTeacher, FileTeacher, PackagedTeacher, Teacher, teacher_card
from ssl_core.models.weights_file import file_sha256
from ssl_core.recipes.multiview_contrast.config import TeacherNetwork, TrainedTeacher
from ssl_core.training.config import AdamWConfig, CosineSchedule, build_optimizer, learning_rate_factor
from ssl_core.training.contract import ParameterGroup
from ssl_core.training.stage_progress import tell_stage, telling

_VERSION = 1
"""Of the training: raised when the same settings give another network."""


def given_network(network: TeacherNetwork, pack: ObjectPack, root: Path, device: torch.device) -> Teacher:
    """The network as one that is there: `build_teacher` and `teacher_card` take it. One that is to be trained here is
    trained now, if nobody did before, under `root`, the folder of derived work (where the stages' folders lie).

    Raises:
        ConfigError: a bundle's encoder has a head of its own, over which none can be described.
        InfeasibleError, DivergedError: the pack is too small to train on; training failed.
    """
    match network:
        case PackagedTeacher() | FileTeacher():
            return network
        case BundleTeacher():
            if teacher_card(network).readout is not None:
                raise ConfigError(f"{network.folder}: an encoder with a head of its own; name one that is a backbone")
            return network
        case TrainedTeacher():
            facts = [_VERSION, network.to_json(), pack.digest]
            address = f"multiview_contrast-trained_teacher-{short_digest(json.dumps(facts))}"

            def make(new: Path) -> None:
                with telling(root, address, "trained_teacher", pack.digest):
                    _make(network, pack, new, device)

            folder = derived_folder(root, address, make) / "encoder"
            return BundleTeacher(folder=str(folder), sha256=file_sha256(folder / WEIGHTS))
        case _:
            assert_never(network)


def _make(settings: TrainedTeacher, pack: ObjectPack, folder: Path, device: torch.device) -> None:
    encoder, card, losses = train_network(settings, pack, device)
    save_bundle(encoder, card, folder / "encoder", name="trained-teacher", lineage={"pack": pack.digest})
    (folder / "losses.json").write_text(json.dumps(losses))


def train_network(
    settings: TrainedTeacher, pack: ObjectPack, device: torch.device
) -> tuple[Encoder, ImageEncoderCard, list[float]]:
    """The network in evaluation mode on the CPU, its card, and the mean loss of each epoch.

    Raises InfeasibleError: fewer than two objects to train on, or objects without two views. DivergedError.
    """
    objects = pack.objects("fit")
    if len(objects) < 2 or pack.num_views[objects].min() < 2:
        raise InfeasibleError(
            "teacher.network.kind=trained needs two training objects with two views each; pack more, or name another"
        )
    contract = ImageContract(image_size=settings.image_size)
    card = ImageEncoderCard(contract=contract, backbone=settings.backbone)
    encoder = card.build(settings.seed).to(device)
    with seeded_weights(settings.seed + 1):
        readout = ReadoutConfig(hidden=settings.hidden, output=settings.feature_dim)
        head = Head(encoder.feature_dim, readout).to(device)
    networks = nn.ModuleList((encoder, head)).train()
    group = ParameterGroup(tuple(networks.parameters()))
    optimizer = build_optimizer(AdamWConfig(lr=settings.lr), (group,))
    size = min(settings.batch_size, len(objects))
    steps, step, losses = settings.epochs * (len(objects) // size), 0, list[float]()
    for epoch in range(settings.epochs):
        told = []
        for images in _epoch_views(settings, pack, objects, size, epoch):
            for stepped in optimizer.param_groups:
                stepped["lr"] = settings.lr * learning_rate_factor(CosineSchedule(), step, steps)
            loss = _loss(encoder, head, images.to(device), settings.temperature)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            told.append(float(loss.detach()))
            step += 1
        losses.append(float(np.mean(told)))
        tell_stage(epoch + 1, settings.epochs, "epochs")
        if not np.isfinite(losses[-1]):
            raise DivergedError(f"teacher.network: the loss became non-finite in epoch {epoch + 1}; lower its lr")
    return encoder.cpu().eval(), card, losses


def _loss(encoder: nn.Module, head: nn.Module, images: Tensor, temperature: float) -> Tensor:
    """NT-Xent of two sets of views, images [2, B, V, 3, S, S]."""
    features = encoder(images.flatten(0, 2)).unflatten(0, images.shape[:3]).amax(dim=2)
    first, second = head(features.flatten(0, 1))["head"].chunk(2)
    return nt_xent(first, second, temperature)


def _epoch_views(
    settings: TrainedTeacher, pack: ObjectPack, objects: Indices, size: int, epoch: int
) -> Iterator[Tensor]:
    """Batches [2, B, V, 3, S, S] of crops of two disjoint sets of views of each object."""
    rng = np.random.default_rng([settings.seed, epoch])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    count = min(settings.views, int(pack.num_views[objects].min()) // 2)
    for batch in batches_of(objects, size, rng):
        drawn = [rng.choice(pack.num_views[one], size=2 * count, replace=False) for one in batch]
        index = pack.first_view[batch][:, None] + np.stack(drawn)  # [B, 2 V]
        ordered = np.moveaxis(index.reshape(len(batch), 2, count), 1, 0)
        stored = torch.from_numpy(pack.views[ordered.reshape(-1)])
        images = random_resized_crop(stored, settings.image_size, settings.crop_min_scale, generator)
        yield images.unflatten(0, ordered.shape)
