"""The outbox: what was put is there, whatever happened to the process; what is there arrives once, in order."""

import json
import math
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_server import MemoryServer

from registry.tracking.entries import Entry, Finish, Points, Start, Tags, Text, decode, encode
from registry.tracking.outbox import Outbox, Sent, read_entries, read_sent, segments, waiting, write_sent
from registry.tracking.sender import Sender
from registry.tracking.transport import UnreachableError
from ssl_core.errors import StorageError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.floats(allow_nan=False)
TRIALS = st.sampled_from(["study", "0", "1", "12"])
TIMES = st.integers(0, 2**45)
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(Start, TRIALS, TIMES, NAMES, st.dictionaries(NAMES, NAMES), st.dictionaries(NAMES, NAMES)),
    st.builds(Points, TRIALS, TIMES, st.integers(0, 10**6), st.dictionaries(NAMES, VALUES), st.booleans()),
    st.builds(Tags, TRIALS, TIMES, st.dictionaries(NAMES, NAMES)),
    st.builds(Text, TRIALS, TIMES, NAMES, NAMES),
    st.builds(Finish, TRIALS, TIMES, st.sampled_from(["FINISHED", "KILLED"]), st.dictionaries(NAMES, NAMES)),
)


@given(ENTRIES)
def test_an_entry_survives_its_line(entry: Entry) -> None:
    line = encode(entry)
    assert "\n" not in line
    assert decode(line) == entry


def test_nan_survives_and_nonsense_is_refused() -> None:
    again = decode(encode(Points("0", 1, 1, {"m": math.nan, "i": math.inf})))
    assert isinstance(again, Points)
    assert math.isnan(again.metrics["m"])
    assert again.metrics["i"] == math.inf
    for text in ("", "[]", "{}", '{"kind": "Points"}', '{"kind": "Other", "run": "0"}', "null", "{"):
        with pytest.raises(ValueError):
            decode(text)


class CutError(Exception):
    """The sender's process dies here."""


def deliver_all(folder: Path, server: MemoryServer) -> None:
    sender = Sender(folder, server)
    while sender.round():
        pass


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_whatever_dies_everything_put_arrives_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    server = MemoryServer()
    put: dict[str, list[tuple[int, float]]] = {}
    steps: dict[str, int] = {}
    outbox = Outbox(folder, "key", "s", segment_bytes=600)
    clock = 0
    countdown = [10**9, 10**9]

    def cut(which: int) -> None:
        countdown[which] -= 1
        if countdown[which] == 0:
            raise CutError if data.draw(st.booleans()) else UnreachableError("nobody there")

    server.before, server.after = lambda: cut(0), lambda: cut(1)
    for action in data.draw(
        st.lists(st.sampled_from(["put", "put", "put", "send", "cut", "die", "tear"]), max_size=40)
    ):
        if action == "put":
            run = data.draw(st.sampled_from(["0", "1"]))
            clock += 1
            if run not in put:
                outbox.put(Start(run, clock, f"trial-{run}", {"a": "b"}, {"p": run}))
                put[run] = []
            step = steps[run] = steps.get(run, 0) + 1
            outbox.put(Points(run, clock, step, {"m": float(clock)}))
            put[run].append((step, float(clock)))
        elif action == "send":
            Sender(folder, server, round_bytes=data.draw(st.sampled_from([50, 400, 10**6]))).round()
        elif action == "cut":
            countdown[:] = [data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))]
            with suppress(CutError, UnreachableError):
                deliver_all(folder, server)
            countdown[:] = [10**9, 10**9]
        elif action == "die":
            outbox.close()
            outbox = Outbox(folder, "key", "s", segment_bytes=600)
        else:  # in the middle of a put that never returned
            outbox.close()
            last = folder / f"entries-{segments(folder)[-1]:06d}.jsonl"
            line = encode(Points("0", clock, 10**6, {"torn": 1.0})).encode()
            with last.open("ab") as stream:
                stream.write(line[: data.draw(st.integers(0, len(line) - 1))])
            outbox = Outbox(folder, "key", "s", segment_bytes=600)
        for known in put:
            assert outbox.known[known].step == steps[known]
    deliver_all(folder, server)
    assert waiting(folder) == 0
    for run, points in put.items():
        (there,) = server.by_trial(run)
        assert [(point.step, point.value) for point in there.points] == points
        assert there.params == {"p": run}
        assert there.tags["mlflow.parentRunId"] in server.runs
    assert len(server.by_trial("study")) <= 1
    assert len(segments(folder)) == 1 or not put


