"""The lines of a journal: Optuna's own format, one JSON object per fact, so that any Optuna tool can read a study.

Lines that belong together are written at once. Each says in `more` how many of them follow it, which Optuna ignores
and a reader here uses: a group that is not there whole was never written.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.study import StudyDirection
from optuna.trial import TrialState

Line = dict[str, Any]

MORE = "more"


class Op(IntEnum):
    """What a line says; the numbers are Optuna's."""

    CREATE_STUDY = 0
    DELETE_STUDY = 1
    STUDY_ATTR = 2
    STUDY_SYSTEM_ATTR = 3
    CREATE_TRIAL = 4
    TRIAL_PARAM = 5
    TRIAL_STATE = 6
    TRIAL_VALUE = 7
    TRIAL_ATTR = 8
    TRIAL_SYSTEM_ATTR = 9
    DISCARD_TRIALS = 10


WRITER = "splatsweep"
"""Optuna wants to know who wrote a line; there is one writer."""


def _line(op: Op, **fields: Any) -> Line:
    return {"op_code": int(op), "worker_id": WRITER, **fields}


def create_study(name: str, directions: Sequence[str]) -> Line:
    """`directions`: maximize or minimize, one for each objective."""
    return _line(
        Op.CREATE_STUDY, study_name=name, directions=[int(StudyDirection[text.upper()]) for text in directions]
    )


def study_attr(key: str, value: Any) -> Line:
    """A fact about the study; a later line of the same key replaces it."""
    return _line(Op.STUDY_ATTR, study_id=0, user_attr={key: value})


def create_trial(
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    attrs: Mapping[str, Any],
    system_attrs: Mapping[str, Any],
) -> Line:
    """A running trial with all its values: asked for or not, never half."""
    return _line(
        Op.CREATE_TRIAL,
        study_id=0,
        datetime_start=_now(),
        state=int(TrialState.RUNNING),
        value=None,
        values=None,
        distributions={key: distribution_to_json(distributions[key]) for key in params},
        params={key: distributions[key].to_internal_repr(value) for key, value in params.items()},
        user_attrs=dict(attrs),
        system_attrs=dict(system_attrs),
        intermediate_values={},
    )


def trial_attr(trial: int, key: str, value: Any) -> Line:
    """A fact about a trial; a later line of the same key replaces it."""
    return _line(Op.TRIAL_ATTR, trial_id=trial, user_attr={key: value})


def trial_value(trial: int, epoch: int, value: float) -> Line:
    """The objective after an epoch."""
    return _line(Op.TRIAL_VALUE, trial_id=trial, step=epoch, intermediate_value=value)


def trial_state(trial: int, state: TrialState, values: Sequence[float] | None) -> Line:
    """The end of a trial in Optuna's terms."""
    given = None if values is None else list(values)
    return _line(Op.TRIAL_STATE, trial_id=trial, state=int(state), values=given, datetime_complete=_now())


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="microseconds")
