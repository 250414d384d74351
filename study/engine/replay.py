"""Was every configuration really what the sampler suggests? Worked out again from the journal alone.

The journal is followed line by line. Where it says that a trial was asked for, the suggestion is made once more, from
the space, the seed and what had been told up to that line, and compared with what is written: parameters, values,
seed, the sampler's notes and the trials it had seen. Repeats must have the values of their configuration.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_core.config import Config
from ssl_core.errors import SpaceError
from study.engine.history import History, checked, existing_journal
from study.record.journal_lines import Line, Op, StudyState, TrialFacts
from study.record.trial_record import Origin
from study.samplers.proposal import SpaceExhaustedError
from study.samplers.suggestion import suggest

TOLERANCE = 1e-9
"""Relative. Another processor may round a suggestion differently in its last digits."""


class ReplayDifference(Config):
    """Something in the journal that does not follow from what stands before it."""

    trial: int  # its number
    what: str  # key of a parameter, or `values`, `seed`, `origin.known`, ..
    recorded: str
    derived: str


class Replayed(Config):
    """What `replay` found."""

    study: str  # its name
    trials: int  # in the journal
    derived: int  # of them, those worked out again: suggestions and repeats
    given: int  # of them, confirmations, whose values the search did not choose
    differences: tuple[ReplayDifference, ...] = ()  # none, if the journal holds what happened

    @property
    def exact(self) -> int:
        """Trials worked out again without a difference."""
        return self.derived - len({found.trial for found in self.differences if found.trial >= 0})


def replay(folder: Path) -> Replayed:
    """Work out every suggestion of a study again, running or finished.

    Raises:
        StudyError: there is no such study, or its journal cannot be read.
    """
    journal = existing_journal(folder)
    history = History(journal.path, follow_sampler=True)
    differences: list[ReplayDifference] = []
    derived = given = 0
    for line in journal.read():
        if line["op_code"] == Op.CREATE_TRIAL:
            if line.get("user_attrs", {}).get("origin", {}).get("kind") == "confirmation":
                given += 1
            else:
                derived += 1
                differences += _compare(history, line)
        history.apply(line)
    differences += _identity(checked(history, folder))
    return Replayed(
        study=history.state.name or folder.name,
        trials=len(history.state.trials),
        derived=derived,
        given=given,
        differences=tuple(differences),
    )


def _compare(history: History, line: Line) -> list[ReplayDifference]:
    """The journal's next trial against what should come next."""
    number = len(history.state.trials)
    alone = StudyState()  # the line's trial, without letting the history know
    alone.apply(line)
    recorded = alone.trials[0]
    if recorded.attrs.get("origin", {}).get("kind") == "repeat":
        derived = _repeat(history, recorded)
    else:
        try:
            found = suggest(history.spec, history.space, history.view, number)
            origin = found.origin.model_dump(mode="json")
            derived = _flat(params=found.params, values=found.values, notes=found.notes, origin=origin)
            derived |= {"seed": history.spec.seed + number, "configuration": number, "repeat": 0}
        except (SpaceExhaustedError, SpaceError, AttributeError, LookupError, TypeError, ValueError) as error:
            derived = {"params": f"nothing can be suggested here: {error}"}
    attrs = recorded.attrs
    plain = _flat(params=recorded.params, values=attrs.get("values") or {}, notes=recorded.system_attrs,
                  origin=attrs.get("origin", {}))  # fmt: skip
    return _differences(number, plain | {key: attrs.get(key) for key in ("seed", "configuration", "repeat")}, derived)


def _repeat(history: History, recorded: TrialFacts) -> dict[str, Any]:
    number = len(history.state.trials)
    of = recorded.attrs["origin"].get("of")
    if not isinstance(of, int) or not 0 <= of < number or history.configuration(of) != of:
        return {"origin.of": "the first trial of an earlier configuration"}
    first = history.state.trials[of]
    try:
        values = history.space.replay(first.params)
    except SpaceError as error:
        return {"values": f"trial {of} is outside the space: {error}"}
    origin = Origin(kind="repeat", of=of).model_dump(mode="json")
    own = {"seed": history.spec.seed + number, "configuration": of, "repeat": len(history.trials_of(of))}
    return _flat(params=first.params, values=values, origin=origin) | own


def _flat(**groups: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{group}.{key}": value for group, facts in groups.items() for key, value in facts.items()}


def _differences(number: int, recorded: Mapping[str, Any], derived: Mapping[str, Any]) -> list[ReplayDifference]:
    return [
        ReplayDifference(trial=number, what=key, recorded=_text(recorded, key), derived=_text(derived, key))
        for key in sorted({*recorded, *derived})
        if key not in recorded or key not in derived or not _same(recorded[key], derived[key])
    ]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=0.0)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return bool(left == right)


def _text(facts: Mapping[str, Any], key: str) -> str:
    return repr(facts[key]) if key in facts else "nothing"


def _identity(history: History) -> list[ReplayDifference]:
    """The stored space must be the one that the study's identity names."""
    named = history.identity.space_digest
    found = history.space.digest
    return [] if named == found else [ReplayDifference(trial=-1, what="space digest", recorded=named, derived=found)]
