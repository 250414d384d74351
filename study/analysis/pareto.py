"""Several objectives: which configurations no other beats in everything, and how far they had come after each trial."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna._hypervolume import compute_hypervolume
from pydantic import Field

from ssl_core.config import Config
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome
from study.spec.study_spec import Constraint, ObjectiveMetric

Array = NDArray[np.float64]


class ParetoPoint(Config):
    """One trial in the space of objectives."""

    number: int  # of the trial
    values: dict[str, float]  # by metric, as reported
    feasible: bool = True  # keeps all constraints
    front: bool = False  # no other feasible trial is at least as good in everything and better in something


class Pareto(Config):
    """All complete trials that have every objective."""

    objectives: tuple[str, ...]  # metrics in order
    points: tuple[ParetoPoint, ...] = ()  # by trial number
    # the worst seen in each objective, from where the volume is measured
    reference: dict[str, float] = Field(default_factory=dict)
    # share of the box between reference and the best of each objective that was dominated after each point
    volumes: tuple[float, ...] = ()
    note: str = ""  # what is missing


def pareto(
    records: Sequence[TrialRecord], objectives: Sequence[ObjectiveMetric], constraints: Sequence[Constraint] = ()
) -> Pareto:
    """The front over complete trials, smallest numbers first."""
    metrics = tuple(objective.metric for objective in objectives)
    complete = [r for r in records if r.outcome is Outcome.COMPLETE and not r.confirms]
    told = [r for r in complete if all(metric in r.vector for metric in metrics)]
    note = f"{len(complete) - len(told)} complete trials lack an objective." if len(told) < len(complete) else ""
    if len(told) < 2:
        return Pareto(objectives=metrics, note=note or "At least two complete trials are needed.")
    signs = np.array([1.0 if o.direction == "minimize" else -1.0 for o in objectives])
    losses = signs * np.array([[r.vector[metric] for metric in metrics] for r in told])
    feasible = np.array([_keeps(r.vector, constraints) for r in told])
    on_front = np.zeros(len(told), dtype=bool)
    on_front[feasible] = front(losses[feasible])
    worst, ideal = losses.max(axis=0), losses.min(axis=0)
    points = tuple(
        ParetoPoint(
            number=r.number,
            values={metric: r.vector[metric] for metric in metrics},
            feasible=bool(feasible[i]),
            front=bool(on_front[i]),
        )
        for i, r in enumerate(told)
    )
    scaled = (losses - ideal) / np.maximum(worst - ideal, 1e-12)
    return Pareto(
        objectives=metrics,
        points=points,
        reference=dict(zip(metrics, (signs * worst).tolist(), strict=True)),
        volumes=volumes(scaled, feasible),
        note=note,
    )


def front(losses: Array) -> NDArray[np.bool_]:
    """[n] of losses [n, m], lower is better: not dominated. Equal points stay together."""
    kept = np.ones(len(losses), dtype=bool)
    for i, own in enumerate(losses):
        kept[i] = not np.any(np.all(losses <= own, axis=1) & np.any(losses < own, axis=1))
    return kept


def volumes(scaled: Array, feasible: NDArray[np.bool_]) -> tuple[float, ...]:
    """Volume of [0, 1]^m dominated by the first 1, 2, … n of the points [n, m]."""
    found: list[float] = []
    best = np.zeros((0, scaled.shape[1]))
    for point, counts in zip(scaled, feasible, strict=True):
        if counts and not np.any(np.all(best <= point, axis=1)):
            best = np.vstack([best[~np.all(point <= best, axis=1)], point])
            found.append(float(compute_hypervolume(best, np.ones(best.shape[1]), assume_pareto=True)))
        else:
            found.append(found[-1] if found else 0.0)
    return tuple(found)


def _keeps(vector: Mapping[str, float], constraints: Sequence[Constraint]) -> bool:
    return all(c.metric in vector and c.violation(vector[c.metric]) <= 0 for c in constraints)
