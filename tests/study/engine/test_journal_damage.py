"""Journals that are whole JSON and yet not what this version writes: named, whoever reads them."""

import json
import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_kit import WIDE, act, identity_of, lines_of, on_disk, space_of, spec_of

from ssl_core.errors import SplatsweepError, StudyError
from study.engine.explain import explain
from study.engine.ledger import JOURNAL, open_ledger, read_ledger
from study.engine.replay import replay
from study.record.journal_lines import Op
from study.record.metrics_file import metrics_path, read_metrics
from study.reports.status import read_status
from study.reports.study_text import format_status

space = space_of(WIDE)
spec = spec_of("tpe", repeats=2)


@lru_cache
def whole() -> bytes:
    """The journal of a study in which a lot happened."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "s")
        ledger, rng = on_disk(folder, space, spec), random.Random(1)
        for _ in range(40):
            act(ledger, space, rng)
        return (folder / JOURNAL).read_bytes()


def look_at(folder: Path) -> None:
    """All that people do with a study, and going on with it."""
    format_status(read_status(folder))
    replay(folder)
    for record in read_ledger(folder).records()[:3]:
        explain(folder, record.number)
    ledger = open_ledger(folder, identity_of(space, "s"), spec, space)
    act(ledger, space, random.Random(0))


def damaged(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    (folder / "s").mkdir(parents=True)
    (folder / "s" / JOURNAL).write_bytes(whole())
    lines = lines_of(folder / "s")
    change(lines)
    (folder / "s" / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "s"


def attr(**facts: Any) -> dict[str, Any]:
    return {"op_code": int(Op.TRIAL_ATTR), "worker_id": "w", "trial_id": 0, "user_attr": facts}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (attr(outcome="BANANA"), "trial 0 cannot be read .*'BANANA'"),
        (attr(epochs="many"), "trial 0 cannot be read"),
        (attr(held={}), "trial 0 cannot be read"),
        (attr(seconds=10**400), "trial 0 cannot be read"),
        (attr(verdicts=3), "trial 0 cannot be read"),
        ({"op_code": int(Op.CREATE_TRIAL), "study_id": 0, "intermediate_values": {"1": "inf"}}, "makes no sense"),
        ({**attr(), "trial_id": -1}, "makes no sense"),
        (
            {"op_code": int(Op.STUDY_ATTR), "user_attr": {"identity": {"name": 3}}},
            "identity of the study cannot be read",
        ),
        ({"op_code": int(Op.STUDY_ATTR), "user_attr": {"spec": '{"future":1}'}}, "spec .* unknown key 'future'"),
        ({"op_code": int(Op.STUDY_ATTR), "user_attr": {"spec": 3}}, "the spec of the study cannot be read"),
        (
            {"op_code": int(Op.CREATE_TRIAL), "study_id": 0, "user_attrs": {"configuration": 900}},
            "repeats a configuration 900 that is not there",
        ),
    ],
)
def test_a_line_of_no_version_is_named(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    folder = damaged(tmp_path, lambda lines: lines.append(line))
    with pytest.raises(StudyError, match=message) as caught:
        look_at(folder)
    assert str(folder / JOURNAL) in str(caught.value)


def test_a_samplers_note_that_is_none_is_a_difference(tmp_path: Path) -> None:
    """What Optuna's genetic samplers look for is stored with each trial; replay does not stumble over it."""
    genetic = spec_of("nsga2")
    ledger, rng = on_disk(tmp_path / "s", space, genetic), random.Random(1)
    for _ in range(60):
        act(ledger, space, rng)
    lines = lines_of(tmp_path / "s")
    notes = [line["system_attrs"] for line in lines if line.get("system_attrs")]
    assert notes, "the sampler left nothing"
    for note in notes:
        note.update({key: {"a": 1} for key in note})
    (tmp_path / "s" / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = replay(tmp_path / "s")
    assert any("nothing can be suggested here" in difference.derived for difference in found.differences)


def test_numbers_that_are_none_are_no_lines(tmp_path: Path) -> None:
    folder = damaged(tmp_path, lambda lines: lines.insert(-2, attr(seconds=float("nan"))))
    with pytest.raises(StudyError, match=r"damaged: line \d+ is not a line"):
        read_status(folder)


ODD = st.sampled_from(
    [None, True, -1, 2**70, 1e308, float("nan"), float("inf"), "", "x", [], {}, [1], {"a": 1}, "{}", "[]", "COMPLETE"]
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_value_in_any_place_raises_anything_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        node: Any = data.draw(st.sampled_from(lines[:7]) | st.sampled_from(lines))
        while True:
            key = data.draw(st.sampled_from(sorted(node)) if isinstance(node, dict) else st.integers(0, len(node) - 1))
            if not (isinstance(node[key], (dict, list)) and node[key]) or data.draw(st.integers(0, 4)) == 0:
                break
            node = node[key]
        node[key] = data.draw(ODD)

    folder = damaged(tmp_path_factory.mktemp("odd"), change)
    told = ""
    try:
        look_at(folder)
    except SplatsweepError as error:
        told = str(error)
    assert not told or str(folder) in told or "study 's'" in told, f"names no place: {told}"


@pytest.mark.parametrize("junk", [b"\xff\xfe{", b"\0\0\0", b"[1]", b"3", b"{}", b'{"epoch":"x","m":1}', b'{"epoch":2}'])
def test_damaged_metrics_cost_their_line(tmp_path: Path, junk: bytes) -> None:
    path = metrics_path(tmp_path, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"epoch": 1, "m": 0.5}\n' + junk + b'\n{"epoch": 3, "m": 0.7}\n')
    assert read_metrics(tmp_path, 0) == {"m": {1: 0.5, 3: 0.7}}


def test_a_name_that_no_file_can_have_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study"):
        read_ledger(tmp_path / ("a" * 400))
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="no study"):
        read_ledger(tmp_path / "file")
    with pytest.raises(StudyError, match="no study"):
        read_ledger(tmp_path / "file" / "below")
