"""Earlier studies as a start, points given by hand, and means over repeats."""

from pathlib import Path
from typing import Any

import pytest
from search_kit import finish, in_memory, on_disk, space_of, spec_of, view_facts

from search_spaces.parameter import Choice, FloatRange, IntRange, Parameter
from search_spaces.space import SearchSpace
from search_spaces.space_recipes import SpaceRecipe, SpaceRecipes
from search_spaces.stored import StoredBase
from ssl_core.errors import SpaceError, StudyError
from study.engine.ledger import Ledger, read_ledger
from study.engine.replay import replay
from study.spec.outcome import EpochReport, Outcome
from study.spec.study_spec import Constraint, ObjectiveMetric

X = FloatRange(kind="float", low=0.0, high=1.0)


def simple(**more: Any) -> SearchSpace:
    return space_of({"x": X, "k": Choice(values=("a", "b")), **more}, {"x": 0.5, "k": "a", "n": 3, "old": 1})


def earlier(home: Path, space: SearchSpace, count: int = 6, **spec: Any) -> Ledger:
    ledger = on_disk(home / "earlier", space, spec_of("random", **spec))
    for number in range(count):
        finish(ledger, ledger.ask(space).number, number / 10)
    return ledger


def view(ledger: Ledger) -> list[dict[str, Any]]:
    return view_facts(ledger._history.view)


def test_the_sampler_starts_with_what_was_learnt(tmp_path: Path) -> None:
    known = earlier(tmp_path, simple())
    repeat = known.repeat_of(5)
    finish(known, repeat.number, 0.3)
    finish(known, known.ask(simple()).number, 9.0, Outcome.DIVERGED)
    ledger = on_disk(tmp_path / "new", simple(), spec_of("tpe", warm_start=({"study": "earlier", "at_most": 4},)))
    told = view(ledger)
    assert [entry["from"] for entry in told] == ["earlier/4", "earlier/5", "earlier/3", "earlier/2"]
    assert [entry["values"] for entry in told] == [[0.4], [0.4], [0.3], [0.2]]  # trial 5 is worth the mean of two
    assert told[0]["params"] == known.record(4).params
    first, second = ledger.ask(simple()), ledger.ask(simple())
    assert first.number == 0  # they are not trials of this study
    assert second.origin is not None
    assert (second.origin.kind, second.origin.warm) == ("sampler", 4)  # nothing needs to be drawn at random
    assert ledger.attrs["warm_notes"] == ["4 configurations of 'earlier' are known from the start"]


def test_it_replays_when_the_earlier_study_is_gone(tmp_path: Path) -> None:
    known = earlier(tmp_path, simple())
    ledger = on_disk(tmp_path / "new", simple(), spec_of("nsga2", warm_start=({"study": str(known.folder)},)))
    for number in range(8):
        finish(ledger, ledger.ask(simple()).number, number / 10)
    known.folder.rename(tmp_path / "moved")
    assert replay(tmp_path / "new").differences == ()
    again = on_disk(tmp_path / "new", simple(), ledger.spec)
    assert view(again) == view(ledger)


def test_keys_are_mapped_and_what_does_not_fit_is_left_out_with_a_note(tmp_path: Path) -> None:
    there = space_of(
        {"width": FloatRange(kind="float", low=0.0, high=3.0), "old": IntRange(low=1, high=2)}, {"width": 0.5, "old": 1}
    )
    known = on_disk(tmp_path / "earlier", there, spec_of("grid", sampler={"kind": "grid", "steps": 4}))
    for _ in range(9):
        record = known.ask(there)
        finish(known, record.number, (record.values or {})["width"])
    wanted = {"study": "earlier", "rename": {"width": "x"}, "fixed": {"k": "b"}}
    here = simple(n=IntRange(low=1, high=5))
    ledger = on_disk(tmp_path / "new", here, spec_of("tpe", warm_start=({**wanted, "fixed": {"k": "b", "n": 4}},)))
    told = view(ledger)
    assert all(entry["params"]["k"] == "b" and entry["params"]["n"] == 4 for entry in told)
    assert {entry["params"]["x"] for entry in told} <= {0.0, 0.5, 1.0}
    notes = ledger.attrs["warm_notes"]
    assert any("'x': " in note and "is outside float [0, 1] and the like" in note for note in notes)
    assert any("'old' was 2 and is 1 here" in note for note in notes)
    with pytest.raises(StudyError, match=r"nothing of the study 'earlier' can be used here.*no value for 'n'"):
        on_disk(tmp_path / "other", here, spec_of("tpe", warm_start=(wanted,)))
    unnamed = {"study": "earlier", "fixed": {"k": "b", "n": 4}}
    with pytest.raises(StudyError, match=r"'width' was .* does not exist here; see 'rename'"):
        on_disk(tmp_path / "third", here, spec_of("tpe", warm_start=(unnamed,)))


