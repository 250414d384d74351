"""Earlier studies as a start: their configurations in terms of this study's space.

Only complete configurations are taken, with the mean over their repeats. A key that the earlier study did not search
has the value of that study's base config; `fixed` says otherwise, and `rename` where keys have other names now.
What does not fit is left out, and the notes say why: a value outside its domain, a key that is not searched here and
whose value is another one, an objective that was not measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.conditions import ABSENT, base_value
from search_spaces.parameter import encode
from search_spaces.space import SearchSpace
from search_spaces.space_recipes import RECIPE
from ssl_core.errors import SpaceError, StudyError
from study.engine.history import History, read_history
from study.record.trial_record import TrialRecord
from study.samplers.sampler_view import WarmEntry, missing, told
from study.spec.outcome import Outcome
from study.spec.sampler_spec import WarmStart
from study.spec.study_spec import StudySpec


def warm_entries(spec: StudySpec, space: SearchSpace, pack: str, home: Path) -> tuple[list[WarmEntry], list[str]]:
    """What the sampler knows from the start, and notes for a person.

    Raises:
        StudyError: no such study, it was judged by another metric, or nothing of it fits this space.
    """
    entries: list[WarmEntry] = []
    notes: list[str] = []
    for wanted in spec.warm_start:
        found, left_out = _entries(spec, space, wanted, _read(wanted, home))
        if not found:
            why = "; ".join(left_out) or "it has no complete trial"
            raise StudyError(f"warm_start: nothing of the study '{wanted.study}' can be used here: {why}")
        entries += found
        notes += [f"{len(found)} configurations of '{wanted.study}' are known from the start", *left_out]
        if _read(wanted, home).identity.pack_digest != pack:
            notes.append(f"'{wanted.study}' trained on another pack: its values are comparable in their order at best")
    return entries, notes


def _read(wanted: WarmStart, home: Path) -> History:
    named = Path(wanted.study)
    folder = named if named.is_absolute() or len(named.parts) > 1 else home / wanted.study
    try:
        return read_history(folder)
    except StudyError as error:
        raise StudyError(f"warm_start: {error}") from None


def _entries(
    spec: StudySpec, space: SearchSpace, wanted: WarmStart, earlier: History
) -> tuple[list[WarmEntry], list[str]]:
    theirs = earlier.spec
    if (theirs.metric, theirs.direction) != (spec.metric, spec.direction):
        raise StudyError(
            f"warm_start: the study '{wanted.study}' {theirs.direction}d {theirs.metric}, this one "
            f"{spec.direction}s {spec.metric}; leave it out"
        )
    entries: list[tuple[float, WarmEntry]] = []
    reasons: dict[str, list[str]] = {}  # by what they begin with: one note for each key, not for each value
    for trials in _configurations(earlier):
        try:
            params = space.params_from(_translated(trials[0], earlier, space, wanted))
        except SpaceError as error:
            reasons.setdefault(str(error).partition(":")[0], []).append(str(error))
            continue
        complete = [trial for trial in trials if trial.outcome is Outcome.COMPLETE]
        if absent := [name for trial in complete for name in missing(trial, spec)]:
            reasons.setdefault(absent[0], []).append(f"it did not measure {absent[0]}")
            continue
        source = f"{wanted.study}/{trials[0].number}"
        values = [trial.best_value or 0.0 for trial in complete]
        best = sum(values) / len(values)
        entries.append((best, WarmEntry(source=source, params=params, told=told(trials, spec))))
    entries.sort(key=lambda item: item[0], reverse=spec.direction == "maximize")
    notes = [
        f"{len(found)} configurations of '{wanted.study}' are left out: {found[0]}"
        + (" and the like" if len(set(found)) > 1 else "")
        for found in reasons.values()
    ]
    return [entry for _, entry in entries[: wanted.at_most]], notes


def _configurations(earlier: History) -> Sequence[list[TrialRecord]]:
    """The complete ones, each with all its trials."""
    firsts = [record for record in earlier.records() if record.configuration == record.number and not record.confirms]
    groups = [[earlier.record(number) for number in earlier.trials_of(first.number)] for first in firsts]
    return [group for group in groups if any(trial.outcome is Outcome.COMPLETE for trial in group)]


def _translated(first: TrialRecord, earlier: History, space: SearchSpace, wanted: WarmStart) -> Mapping[str, Any]:
    """Config values for this space's keys. Raises SpaceError where another key has another value than here, or where
    another recipe was trained than any that is chosen from here."""
    searched = {parameter.key for parameter in space.parameters}
    values = first.values or {}
    theirs = earlier.space.recipe_of(values).name
    # of two studies with one recipe each, keys and values alone decide
    choice = space.recipes.chooses or earlier.space.recipes.chooses
    section = space.recipes.section_of(theirs) if choice else space.recipes.base
    own = {wanted.rename.get(key, key): value for key, value in earlier.space.own_values(values).items()}
    here = {space.recipes.full_key(key, section, searched): value for key, value in own.items()}
    if space.recipes.chooses:
        here[RECIPE] = section
    for key, value in here.items():
        ours = base_value(space.recipes.trees[section], key)
        if key not in searched and key not in wanted.fixed and encode(ours) != encode(value):
            about = "does not exist here; see 'rename'" if ours is ABSENT else f"is {encode(ours)} here"
            raise SpaceError(f"'{key}' was {encode(value)} and {about}")
    tree = earlier.space.recipes.tree(values)
    named = {key: own_key for key in searched if (own_key := space.recipes.own_key(key, section)) is not None}
    base = {key: value for key, own_key in named.items() if (value := base_value(tree, own_key)) is not ABSENT}
    return {**base, **here, **wanted.fixed}
