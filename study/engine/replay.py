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
from study.record.journal_lines import Line, Op
from study.record.origin import Origin
from study.record.study_state import StudyState, TrialFacts
from study.samplers.exhausted import SpaceExhaustedError
from study.samplers.suggestion import Suggestion, suggest

TOLERANCE = 1e-9
"""Relative. Another processor may round a suggestion differently in its last digits."""


class ReplayDifference(Config):
    """Something in the journal that does not follow from what stands before it.

    Attributes:
        trial: its number.
        what: key of a parameter, or `values`, `seed`, `origin.known`, ...
        recorded, derived: as text.
    """

    trial: int
    what: str
    recorded: str
    derived: str


class Replayed(Config):
    """What `replay` found.

    Attributes:
        study: its name.
        trials: in the journal.
        derived: of them, those worked out again: suggestions and repeats.
        given: of them, confirmations, whose values the search did not choose.
        differences: none, if the journal holds what happened.
    """

    study: str
    trials: int
    derived: int
    given: int
    differences: tuple[ReplayDifference, ...] = ()

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
            if _kind(line) == "confirmation":
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


def _kind(line: Line) -> str:
    return str(line.get("user_attrs", {}).get("origin", {}).get("kind", ""))


def _compare(history: History, line: Line) -> list[ReplayDifference]:
    """The journal's next trial against what should come next."""
    number = len(history.state.trials)
    recorded = _recorded(line)
    if recorded.attrs.get("origin", {}).get("kind") == "repeat":
        derived = _repeat(history, recorded)
    else:
        try:
            derived = _facts(suggest(history.spec, history.space, history.view, number), number, history)
        except (SpaceExhaustedError, SpaceError, AttributeError, LookupError, TypeError, ValueError) as error:
            derived = {"params": f"nothing can be suggested here: {error}"}
    return list(_differences(number, _plain(recorded), derived))


def _recorded(line: Line) -> TrialFacts:
    """The line's trial, without letting the history know."""
    alone = StudyState()
    alone.apply(line)
    return alone.trials[0]


def _plain(trial: TrialFacts) -> dict[str, Any]:
    return {
        **{f"params.{key}": value for key, value in trial.params.items()},
        **{f"values.{key}": value for key, value in (trial.attrs.get("values") or {}).items()},
        **{f"notes.{key}": value for key, value in trial.system_attrs.items()},
        **{f"origin.{key}": value for key, value in trial.attrs.get("origin", {}).items()},
        **{key: trial.attrs.get(key) for key in ("seed", "configuration", "repeat")},
    }


def _facts(found: Suggestion, number: int, history: History) -> dict[str, Any]:
    return {
        **{f"params.{key}": value for key, value in found.params.items()},
        **{f"values.{key}": value for key, value in found.values.items()},
        **{f"notes.{key}": value for key, value in found.notes.items()},
        **{f"origin.{key}": value for key, value in found.origin.model_dump(mode="json").items()},
        "seed": history.spec.seed + number,
        "configuration": number,
        "repeat": 0,
    }


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
    origin = Origin(kind="repeat", of=of)
    return {
        **{f"params.{key}": value for key, value in first.params.items()},
        **{f"values.{key}": value for key, value in values.items()},
        **{f"origin.{key}": value for key, value in origin.model_dump(mode="json").items()},
        "seed": history.spec.seed + number,
        "configuration": of,
        "repeat": len(history.trials_of(of)),
    }


def _differences(number: int, recorded: Mapping[str, Any], derived: Mapping[str, Any]) -> list[ReplayDifference]:
    keys = sorted({*recorded, *derived})
    return [
        ReplayDifference(trial=number, what=key, recorded=_text(recorded, key), derived=_text(derived, key))
        for key in keys
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
    if named == found:
        return []
    return [ReplayDifference(trial=-1, what="space digest", recorded=named, derived=found)]
