"""The journal: written whole or not at all, readable by Optuna, and not believed when it is something else."""

import json
import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from search_kit import (
    WIDE,
    act,
    finish,
    frozen_trials,
    identity_of,
    in_memory,
    lines_of,
    on_disk,
    space_of,
    spec_of,
)

from ssl_core.errors import StorageError, StudyError
from study.engine.ledger import JOURNAL, Ledger, open_ledger, read_ledger
from study.record.journal import FileJournal, MemoryJournal
from study.record.journal_lines import FORMAT, MORE, Op, study_attr
from study.spec.outcome import EpochReport, Outcome

space = space_of(WIDE)
spec = spec_of("random")


def busy(folder: Path, steps: int = 60, seed: int = 0) -> Ledger:
    ledger, rng = on_disk(folder, space, spec), random.Random(seed)
    for _ in range(steps):
        act(ledger, space, rng)
    return ledger


# ---- what is written


def test_optuna_reads_the_same(tmp_path: Path) -> None:
    ledger = busy(tmp_path / "s")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "s" / JOURNAL)))
    theirs = optuna.load_study(study_name="s", storage=storage)
    ours = frozen_trials(ledger)
    assert len(theirs.trials) == len(ours) > 10
    for own, their in zip(ours, theirs.trials, strict=True):
        for field in ("number", "state", "params", "distributions", "values", "intermediate_values", "user_attrs"):
            assert getattr(own, field) == getattr(their, field), field
        assert (own.datetime_start, own.datetime_complete) == (their.datetime_start, their.datetime_complete)
    assert theirs.user_attrs["identity"]["name"] == "s"


def test_another_process_sees_news_when_it_reads_again(tmp_path: Path) -> None:
    ledger = busy(tmp_path / "s")
    assert read_ledger(tmp_path / "s").records() == ledger.records()
    reader = read_ledger(tmp_path / "s")
    ledger.ask(space)
    assert len(read_ledger(tmp_path / "s").records()) == len(reader.records()) + 1 == len(ledger.records())
    with pytest.raises(StudyError, match="opened for reading"):
        reader.set_attr("x", 1)


def test_lines_of_another_tool_are_taken_in(tmp_path: Path) -> None:
    """A dashboard's note must not be overwritten, nor harm."""
    ledger = busy(tmp_path / "s")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "s" / JOURNAL)))
    optuna.load_study(study_name="s", storage=storage).set_user_attr("dashboard", "a note")
    finish(ledger, ledger.ask(space).number, 0.5)
    assert ledger.attrs["dashboard"] == "a note"
    assert read_ledger(tmp_path / "s").records() == ledger.records()


def test_a_finished_trial_can_be_given_a_fact_late(tmp_path: Path) -> None:
    ledger = on_disk(tmp_path / "s", space, spec)
    number = ledger.ask(space).number
    finish(ledger, number, 0.5)
    ledger.note(number, losses=3)
    assert read_ledger(tmp_path / "s").record(number).losses == 3
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "s" / JOURNAL)))
    assert len(optuna.load_study(study_name="s", storage=storage).trials) == 1


def test_a_report_is_one_write_and_costs_the_same_late_in_a_study() -> None:
    journal = CountingJournal()
    from study.engine.ledger import _opened

    ledger = _opened(journal, identity_of(space), spec, space, Path("memory"))
    first = ledger.ask(space).number
    for _ in range(150):
        finish(ledger, ledger.ask(space).number, 0.5)
    journal.groups.clear()
    ledger.report(EpochReport(number=first, epoch=1, epochs=5), 0.5, 1.0, 2.0)
    ledger.report(EpochReport(number=first, epoch=2, epochs=5), 0.6, 2.0, 3.0)
    assert [(len(group), sync) for group, sync in journal.groups] == [(4, False), (3, False)]
    before = ledger.records()
    ledger.report(EpochReport(number=first, epoch=3, epochs=5), 0.6, 2.0, 3.0)
    after = ledger.records()
    assert [old is new for old, new in zip(before, after, strict=True)] == [False] + [True] * 150


