"""How many epochs a search spends until it has trained the best configuration of a real recipe.

Recorded runs of full length (benchmarks/curves) answer for training; the project's own engine searches, on a fake
clock. A search has arrived when a configuration that is as good as the best of the space, within what seeds do to it,
has been trained to its last epoch. All epochs of all trials up to then count.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.curves import SPACE, TABLE
from benchmarks.recorded_runs import RecordedRuns, load_runs
from benchmarks.search_problem import Problem, recorded_problem, surrogate_problem
from benchmarks.stock_search import StockSearch
from benchmarks.surrogate import leave_one_out
from benchmarks.table import Section, Table
from search_spaces.space import load_space
from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.recipes.recipe_source import preset_at
from study.engine.trial_manager import TrialManager
from study.forecast.simulated_driver import Simulation, simulate
from study.spec.budget import Epochs
from study.spec.outcome import Outcome
from study.spec.sampler_spec import TPE, RandomSearch
from study.spec.scheduler_spec import ASHA, NoScheduler
from study.spec.study_spec import StudySpec

METRIC = CROSS_MODAL.outputs[0].select.metric
"""The default search is judged by the default metric; the other one is shown beside it."""
OTHER = "val/probe"
BAR = 0.25
RANDOM, DEFAULT = "random, full length", "the default"


@dataclass(frozen=True)
class Runs:
    """How often each search is run, and after how many epochs one that has not arrived counts as never arriving."""

    seeds: int = 20
    epochs: int = 12_000


Arrival = Callable[[Problem, int, int, int], float]
"""(problem, slots, seed, epochs at most) -> epochs until it arrived, infinite when it did not."""


def engine(**settings: object) -> Arrival:
    """A search by this project's engine; settings differ from the defaults of `StudySpec`."""

    def arrival(problem: Problem, slots: int, seed: int, epochs: int) -> float:
        # no search is given the preset: it may be near the best, and is the same help to all
        budget, given = Epochs(epochs=epochs), {"first_is_base": False, **settings}
        spec = StudySpec(metric=problem.metric, trials=None, budget=budget, seed=seed, **given)
        checked: dict[int, bool] = {}

        def arrived(manager: TrialManager) -> bool:
            for record in manager.ledger.records():
                if record.outcome is Outcome.COMPLETE and record.number not in checked:
                    checked[record.number] = problem.is_wanted(record.values or {})
            return any(checked.values())

        found = simulate(Simulation(problem.space, spec, problem.curves, slots=slots, until=arrived))
        return found.epochs if any(checked.values()) else math.inf

    return arrival


def stock(problem: Problem, slots: int, seed: int, most: int) -> float:
    """Ray's AsyncHyperBandScheduler with its defaults, over random configurations."""
    search = StockSearch(problem.space, problem.curves, problem.metric, slots, seed)
    epochs = search.epochs_until(problem.is_wanted, most)
    return math.inf if epochs is None else epochs


SEARCHES: dict[str, Arrival] = {
    RANDOM: engine(sampler=RandomSearch(), scheduler=NoScheduler()),
    "plain TPE, full length": engine(scheduler=NoScheduler()),
    "stock ASHA, random": stock,
    DEFAULT: engine(),
    "random, our ASHA": engine(sampler=RandomSearch()),
    "TPE, grace 1, reduction 3": engine(scheduler=ASHA(grace=1, reduction=3)),
    "TPE multivariate, our ASHA": engine(sampler=TPE(multivariate=True)),
}
MAIN = (RANDOM, "plain TPE, full length", "stock ASHA, random", DEFAULT)


@dataclass(frozen=True)
class Row:
    """One search on one problem.

    Attributes:
        name: of the search.
        slots: trials at a time.
        epochs: until it arrived, of each seed.
    """

    name: str
    slots: int
    epochs: tuple[float, ...]

    @property
    def median(self) -> float:
        """Infinite when half of the seeds did not arrive."""
        return float(np.median(self.epochs))

    def share(self, of: "Row") -> tuple[float, float, float]:
        """Ratio of medians, and its 90 % interval: bootstrap over the seeds of both."""
        draws = np.random.default_rng(0)
        own, other = np.array(self.epochs), np.array(of.epochs)
        with np.errstate(invalid="ignore"):
            ratios = [
                np.median(draws.choice(own, len(own))) / np.median(draws.choice(other, len(other))) for _ in range(2000)
            ]
            low, high = np.nanquantile(ratios, (0.05, 0.95), method="nearest")
            return self.median / of.median, float(low), float(high)


