"""What each feature group is worth at the winner: trained anew over seeds, whole and without one group at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from study.analysis.attribution import CONFIDENCE, Attribution, GroupGain
from study.analysis.linear_effects import estimable, plain_effects
from study.engine.feature_groups import GroupKey, feature_keys, same_values
from study.engine.winner import winner, without_group
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome

Arm = tuple[str, str]
WHOLE: Arm = ("", "")


def from_confirmations(records: Sequence[TrialRecord], space: Mapping[str, Any], direction: str) -> Attribution | None:
    """Attribution at the winner from the confirmations that completed; None when there are none.

    Trials of equal seed are compared with each other where seeds were shared.
    """
    made = [r for r in records if r.confirms]
    best = winner(records, direction)
    if not made or best is None or best.values is None:
        return None
    arms: dict[Arm, list[TrialRecord]] = {}
    notes: list[str] = []
    for record in made:
        arm = _arm(record, best.values, feature_keys(space))
        if arm is None:
            continue
        if record.outcome is Outcome.COMPLETE and record.best_value is not None:
            arms.setdefault(arm, []).append(record)
        elif record.outcome is not None:
            notes.append(f"Trial {record.number} (without {arm[1] or 'nothing'}) ended {record.outcome.value}.")
    if len(arms) < 2 or WHOLE not in arms:
        waiting = "Confirmations of the present winner are not there yet."
        return Attribution(source="confirmations", notes=(*notes, waiting))
    return _compared(arms, direction, notes)


def _arm(record: TrialRecord, best: Mapping[str, Any], keys: Sequence[GroupKey]) -> Arm | None:
    """(key, dropped group) of a confirmation; empty texts for the winner itself, None for another winner's."""
    values = record.values or {}
    if same_values(values) == same_values(best):
        return WHOLE
    for key in keys:
        for group in key.groups:
            dropped = without_group(best, key.key, group)
            if dropped is not None and same_values(values) == same_values(dropped):
                return (key.key, group)
    return None


def _compared(arms: Mapping[Arm, Sequence[TrialRecord]], direction: str, notes: list[str]) -> Attribution:
    sign = 1.0 if direction == "maximize" else -1.0
    cells = [(arm, record) for arm, group in arms.items() for record in group]
    dropped = [arm for arm in arms if arm != WHOLE]
    y = sign * np.array([record.best_value or 0.0 for _, record in cells])
    design = np.column_stack([[float(arm == name) for arm, _ in cells] for name in dropped])
    seeds = sorted({record.seed or 0 for _, record in cells})
    if len(seeds) > 1:
        blocks = [[float((record.seed or 0) == seed) for _, record in cells] for seed in seeds[1:]]
        paired = np.column_stack([design, *blocks])
        # only where arms share seeds are differences within a seed all there is to know
        design = paired if estimable(paired)[: len(dropped)].all() else design
    effects = plain_effects(design, y, len(dropped), CONFIDENCE)
    numbers = tuple(sorted(record.number for _, record in cells))
    if effects is None:
        few = f"{len(cells)} confirmations are too few for an interval."
        return Attribution(source="confirmations", trials=numbers, notes=(*notes, few))
    gains = [
        GroupGain(
            key=key,
            groups=(group,),
            gain=-float(effects.estimates[i]),
            low=-float(effects.high[i]),
            high=-float(effects.low[i]),
            present=len(arms[WHOLE]),
            absent=len(arms[(key, group)]),
        )
        for i, (key, group) in enumerate(dropped)
    ]
    ordered = tuple(sorted(gains, key=lambda gain: -gain.gain))
    return Attribution(source="confirmations", gains=ordered, trials=numbers, notes=tuple(notes))
