"""A dense encoder of ours as the teacher: a linear probe on its tokens says what each pixel is.

The probe is fitted as the dense task fits it (`ssl_core.evaluation.dense_probes`), on the labelled views of the pack's
validation scenes; of a pack with one scene, on its validation views.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_core.data.scene_pack import VOID, ScenePack
from ssl_core.errors import ConfigError, InfeasibleError
from ssl_core.evaluation.dense_data import label_grid, token_maps, views_of
from ssl_core.evaluation.dense_probes import fit_segmentation, segmented
from ssl_core.models.bundle import WEIGHTS, load_bundle, read_card
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import DenseEncoder, DenseTokens, assembled
from ssl_core.models.weights_file import file_sha256
from ssl_core.recipes.label_3dgs.config import ProbeTeacher

Pixels = NDArray[np.uint8]


def check_probe(config: ProbeTeacher, pack: ScenePack, scene: int) -> None:
    """Cheap: the encoder is not built. Raises InfeasibleError, RegistryError."""
    if not pack.classes:
        raise InfeasibleError(f"teacher.source=probe is fitted on labels and pack {pack.path} has none; pack some")
    if len(pack.scenes) > 1 and pack.scenes[scene].split == "val":
        raise InfeasibleError(
            f"scene '{pack.scenes[scene].name}' is for validation, and the probe is fitted on such scenes; name "
            "another by teacher.scene"
        )
    if len(views_of(pack, "val")) == 0:
        raise InfeasibleError(f"pack {pack.path} has no validation views to fit a probe on; pack scenes with some")
    card = read_card(Path(config.folder)).card
    if not isinstance(card, DenseEncoderCard):
        raise InfeasibleError(f"{config.folder} holds a model of kind {card.kind}; a probe needs a dense encoder")


def probe_labels(
    config: ProbeTeacher, pack: ScenePack, views: NDArray[np.int64], device: torch.device
) -> dict[int, Pixels]:
    """[H, W] labels of each view, in the picture's size.

    Raises ConfigError: other weights than the config names. IntegrityError: the bundle was changed.
    """
    folder = Path(config.folder)
    if file_sha256(folder / WEIGHTS) != config.sha256:
        raise ConfigError(f"{folder}/{WEIGHTS} is not the file of teacher.source.sha256; give the other one")
    encoder, card = load_bundle(folder).to(device), read_card(folder).card
    assert isinstance(encoder, DenseEncoder)
    assert isinstance(card, DenseEncoderCard)
    size, fitted = (card.height, card.width), views_of(pack, "val")

    def tokens(some: NDArray[np.int64]) -> torch.Tensor:
        found = token_maps(encoder, pack, some, size)
        return assembled(DenseTokens(found.original, found.fine, found.whole), card.assembly)

    known = tokens(fitted)
    finer = config.probe.finer
    labels = label_grid(pack, fitted, (finer * known.shape[2], finer * known.shape[3]))
    assert labels is not None, "the check asks for classes"
    if bool((labels == VOID).all()):
        raise InfeasibleError(f"the validation views of {pack.path} have no labels to fit a probe on; label some")
    head = fit_segmentation(known, labels, len(pack.classes), config.probe, config.seed)
    answers: dict[int, Pixels] = {}
    for view in views.tolist():
        facts = pack.manifest.views[view]
        found = segmented(head, tokens(np.array([view])), (facts.height, facts.width))
        answers[view] = found[0].to(torch.uint8).numpy()
    return answers
