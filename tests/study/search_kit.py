"""Spaces of every shape, and studies in which everything happens, without a trial being trained."""

import json
import random
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from optuna.trial import FrozenTrial

from search_spaces.parameter import Choice, Domain, FloatRange, IntRange, Parameter
from search_spaces.space import SearchSpace
from search_spaces.space_recipes import SpaceRecipe, SpaceRecipes
from search_spaces.stored import StoredBase, stored_space
from study.engine.ledger import Ledger, StudyIdentity, memory_ledger, open_ledger
from study.record.trial_record import Verdict
from study.samplers.proposal import SpaceExhaustedError
from study.samplers.sampler_view import SamplerView
from study.spec.outcome import EpochReport, Outcome
from study.spec.study_spec import StudySpec

SAMPLERS: dict[str, Any] = {
    "tpe": {"kind": "tpe", "startup": 3},
    "gp": {"kind": "gp", "startup": 3},
    "cmaes": {"kind": "cmaes", "population": 4},
    "nsga2": {"kind": "nsga2", "population": 4},
    "nsga3": {"kind": "nsga3", "population": 4},
    "random": {"kind": "random"},
    "grid": {"kind": "grid", "steps": 3},
    "qmc": {"kind": "qmc"},
}


def spec_of(kind: str = "tpe", **given: Any) -> StudySpec:
    return StudySpec(**{"trials": 60, "metric": "m", "sampler": SAMPLERS[kind], **given})


def space_of(parameters: dict[str, Any], base: dict[str, Any] | None = None) -> SearchSpace:
    """A space without a recipe: key -> domain, or (domain, conditions)."""
    listed = [
        Parameter(key=key, domain=given[0], when=given[1])
        if isinstance(given, tuple)
        else Parameter(key=key, domain=given)
        for key, given in parameters.items()
    ]
    recipes = SpaceRecipes({"": SpaceRecipe("toy", "", StoredBase.model_validate(base or {}))})
    space = SearchSpace(Path("space.yaml"), recipes, {}, tuple(listed))
    return stored_space(space.to_json(), list(parameters), Path("space.yaml"))


WIDE = {
    "x": FloatRange(kind="float", low=-1.0, high=2.0),
    "kind": Choice(values=("a", "b", ["c", 1], True, None)),
    "lr": FloatRange(kind="log", low=1e-4, high=1.0),
    "n": IntRange(low=2, high=20, step=3),
    "y": (FloatRange(kind="float", low=0.0, high=1.0, step=0.25), {"kind": ("a", True)}),
    "deep": (IntRange(low=1, high=50), {"kind": ("b",)}),
    "deeper": (Choice(values=(1, 2.5, "z")), {"deep": tuple(range(1, 26))}),
}


def domains() -> st.SearchStrategy[Domain]:
    whole = st.tuples(st.integers(-5, 5), st.integers(1, 12), st.integers(1, 3))
    return st.one_of(
        st.lists(st.sampled_from(["a", "b", 3, 0.5, True, None, "[1]"]), min_size=1, max_size=4, unique_by=repr).map(
            lambda values: Choice(values=tuple(_distinct(values)))
        ),
        st.tuples(st.floats(-3, 3), st.floats(0.5, 4)).map(lambda p: FloatRange(kind="float", low=p[0], high=sum(p))),
        st.tuples(st.floats(1e-3, 1), st.floats(1.5, 90)).map(
            lambda p: FloatRange(kind="log", low=p[0], high=p[0] * p[1])
        ),
        whole.map(lambda p: IntRange(low=p[0], high=p[0] + p[1] * p[2], step=p[2])),
        st.tuples(st.integers(-3, 3), st.integers(1, 6)).map(
            lambda p: FloatRange(kind="float", low=float(p[0]), high=p[0] + 0.25 * p[1], step=0.25)
        ),
    )


