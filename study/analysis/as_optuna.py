"""The trials of a study as an Optuna study in memory: for its importances and its plots, whatever the journal holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search_spaces.parameter import Choice, Domain, Parameter, contains, distribution, stored
from ssl_core.config import validated
from study.analysis.words import short
from study.record.trial_record import STATE_OF, TrialRecord


def as_optuna(
    records: Sequence[TrialRecord],
    space: Mapping[str, Any],
    direction: Literal["maximize", "minimize"],
    stopped_too: bool = False,
) -> optuna.Study:
    """One objective, the study's metric; trial numbers stay. Confirmations have no parameters and no value.

    Args:
        space: `json.loads` of the study's space.
        stopped_too: count trials that the scheduler stopped as complete, for plots that leave out pruned ones.
    """
    study = optuna.create_study(direction=direction)
    domains: dict[str, Domain] = {
        key: validated(Parameter, {"key": key, **entry}).domain for key, entry in space.get("space", {}).items()
    }
    known = {key: _labelled(domain) for key, domain in domains.items()}
    study.add_trials([_trial(record, domains, known, stopped_too) for record in records])
    return study


def _labelled(domain: Domain) -> BaseDistribution:
    """Of a choice among lists: short names in their place, where these stay apart."""
    if not isinstance(domain, Choice) or not any(isinstance(value, (list, tuple)) for value in domain.values):
        return distribution(domain)
    names = [_label(domain, value) for value in domain.values]
    return CategoricalDistribution(names) if len(set(names)) == len(names) else distribution(domain)


def _label(domain: Domain, value: Any) -> Any:
    return short(value) if isinstance(domain, Choice) and isinstance(value, (list, tuple)) else stored(domain, value)


def _trial(
    record: TrialRecord, domains: Mapping[str, Domain], known: Mapping[str, BaseDistribution], stopped_too: bool
) -> FrozenTrial:
    values = {} if record.confirms else record.values or {}
    there = {key: value for key, value in values.items() if key in domains and contains(domains[key], value)}
    state = TrialState.RUNNING if record.outcome is None else STATE_OF[record.outcome]
    if stopped_too and state == TrialState.PRUNED:
        state = TrialState.COMPLETE
    if record.confirms or (state == TrialState.COMPLETE and (record.best_value is None or len(there) < len(values))):
        # values that changed under way may have left the space: such a trial says nothing about its parameters
        state = TrialState.FAIL
    started = record.started or datetime.now()
    return FrozenTrial(
        number=record.number,
        trial_id=record.number,
        state=state,
        value=record.best_value if state == TrialState.COMPLETE else None,
        datetime_start=started,
        datetime_complete=(record.ended or started) if record.outcome is not None else None,
        params={key: _param(domains[key], known[key], value) for key, value in there.items()},
        distributions={key: known[key] for key in there},
        user_attrs={},
        system_attrs={},
        intermediate_values=dict(record.curve),
    )


def _param(domain: Domain, known: BaseDistribution, value: Any) -> Any:
    label = _label(domain, value)
    return label if isinstance(known, CategoricalDistribution) and label in known.choices else stored(domain, value)


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Those with a value of the objective, not copied."""
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


def some(study: optuna.Study, most: int, *, complete_only: bool = True) -> optuna.Study:
    """A study of at most so many of its (complete) trials, evenly over their order, for what is slow with many."""
    trials = complete_trials(study) if complete_only else study.get_trials(deepcopy=False)
    if len(trials) <= most:
        return study
    less = optuna.create_study(direction=study.direction)
    less.add_trials([trials[i * len(trials) // most] for i in range(most)])
    return less
