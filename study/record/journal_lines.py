"""The lines of a journal, and what they add up to: the same code reads those of the past and those just written.

The format is Optuna's, one JSON object per fact, so that any Optuna tool can read a study. Lines that belong together
are written at once. Each says in `more` how many of them follow it, which Optuna ignores and a reader here uses: a
group that is not there whole was never written.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from ssl_core.errors import StudyError

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


FORMAT = 1
"""Of the attributes this version writes; a journal that says a higher one is refused."""


@dataclass
class TrialFacts:
    """One trial so far. `number` counts from 0 in the order of the journal."""

    number: int
    state: TrialState
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    attrs: dict[str, Any]
    system_attrs: dict[str, Any]
    curve: dict[int, float]
    values: list[float] | None
    started: datetime | None
    ended: datetime | None = None


@dataclass
class StudyState:
    """A study as its lines tell it."""

    name: str | None = None
    directions: list[str] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)
    trials: list[TrialFacts] = field(default_factory=list)

    def apply(self, line: Line) -> int | None:
        """Take the next line; the number of the trial it is about, if any.

        Raises:
            StudyError: a line that this version cannot have written. The text does not name the file.
        """
        try:
            return self._apply(Op(line["op_code"]), line)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise StudyError(f"a line of the journal makes no sense ({type(error).__name__}: {error})") from None

    def _apply(self, op: Op, line: Line) -> int | None:
        match op:
            case Op.CREATE_STUDY:
                if self.name is not None:
                    raise StudyError("the journal holds more than one study")
                if not isinstance(line["study_name"], str):
                    raise ValueError(f"a study called {line['study_name']!r}")
                self.name = line["study_name"]
                self.directions = [StudyDirection(number).name.lower() for number in line["directions"]]
            case Op.STUDY_ATTR:
                self.attrs.update(line["user_attr"])
                self._check_format()
            case Op.CREATE_TRIAL:
                self.trials.append(_created(len(self.trials), line))
                return len(self.trials) - 1
            case Op.TRIAL_PARAM | Op.TRIAL_STATE | Op.TRIAL_VALUE | Op.TRIAL_ATTR | Op.TRIAL_SYSTEM_ATTR:
                return self._apply_to_trial(op, line)
            case Op.DELETE_STUDY:
                raise StudyError("the study was deleted by another program")
            case Op.STUDY_SYSTEM_ATTR | Op.DISCARD_TRIALS:
                pass  # notes of other tools
        return None

    def _apply_to_trial(self, op: Op, line: Line) -> int:
        if line["trial_id"] < 0:
            raise ValueError(f"trial {line['trial_id']}")
        trial = self.trials[line["trial_id"]]
        if op is Op.TRIAL_ATTR:
            # also of a finished trial: a run's id may arrive late. Optuna leaves such a line out
            trial.attrs.update(line["user_attr"])
        elif trial.state.is_finished():
            pass  # as Optuna has it: the first end counts
        elif op is Op.TRIAL_VALUE:
            trial.curve[_epoch(line["step"])] = _finite(line["intermediate_value"])
        elif op is Op.TRIAL_STATE:
            trial.state = TrialState(line["state"])
            trial.values = line["values"] if line["values"] is None else [_finite(value) for value in line["values"]]
            if trial.state.is_finished():
                trial.ended = _time(line["datetime_complete"])
        elif op is Op.TRIAL_PARAM:
            kind = json_to_distribution(line["distribution"])
            trial.distributions[line["param_name"]] = kind
            trial.params[line["param_name"]] = kind.to_external_repr(line["param_value_internal"])
        else:
            trial.system_attrs.update(line["system_attr"])
        return trial.number

    def _check_format(self) -> None:
        written = self.attrs.get("format", FORMAT)
        if not isinstance(written, int) or written > FORMAT:
            raise StudyError(
                f"the journal has format {written}, this version reads up to {FORMAT}; "
                "continue the study with the version that wrote it, or update this one"
            )


def _epoch(step: Any) -> int:
    """Of a report. Raises ValueError for what is none."""
    epoch = int(step)
    if not 0 <= epoch < 2**53:
        raise ValueError(f"epoch {epoch}")
    return epoch


def _finite(value: Any) -> float:
    """Raises ValueError for what is no number, or one that no float holds."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a value of {value!r}")
    return number


def _created(number: int, line: Line) -> TrialFacts:
    distributions = {key: _distribution(text) for key, text in line.get("distributions", {}).items()}
    values = line.get("values") or ([line["value"]] if line.get("value") is not None else None)
    return TrialFacts(
        number=number,
        state=TrialState(line.get("state", int(TrialState.RUNNING))),
        params={key: distributions[key].to_external_repr(value) for key, value in line.get("params", {}).items()},
        distributions=distributions,
        attrs=dict(line.get("user_attrs", {})),
        system_attrs=dict(line.get("system_attrs", {})),
        curve={_epoch(epoch): _finite(value) for epoch, value in line.get("intermediate_values", {}).items()},
        values=values,
        started=_time(line.get("datetime_start")),
        ended=_time(line.get("datetime_complete")),
    )


_KNOWN: dict[str, BaseDistribution] = {}


def _distribution(text: str) -> BaseDistribution:
    """Distributions repeat in every trial; each is parsed once."""
    if text not in _KNOWN:
        _KNOWN[text] = json_to_distribution(text)
    return _KNOWN[text]


def _time(text: str | None) -> datetime | None:
    """Local time without a zone, as Optuna gives it."""
    return None if text is None else datetime.fromisoformat(text).astimezone().replace(tzinfo=None)