def test_an_earlier_study_that_cannot_help_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="warm_start: no study 'nothing'"):
        on_disk(tmp_path / "new", simple(), spec_of(warm_start=({"study": "nothing"},)))
    earlier(tmp_path, simple(), direction="minimize")
    with pytest.raises(StudyError, match=r"'earlier' minimized m, this one maximizes m"):
        on_disk(tmp_path / "new", simple(), spec_of(warm_start=({"study": "earlier"},)))
    assert not (tmp_path / "new" / "journal.log").exists()


def test_objectives_that_were_not_measured_leave_a_trial_out(tmp_path: Path) -> None:
    known = on_disk(tmp_path / "earlier", simple(), spec_of("random"))
    finish(known, known.ask(simple()).number, 0.5, cost__parameters=3.0)
    finish(known, known.ask(simple()).number, 0.9)
    two = (ObjectiveMetric(metric="m"), ObjectiveMetric(metric="cost/parameters", direction="minimize"))
    ledger = on_disk(tmp_path / "new", simple(), spec_of(objectives=two, warm_start=({"study": "earlier"},)))
    assert [entry["values"] for entry in view(ledger)] == [[0.5, 3.0]]
    assert any("did not measure cost/parameters" in note for note in ledger.attrs["warm_notes"])


@pytest.mark.parametrize("change", [{"warm_start": ({"study": "earlier"},)}, {"repeats": 2}], ids=str)
def test_what_trials_are_compared_by_cannot_change(tmp_path: Path, change: dict[str, Any]) -> None:
    earlier(tmp_path, simple())
    on_disk(tmp_path / "new", simple(), spec_of())
    with pytest.raises(StudyError, match=f"was started with {next(iter(change))}="):
        on_disk(tmp_path / "new", simple(), spec_of(**change))


# ---- points given by hand


def test_the_base_comes_first_and_then_the_points_in_their_order(tmp_path: Path) -> None:
    points = ({"x": 0.25}, {"k": "b"}, {"x": 1.0, "k": "b"})
    spec = spec_of(enqueue=points)
    values = []
    for _ in range(5):  # each by another process
        ledger = on_disk(tmp_path / "s", simple(), spec)
        values.append(ledger.ask(simple()).values)
    assert values[:4] == [{"x": 0.5, "k": "a"}, {"x": 0.25, "k": "a"}, {"x": 0.5, "k": "b"}, {"x": 1.0, "k": "b"}]
    assert [r.origin.kind for r in ledger.records() if r.origin] == ["base", *["enqueued"] * 3, "startup"]


def test_what_a_point_leaves_open_the_sampler_chooses() -> None:
    space = space_of({"k": Choice(values=("a", "b")), "deep": (X, {"k": ("b",)})}, {"k": "a"})
    record = in_memory(space, spec_of(enqueue=({"k": "b"},), first_is_base=False)).ask(space)
    assert record.values is not None
    assert record.values["k"] == "b"
    assert 0 <= record.values["deep"] <= 1


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"xx": 1}, r"point 1: 'xx' is not searched, did you mean 'x'"),
        ({"x": 7}, r"point 1: 'x': 7 is outside float \[0, 1\]"),
        ({"deep": 0.5}, r"point 1: 'deep' takes no part"),
    ],
)
def test_a_point_outside_the_space_is_refused_at_load(point: dict[str, Any], message: str) -> None:
    space = simple(deep=(X, {"k": ("b",)}))
    with pytest.raises(SpaceError, match=r"space.yaml: study.enqueue, " + message):
        in_memory(space, spec_of(enqueue=(point,)))


# ---- repeats


def test_a_study_optimises_means_and_not_luck() -> None:
    ledger = in_memory(simple(), spec_of(repeats=3))
    lucky = ledger.ask(simple())
    finish(ledger, lucky.number, 0.9)
    assert view(ledger)[0]["values"] == [0.9]
    second, third = ledger.repeat_of(lucky.number), ledger.repeat_of(lucky.number)
    assert [(r.configuration, r.repeat, r.seed) for r in (lucky, second, third)] == [(0, 0, 0), (0, 1, 1), (0, 2, 2)]
    assert second.values == lucky.values
    finish(ledger, second.number, 0.3)
    finish(ledger, third.number, 0.3, Outcome.STOPPED)
    assert view(ledger)[0]["values"] == [pytest.approx(0.5)]
    assert len(view(ledger)) == 1
    assert ledger.repeat_of(third.number).configuration == 0
    ended = ledger.ask(simple())
    assert (ended.number, ended.configuration) == (4, 4)
    assert [entry["number"] for entry in view(ledger)] == [0, 4]


