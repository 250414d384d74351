"""The ledger as a pure value: what follows from its lines, and that no line can be changed unseen."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.judging.ledger import Champion, Ledger, Line, read_lines, sound_part
from registry.judging.ledger_store import chained
from ssl_core.errors import IntegrityError


def ledger_of(*steps: tuple[str, int | None]) -> Ledger:
    """Lines of (kind, version)."""
    ledger = Ledger("m", ())
    for kind, version in steps:
        line = Line(
            sequence=1,
            time="",
            kind=kind,
            how="gate",
            by="me",
            version=version,
            bundle_digest=f"d{version}" if version else "",
            incumbent=ledger.champion.version if ledger.champion else None,
            reason="because",
            numbers={"p": 0.2} if kind == "refused" else {},
            pack_digest="pack",
            protocol="rules",
        )
        ledger = Ledger("m", (*ledger.lines, chained(ledger, line)))
    return ledger


def texts(ledger: Ledger) -> dict[int, str]:
    return {line.sequence: line.to_json() for line in ledger.lines}


THERE = {version: f"d{version}" for version in range(1, 9)}


def test_who_is_champion_and_who_was():
    ledger = ledger_of(("promoted", 1), ("refused", 2), ("promoted", 3))
    assert ledger.champion == Champion(3, "d3")
    assert ledger.predecessor(THERE) == Champion(1, "d1")
    back = ledger_of(("promoted", 1), ("promoted", 3), ("promoted", 4), ("rolled back", 3))
    assert back.champion == Champion(3, "d3")
    assert back.predecessor(THERE) == Champion(1, "d1"), "going back twice goes back two champions"
    assert ledger_of(("promoted", 1)).predecessor(THERE) is None
    assert ledger_of().champion is None


def test_a_hand_that_takes_the_alias_away_does_not_lower_the_bar():
    ledger = ledger_of(("promoted", 1), ("promoted", 2), ("observed", None))
    assert ledger.champion is None
    assert ledger.standing(THERE) == Champion(2, "d2")
    assert ledger.predecessor(THERE) == Champion(2, "d2")
    assert ledger.standing({1: "d1"}) == Champion(1, "d1"), "one that was deleted stands in nobody's way"
    assert ledger.standing({1: "d1", 2: "another"}) == Champion(1, "d1"), "nor does its number under other weights"


def test_challengers_are_those_of_this_reign_on_this_data():
    ledger = ledger_of(("promoted", 1), ("refused", 2), ("refused", 2), ("refused", 3), ("promoted", 4), ("refused", 5))
    assert ledger.challengers(Champion(4, "d4"), ("pack", "rules")) == {"d5": 0.2}
    before = Ledger("m", ledger.lines[:4])
    assert before.challengers(Champion(1, "d1"), ("pack", "rules")) == {"d3": 0.2, "d2": 0.2}
    assert before.challengers(Champion(1, "d1"), ("pack", "rules"), ["d3"]) == {"d2": 0.2}
    assert before.challengers(Champion(1, "d1"), ("other", "rules")) == {}


def test_times_only_go_forward():
    ledger = ledger_of(("promoted", 1))
    future = Ledger("m", (ledger.lines[0].model_copy(update={"time": "2999-01-01T00:00:00.000000+00:00"}),))
    line = chained(future, future.lines[0])
    assert line.time == "2999-01-01T00:00:00.000001+00:00"
    assert (line.sequence, line.previous) == (2, future.lines[0].sha256())


def test_what_was_written_is_read():
    ledger = ledger_of(("promoted", 1), ("refused", 2), ("promoted", 3))
    assert read_lines("m", texts(ledger), ledger.head()) == ledger.lines
    assert read_lines("m", {}, None) == ()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_change_goes_unseen(data):
    """Any line edited, removed, swapped or cut off at the end; the head is what sees the last."""
    ledger = ledger_of(("promoted", 1), ("refused", 2), ("promoted", 3), ("refused", 4), ("rolled back", 1))
    there = texts(ledger)
    number = data.draw(st.integers(1, 5))
    match data.draw(st.sampled_from(["edit", "retouch", "remove", "swap", "cut", "spoil"])):
        case "edit":
            field, value = data.draw(st.sampled_from([("version", 9), ("reason", "bribed"), ("by", "nobody")]))
            there[number] = json.dumps(
                {**json.loads(there[number]), field: value}, sort_keys=True, separators=(",", ":")
            )
        case "retouch":
            there[number] += " "
        case "remove":
            del there[number]
        case "swap":
            other = number % 5 + 1
            there[number], there[other] = there[other], there[number]
        case "cut":
            there = {n: text for n, text in there.items() if n < number}
        case "spoil":
            there[number] = data.draw(st.text(max_size=20))
    with pytest.raises(IntegrityError, match="ledger of m was changed"):
        read_lines("m", there, ledger.head())
    sound = sound_part(there)
    assert sound == ledger.lines[: len(sound)] or len(sound) == number


def test_a_forged_tail_does_not_fit_the_head():
    ledger = ledger_of(("promoted", 1), ("refused", 2))
    forged = ledger_of(("promoted", 1), ("promoted", 2))
    with pytest.raises(IntegrityError, match="line 2 is not the one that was written"):
        read_lines("m", texts(forged), ledger.head())
