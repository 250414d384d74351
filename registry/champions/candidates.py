"""Candidates before the gate, their reports in hand: the decision, its line in the history, and what follows."""

from collections.abc import Callable, Mapping, Sequence

from registry.champions.champion_alias import ChampionAlias, draft
from registry.champions.gate import GateConfig, decide_many
from registry.champions.promotion_history import Champion, Line, PromotionHistory
from registry.versions.records import Decision, EncoderVersion
from ssl_core.evaluation.report import Report

Reports = Mapping[int, Report]
"""by version"""


def judge(
    alias: ChampionAlias,
    history: PromotionHistory,
    candidates: Sequence[EncoderVersion],
    rival: EncoderVersion | None,
    reports: Reports,
    gate: GateConfig,
) -> dict[int, Decision] | None:
    """Decide about the candidates together and write it down; the winner, if any, becomes champion.

    A candidate that was refused against this champion before, on the same data by the same rules, is not tried again:
    its decision is found in the history.

    Args:
        history: as just reconciled.
        rival: who has to be beaten (`PromotionHistory.standing`), not among the candidates; None if nobody.
        reports: of the candidates and the rival.

    Returns:
        Decisions by version; None if another gate wrote first: reconcile and judge again.
    """
    found: dict[int, Decision] = {}
    for version in candidates:
        told = _told(history, version, rival, reports[version.version], gate)
        if told is not None:
            found[version.version] = decision_of(told)
            alias.refused(version, told)
    fresh = [version for version in candidates if version.version not in found]
    if not fresh:
        return found
    earlier = _earlier(history, fresh, rival, reports)
    decisions = decide_many(
        [reports[version.version] for version in fresh],
        reports[rival.version] if rival is not None else None,
        gate,
        names=[f"version {version.version}" for version in fresh],
        earlier=earlier,
    )
    # the promotion first: if another gate was faster, nothing has been written and all is thought over
    pairs = sorted(zip(fresh, decisions, strict=True), key=lambda pair: not pair[1].promoted)
    stand_in = _stand_in(rival, pairs)
    for place, (version, decision) in enumerate(pairs):
        against = rival if rival is not None or decision.promoted else stand_in
        line = _line(version, decision, against, reports[version.version], gate)
        written = alias.change(history, line)
        if written is None:
            if place == 0:
                return None
            told, written = alias.append_with_retry(_always(line))
        else:
            told = written.lines[len(history.lines)]
        history = written
        if not decision.promoted:
            alias.refused(version, told)
        found[version.version] = decision_of(told)
    return found


def _always(line: Line) -> Callable[[PromotionHistory], Line]:
    return lambda _: line


def decision_of(line: Line) -> Decision:
    """What a line says about its version."""
    return Decision(
        promoted=line.kind != "refused",
        reason=line.reason,
        numbers=line.numbers,
        incumbent=line.incumbent,
        entry=line.sequence,
    )


def _line(
    version: EncoderVersion,
    decision: Decision,
    against: EncoderVersion | None,
    report: Report,
    gate: GateConfig,
) -> Line:
    line = draft("promoted" if decision.promoted else "refused", "gate", version, decision.reason, against)
    measured = {"pack_digest": report.data_digest, "protocol": report.config.deciding_key, "gate": gate.digest()}
    return line.model_copy(update={"numbers": decision.numbers, **measured})


def _told(
    history: PromotionHistory,
    version: EncoderVersion,
    rival: EncoderVersion | None,
    report: Report,
    gate: GateConfig,
) -> Line | None:
    """The version's refusal since the present champion is one, on the same data by the same rules."""
    wanted = _line(version, Decision(promoted=False, reason="-"), rival, report, gate)
    for line in reversed(history.lines):
        if line.kind != "refused":
            return None
        same = ("version", "bundle_digest", "incumbent", "pack_digest", "protocol", "gate")
        if all(getattr(line, name) == getattr(wanted, name) for name in same):
            return line
    return None


def _earlier(
    history: PromotionHistory, fresh: Sequence[EncoderVersion], rival: EncoderVersion | None, reports: Reports
) -> list[float]:
    """p-values of those whom the champion has withstood on the same data."""
    report = reports[fresh[0].version]
    standing = Champion.of(rival) if rival is not None else None
    if standing is None:
        return []
    family = (report.data_digest, report.config.deciding_key)
    without = [draft("refused", "gate", version, "-").weights for version in fresh]
    return list(history.challengers(standing, family, without).values())


def _stand_in(rival: EncoderVersion | None, pairs: Sequence[tuple[EncoderVersion, Decision]]) -> EncoderVersion | None:
    """Where there was no champion: the new one, if the others were compared with it."""
    if rival is None and pairs and pairs[0][1].promoted and "p" not in pairs[0][1].numbers:
        return pairs[0][0]
    return rival
