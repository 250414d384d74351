"""What each feature group is worth to the objective, from the trials of the search.

A regression of what every compared trial had reached after the same number of epochs on which groups it had, adjusted
for all other parameters. Groups that always came together are one bundle; groups that never varied have no value that
could be known. `confirmed` asks the confirmations at the winner instead. All intervals of a table hold together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.config import Config
from study.analysis.common_fidelity import FidelityRow, columns_of, common_epoch, rows, searched
from study.analysis.linear_effects import Effects, estimable, plain_effects, robust_effects
from study.engine.feature_groups import GroupKey, feature_keys, same_values, winner, without_group
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome

Array = NDArray[np.float64]
CONFIDENCE = 0.95
LEAST_EACH = 2


class GroupGain(Config):
    """How much better the objective is with a group than without it, in the objective's unit; positive is better."""

    key: str  # the searched key it belongs to
    groups: tuple[str, ...]  # one name, or several that the trials always had together
    gain: float  # estimate
    low: float  # end of its interval; the intervals of an `Attribution` hold together
    high: float
    present: int  # configurations (trials, where nothing else varies) with it
    absent: int  # and without it

    @property
    def name(self) -> str:
        """`scale`, or `scale + rotation`."""
        return " + ".join(self.groups)

    @property
    def matters(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


class Attribution(Config):
    """The worth of groups, largest gain first."""

    source: Literal["trials", "confirmations"]  # the trials of the search, or confirmations at the winner
    gains: tuple[GroupGain, ...] = ()  # empty when nothing could be told; `notes` say why
    epoch: int = 0  # at which trials were compared; 0: at their best
    trials: tuple[int, ...] = ()  # numbers of the trials compared
    confidence: float = CONFIDENCE  # of all intervals together
    notes: tuple[str, ...] = ()  # what a reader has to know, one sentence each


def from_trials(
    records: Sequence[TrialRecord], space: Mapping[str, Any], direction: str, complete_only: bool = False
) -> Attribution | None:
    """Attribution from the search, or None when the space has no key that chooses among groups.

    Args:
        space: `json.loads` of the study's space.
        complete_only: compare trials that ran to their end at their best, instead of all at a common epoch.
    """
    keys = feature_keys(space)
    if not keys:
        return None
    best = winner(records, direction)
    # keys of several recipes never come together: those of the winner's are compared
    keys = tuple(key for key in keys if best is None or key.key in (best.values or {})) or keys
    compared = [r for r in searched(records) if all(key.key in (r.values or {}) for key in keys)]
    if complete_only:
        compared = [r for r in compared if r.outcome is Outcome.COMPLETE]
    epoch = max((r.epoch for r in compared), default=0) if complete_only else common_epoch(compared)
    searched_keys = {key.key for key in keys}
    # with nothing else searched, repeats differ by their seeds alone and each counts
    alone = columns_of([r.values or {} for r in compared], space, searched_keys).shape[1] == 0
    table = rows(compared, epoch, direction, merge=not alone)
    bundles, notes = _bundles(table, keys)
    found: tuple[GroupGain, ...] = ()
    if bundles:
        found, more = _fit(table, bundles, space, searched_keys, direction)
        notes += more
    lost = sum(r.outcome is Outcome.DIVERGED for r in records)
    if lost:
        notes.append(f"{lost} diverged trials have no value to compare and are left out.")
    numbers = tuple(sorted(number for row in table for number in row.trials))
    at = 0 if complete_only else epoch
    return Attribution(source="trials", gains=found, epoch=at, trials=numbers, notes=tuple(notes))


Bundle = tuple[str, tuple[str, ...], Array]


def _bundles(table: Sequence[FidelityRow], keys: Sequence[GroupKey]) -> tuple[list[Bundle], list[str]]:
    """(key, groups, [n] of 0 and 1) of everything that varied; groups with equal columns are one."""
    made: dict[tuple[str, bytes], tuple[list[str], Array]] = {}
    constant: list[str] = []
    for key in keys:
        for group in key.groups:
            column = np.array([group in row.values[key.key] for row in table], dtype=float)
            if len(set(column)) < 2:
                constant.append(group)
            else:
                made.setdefault((key.key, column.tobytes()), ([], column))[0].append(group)
    notes = []
    if constant:
        notes.append(f"Did not vary between the compared trials: {', '.join(constant)}.")
    bundles = [(key, tuple(groups), column) for (key, _), (groups, column) in made.items()]
    rare = [b for b in bundles if _is_rare(b)]
    if rare:
        names = ", ".join(" + ".join(groups) for _, groups, _ in rare)
        notes.append(f"Fewer than {LEAST_EACH} configurations with or without: {names}.")
    together = [" + ".join(groups) for _, groups, _ in bundles if len(groups) > 1]
    if together:
        notes.append(f"Always together, so not told apart: {', '.join(together)}.")
    return [b for b in bundles if not _is_rare(b)], notes


def _is_rare(bundle: Bundle) -> bool:
    present = int(bundle[2].sum())
    return min(present, len(bundle[2]) - present) < LEAST_EACH


def _fit(
    table: Sequence[FidelityRow], bundles: Sequence[Bundle], space: Mapping[str, Any], keys: set[str], direction: str
) -> tuple[tuple[GroupGain, ...], list[str]]:
    design = np.column_stack([column for _, _, column in bundles])
    own = estimable(design)
    notes = []
    if not own.all():
        mixed = ", ".join(" + ".join(bundles[i][1]) for i in np.flatnonzero(~own).tolist())
        notes.append(f"The choices leave no way to tell apart what these are worth: {mixed}.")
    if not own.any():
        return (), notes
    # those of interest first; the rest stays in the model
    order = [*np.flatnonzero(own).tolist(), *np.flatnonzero(~own).tolist()]
    sign = 1.0 if direction == "maximize" else -1.0
    y = sign * np.array([row.value for row in table])
    others = columns_of([row.values for row in table], space, keys)
    effects = robust_effects(design[:, order], others, y, int(own.sum()), CONFIDENCE)
    if effects is None:
        return (), [*notes, f"{len(table)} configurations are too few for {len(bundles)} groups: nothing is estimated."]
    told = [bundles[i] for i in order[: int(own.sum())]]
    return _gains(effects, [(key, groups, int(c.sum()), int(len(c) - c.sum())) for key, groups, c in told]), notes


def _gains(effects: Effects, about: Sequence[tuple[str, tuple[str, ...], int, int]]) -> tuple[GroupGain, ...]:
    """Largest first; `about`: key, groups, and how many trials had them and lacked them, for each effect."""
    numbers = np.column_stack([effects.estimates, effects.low, effects.high]).tolist()
    made = [
        GroupGain(key=key, groups=groups, gain=gain, low=low, high=high, present=present, absent=absent)
        for (key, groups, present, absent), (gain, low, high) in zip(about, numbers, strict=True)
    ]
    return tuple(sorted(made, key=lambda gain: -gain.gain))


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
    sign = -1.0 if direction == "maximize" else 1.0  # what is lost without a group is what it gains
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
    gains = _gains(effects, [(arm[0], arm[1:], len(arms[WHOLE]), len(arms[arm])) for arm in dropped])
    return Attribution(source="confirmations", gains=gains, trials=numbers, notes=tuple(notes))
