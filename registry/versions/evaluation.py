"""From a bundle or a registered version to its evaluation: loaded, set beside its random twins, features kept.

Nothing is logged here; `registry.evaluation.evaluation_log` does that.
"""

import tempfile
from pathlib import Path

import torch

from registry.evaluation.evaluate import Evaluation, Keep, Partner, Twins, evaluate_encoder
from registry.evaluation.feature_cache import FeatureCache
from registry.evaluation.features import TwinMemory
from registry.evaluation.protocol import EvaluationConfig
from registry.versions.fetching import fetch
from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore, bundle_digest
from ssl_core.data.pack import Pack
from ssl_core.errors import RegistryError
from ssl_core.models.bundle import load_bundle, read_card
from ssl_core.models.cards import Card
from ssl_core.models.encoder import Encoder

FEATURES_FOLDER = "features"
"""under the home folder"""
_TWINS = TwinMemory()
"""the best trials of a study often share an architecture, and then their twins"""


def evaluate_bundle(
    bundle: Path,
    pack: Pack,
    config: EvaluationConfig = EvaluationConfig(),
    *,
    device: torch.device | str = "cpu",
    title: str = "encoder",
    cache: FeatureCache | None = None,
    partner: Path | None = None,
) -> Evaluation:
    """Evaluate a bundle folder against random twins of its own architecture.

    Args:
        bundle: the folder.
        pack: its test split is scored.
        config: the protocol.
        device: where encoders run.
        title: for the pictures.
        cache: where features are kept between evaluations.
        partner: bundle of the other modality from the same trial, for retrieval across modalities.

    Raises:
        InfeasibleError: the pack cannot serve the encoder.
        IntegrityError: the bundle's files do not match their checksums.
    """
    encoder, card = _encoder(bundle, device), read_card(bundle).card
    twins = Twins(
        build=lambda seed: random_twin(card, seed).to(device),
        name=f"{card.digest()} on {torch.device(device).type}",
        memory=_TWINS,
    )
    return evaluate_encoder(
        encoder,
        pack,
        config,
        twins=twins,
        title=title,
        keep=Keep(cache, bundle_digest(bundle)) if cache is not None else None,
        partner=Partner(_encoder(partner, device), bundle_digest(partner)) if partner is not None else None,
    )


def evaluate_registered(
    store: EncoderStore,
    pack: Pack,
    version: EncoderVersion,
    config: EvaluationConfig = EvaluationConfig(),
    *,
    device: torch.device | str = "cpu",
) -> tuple[Evaluation, Card]:
    """Evaluate a registered version, with the features kept under the store's home folder; and its card.

    Raises:
        InfeasibleError: the pack cannot serve the encoder.
        IntegrityError: the registered files do not match their checksums.
    """
    with tempfile.TemporaryDirectory() as scratch:
        mine, theirs = Path(scratch) / "encoder", Path(scratch) / "partner"
        for folder in (mine, theirs):
            folder.mkdir()
        bundle = fetch(store, version, mine)
        partner = _partner(store, version, theirs) if config.sections.retrieval is not None else None
        evaluation = evaluate_bundle(
            bundle,
            pack,
            config,
            device=device,
            title=version.reference,
            cache=kept_features(store),
            partner=partner,
        )
        return evaluation, read_card(bundle).card


def kept_features(store: EncoderStore) -> FeatureCache:
    """The cache that belongs to a store: under the home folder of its run log."""
    return FeatureCache(store.run_log.home / FEATURES_FOLDER)


def random_twin(card: Card, seed: int) -> Encoder:
    """The card's architecture and contract with weights drawn from `seed`."""
    twin = card.build(seed)
    assert isinstance(twin, Encoder)
    return twin


def _encoder(bundle: Path, device: torch.device | str) -> Encoder:
    encoder = load_bundle(bundle).to(device)
    assert isinstance(encoder, Encoder)
    return encoder


def _partner(store: EncoderStore, version: EncoderVersion, scratch: Path) -> Path | None:
    """Bundle of the encoder of the other modality from the same trial; None where there is none that is whole."""
    if not version.lineage.run_id:
        return None
    for other in store.list():
        if other.lineage.run_id == version.lineage.run_id and other.kind != version.kind:
            try:
                return fetch(store, other, scratch)
            except RegistryError:
                return None
    return None
