"""What a version is follows from what happened to it."""

import pytest

from registry.versions.records import Decision, EncoderVersion, Event, EventKind, Lineage, Status


def version_after(*kinds: EventKind, kept: bool = False) -> EncoderVersion:
    return EncoderVersion(
        name="some-points",
        version=1,
        kind="point_encoder",
        feature_dim=8,
        bundle_digest="0",
        lineage=Lineage(study="s", trial=0, run_id="r", seed=0),
        created="2026-01-01T00:00:00+00:00",
        events=tuple(
            Event(kind=kind, time=f"2026-01-01T00:00:0{place}+00:00", reason="so") for place, kind in enumerate(kinds)
        ),
        decision=Decision(promoted=False, reason="so", kept=kept) if "refused" in kinds else None,
    )


@pytest.mark.parametrize(
    ("before", "kept", "status"),
    [
        ((), False, "evaluated"),
        (("refused",), False, "refused"),
        (("refused",), True, "candidate"),
        (("promoted",), False, "champion"),
        (("promoted", "demoted"), False, "former champion"),
        (("refused", "promoted"), False, "champion"),
    ],
)
def test_a_later_evaluation_undoes_nothing(before: tuple[EventKind, ...], kept: bool, status: Status) -> None:
    judged: tuple[EventKind, ...] = ("registered", "evaluated", *before)
    assert version_after(*judged, kept=kept).status == status
    assert version_after(*judged, "evaluated", kept=kept).status == status


def test_a_version_begins_as_registered() -> None:
    assert version_after().status == version_after("registered").status == "registered"
