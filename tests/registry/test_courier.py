"""Delivery to a server that lost things, refuses things, or is another one."""

from pathlib import Path

import pytest
from memory_server import MemoryServer

from registry.tracking.entries import Entry, Finish, Points, Start, Tags, Text
from registry.tracking.outbox import Outbox, read_sent
from registry.tracking.run_ids import RunIds
from registry.tracking.sender import Sender

TWO = (
    Start("study", 0, "s", {"lineage": "x"}, {"trials": "2"}),
    Start("0", 1, "trial-000", {}, {"lr": "0.1"}),
    Points("0", 2, 1, {"m": 1.0}),
)


def send(folder: Path, server: MemoryServer, *entries: Entry) -> None:
    outbox = Outbox(folder, "key", "s")
    outbox.put(*entries)
    outbox.close()
    sender = Sender(folder, server)
    while sender.round():
        pass


def test_a_deleted_experiment_is_restored_with_its_runs(tmp_path: Path) -> None:
    server = MemoryServer()
    send(tmp_path, server, *TWO)
    server.delete_experiment(for_ever=False)
    send(tmp_path, server, Points("0", 3, 2, {"m": 2.0}), Start("1", 4, "trial-001"))
    assert [point.step for point in server.by_trial("0")[0].points] == [1, 2]
    assert len(server.runs) == 3


def test_a_deleted_run_is_brought_back(tmp_path: Path) -> None:
    server = MemoryServer()
    send(tmp_path, server, *TWO)
    server.by_trial("0")[0].deleted = True
    send(tmp_path, server, Points("0", 3, 2, {"m": 2.0}))
    (run,) = server.by_trial("0")
    assert not run.deleted
    assert len(run.points) == 2


@pytest.mark.parametrize("what", ["run", "study", "experiment"])
def test_what_is_gone_for_ever_is_made_again_and_called_lost(tmp_path: Path, what: str) -> None:
    server = MemoryServer()
    send(tmp_path, server, *TWO)
    if what == "experiment":
        server.delete_experiment(for_ever=True)
    else:
        kind = "0" if what == "run" else "study"
        server.runs = {i: run for i, run in server.runs.items() if run not in server.by_trial(kind)}
    send(tmp_path, server, Points("0", 3, 2, {"m": 2.0}), Tags("study", 4, {"t": "u"}))
    ids = RunIds(tmp_path / "runs.jsonl")
    assert ids.lost == {"run": {"0"}, "study": {"study"}, "experiment": {"study", "0"}}[what]
    (run,), (study,) = server.by_trial("0"), server.by_trial("study")
    assert study.tags["t"] == "u"
    assert run.tags["mlflow.parentRunId"] == ids.runs["study"].id
    assert [point.step for point in run.points] == ([1, 2] if what == "study" else [2])
    # told again by the study
    again = Points("0", 9, 1, {"m": 1.0}, again=True), Points("0", 9, 2, {"m": 2.0}, again=True)
    send(tmp_path, server, *TWO[:2], *again)
    assert RunIds(tmp_path / "runs.jsonl").lost == set()
    assert sorted(point.step for point in run.points) == [1, 2]
    assert (run.params, study.params) == ({"lr": "0.1"}, {"trials": "2"})


def test_the_same_server_under_another_name_keeps_its_runs_and_another_server_gets_its_own(tmp_path: Path) -> None:
    server = MemoryServer()
    send(tmp_path, server, *TWO)
    server.address = "tunnel"
    send(tmp_path, server, Points("0", 3, 2, {"m": 2.0}))
    assert len(server.runs) == 2
    assert RunIds(tmp_path / "runs.jsonl").lost == set()
    other = MemoryServer("elsewhere")
    send(tmp_path, other, Points("0", 4, 3, {"m": 3.0}))
    assert len(other.runs) == 2
    assert RunIds(tmp_path / "runs.jsonl").lost == {"study", "0"}


def test_a_value_that_will_never_do_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    server = MemoryServer()
    server.poison = "bad"
    send(
        tmp_path, server, *TWO, Points("0", 3, 2, {"bad": 2.0}), Points("0", 4, 3, {"m": 3.0}),
        Text("0", 5, "a.txt", "text"), Finish("0", 6, "FINISHED"),
    )  # fmt: skip
    (run,) = server.by_trial("0")
    assert [point.step for point in run.points] == [1, 3]
    assert (run.statuses[-1], run.artifacts) == ("FINISHED", {"a.txt": b"text"})
    assert read_sent(tmp_path).refused == 1


def test_parameters_are_of_the_first_beginning_and_odd_texts_stay_recognisable(tmp_path: Path) -> None:
    server = MemoryServer()
    send(tmp_path, server, *TWO)
    params = {"trials": "3"} | {f"p{i}": "x" for i in range(150)}
    send(tmp_path, server, Start("study", 5, "s", {"big": "t" * 9000, "odd key (%)": "1"}, params))
    (study,) = server.by_trial("study")
    assert study.params == {"trials": "2"}
    assert "9000 characters, sha256" in study.tags["big"]
    assert study.tags["odd key ___"] == "1"


def test_hundreds_of_parameters_and_infinite_values(tmp_path: Path) -> None:
    server = MemoryServer()
    params = {f"p{i}": "y" * 6500 for i in range(250)}
    values = {"inf": float("inf"), "nan": float("nan"), "fine": 1.0}
    send(tmp_path, server, Start("0", 1, "t", {}, params), Points("0", 2, 3, values))
    (run,) = server.by_trial("0")
    assert len(run.params) == 250
    assert {point.key for point in run.points} == {"nan", "fine"}
    assert run.tags["splatsweep.infinite.inf"] == "epoch 3"


def test_a_run_whose_life_is_told_at_once_is_made_with_its_last_tags(tmp_path: Path) -> None:
    class Watched(MemoryServer):
        def batch(self, run_id, points, params, tags):
            told.append(dict(tags))
            super().batch(run_id, points, params, tags)

    told: list[dict[str, str]] = []
    server = Watched()
    end = Finish("0", 3, "FINISHED", {"outcome": "COMPLETE", "reason": "done"})
    started = Start("0", 1, "trial-000", {"outcome": "RUNNING", "seed": "7"}, {"lr": "0.1"})
    send(tmp_path, server, started, Points("0", 2, 1, {"m": 1.0}), Tags("0", 2, {"reason": "slow"}), end)
    (run,) = server.by_trial("0")
    assert (run.tags["outcome"], run.tags["reason"], run.tags["seed"]) == ("COMPLETE", "done", "7")
    assert run.statuses[-1] == "FINISHED"
    assert told == [{}]
    send(tmp_path, server, Tags("0", 4, {"reason": "again"}))
    assert (run.tags["outcome"], run.tags["reason"]) == ("COMPLETE", "again")
