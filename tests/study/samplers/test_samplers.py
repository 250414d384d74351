"""Every sampler keeps one contract: inside the space, same knowledge same suggestion, replayable, unharmed by death."""

import random
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_kit import (
    SAMPLERS,
    WIDE,
    act,
    finish,
    frozen_trials,
    identity_of,
    in_memory,
    on_disk,
    space_of,
    spaces,
    spec_of,
    view_facts,
)

from search_spaces.parameter import Choice, FloatRange, IntRange
from search_spaces.space import SearchSpace
from ssl_core.errors import SpaceError
from study.engine.history import JOURNAL, History
from study.engine.ledger import Ledger, _opened, read_ledger
from study.engine.replay import replay
from study.record.journal import MemoryJournal
from study.record.trial_record import TrialRecord
from study.samplers.proposal import LIMIT, SpaceExhaustedError
from study.samplers.suggestion import suggest
from study.samplers.tpe import BEST, WINDOW, window
from study.samplers.view_storage import ViewStorage
from study.spec.outcome import EpochReport, Outcome
from study.spec.study_spec import Constraint, ObjectiveMetric, StudySpec

ALL = [pytest.param(kind, marks=pytest.mark.slow) if kind == "gp" else kind for kind in sorted(SAMPLERS)]
FAST = [kind for kind in sorted(SAMPLERS) if kind != "gp"]
quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def wide() -> SearchSpace:
    return space_of(WIDE, {"x": 0.5, "kind": "b", "lr": 0.01, "n": 5, "deep": 3, "deeper": 2.5, "y": 0.25})


def inside(space: SearchSpace, ledger: Ledger) -> None:
    for record in ledger.records():
        assert space.replay(record.params) == record.values


@pytest.mark.parametrize("kind", FAST)
@quick
@given(space=spaces(), seed=st.integers(0, 2**20))
def test_proposals_lie_in_the_space(kind: str, space: SearchSpace, seed: int) -> None:
    ledger = in_memory(space, spec_of(kind, seed=seed))
    rng = random.Random(seed)
    for _ in range(14):
        try:
            record = ledger.ask(space)
        except SpaceExhaustedError:
            break
        if rng.random() < 0.8:
            finish(ledger, record.number, rng.random(), rng.choice([Outcome.COMPLETE, Outcome.STOPPED]))
    inside(space, ledger)


@pytest.mark.parametrize("kind", ALL)
def test_a_suggestion_depends_on_the_seed_the_number_and_the_view_alone(kind: str) -> None:
    space, spec = wide(), spec_of(kind, seed=7)
    ledger, rng = in_memory(space, spec), random.Random(3)
    while len(ledger.records()) < 12:
        act(ledger, space, rng)
    view, number = ledger._history.view, len(ledger.records())
    before = view_facts(view)
    first = suggest(spec, space, view, number)
    assert suggest(spec, space, view, number) == first
    assert view_facts(view) == before
    if kind not in ("grid",):
        assert suggest(spec, space, view, number + 1).params != first.params
    assert first.origin.known == view.known()


@pytest.mark.parametrize("kind", FAST)
@quick
@given(seed=st.integers(0, 2**20), steps=st.integers(5, 60))
def test_the_view_rebuilt_from_the_journal_is_the_one_that_was_kept(kind: str, seed: int, steps: int) -> None:
    space, rng = wide(), random.Random(seed)
    objectives = (ObjectiveMetric(metric="m"), ObjectiveMetric(metric="cost/parameters", direction="minimize"))
    several = {} if kind == "cmaes" or seed % 2 else {"objectives": objectives}
    spec = spec_of(kind, seed=seed, constraints=(Constraint(metric="trial/seconds", at_most=1.5),), **several)
    journal, kept = Recording(), None
    ledger = memory_ledger_on(journal, space, spec)
    for _ in range(steps):
        if not act(ledger, space, rng):
            break
    kept = ledger._history
    again = History(Path(JOURNAL), follow_sampler=True)
    for line in journal.every:
        again.apply(line)
    assert view_facts(again.view) == view_facts(kept.view)
    assert again.view.storage.attrs == kept.view.storage.attrs
    assert again.view.known() == kept.view.known()
    assert again.view.running() == kept.view.running()
    assert again.records() == kept.records()


class Recording(MemoryJournal):
    """Remembers every line."""

    def __init__(self) -> None:
        super().__init__()
        self.every: list[dict[str, object]] = []

    def read(self) -> list[dict[str, object]]:
        lines = super().read()
        self.every += lines
        return lines


def memory_ledger_on(journal: Recording, space: SearchSpace, spec: StudySpec) -> Ledger:
    return _opened(journal, identity_of(space), spec, space, Path("memory"))


