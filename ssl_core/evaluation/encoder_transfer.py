"""What a point encoder makes of reconstructed clouds: the classes that it tells apart, against the true clouds.

A linear SVM is fitted on the encoder's features of true training clouds and asked about the test objects twice: by
their true clouds, and by what was reconstructed from one image each.
"""

import numpy as np
import torch
from torch import Tensor

from ssl_core.encode.model_inputs import points_input
from ssl_core.encode.reconstructed_files import coloured_cloud
from ssl_core.evaluation.extract import Features, encoded
from ssl_core.evaluation.probes import linear_svm
from ssl_core.evaluation.reconstruction_data import SingleViews
from ssl_core.evaluation.statistics import paired_intervals
from ssl_core.evaluation.task_contract import Companion
from ssl_core.evaluation.tasks.reconstruction_report import EncoderTransfer
from ssl_core.models.cards import PointEncoderCard
from ssl_core.models.modes import device_of

_BATCH = 32


def transfer_to(
    companion: Companion, train: tuple[SingleViews, ...], test: SingleViews, clouds: Tensor, confidence: float
) -> EncoderTransfer | None:
    """Of clouds [n, N, 6] in the true frame, in the order of `test`; None where the companion encodes no points, or
    there is one class.

    Raises InfeasibleError: the encoder reads more of a point than place and colour.
    """
    pack, card = test.pack, companion.card
    labels = np.concatenate([pack.labels[part.objects] for part in train])
    truth = pack.labels[test.objects]
    match card:
        case PointEncoderCard():
            pass
        case _:
            return None
    if len(np.unique(labels)) < 2:
        return None
    known = [part.coloured(place) for part in train for place in range(len(part))]
    fitted = _features(companion, card, known)
    asked = [
        _features(companion, card, some)
        for some in ([test.coloured(place) for place in range(len(test))], list(clouds))
    ]
    found = linear_svm(fitted, labels, np.concatenate(asked), np.tile(truth, 2))
    right = (found.predictions == np.tile(truth, 2)).reshape(2, 1, -1).astype(np.float64)
    reconstructed, true, difference = paired_intervals(right[1], right[0], confidence)
    return EncoderTransfer(
        encoder=card.backbone.kind,
        objects=len(test),
        true=true,
        reconstructed=reconstructed,
        difference=difference,
    )


def _features(companion: Companion, card: PointEncoderCard, clouds: list[Tensor]) -> Features:
    device = device_of(companion.model)

    def inputs(some: list[Tensor]) -> Tensor:
        read = [coloured_cloud(cloud.numpy()) for cloud in some]
        made = [points_input(each.as_gaussians(), card.contract, repeat=True, groups=each.groups) for each in read]
        return torch.from_numpy(np.stack(made)).to(device)

    batches = (inputs(clouds[start : start + _BATCH]) for start in range(0, len(clouds), _BATCH))
    return encoded(companion.model, batches)