def measure(quick: bool = False) -> Section:
    """All searches, the main ones with two slots, on the other metric and on the recorded runs alone."""
    table = load_runs(TABLE)
    space = load_space(SPACE, preset_at)
    points = 500 if quick else 20_000
    modelled, other = (surrogate_problem(space, table, metric, points) for metric in (METRIC, OTHER))
    recorded = recorded_problem(space, table, METRIC, points)
    runs = Runs(2, 300) if quick else Runs()
    names = (RANDOM, "stock ASHA, random", DEFAULT) if quick else tuple(SEARCHES)
    rows = [_row(name, modelled, 1, runs) for name in names]
    wider = [_row(name, modelled, 2, runs) for name in (() if quick else (RANDOM, DEFAULT))]
    others = [_row(name, other, 1, runs) for name in (() if quick else MAIN)]
    looked_up = [_row(name, recorded, 1, runs) for name in (names if quick else MAIN)]
    missed = [] if quick else _missed([*rows, *wider])
    return Section(
        title="Search",
        shows="Epochs that a search spends, all trials together, until it has trained the best configuration of the "
        f"space to its last epoch, or one as good within seed noise: median of {runs.seeds} seeds (quartiles).",
        baseline="The baseline is random search at full length; stock ASHA is Ray's AsyncHyperBandScheduler with its "
        "defaults over random configurations.",
        tables=tuple(_table(found) for found in (rows, wider, others, looked_up) if found),
        notes=_notes(table, (modelled, other, recorded), runs, quick),
        missed=tuple(missed),
    )


def _row(name: str, problem: Problem, slots: int, runs: Runs) -> Row:
    found = (SEARCHES[name](problem, slots, 1000 * seed, runs.epochs) for seed in range(runs.seeds))
    return Row(name, slots, tuple(found))


def _table(rows: Sequence[Row]) -> Table:
    header = ("what", "slots", "epochs", "share of random's (90 %)", "arrived")
    random = {row.slots: row for row in rows if row.name == RANDOM}
    return Table(header, tuple(_cells(row, random[row.slots]) for row in rows))


def _cells(row: Row, random: Row) -> tuple[str, ...]:
    low, high = (float(np.quantile(row.epochs, q, method="nearest")) for q in (0.25, 0.75))
    share, least, most = row.share(random)
    arrived = sum(map(math.isfinite, row.epochs))
    return (
        row.name,
        str(row.slots),
        f"{_number(row.median)} ({_number(low)} to {_number(high)})",
        f"{_percent(share)} ({_percent(least)} to {_percent(most)})",
        f"{arrived} of {len(row.epochs)}",
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "never"


def _missed(rows: Sequence[Row]) -> list[str]:
    found = []
    for row in rows:
        random = next(other for other in rows if other.name == RANDOM and other.slots == row.slots)
        if row.name == DEFAULT and not (share := row.share(random)[0]) <= BAR:
            found.append(
                f"the default search on {row.slots} slots needs {_percent(share)} of random's epochs, not 25 %"
            )
    return found


def _notes(table: RecordedRuns, problems: tuple[Problem, Problem, Problem], runs: Runs, quick: bool) -> tuple[str, ...]:
    repeats = sum(len(rows) for rows in table.groups() if len(rows) > 1)
    modelled, other, recorded = problems
    notes = [
        f"There are {len(table.runs)} recorded runs of {table.epochs} epochs, {repeats} of them of one configuration "
        "over seeds.",
        f"The first tables search the whole space by a model of these curves, by {METRIC}, the default metric: the "
        f"best configuration reaches {modelled.best:.4f}, seed noise is {modelled.noise:.4f}, and "
        f"{_percent(modelled.share)} of the space are as good within that.",
        f"The next one searches by {OTHER}: {other.best:.4f}, {other.noise:.4f}, {_percent(other.share)}. An easier "
        "target leaves a search less to save: a single run to the end is a large part of what random search needs.",
        "In the last table the recorded run nearest to each suggestion is replayed; "
        f"{_percent(recorded.share)} of the space lead to one of the best.",
        f"No search is given the preset as its first trial. After {runs.epochs} epochs one is given up.",
    ]
    if not quick:
        left = leave_one_out(modelled.space, table, METRIC)
        notes.append(
            f"Leaving each configuration out, the model misses its final {METRIC} by {left.error:.4f} (its mean over "
            f"all others by {left.spread:.4f}; rank correlation {left.rank:.2f})."
        )
    return tuple(notes)


def _percent(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"