@pytest.mark.parametrize("kind", ALL)
def test_a_concurrent_study_is_replayed_without_a_difference(kind: str, tmp_path: Path) -> None:
    space, rng = wide(), random.Random(11)
    folder = tmp_path / "s"
    given_points = ({"lr": 0.5}, {"kind": ["c", 1], "x": 1.5})
    spec = spec_of(kind, seed=5, repeats=2, enqueue=given_points)
    ledger = on_disk(folder, space, spec)
    for step in range(70 if kind == "gp" else 160):
        if step % 17 == 0:
            ledger = on_disk(folder, space, spec)  # a driver died, another goes on
        if not act(ledger, space, rng):
            break
    found = replay(folder)
    assert found.differences == ()
    assert found.exact == found.derived == found.trials == len(ledger.records()) > 12
    kinds = {record.origin.kind for record in ledger.records() if record.origin}
    assert {"base", "enqueued", "repeat"} <= kinds
    inside(space, ledger)


@pytest.mark.parametrize("kind", ["tpe", "cmaes", "nsga2", "grid", "qmc"])
def test_death_between_any_two_lines_changes_nothing(kind: str, tmp_path: Path) -> None:
    """One slot: a study cut off after any line, or within it, and continued is the undisturbed study."""
    space, spec = wide(), spec_of(kind, seed=2, repeats=2)

    def go_on(ledger: Ledger, trials: int) -> None:
        while True:
            unfinished = [record for record in ledger.records() if record.outcome is None]
            if not unfinished and len(ledger.records()) >= trials:
                return
            record = unfinished[0] if unfinished else next_trial(ledger)
            rng = random.Random(record.number)
            value = rng.random()
            if not record.curve:
                ledger.report(EpochReport(number=record.number, epoch=1, epochs=1), value, 1.0)
            outcome = Outcome.STOPPED if record.number % 5 == 3 else Outcome.COMPLETE
            ledger.close(record.number, outcome, "", {"cost/parameters": value})

    def next_trial(ledger: Ledger) -> TrialRecord:
        last = ledger.records()[-1] if ledger.records() else None
        if last is not None and last.outcome is Outcome.COMPLETE and last.repeat == 0:
            return ledger.repeat_of(last.number)
        return ledger.ask(space)

    whole = on_disk(tmp_path / "s", space, spec)
    go_on(whole, 8)
    content = (tmp_path / "s" / JOURNAL).read_bytes()
    wanted = [(r.params, r.origin, r.curve, r.outcome, r.vector) for r in whole.records()]
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    cuts = [*ends[7:], *(end + 40 for end in ends[7:-1:5])]
    for number, cut in enumerate(cuts):
        folder = tmp_path / f"cut{number}" / "s"
        folder.mkdir(parents=True)
        (folder / JOURNAL).write_bytes(content[:cut])
        ledger = on_disk(folder, space, spec)
        go_on(ledger, 8)
        found = [(r.params, r.origin, r.curve, r.outcome, r.vector) for r in ledger.records()]
        assert found == wanted, f"cut at byte {cut}"


# ---- what each sampler promises


def test_tpe_within_its_window_is_optunas_own() -> None:
    space, spec = wide(), spec_of("tpe", first_is_base=False)
    for multivariate in (False, True):
        given = spec.model_copy(update={"sampler": spec.sampler.model_copy(update={"multivariate": multivariate})})
        ledger, rng = in_memory(space, given), random.Random(1)
        while len(ledger.records()) < 40:
            act(ledger, space, rng)
        view, number = ledger._history.view, len(ledger.records())
        ours = suggest(given, space, view, number)
        sampler = optuna.samplers.TPESampler(
            seed=ours.origin.seed, n_startup_trials=3, multivariate=multivariate, constant_liar=True
        )
        stock = optuna.create_study(sampler=sampler, direction="maximize")
        stock.add_trials(view.storage.entries)
        theirs = stock.ask()
        assert space.suggest(theirs) == ours.values


def test_tpe_looks_at_the_best_and_the_most_recent() -> None:
    space = space_of({"x": FloatRange(kind="float", low=0.0, high=1.0)})
    ledger, rng = in_memory(space, spec_of("random")), random.Random(0)
    values = [rng.random() for _ in range(WINDOW + 60)]
    for value in values[:-2]:
        finish(ledger, ledger.ask(space).number, value)
    ledger.ask(space)
    entries = ledger._history.view.storage.entries
    storage = ledger._history.view.storage
    few = ViewStorage(["maximize"])
    few.entries = entries[:WINDOW]
    assert window(few) is None
    seen = window(storage)
    assert seen is not None
    assert len(seen) == WINDOW + 1
    assert seen == sorted(seen)
    best = sorted(range(len(values) - 2), key=lambda i: -values[i])[:BEST]
    assert set(best) <= set(seen)
    assert entries[-1].number in seen
    oldest = min(set(seen) - set(best))
    assert set(range(oldest, len(entries))) <= set(seen)