def test_files_of_the_outbox_are_removed_when_they_are_sent(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o", "key", "s", segment_bytes=500)
    file = tmp_path / "curve.txt"
    file.write_text("first")
    outbox.put(Start("3", 1, "trial-003"))
    outbox.put_file("3", file, "pictures/curve.txt", keep=True)
    file.unlink()
    for step in range(1, 50):
        outbox.put(Points("3", step, step, {"m": 1.0}))
    outbox.put(Finish("3", 99, "FINISHED"))
    assert len(segments(outbox.folder)) > 3
    assert waiting(outbox.folder) == 52
    server = MemoryServer()
    deliver_all(outbox.folder, server)
    (run,) = server.by_trial("3")
    assert run.artifacts == {"pictures/curve.txt": b"first"}
    assert (len(run.points), run.statuses[-1]) == (49, "FINISHED")
    assert list((outbox.folder / "files").iterdir()) == []
    assert len(segments(outbox.folder)) == 1
    again = Outbox(outbox.folder, "key", "s")
    assert (again.known["3"].step, again.known["3"].status) == (49, "FINISHED")


def test_an_epoch_of_many_metrics_is_one_request_and_many_epochs_are_few(tmp_path: Path) -> None:
    outbox, server = Outbox(tmp_path, "key", "s"), MemoryServer()
    outbox.put(Start("study", 0, "s"), Start("0", 0, "trial-000", {}, {"lr": "1"}))
    for step in range(1, 51):
        outbox.put(Points("0", step, step, {f"m{i}": 1.0 for i in range(20)}))
    outbox.put(Finish("0", 60, "FINISHED", {"done": "yes"}))
    deliver_all(tmp_path, server)
    assert server.requests == 5  # two runs, two batches (1000 items each at most), one status
    assert len(server.by_trial("0")[0].points) == 1000


def test_a_power_cut_that_takes_sent_entries_gives_their_place_to_nobody(tmp_path: Path) -> None:
    outbox, server = Outbox(tmp_path, "key", "s"), MemoryServer()
    outbox.put(Start("0", 0, "trial-000"), *(Points("0", n, n, {"m": n}) for n in range(1, 6)))
    outbox.close()
    deliver_all(tmp_path, server)
    path = tmp_path / "entries-000001.jsonl"
    os.truncate(path, len(b"".join(path.read_bytes().splitlines(keepends=True)[:3])))
    outbox = Outbox(tmp_path, "key", "s")
    assert outbox.known["0"].step == 1
    for step in range(2, 7):  # told again by the ledger, at another time
        outbox.put(Points("0", 100 + step, step, {"m": step}, again=True))
    deliver_all(tmp_path, server)
    assert [point.step for point in server.by_trial("0")[0].points] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"segment": 1, "offset": 10, "colour": 1}'])
def test_without_its_place_the_sender_sends_again_and_nothing_doubles(tmp_path: Path, damage: str) -> None:
    outbox, server = Outbox(tmp_path, "key", "s"), MemoryServer()
    outbox.put(Start("0", 0, "t", {}, {"p": "1"}), Points("0", 1, 1, {"m": 1.0}), Finish("0", 2, "FINISHED"))
    deliver_all(tmp_path, server)
    (tmp_path / "sent.json").write_text(damage)
    (tmp_path / "runs.jsonl").unlink()
    deliver_all(tmp_path, server)
    (run,) = server.by_trial("0")
    assert (len(run.points), run.statuses[-1]) == (1, "FINISHED")
    assert len(server.runs) == 2


def test_a_damaged_line_is_passed_over_and_a_newer_version_is_refused(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, "key", "s")
    outbox.put(Tags("0", 0, {"a": "b"}))
    path = tmp_path / "entries-000001.jsonl"
    path.write_bytes(path.read_bytes() + b"\x00\xff nonsense\n" + encode(Tags("0", 0, {"c": "d"})).encode() + b"\n")
    entries, _ = read_entries(tmp_path, Sent(), 10**6)
    assert [entry.tags for entry in entries if isinstance(entry, Tags)] == [{"a": "b"}, {"c": "d"}]
    path.write_text(json.dumps({"head": 99, "key": "k", "name": "s", "known": {}}) + "\n")
    with pytest.raises(StorageError, match="newer version"):
        Outbox(tmp_path, "key", "s")


def test_an_outbox_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert waiting(tmp_path / "no") == 0
    assert read_sent(tmp_path / "no") == Sent()
    write_sent(tmp_path, Sent(2, 3, 0, "why"))
    assert read_sent(tmp_path) == Sent(2, 3, 0, "why")


def test_a_full_disk_takes_all_of_a_put_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, write = Outbox(tmp_path, "key", "s"), os.write
    outbox.put(Tags("0", 0, {"a": "b"}))

    def full(file: int, data: bytes) -> int:
        if len(data) > 10:
            return write(file, data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            outbox.put(Start("7", 0, "trial-007"))
    assert "7" not in outbox.known
    outbox.put(Tags("0", 0, {"c": "d"}))
    assert waiting(tmp_path) == 2