def _distinct(values: list[Any]) -> list[Any]:
    """1, 1.0 and true are one choice to Optuna."""
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return kept


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Two ranges that every trial has, and up to four parameters more, some with conditions on those before."""
    parameters: dict[str, Any] = {
        "r0": FloatRange(kind="float", low=0.0, high=1.0),
        "r1": IntRange(low=1, high=9),
    }
    for number in range(draw(st.integers(0, 4))):
        domain = draw(domains())
        finite = [key for key, given in parameters.items() if _values(given)]
        if draw(st.booleans()):
            parent = draw(st.sampled_from(finite))
            some = draw(st.lists(st.sampled_from(_values(parameters[parent])), min_size=1, max_size=3, unique_by=repr))
            parameters[f"p{number}"] = (domain, {parent: tuple(some)})
        else:
            parameters[f"p{number}"] = domain
    base = {"r0": 0.5} if draw(st.booleans()) else {}
    return space_of(parameters, base)


def _values(given: Any) -> list[Any]:
    domain = given[0] if isinstance(given, tuple) else given
    if isinstance(domain, Choice):
        return list(domain.values)
    return list(range(domain.low, domain.high + 1, domain.step)) if isinstance(domain, IntRange) else []


def identity_of(space: SearchSpace, name: str = "s") -> StudyIdentity:
    return StudyIdentity(name=name, recipe="toy", space_digest=space.digest, pack_digest="p")


def in_memory(space: SearchSpace, spec: StudySpec) -> Ledger:
    return memory_ledger(identity_of(space), spec, space)


def on_disk(folder: Path, space: SearchSpace, spec: StudySpec) -> Ledger:
    """Opened as the process that runs the study would."""
    return open_ledger(folder, identity_of(space, folder.name), spec, space)


def value_of(values: dict[str, Any], rng: random.Random) -> float:
    """An objective that depends on the values, with noise."""
    return sum(float(v) for v in values.values() if isinstance(v, (int, float))) + 0.1 * rng.random()


def act(ledger: Ledger, space: SearchSpace, rng: random.Random, slots: int = 3) -> bool:
    """One thing happens to a study. False when nothing is left to try."""
    open_trials = [record for record in ledger.records() if record.outcome is None]
    complete = [record for record in ledger.records() if record.outcome is Outcome.COMPLETE and not record.confirms]
    chance = rng.random()
    if len(open_trials) < slots and chance < 0.5:
        if complete and chance < 0.1:
            ledger.repeat_of(rng.choice(complete).number)
            return True
        try:
            ledger.ask(space)
        except SpaceExhaustedError:
            return False
        return True
    if not open_trials:
        return True
    record = rng.choice(open_trials)
    if chance < 0.75:
        value = value_of(record.values or {}, rng)
        epoch = record.epoch + 1
        ledger.report(EpochReport(number=record.number, epoch=epoch, epochs=9), value, float(epoch), 2.0 * epoch)
    elif chance < 0.8:
        ledger.note(record.number, crashes=record.crashes + 1)
    else:
        end(ledger, record.number, rng)
    return True


def end(ledger: Ledger, number: int, rng: random.Random) -> None:
    """Close a trial somehow; most complete."""
    outcome = rng.choice([Outcome.COMPLETE] * 5 + list(Outcome))
    record = ledger.record(number)
    verdict = None
    if outcome is Outcome.STOPPED:
        if not record.curve:
            ledger.report(EpochReport(number=number, epoch=1, epochs=9), rng.random(), 1.0)
        verdict = Verdict(scheduler="asha", rung=1, value=0.1, bar=0.2, among=4, reason="not among the best 1 of 4")
    elif outcome is Outcome.COMPLETE and not record.curve:
        ledger.report(EpochReport(number=number, epoch=1, epochs=1), value_of(record.values or {}, rng), 1.0)
    vector = {"cost/parameters": 1000.0 * rng.random(), "trial/seconds": 1.0 + rng.random(), "trial/epochs": 1.0}
    ledger.close(number, outcome, "why", vector, verdict)


def finish(ledger: Ledger, number: int, value: float, outcome: Outcome = Outcome.COMPLETE, **vector: float) -> None:
    """One epoch, one end."""
    ledger.report(EpochReport(number=number, epoch=1, epochs=1), value, 1.0)
    ledger.close(number, outcome, "", {name.replace("__", "/"): metric for name, metric in vector.items()})


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The journal's lines as they stand."""
    return [json.loads(text) for text in (folder / "journal.log").read_text().splitlines()]


def frozen_trials(ledger: Ledger) -> list[FrozenTrial]:
    """The journal's trials as Optuna shows them."""
    return [
        FrozenTrial(
            number=trial.number,
            trial_id=trial.number,
            state=trial.state,
            value=None,
            values=trial.values,
            datetime_start=trial.started,
            datetime_complete=trial.ended,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.attrs,
            system_attrs=trial.system_attrs,
            intermediate_values=trial.curve,
        )
        for trial in ledger._history.state.trials
    ]


def view_facts(view: SamplerView) -> list[dict[str, Any]]:
    """The view as plain values."""
    return [
        {
            **trial.user_attrs,
            "state": trial.state.name,
            "values": trial.values,
            "progress": dict(trial.intermediate_values),
            "params": dict(trial.params),
            "notes": dict(trial.system_attrs),
            "order": None if trial.datetime_complete is None else str(trial.datetime_complete),
        }
        for trial in view.storage.entries
    ]
