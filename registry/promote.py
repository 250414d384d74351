"""From candidate to champion, and back: the gate applied to registered versions, each step an event.

A candidate and the champion are compared on one pack under one protocol: whichever lacks such an evaluation
is evaluated first, so that the test objects and the label draws are the same.
"""

import tempfile
from pathlib import Path

import torch

from registry.evaluate import Evaluation, Twins, evaluate_encoder
from registry.evaluation_log import log_decision, log_evaluation, read_report
from registry.features import TwinMemory
from registry.gate import GateConfig, decide
from registry.pull import fetch
from registry.records import CHAMPION, Decision, EncoderVersion
from registry.reports import EvaluationConfig, EvaluationReport
from registry.store import EncoderStore
from ssl_core.data.pack import Pack
from ssl_core.errors import RegistryError
from ssl_core.models.build import build_encoder
from ssl_core.models.bundle import EncoderCard, load_bundle, read_card
from ssl_core.models.encoder import Encoder

_TWINS = TwinMemory()
"""the best trials of a study often share an architecture, and then their twins"""


def evaluate_version(
    store: EncoderStore,
    pack: Pack,
    version: EncoderVersion,
    config: EvaluationConfig = EvaluationConfig(),
    *,
    device: torch.device | str = "cpu",
    parent_run_id: str | None = None,
) -> EvaluationReport:
    """The version's report on this pack under this protocol: the stored one if it fits, else a new one.

    The evaluation's run is nested in `parent_run_id`, by default the run of the version's trial.

    Raises:
        InfeasibleError: the pack cannot serve the encoder.
        IntegrityError: the registered files do not match their checksums.
    """
    known = read_report(store, version)
    if known is not None and known.pack_digest == pack.manifest.pack_digest and known.config == config:
        return known
    with tempfile.TemporaryDirectory() as scratch:
        bundle = fetch(store, version, Path(scratch))
        card = read_card(bundle)
        evaluation = evaluate_bundle(bundle, pack, config, device=device, title=version.reference)
    log_evaluation(store, version, evaluation, card, parent_run_id or version.lineage.run_id)
    return evaluation.report


def evaluate_bundle(
    bundle: Path,
    pack: Pack,
    config: EvaluationConfig = EvaluationConfig(),
    *,
    device: torch.device | str = "cpu",
    title: str = "encoder",
) -> Evaluation:
    """Evaluate a bundle folder against random twins of its own architecture. Raises as `evaluate_version`."""
    encoder = load_bundle(bundle).to(device)
    card = read_card(bundle)
    twins = Twins(
        build=lambda seed: random_twin(card, seed).to(device),
        name=f"{card.backbone.digest()} on {torch.device(device).type}",
        memory=_TWINS,
    )
    return evaluate_encoder(encoder, pack, config, twins=twins, title=title)


def random_twin(card: EncoderCard, seed: int) -> Encoder:
    """The card's architecture and contract with weights drawn from `seed`."""
    return build_encoder(card.contract, card.backbone, seed=seed)


def promote(
    store: EncoderStore,
    pack: Pack,
    version: EncoderVersion,
    config: EvaluationConfig = EvaluationConfig(),
    gate: GateConfig = GateConfig(),
    *,
    device: torch.device | str = "cpu",
) -> Decision:
    """Put one version before the gate; the decision is stored either way, the alias moves if it won.

    A version that is the champion already stays so, without a new decision.
    """
    version = store.get(version.name, version.version)
    incumbent = store.with_alias(version.name, CHAMPION)
    if incumbent is not None and incumbent.version == version.version:
        return _champion_already(store, version)
    report = evaluate_version(store, pack, version, config, device=device)
    theirs = evaluate_version(store, pack, incumbent, config, device=device) if incumbent is not None else None
    decision = decide(report, theirs, gate)
    if incumbent is not None:
        decision = decision.model_copy(update={"incumbent": incumbent.version})
    # the decision is written last: where it stands, all that follows from it is done
    if decision.promoted:
        _crown(store, version, decision.reason)
    else:
        store.add_event(version, "refused", decision.reason)
    _record(store, version, decision)
    return decision


def _champion_already(store: EncoderStore, version: EncoderVersion) -> Decision:
    """Nothing to decide; what a program that died while promoting left undone is done."""
    _demote_others(store, version, "its successor was promoted")
    if version.decision is None and version.status == "champion":
        reason = [event.reason for event in version.events if event.kind == "promoted"][-1]
        _record(store, version, Decision(promoted=True, reason=reason))
    return Decision(promoted=True, reason="it is the champion already", incumbent=version.version)


def rollback(store: EncoderStore, name: str, reason: str) -> EncoderVersion:
    """Give the alias `champion` back to the version that had it before the present one.

    Raises:
        RegistryError: there is no champion, or never was another.
    """
    present = store.with_alias(name, CHAMPION)
    if present is None:
        raise RegistryError(f"{name} has no champion to roll back; `splatsweep models {name}` lists its versions")
    former = [version for version in store.list(name) if version.status == "former champion"]
    if not former:
        raise RegistryError(f"{name} v{present.version} is the only champion there has been; nothing to go back to")
    target = max(former, key=_demoted_at)  # the present champion's predecessor
    return _crown(store, target, f"rollback: {reason}")


def _demoted_at(version: EncoderVersion) -> str:
    return max(event.time for event in version.events if event.kind == "demoted")


def _crown(store: EncoderStore, version: EncoderVersion, reason: str) -> EncoderVersion:
    """Event, alias, then the others' events: in this order a second call completes a first one that died."""
    version = store.set_alias(store.add_event(version, "promoted", reason), CHAMPION)
    _demote_others(store, version, reason)
    return version


def _demote_others(store: EncoderStore, champion: EncoderVersion, reason: str) -> None:
    for other in store.list(champion.name):
        if other.version != champion.version and other.status == "champion":
            store.add_event(other, "demoted", f"followed by version {champion.version}: {reason}")


def _record(store: EncoderStore, version: EncoderVersion, decision: Decision) -> EncoderVersion:
    with tempfile.TemporaryDirectory() as scratch:
        card = read_card(fetch(store, version, Path(scratch)))
    return log_decision(store, version, decision, card)
