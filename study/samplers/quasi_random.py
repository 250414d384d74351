"""Points of a low-discrepancy sequence (Sobol, Halton), scrambled by the study's seed.

Every range of the space has a coordinate of its own, those with conditions too: it is used when the key takes part.
"""

import warnings
from typing import Literal

from optuna.trial import FrozenTrial

from search_spaces.space import SearchSpace
from study.samplers.proposal import Proposal
from study.samplers.unit import from_unit, numeric

MARK = "quasi_random:index"


def next_point(
    space: SearchSpace, sequence: Literal["sobol", "halton"], seed: int, known: list[FrozenTrial]
) -> Proposal:
    """The point after those that were used."""
    from scipy.stats import qmc  # slow to import, and rarely needed

    index = 1 + max((trial.system_attrs.get(MARK, -1) for trial in known), default=-1)
    ranges = [(parameter.key, domain) for parameter in space.parameters if (domain := numeric(parameter))]
    if not ranges:
        return Proposal(marks={MARK: index}, note="no range to cover; choices are drawn at random")
    kind = qmc.Sobol if sequence == "sobol" else qmc.Halton
    engine = kind(len(ranges), scramble=True, seed=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one point is no power of two
        point = engine.fast_forward(index).random(1)[0] if index else engine.random(1)[0]
    params = {key: from_unit(domain, float(at)) for (key, domain), at in zip(ranges, point, strict=True)}
    return Proposal(params, {MARK: index}, f"point {index + 1} of the {sequence} sequence")
