"""Trials that confirm at the end what each feature group of the winner is worth: the winner without one group each.

The winner itself is trained anew beside them: the trial that won was chosen for its value, so a comparison with it
would favour the winner. All of them train over several seeds, so that an interval can be given.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from search_spaces.space import SearchSpace
from ssl_core.config import Config
from ssl_core.errors import ConfigError
from study.engine.feature_groups import feature_keys, same_values
from study.engine.winner import winner, without_group
from study.record.trial_record import TrialRecord
from study.spec.study_spec import StudySpec

LEAST_REPEATS = 3


class ConfirmationPlan(Config):
    """What would confirm the winner's groups.

    Attributes:
        winner: number of its first trial; None when no trial completed.
        arms: values of the winner, then of the winner without one group each.
        dropped: the group each arm lacks, empty for the winner itself.
        skipped: groups that are not dropped, and why.
        repeats: trials of each arm.
    """

    winner: int | None = None
    arms: tuple[dict[str, Any], ...] = ()
    dropped: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    repeats: int = LEAST_REPEATS


def confirmation_plan(space: SearchSpace, spec: StudySpec, records: Sequence[TrialRecord]) -> ConfirmationPlan:
    """Arms at the present winner. Groups that every choice of the space has are given and stay."""
    repeats = max(spec.repeats, LEAST_REPEATS)
    best = winner(records, spec.direction)
    if best is None or best.values is None:
        return ConfirmationPlan(repeats=repeats)
    arms, dropped, skipped = [dict(best.values)], [""], list[str]()
    for key in feature_keys(json.loads(space.to_json())):
        for group in best.values.get(key.key, ()):
            if group in key.always:
                skipped.append(f"{group}: in every choice of {key.key}")
                continue
            values = without_group(best.values, key.key, group)
            if values is None:
                skipped.append(f"{group}: nothing else would be left in {key.key}")
                continue
            try:
                space.configure(values)
            except ConfigError as error:
                skipped.append(f"{group}: the recipe refuses the rest ({error})")
                continue
            arms.append(values)
            dropped.append(group)
    if len(arms) == 1:
        return ConfirmationPlan(winner=best.number, skipped=tuple(skipped), repeats=repeats)
    return ConfirmationPlan(
        winner=best.number, arms=tuple(arms), dropped=tuple(dropped), skipped=tuple(skipped), repeats=repeats
    )


def confirmations(space: SearchSpace, spec: StudySpec, records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Values of the confirmation trials that the ledger does not have yet, one entry per trial, in the order to run.

    Every arm is run once before any is run again, so that a study cut short has a fair comparison. A confirmation that
    failed counts as run.
    """
    plan = confirmation_plan(space, spec, records)
    have = Counter(same_values(record.values or {}) for record in records if record.confirms)
    missing = []
    for repeat in range(plan.repeats):
        missing += [values for values in plan.arms if have[same_values(values)] <= repeat]
    return missing
