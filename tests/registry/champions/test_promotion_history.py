"""The promotion history as a pure value: what follows from its lines."""

from registry.champions.promotion_history import Champion, Line, PromotionHistory, following


def history_of(*steps: tuple[str, int | None]) -> PromotionHistory:
    """Lines of (kind, version)."""
    history = PromotionHistory("m", ())
    for kind, version in steps:
        line = Line(
            sequence=1,
            time="",
            kind=kind,
            how="gate",
            by="me",
            version=version,
            bundle_digest=f"d{version}" if version else "",
            incumbent=history.champion.version if history.champion else None,
            reason="because",
            numbers={"p": 0.2} if kind == "refused" else {},
            pack_digest="pack",
            protocol="rules",
        )
        history = PromotionHistory("m", (*history.lines, following(history, line)))
    return history


THERE = {version: f"d{version}" for version in range(1, 9)}


def test_who_is_champion_and_who_was():
    history = history_of(("promoted", 1), ("refused", 2), ("promoted", 3))
    assert history.champion == Champion(3, "d3")
    assert history.predecessor(THERE) == Champion(1, "d1")
    back = history_of(("promoted", 1), ("promoted", 3), ("promoted", 4), ("rolled back", 3))
    assert back.champion == Champion(3, "d3")
    assert back.predecessor(THERE) == Champion(1, "d1"), "going back twice goes back two champions"
    assert history_of(("promoted", 1)).predecessor(THERE) is None
    assert history_of().champion is None


def test_a_hand_that_takes_the_alias_away_does_not_lower_the_bar():
    history = history_of(("promoted", 1), ("promoted", 2), ("observed", None))
    assert history.champion is None
    assert history.standing(THERE) == Champion(2, "d2")
    assert history.predecessor(THERE) == Champion(2, "d2")
    assert history.standing({1: "d1"}) == Champion(1, "d1"), "one that was deleted stands in nobody's way"
    assert history.standing({1: "d1", 2: "another"}) == Champion(1, "d1"), "nor does its number under other weights"


def test_challengers_are_those_of_this_reign_on_this_data():
    history = history_of(
        ("promoted", 1), ("refused", 2), ("refused", 2), ("refused", 3), ("promoted", 4), ("refused", 5)
    )
    assert history.challengers(Champion(4, "d4"), ("pack", "rules")) == {"d5": 0.2}
    before = PromotionHistory("m", history.lines[:4])
    assert before.challengers(Champion(1, "d1"), ("pack", "rules")) == {"d3": 0.2, "d2": 0.2}
    assert before.challengers(Champion(1, "d1"), ("pack", "rules"), ["d3"]) == {"d2": 0.2}
    assert before.challengers(Champion(1, "d1"), ("other", "rules")) == {}


def test_times_only_go_forward():
    history = history_of(("promoted", 1))
    future = PromotionHistory("m", (history.lines[0].model_copy(update={"time": "2999-01-01T00:00:00.000000+00:00"}),))
    line = following(future, future.lines[0])
    assert line.time == "2999-01-01T00:00:00.000001+00:00"
    assert line.sequence == 2