class CountingJournal(MemoryJournal):
    def __init__(self) -> None:
        super().__init__()
        self.groups: list[tuple[list[Any], bool]] = []

    def append(self, group: Any, *, sync: bool) -> None:
        self.groups.append((list(group), sync))
        super().append(group, sync=sync)


def test_memory_and_file_tell_the_same(tmp_path: Path) -> None:
    rng, other = random.Random(3), random.Random(3)
    disk, memory = on_disk(tmp_path / "s", space, spec), in_memory(space, spec)
    for _ in range(80):
        act(disk, space, rng)
        act(memory, space, other)
    timeless = {"started", "ended"}
    assert [r.model_dump(exclude=timeless) for r in disk.records()] == [
        r.model_dump(exclude=timeless) for r in memory.records()
    ]


# ---- cut off anywhere


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_journal_cut_off_at_any_byte_is_the_study_at_an_earlier_moment(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "s"
    busy(folder, steps=25, seed=data.draw(st.integers(0, 3)))
    content = (folder / JOURNAL).read_bytes()
    groups = [line for line in lines_of(folder) if not line.get(MORE)]
    start = content.index(b'"identity"')
    cut = data.draw(st.integers(content.index(b"\n", start) + 1, len(content)))
    junk = data.draw(st.sampled_from([b"", b"\0\0\0\0", b"\xff{", b'{"op_code"']))
    (folder / JOURNAL).write_bytes(content[:cut] + junk)
    reader = read_ledger(folder)
    assert (folder / JOURNAL).read_bytes() == content[:cut] + junk
    ledger = on_disk(folder, space, spec)
    kept = (folder / JOURNAL).read_bytes()
    assert content.startswith(kept)
    assert ledger.records() == reader.records()
    whole = [line for line in lines_of(folder) if not line.get(MORE)]
    assert whole == groups[: len(whole)]
    for record in ledger.records():
        assert record.values is not None
        assert (record.outcome is not None) == record.told
    finish(ledger, ledger.ask(space).number, 0.5)
    assert read_ledger(folder).records() == ledger.records()


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """A real limit on the file's size: the write is cut off in its middle, then space is freed."""
    ledger = busy(tmp_path / "s")
    number = ledger.ask(space).number
    before, records = (tmp_path / "s" / JOURNAL).read_bytes(), ledger.records()
    with file_size_limit(len(before) + 100), pytest.raises(StorageError, match="nothing is lost"):
        ledger.report(EpochReport(number=number, epoch=1, epochs=5), 0.5, 1.0)
    assert (tmp_path / "s" / JOURNAL).read_bytes() == before
    assert ledger.records() == records
    with file_size_limit(len(before) + 100), pytest.raises(StorageError):
        ledger.ask(space)
    assert ledger.records() == records
    ledger.report(EpochReport(number=number, epoch=1, epochs=5), 0.5, 1.0)
    assert read_ledger(tmp_path / "s").record(number).curve == {1: 0.5}
    ledger.ask(space)
    assert ledger._history.view.running()[-1] == number + 1


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_could_not_be_taken_back_is_cut_before_the_next(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j", writable=True)
    journal.append([study_attr("a", 1)], sync=True)
    journal.read()
    good = (tmp_path / "j").read_bytes()
    journal._good = len(good)
    with (tmp_path / "j").open("ab") as stream:
        stream.write(b'{"op_code": 2, "torn')
    journal.append([study_attr("b", 2)], sync=True)
    assert [line["user_attr"] for line in journal.read()] == [{"b": 2}]
    assert (tmp_path / "j").read_bytes().startswith(good)


# ---- something else


def changed(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    lines = lines_of(folder)
    change(lines)
    (folder / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_newer_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    busy(tmp_path / "s", 10)

    def newer(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if "format" in line.get("user_attr", {}):
                line["user_attr"]["format"] = FORMAT + 1

    changed(tmp_path / "s", newer)
    for opening in (lambda: on_disk(tmp_path / "s", space, spec), lambda: read_ledger(tmp_path / "s")):
        with pytest.raises(StudyError, match=rf"journal.log: the journal has format {FORMAT + 1}.*update this one"):
            opening()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"op_code": 99, "worker_id": "w"}\n', "makes no sense"),
        (b'{"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [2]}\n', "has no 'identity'"),
        (b'{"op_code": 8, "worker_id": "w", "trial_id": 4, "user_attr": {}}\n', "makes no sense"),
        (b'{"op_code": 2, "worker_id": "w"}\n', "makes no sense"),
        (b'{"op_code": 4, "worker_id": "w", "study_id": 0, "params": 2}\n', "makes no sense"),
        (
            b'{"op_code": 4, "worker_id": "w", "study_id": 0, "intermediate_values": {"Infinity": 1}}\n',
            "makes no sense",
        ),
        (b'garbage\n{"op_code": 2, "user_attr": {}, "study_id": 0}\n', "damaged: line 1"),
    ],
)
def test_garbage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / JOURNAL).write_bytes(content)
    for opening in (lambda: on_disk(tmp_path / "s", space, spec), lambda: read_ledger(tmp_path / "s")):
        with pytest.raises(StudyError, match=message) as caught:
            opening()
        assert JOURNAL in str(caught.value)
    assert (tmp_path / "s" / JOURNAL).read_bytes() == content


NESTED = st.recursive(
    st.none() | st.integers(-2, 9) | st.text(max_size=3), lambda inner: st.dictionaries(st.text(max_size=9), inner)
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=200), key=st.sampled_from(sorted(Op)), value=NESTED)
def test_no_bytes_raise_anything_else(
    content: bytes, key: Op, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("noise") / "s"
    folder.mkdir()
    names = ("study_id", "trial_id", "user_attr", "params", "directions", "state", "values", "step", "study_name")
    line = json.dumps({"op_code": int(key), **dict.fromkeys(names, value)}).encode() + b"\n"
    for noise in (content, line, line + content + b"\n" + line):
        (folder / JOURNAL).write_bytes(noise)
        with pytest.raises(StudyError):
            read_ledger(folder)


def test_the_journal_of_another_study_is_refused(tmp_path: Path) -> None:
    busy(tmp_path / "theirs", 10)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / JOURNAL).write_bytes((tmp_path / "theirs" / JOURNAL).read_bytes())
    with pytest.raises(StudyError, match=r"journal in .*mine is of the study 'theirs', not of 'mine'; move it back"):
        on_disk(tmp_path / "mine", space, spec)


