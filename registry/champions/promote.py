"""From candidate to champion, and back: the gate applied to registered versions, each step an event and a line.

A candidate and the champion are compared on one pack under one protocol: whichever lacks such an evaluation
is evaluated first, so that the test objects and the label draws are the same.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from registry.champions.adoption import completed
from registry.champions.champion_alias import ATTEMPTS, ChampionAlias, draft
from registry.champions.evaluation_claims import claimed, work_key
from registry.champions.gate import GateConfig, decide_many, unfit
from registry.champions.promotion_history import Champion, Line, PromotionHistory
from registry.versions.evaluation_log import (
    evaluate_registered,
    known_report,
    log_decision,
    log_evaluation,
    read_report,
    settle_leftovers,
)
from registry.versions.fetching import fetch
from registry.versions.records import Decision, EncoderVersion, printable
from registry.versions.store import EncoderStore
from ssl_core.data.dataset import Dataset
from ssl_core.errors import RegistryError
from ssl_core.evaluation.report import Report, TaskConfig, Tell, silent
from ssl_core.evaluation.task import task_named
from ssl_core.evaluation.tasks.fine_tuned import without_fine_tuning
from ssl_core.models.bundle import read_card

_WAIT_SECONDS = 6 * 3600.0


def evaluate_version(
    store: EncoderStore,
    data: Dataset,
    version: EncoderVersion,
    config: TaskConfig | None = None,
    *,
    device: torch.device | str = "cpu",
    tell: Tell = silent,
) -> Report:
    """The version's report on this data under this protocol: the stored one if it fits, else a new one.

    Waits for a running study or watcher. The evaluation's run is nested in that of the version's trial. Without
    `config`, the protocol is the one that the gate asks of such a card. Where the stored report lacks nothing but
    fine-tuning, that is added to it.

    Raises:
        InfeasibleError: the pack cannot serve the encoder.
        IntegrityError: the registered files do not match their checksums.
        UnfitError: another client registered it, and it is no encoder.
        RegistryError: another process has been at it for six hours.
    """
    version, digest = completed(store, version), data.digest
    config = config or task_named(version.kind).config()
    if (known := known_report(store, version, digest, config)) is not None:
        return known
    work = work_key(digest, config.digest())
    with claimed(store.client, version.name, version.version, work, wait_seconds=_WAIT_SECONDS) as mine:
        if not mine:
            raise RegistryError(f"{version.reference} has been evaluated by another process for six hours")
        version = store.get(version.name, version.version)
        known = known_report(store, version, digest, config)
        if known is None:
            version = settle_leftovers(store, version, digest, config)
            known = known_report(store, version, digest, config)
        if known is not None:
            return known
        frozen = without_fine_tuning(config)
        before = known_report(store, version, digest, frozen) if frozen is not None else None
        evaluation, card = evaluate_registered(store, data, version, config, device=device, tell=tell, before=before)
        # a claim only advises: where another was as fast, its report stands
        if (known := known_report(store, store.get(version.name, version.version), digest, config)) is not None:
            return known
        log_evaluation(store, version, evaluation, card, version.lineage.run_id or version.run_id)
    return evaluation.report


def promote(
    store: EncoderStore,
    data: Dataset,
    version: EncoderVersion,
    config: TaskConfig | None = None,
    gate: GateConfig = GateConfig(),
    *,
    device: torch.device | str = "cpu",
    tell: Tell = silent,
) -> Decision:
    """Put one version before the gate; the decision is stored either way, the alias moves if it won.

    A version that is the champion already stays so, without a new decision; one that was refused against this champion
    on this data gets the same answer again. Raises as `promote_best`.
    """
    return promote_best(store, data, [version], config, gate, device=device, tell=tell)[0]


def promote_best(
    store: EncoderStore,
    data: Dataset,
    versions: Sequence[EncoderVersion],
    config: TaskConfig | None = None,
    gate: GateConfig = GateConfig(),
    *,
    device: torch.device | str = "cpu",
    tell: Tell = silent,
) -> list[Decision]:
    """Put several versions of one name before the gate together: at most one wins, and they share the chance of error.

    Their order must owe nothing to the test split. Returns a decision for each, in their order.

    Raises:
        InfeasibleError: the pack cannot serve an encoder.
        IntegrityError: registered files do not match their checksums, or the history was changed.
        RegistryError: the versions are of several names, or MLflow refuses.
    """
    names = sorted({version.name for version in versions})
    if len(names) != 1:
        raise RegistryError(f"the gate compares versions of one name, not of {', '.join(names) or 'none'}")
    name, alias = names[0], ChampionAlias(store, names[0])
    standing = [completed(store, store.get(name, version.version)) for version in versions]
    reports: dict[int, Report] = {}
    for _ in range(ATTEMPTS):
        history = alias.reconcile()
        rival = alias.rival(history)
        others = [version for version in standing if rival is None or version.version != rival.version]
        wanted = [*others, *([rival] if rival is not None and others else [])]
        missing = [version for version in wanted if version.version not in reports]
        if not missing:
            found = judge(alias, history, others, rival, reports, gate)
            if found is not None:
                break
        for version in missing:
            reports[version.version] = evaluate_version(store, data, version, config, device=device, tell=tell)
    else:
        raise RegistryError(f"the champion of {name} changed {ATTEMPTS} times while it was judged; try again later")
    for version in standing:
        if version.version in found:
            _record(store, store.get(name, version.version), found[version.version])
        else:
            found[version.version] = _stays(store, store.get(name, version.version), history)
    return [found[version.version] for version in standing]


def judge(
    alias: ChampionAlias,
    history: PromotionHistory,
    candidates: Sequence[EncoderVersion],
    rival: EncoderVersion | None,
    reports: Mapping[int, Report],
    gate: GateConfig,
) -> dict[int, Decision] | None:
    """Decide about the candidates together and write it down; the winner, if any, becomes champion.

    A candidate that was refused against this champion before, on the same data by the same rules, is not tried again:
    its decision is found in the history. Returns decisions by version; None if another gate wrote first: reconcile and
    judge again.

    Args:
        rival: who has to be beaten (`ChampionAlias.rival`), not among the candidates; None if nobody.
        reports: of the candidates and the rival, by version.
    """

    def line_of(version: EncoderVersion, decision: Decision, against: EncoderVersion | None) -> Line:
        line = draft("promoted" if decision.promoted else "refused", "gate", version, decision.reason, against)
        report = reports[version.version]
        measured = {"pack_digest": report.data_digest, "protocol": report.config.deciding_key, "gate": gate.digest()}
        return line.model_copy(update={"numbers": decision.numbers, "kept": decision.kept, **measured})

    found, fresh, weights = dict[int, Decision](), list[EncoderVersion](), list[str]()
    for version in candidates:
        refusal = line_of(version, Decision(promoted=False, reason="-"), rival)
        told = history.refusal_like(refusal)
        if told is not None:
            found[version.version] = told.decision
            alias.add_event(version, "refused", told)
        else:
            fresh.append(version)
            weights.append(refusal.weights)
    if not fresh:
        return found
    report, earlier = reports[fresh[0].version], dict[str, float]()
    if rival is not None:
        earlier = history.challengers(Champion.of(rival), (report.data_digest, report.config.deciding_key), weights)
    decisions = decide_many(
        [reports[version.version] for version in fresh],
        reports[rival.version] if rival is not None else None,
        gate,
        names=[f"version {version.version}" for version in fresh],
        earlier=list(earlier.values()),
    )
    # the promotion first: if another gate was faster, nothing has been written and all is thought over
    pairs = sorted(zip(fresh, decisions, strict=True), key=lambda pair: not pair[1].promoted)
    first, best = pairs[0]
    # where there was no champion, the others were compared with the new one
    stand_in = first if rival is None and best.promoted and "p" not in best.numbers else rival
    for place, (version, decision) in enumerate(pairs):
        line = line_of(version, decision, rival if decision.promoted else stand_in)
        written = alias.change(history, line)
        if written is not None:
            line, history = written.lines[len(history.lines)], written
        elif place == 0:
            return None
        else:
            line, history = alias.append_with_retry(_always(line))
        if not decision.promoted:
            alias.add_event(version, "refused", line)
        found[version.version] = line.decision
    return found


def _always(line: Line) -> Callable[[PromotionHistory], Line]:
    return lambda _: line


def _stays(store: EncoderStore, version: EncoderVersion, history: PromotionHistory) -> Decision:
    """Nothing to decide about a champion; a decision that a program which died did not record is recorded."""
    if history.champion is None:
        reason = f"its alias champion was taken away by hand; `splatsweep rollback {version.name}` gives it back"
        return Decision(promoted=False, reason=reason)
    if version.decision is None and version.status == "champion":
        reason = [event.reason for event in version.events if event.kind == "promoted"][-1]
        _record(store, version, Decision(promoted=True, reason=reason))
    return Decision(promoted=True, reason="it is the champion already", incumbent=version.version)


def promote_by_hand(store: EncoderStore, version: EncoderVersion, reason: str) -> Decision:
    """Make a version champion because a person says so. The reason, and what the gate would object, are written down.

    Raises:
        RegistryError: it is the champion already, no reason is given, or it is no encoder (`UnfitError`).
        IntegrityError: its files do not match their checksums, or the history was changed.
    """
    reason, version = _said(reason), completed(store, version)
    with tempfile.TemporaryDirectory() as scratch:
        fetch(store, version, Path(scratch))  # what cannot be pulled is no champion
    report = read_report(store, version)
    never = "it was never evaluated" if version.evaluation is None else "its evaluation cannot be read"
    objection = never if report is None else unfit(report)
    text = f"by hand: {reason}" + (f" (the gate would say: {objection})" if objection else "")
    alias = ChampionAlias(store, version.name)

    def promoted(history: PromotionHistory) -> Line:
        if history.champion == Champion.of(version):
            raise RegistryError(f"{version.reference} is the champion already")
        return draft("promoted", "hand", version, text, alias.rival(history))

    line, _ = alias.append_with_retry(promoted)
    _record(store, store.get(version.name, version.version), line.decision)
    return line.decision


def rollback(store: EncoderStore, name: str, reason: str) -> EncoderVersion:
    """Give the alias `champion` back to the version that had it before the present one; again, to the one before that.

    Where the alias was taken away by hand, to the last that had it.

    Raises:
        RegistryError: there is no champion, or never was another.
        IntegrityError: the history was changed.
    """
    reason = _said(reason)
    alias = ChampionAlias(store, name)

    def restored(history: PromotionHistory) -> Line:
        if not history.champions:
            raise RegistryError(f"{name} has no champion to roll back; `splatsweep models {name}` lists its versions")
        target, present = alias.predecessor(history), history.champion
        if target is None:
            only = f"v{present.version} is the only champion there has been that still exists" if present else ""
            raise RegistryError(f"{name} {only or 'has no champion'}; nothing to go back to")
        line = draft("rolled back", "hand", target, f"rollback: {reason}")
        return line.model_copy(update={"incumbent": present.version if present is not None else None})

    line, _ = alias.append_with_retry(restored)
    assert line.version is not None
    return store.get(name, line.version)


def _said(reason: str) -> str:
    text = printable(" ".join(reason.split()))
    if not text:
        raise RegistryError("a change of the champion needs a reason; say why, for example --reason 'broke downstream'")
    return text[:1500]


def _record(store: EncoderStore, version: EncoderVersion, decision: Decision) -> EncoderVersion:
    with tempfile.TemporaryDirectory() as scratch:
        card = read_card(fetch(store, version, Path(scratch))).card
    return log_decision(store, version, decision, card)
