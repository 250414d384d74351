"""Measures what a suggestion and a report cost, early and late in a study, in its journal on disk.

The study is a real one: each configuration is suggested by the default sampler from what came before, in the space
search_spaces/cross_modal.yaml, and each trial reports three epochs. Only the training is missing.
"""

import random
import tempfile
import time
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.machine import ROOT
from benchmarks.table import Comparison, Samples, Section, ratio_table
from search_spaces.space import SearchSpace, load_space
from ssl_core.recipes.recipe_source import preset_at
from study.engine.ledger import Ledger, StudyIdentity, open_ledger
from study.samplers.suggestion import suggest
from study.spec.outcome import EpochReport, Outcome
from study.spec.study_spec import StudySpec

SIZES = (100, 1000)
"""Trials that are finished when it is measured."""
ASKS = 60
EPOCHS = 3
P95 = 0.020
GROWTH = 1.5
REPORT = 0.001


def measure(quick: bool = False) -> Section:
    """At 100 and 1,000 trials; at 12 and 24 when quick."""
    sizes, asks = ((12, 24), 4) if quick else (SIZES, ASKS)
    space = load_space(ROOT / "search_spaces" / "cross_modal.yaml", preset_at)
    ours, reports = _ours(space, sizes, asks)
    stock = [_stock(space, size, asks) for size in sizes]
    journal = _stock_reports(asks)
    rows = [
        Comparison(f"a suggestion after {size:,} trials", Samples(tuple(own)), Samples(tuple(theirs)))
        for size, own, theirs in zip(sizes, ours, stock, strict=True)
    ]
    rows.append(Comparison("a report, journal on disk", Samples(tuple(reports)), Samples(tuple(journal))))
    late, growth = _p95(ours[-1]), rows[1].ours.median / rows[0].ours.median
    bars = {
        f"the slowest twentieth of suggestions after {sizes[-1]:,} trials takes {late * 1e3:.1f} ms, the bar is "
        f"{P95 * 1e3:.0f} ms": late > P95,
        f"a suggestion costs {growth:.2f} times as much after {sizes[-1]:,} trials as after {sizes[0]}, the bar is "
        f"{GROWTH}": growth > GROWTH,
        f"the slowest twentieth of reports takes {_p95(reports) * 1e3:.2f} ms, the bar is {REPORT * 1e3:.0f} ms": _p95(
            reports
        )
        > REPORT,
    }
    return Section(
        title="Suggestions",
        shows=f"What the search costs the driver: a suggestion by TPE in a space of {len(space.parameters)} "
        "parameters, and the report of an epoch written to the journal.",
        baseline="The baseline is Optuna's own TPESampler (univariate, constant liar) over a study in memory, and "
        "Optuna's journal storage for the report.",
        tables=(ratio_table(rows, "stock Optuna"),),
        notes=(
            f"95 of 100 suggestions take at most {_p95(ours[0]) * 1e3:.1f} ms after {sizes[0]} trials and "
            f"{late * 1e3:.1f} ms after {sizes[-1]:,}; {growth:.2f} times as much in the median.",
            f"95 of 100 reports take at most {_p95(reports) * 1e3:.2f} ms. Ours is one write, which the operating "
            "system brings to the disk; stock waits for the disk at each of four.",
        ),
        missed=() if quick else tuple(text for text, missed in bars.items() if missed),
    )


def _ours(space: SearchSpace, sizes: tuple[int, ...], asks: int) -> tuple[list[list[float]], list[float]]:
    """Seconds per suggestion at each size, and per report at the last."""
    spec = StudySpec(trials=sizes[-1], metric="m")
    identity = StudyIdentity(name="s", recipe=space.recipe, space_digest=space.digest, pack_digest="")
    found: list[list[float]] = []
    reports: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(Path(folder) / "s", identity, spec, space)
        for size in sizes:
            while len(ledger.records()) < size:
                reports = [*reports[-EPOCHS * asks :], *_one_trial(ledger, space)]
            found.append([_one_suggestion(ledger, space, spec, size + number) for number in range(asks)])
    return found, reports


def _one_suggestion(ledger: Ledger, space: SearchSpace, spec: StudySpec, number: int) -> float:
    """Not written, so that each is made from the same knowledge."""
    view = ledger._history.view
    started = time.perf_counter()
    suggest(spec, space, view, number)
    return time.perf_counter() - started


def _one_trial(ledger: Ledger, space: SearchSpace) -> list[float]:
    record = ledger.ask(space)
    rng = random.Random(record.number)
    times = []
    for epoch in range(1, EPOCHS + 1):
        report = EpochReport(number=record.number, epoch=epoch, epochs=EPOCHS)
        started = time.perf_counter()
        ledger.report(report, rng.random(), float(epoch), float(epoch))
        times.append(time.perf_counter() - started)
    ledger.close(record.number, Outcome.COMPLETE, "")
    return times


def _stock(space: SearchSpace, size: int, asks: int) -> list[float]:
    rng = random.Random(0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(size):
        trial = study.ask()
        space.suggest(trial)
        study.tell(trial, rng.random())
    study.sampler = optuna.samplers.TPESampler(seed=0, multivariate=False, constant_liar=True)
    times = []
    for _ in range(asks):
        started = time.perf_counter()
        trial = study.ask()
        space.suggest(trial)
        times.append(time.perf_counter() - started)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return times


def _stock_reports(asks: int) -> list[float]:
    """The same four facts of an epoch by Optuna's own calls."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        storage = JournalStorage(JournalFileBackend(str(Path(folder) / "journal.log")))
        trial = optuna.create_study(storage=storage).ask()
        for epoch in range(asks):
            started = time.perf_counter()
            trial.report(0.5, epoch)
            for name in ("epochs", "seconds", "held"):
                trial.set_user_attr(name, epoch)
            times.append(time.perf_counter() - started)
    return times


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]
