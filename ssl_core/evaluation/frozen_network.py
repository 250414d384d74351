"""An encoder over a network that was not trained here, in its two parts.

Encoders whose card says `frozen_backbone` differ in what is read out over the same network. That network takes a
hundred times as long as a read-out, so its features are computed once per pack, and the read-outs are applied to them:
the encoder's, those of its random twins, and for the baseline none at all.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssl_core.models.build import Encoder, seeded_weights
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.modes import device_of, evaluating
from ssl_core.models.readout import Head, ReadOut, alone

_ROWS = 4096


@dataclass(frozen=True)
class FrozenNetwork:
    """network: an encoder of its own, [B, 3, S, S] -> [B, columns]; its weights are the encoder's. read: a copy of the
    read-out over it, [B, columns] -> [B, F]. Both are on the encoder's device."""

    network: Encoder
    read: nn.Module


def frozen_network(card: PointEncoderCard | ImageEncoderCard, encoder: nn.Module) -> FrozenNetwork | None:
    """The parts of an encoder of this card; None where its network was trained here, or nothing is read out over it."""
    if not isinstance(card, ImageEncoderCard) or not card.frozen_backbone:
        return None
    if not isinstance(encoder, Encoder) or not isinstance(encoder.backbone, ReadOut):
        return None
    network = Encoder(card.contract, encoder.backbone.backbone, card.backbone.feature_dim)
    return FrozenNetwork(network.to(device_of(encoder)), alone(encoder.backbone))


def frozen_identity(network: Encoder) -> str:
    """Of its weights and of what is done to the input: what its features are kept under."""
    digest = hashlib.sha256(network.contract.to_json().encode())
    for name, tensor in sorted(network.backbone.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"frozen {digest.hexdigest()[:16]}"


def read_out(read: nn.Module, features: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """Features [..., columns] of a network -> [..., F] of the encoder that reads them out."""
    rows = features.reshape(-1, features.shape[-1])
    with evaluating(read):
        parts = [
            read(torch.from_numpy(rows[start : start + _ROWS]).to(device)).float().cpu().numpy()
            for start in range(0, len(rows), _ROWS)
        ]
    found: NDArray[np.float32] = np.concatenate(parts).reshape(*features.shape[:-1], -1)
    return found


def random_read_out(card: ImageEncoderCard, seed: int) -> ReadOut:
    """What the card reads out over its network, with random weights, on the CPU: [B, columns] -> [B, F]."""
    assert card.readout is not None, "an encoder over a frozen network has a read-out"
    with seeded_weights(seed):
        return ReadOut(nn.Identity(), Head(card.backbone.feature_dim, card.readout), card.readout.parts)
