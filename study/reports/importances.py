"""Which parameters mattered, as far as the trials can tell."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna

from study.analysis.as_optuna import complete_trials, some

if TYPE_CHECKING:
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

LEAST = 4
FEW = 20
MOST = 150
"""Trials that fANOVA's forest is grown on; more of them change little and cost minutes."""
TREES = 24


@dataclass(frozen=True)
class Importances:
    """Shares by parameter for each method (empty when it does not apply), and what to say about them."""

    fanova: dict[str, float]
    ped_anova: dict[str, float]
    note: str

    def order(self) -> list[str]:
        """Parameters, most important first."""
        shares = self.fanova or self.ped_anova
        return sorted(shares, key=lambda name: -shares[name])


def importances(study: optuna.Study) -> Importances:
    """Importances over complete trials and the parameters that all of them have.

    fANOVA: share of the variance of the objective (Hutter et al., ICML 2014). PED-ANOVA: what sets the best trials
    apart (Watanabe et al., IJCAI 2023).
    """
    complete = complete_trials(study)
    if len(complete) < LEAST:
        return Importances({}, {}, f"Importances need at least {LEAST} complete trials; there are {len(complete)}.")
    common = set.intersection(*[set(trial.params) for trial in complete])
    varied = [name for name in sorted(common) if len({str(trial.params[name]) for trial in complete}) > 1]
    if not varied:
        return Importances({}, {}, "All complete trials have the same values; there is nothing to compare.")
    if len(varied) == 1:
        whole = {varied[0]: 1.0}
        return Importances(whole, whole, f"Only {varied[0]} varied, so there is nothing to share it with.")
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator  # and with them sklearn

    fanova = _shares(some(study, MOST), FanovaImportanceEvaluator(n_trees=TREES, seed=0), varied)
    ped = _shares(study, PedAnovaImportanceEvaluator(), varied)
    notes = []
    if len(complete) < FEW:
        notes.append(f"Only {len(complete)} complete trials: read these bars as hints, not as findings.")
    every = {name for trial in study.get_trials(deepcopy=False) for name in trial.params}
    if len(complete) > MOST:
        notes.append(f"fANOVA over {MOST} of the {len(complete)} complete trials, evenly taken.")
    if left_out := sorted(every - set(varied)):
        notes.append(f"Left out, for not varying or taking part in every complete trial: {', '.join(left_out)}.")
    if not fanova:
        notes.append("The objective hardly varies between trials, so fANOVA has nothing to explain.")
    return Importances(fanova, ped, " ".join(notes))


def _shares(
    study: optuna.Study, evaluator: "FanovaImportanceEvaluator | PedAnovaImportanceEvaluator", params: list[str]
) -> dict[str, float]:
    from optuna.importance import get_param_importances

    try:
        with warnings.catch_warnings():
            # few trials make the best ones all of them; the note under the chart says so
            warnings.simplefilter("ignore")
            found = get_param_importances(study, evaluator=evaluator, params=params)
    except (RuntimeError, ValueError):  # no variance, or too few trials among the best
        return {}
    return {name: float(share) for name, share in found.items()}