def test_what_the_sampler_is_told() -> None:
    constraint = Constraint(metric="trial/seconds", at_most=10)
    ledger = in_memory(simple(), spec_of(constraints=(constraint,), first_is_base=False))
    for outcome in Outcome:
        finish(ledger, ledger.ask(simple()).number, 0.5, outcome, trial__seconds=12.0)
    ledger.ask(simple())
    told = {entry["number"]: (entry["state"], entry["values"], entry["progress"]) for entry in view(ledger)}
    assert list(told.values()) == [
        ("COMPLETE", [0.5], {1: 0.5}),
        ("PRUNED", None, {1: 0.5}),
        ("FAIL", None, {}),
        ("PRUNED", None, {}),  # diverged: worse than any other
        ("FAIL", None, {}),
        ("RUNNING", None, {}),
    ]
    assert view(ledger)[0]["notes"] == {"constraints:trial/seconds": 2.0}
    assert ledger._history.view.known() == {"COMPLETE": 1, "FAIL": 2, "PRUNED": 2}


def test_confirmations_are_kept_from_the_sampler_and_from_plots(tmp_path: Path) -> None:
    from study.record.trial_record import Origin, leaders

    ledger = on_disk(tmp_path / "s", simple(), spec_of())
    finish(ledger, ledger.ask(simple()).number, 0.5)
    added = ledger.add({"x": 0.1}, Origin(kind="confirmation", of=0))
    finish(ledger, added.number, 0.9)
    finish(ledger, ledger.ask(simple()).number, 0.4)
    records = read_ledger(tmp_path / "s").records()
    assert [record.confirms for record in records] == [False, True, False]
    assert [record.spends_budget for record in records] == [True, False, True]
    assert [record.number for record in leaders(records, "maximize", 3)] == [0, 2]
    assert [entry["number"] for entry in view(ledger)] == [0, 2]
    assert all(entry["state"] == "COMPLETE" for entry in view(ledger))
    with pytest.raises(ValueError, match="only confirmations"):
        ledger.add({}, Origin(kind="sampler"))
    ledger.report(EpochReport(number=ledger.ask(simple()).number, epoch=1, epochs=2), 0.1, 1.0, 3.5)
    assert ledger.records()[-1].held == 3.5


def two_recipes() -> SearchSpace:
    """One common key, and one of each recipe."""
    own = {"plain": {"x": 0.5, "k": "a"}, "other": {"x": 0.1, "n": 2}}
    recipes = SpaceRecipes({name: SpaceRecipe(name, "", StoredBase(**base)) for name, base in own.items()}, "plain")
    k = Parameter(key="plain.k", domain=Choice(values=("a", "b")), when={"recipe": ("plain",)})
    n = Parameter(key="other.n", domain=IntRange(low=1, high=9), when={"recipe": ("other",)})
    recipe = Parameter(key="recipe", domain=Choice(values=("plain", "other")))
    return SearchSpace(Path("space.yaml"), recipes, {}, (recipe, Parameter(key="x", domain=X), k, n))


def test_a_choice_of_recipes_starts_with_studies_of_either(tmp_path: Path) -> None:
    single = SearchSpace(
        Path("space.yaml"), SpaceRecipes({"": SpaceRecipe("other", "", StoredBase(x=0.1, n=2))}), {},
        (Parameter(key="n", domain=IntRange(low=1, high=9)),),
    )  # fmt: skip
    known = earlier(tmp_path, single)
    warm = ({"study": "earlier"},)
    ledger = on_disk(tmp_path / "joint", two_recipes(), spec_of("tpe", warm_start=warm))
    best = view(ledger)[0]["params"]
    assert best == {"recipe": "other", "x": 0.1, "other.n": known.record(5).values["n"]}, "x as its base had it"
    for number in range(12):
        finish(ledger, ledger.ask(two_recipes()).number, number / 10)
    assert replay(tmp_path / "joint").exact
    # and the other way round: trials of another recipe are left out
    plain = SearchSpace(
        Path("space.yaml"), SpaceRecipes({"": SpaceRecipe("plain", "", StoredBase(x=0.5, k="a"))}), {},
        (Parameter(key="x", domain=X), Parameter(key="k", domain=Choice(values=("a", "b")))),
    )  # fmt: skip
    back = on_disk(tmp_path / "back", plain, spec_of("tpe", warm_start=({"study": "joint"},)))
    taken = {entry["from"] for entry in view(back)}
    assert taken == {f"joint/{record.number}" for record in ledger.records() if record.values["recipe"] == "plain"}
    earlier(tmp_path / "strange", simple())
    with pytest.raises(StudyError, match=r"'recipe' was toy and is plain \| other here"):
        on_disk(tmp_path / "strange/new", two_recipes(), spec_of("tpe", warm_start=warm))