@pytest.mark.parametrize("kind", ["tpe", pytest.param("gp", marks=pytest.mark.slow), "cmaes"])
def test_learning_samplers_find_what_chance_does_not(kind: str) -> None:
    space = space_of({f"x{i}": FloatRange(kind="float", low=-1.0, high=1.0) for i in range(3)})

    def best(sampler: str) -> float:
        losses = []
        for seed in range(1 if kind == "gp" else 3):
            spec = spec_of(sampler, seed=seed, direction="minimize", first_is_base=False)
            ledger = in_memory(space, spec)
            for _ in range(30 if kind == "gp" else 90):
                record = ledger.ask(space)
                finish(ledger, record.number, sum((v - 0.3) ** 2 for v in (record.values or {}).values()))
            losses.append(min(r.best_value for r in ledger.records() if r.best_value is not None))
        return sorted(losses)[len(losses) // 2]

    assert best(kind) < 0.5 * best("random")


def test_cmaes_needs_ranges_and_one_objective() -> None:
    few = space_of({"x": FloatRange(kind="float", low=0.0, high=1.0), "k": Choice(values=("a", "b"))})
    with pytest.raises(SpaceError, match=r"space.yaml: CMA-ES needs two .* only 'x' is one \(k .*sampler tpe"):
        in_memory(few, spec_of("cmaes"))
    conditional = space_of(
        {
            "k": Choice(values=("a", "b")),
            "x": (FloatRange(kind="float", low=0.0, high=1.0), {"k": ("a",)}),
            "y": FloatRange(kind="float", low=0.0, high=1.0),
        }
    )
    with pytest.raises(SpaceError, match="only 'y' is one"):
        in_memory(conditional, spec_of("cmaes"))
    two = (ObjectiveMetric(metric="m"), ObjectiveMetric(metric="cost/parameters", direction="minimize"))
    with pytest.raises(SpaceError, match=r"CMA-ES follows one objective.*nsga2"):
        in_memory(wide(), spec_of("cmaes", objectives=two))


def test_a_grid_gives_each_point_once_and_then_ends() -> None:
    space = space_of(
        {
            "k": Choice(values=("a", "b")),
            "n": (IntRange(low=1, high=3), {"k": ("a",)}),
            "lr": FloatRange(kind="log", low=0.01, high=1.0),
        },
        {"k": "a", "n": 2, "lr": 0.1},
    )
    ledger = in_memory(space, spec_of("grid", seed=4))
    seen = [ledger.ask(space).params for _ in range(12)]
    with pytest.raises(SpaceExhaustedError, match="all 12 points of the grid"):
        ledger.ask(space)
    assert len({str(sorted(point.items())) for point in seen}) == 12
    assert seen[0] == {"k": "a", "n": 2, "lr": 0.1}
    assert sorted({round(point["lr"], 9) for point in seen}) == [0.01, 0.1, 1.0]
    other = in_memory(space, spec_of("grid", seed=5))
    assert [other.ask(space).params for _ in range(12)] != seen


def test_a_grid_that_nobody_means_is_refused() -> None:
    space = space_of({f"k{i}": Choice(values=tuple(range(10))) for i in range(6)})
    with pytest.raises(SpaceError, match=f"more than {LIMIT:,} points.*qmc"):
        in_memory(space, spec_of("grid"))


def test_a_quasi_random_sequence_covers_better_than_chance() -> None:
    space = space_of({name: FloatRange(kind="float", low=0.0, high=1.0) for name in "xy"})
    for sequence, least in (("sobol", 16), ("halton", 12)):
        spec = spec_of("qmc", sampler={"kind": "qmc", "sequence": sequence}, first_is_base=False)
        ledger = in_memory(space, spec)
        cells = {(int(4 * v["x"]), int(4 * v["y"])) for v in (ledger.ask(space).values or {} for _ in range(16))}
        assert len(cells) >= least  # chance leaves a third of 16 empty


@pytest.mark.parametrize("kind", ["tpe", pytest.param("gp", marks=pytest.mark.slow), "nsga2", "nsga3", "random"])
def test_several_objectives_are_told_as_a_vector(kind: str, tmp_path: Path) -> None:
    two = (ObjectiveMetric(metric="m"), ObjectiveMetric(metric="cost/parameters", direction="minimize"))
    spec = spec_of(kind, objectives=two, constraints=(Constraint(metric="trial/seconds", at_most=1.5),))
    space, rng, folder = wide(), random.Random(2), tmp_path / "s"
    ledger = on_disk(folder, space, spec)
    for _ in range(60):
        act(ledger, space, rng)
    complete = [record for record in ledger.records() if record.outcome is Outcome.COMPLETE]
    trial = frozen_trials(ledger)[complete[0].number]
    assert trial.values == [complete[0].best_value, complete[0].vector["cost/parameters"]]
    assert ledger._history.state.directions == ["maximize", "minimize"]
    assert replay(folder).differences == ()


def test_reading_is_not_writing(tmp_path: Path) -> None:
    space = wide()
    on_disk(tmp_path / "s", space, spec_of()).ask(space)
    before = (tmp_path / "s" / JOURNAL).read_bytes()
    read_ledger(tmp_path / "s").records()
    replay(tmp_path / "s")
    assert (tmp_path / "s" / JOURNAL).read_bytes() == before