def test_two_studies_in_one_journal_are_refused(tmp_path: Path) -> None:
    busy(tmp_path / "s", 10)
    changed(tmp_path / "s", lambda lines: lines.append(lines[0] | {"study_name": "b", MORE: 0}))
    with pytest.raises(StudyError, match="more than one study"):
        on_disk(tmp_path / "s", space, spec)


def test_a_journal_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    ledger = busy(tmp_path / "s")
    os.truncate(tmp_path / "s" / JOURNAL, 1000)
    with pytest.raises(StudyError, match="became shorter"):
        ledger.set_attr("x", "y")


def test_parameters_are_asked_in_the_order_the_study_began_with(tmp_path: Path) -> None:
    """A space file may be rearranged: it is the same space, and must search the same."""
    straight, turned = list(WIDE), ["lr", "x", "n", "kind", "y", "deep", "deeper"]
    other = space_of({key: WIDE[key] for key in turned})
    assert other.digest == space.digest
    plain, mixed = on_disk(tmp_path / "a" / "s", space, spec), tmp_path / "b" / "s"
    open_ledger(mixed, identity_of(space, "s"), spec, space)
    rearranged = open_ledger(mixed, identity_of(other, "s"), spec, other)
    assert [plain.ask(space).params for _ in range(5)] == [rearranged.ask(other).params for _ in range(5)]
    assert straight != turned


def test_a_complete_trial_must_have_what_the_study_needs() -> None:
    from study.spec.study_spec import ObjectiveMetric

    two = (ObjectiveMetric(metric="m"), ObjectiveMetric(metric="cost/latency_ms", direction="minimize"))
    ledger = in_memory(space, spec_of("random", objectives=two))
    number = ledger.ask(space).number
    finish(ledger, number, 0.5)
    assert ledger.record(number).outcome is Outcome.CRASHED
    assert "'cost/latency_ms'" in ledger.record(number).reason
