"""The contract of `mirror.py` on a real SQLite store: killed at any call, things deleted, refused, moved."""

import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirror import BEGAN, Connect, Cut, Failing, Played, assert_mirrored, at, play, runs_of, tell, tell_with

from registry.tracking import database
from registry.tracking.connection import Connection, UnreachableError
from registry.tracking.cursor import read_cursor
from registry.tracking.mirror import Mirror
from registry.tracking.names import STUDY_RUN
from registry.tracking.run_view import Point, RunView
from tests.held_database import held

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an embedded store."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def store(home: Path) -> Connect:
    """Opens it."""
    opened = at(None, home)()
    return lambda: opened


@pytest.fixture
def source() -> Played:
    """A study that nobody else has."""
    return Played(f"key{next(NUMBERS)}")


def test_all_is_told_once_and_again_changes_nothing(source: Played, store: Connect, tmp_path: Path) -> None:
    play(source)
    mirror = tell(source, store, tmp_path)
    assert_mirrored(source, store())
    cursor = read_cursor(tmp_path)
    assert cursor == mirror.cursor
    assert (cursor.complete, cursor.left(len(source.facts)), cursor.trouble) == (True, 0, "")
    assert cursor.run_of(1) == runs_of(store(), source.key)["1"].info.run_id
    tell(source, store, tmp_path)
    (tmp_path / "mirror.json").write_text("{")
    tell(source, store, tmp_path)
    assert_mirrored(source, store())


def test_what_comes_later_is_added(source: Played, store: Connect, tmp_path: Path) -> None:
    follower = Played(source.key, source.name, source.views, source.facts)
    mirror = Mirror(follower, store, tmp_path)
    assert not mirror.round()
    source.begin(STUDY_RUN, trials=1)
    source.begin("7", lr=0.1)
    assert mirror.round()
    for step in range(1, 6):
        source.point("7", step, loss=float(step))
        assert mirror.round()
        assert not mirror.round()
    source.end("7", "KILLED")
    assert mirror.round()
    assert_mirrored(source, store())
    source.begin("7", lr=0.2)  # it goes on; parameters are of its first beginning
    source.point("7", 6, loss=6.0)
    source.end("7", **{"splatsweep.reason": "done"})
    while mirror.round():
        pass
    run = runs_of(store(), source.key)["7"]
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"lr": "0.1"}, {"loss": 6.0})


@pytest.mark.slow
@pytest.mark.parametrize("dies", [True, False])
def test_a_cut_at_any_call(dies: bool, store: Connect, tmp_path: Path) -> None:
    counting = Failing(store().client, Cut(0, False, False))
    connection = store()
    played = Played(f"key{next(NUMBERS)}")
    play(played)
    counted = Connection(counting, connection.tracking_uri, connection.experiment_id, "x")
    tell(played, lambda: counted, tmp_path)
    calls = counting._calls
    assert 10 < calls < 40
    for place, done in itertools.product(range(1, calls + 1), (False, True)):
        source, folder = Played(f"key{next(NUMBERS)}"), tmp_path / f"{place}-{done}"
        folder.mkdir()
        play(source)
        tell_with([Cut(place, done, dies)], source, store, folder)
        assert_mirrored(source, store())


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.builds(Cut, st.integers(1, 30), st.booleans(), st.booleans(), st.booleans()), max_size=6))
def test_cut_again_and_again(cuts: list[Cut], store: Connect, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = Played(f"key{next(NUMBERS)}")
    play(source)
    tell_with(cuts, source, store, tmp_path_factory.mktemp("study"))
    assert_mirrored(source, store())


def test_many_points_and_long_texts_are_several_requests(source: Played, store: Connect, tmp_path: Path) -> None:
    points = tuple(Point(f"m{i}", float(step * i), BEGAN, step) for step in range(1, 301) for i in range(7))
    source.begin(STUDY_RUN)
    params = {f"p{i}": "x" * 300 for i in range(130)}
    source.show("0", RunView("trial-000", {f"t{i}": "y" * 300 for i in range(130)}, params, points, "RUNNING", BEGAN))
    tell(source, store, tmp_path)
    assert_mirrored(source, store())


# ---- what others do to a server


@pytest.fixture
def own(home: Path, store: Connect, tmp_path: Path) -> Connect:
    """A store of this test alone, opened anew each time as after a failure."""
    assert store()
    folder = tmp_path / "own"
    folder.mkdir()
    shutil.copyfile(home / "mlflow.db", folder / "mlflow.db")
    return at(None, folder, "own")


def test_a_deleted_experiment_is_restored_with_its_runs(source: Played, own: Connect, tmp_path: Path) -> None:
    play(source)
    mirror = tell(source, own, tmp_path)
    connection = own()
    connection.client.delete_experiment(connection.experiment_id)
    source.point("1", 4, loss=0.25, probe=4.0, nan=0.0)
    source.begin("2")
    while mirror.round() | (mirror._source.position < len(source.facts)):
        mirror._source.facts = source.facts  # type: ignore[attr-defined]
    assert_mirrored(source, own())


@pytest.mark.parametrize("name", ["0", STUDY_RUN])
@pytest.mark.parametrize("for_ever", [False, True])
def test_a_deleted_run_is_brought_back_or_made_again(
    name: str, for_ever: bool, source: Played, own: Connect, tmp_path: Path
) -> None:
    play(source)
    mirror = tell(source, own, tmp_path)
    client = own().client
    run_id = mirror.cursor.runs[name]
    client.delete_run(run_id)
    if for_ever:
        client._tracking_client.store._hard_delete_run(run_id)
    source.point("0", 4, loss=0.25, probe=4.0, nan=0.0)
    source.point(STUDY_RUN, 3, total=9.0)
    while mirror.round():
        pass
    assert_mirrored(source, own())
    assert (mirror.cursor.runs[name] == run_id) is not for_ever


def test_another_server_gets_its_own_and_one_under_another_name_keeps_its_runs(
    source: Played, own: Connect, home: Path, tmp_path: Path
) -> None:
    play(source)
    tell(source, own, tmp_path)
    before, connection = read_cursor(tmp_path), own()
    renamed = Connection(connection.client, "http://user:secret@tunnel", connection.experiment_id, "own")
    tell(source, lambda: renamed, tmp_path)
    after = read_cursor(tmp_path)
    assert (after.address, after.runs) == ("http://tunnel", before.runs)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(home / "mlflow.db", other / "mlflow.db")
    tell(source, at(None, other, "own"), tmp_path)
    assert_mirrored(source, at(None, other, "own")())
    assert not set(read_cursor(tmp_path).runs.values()) & set(before.runs.values())


def test_a_value_that_will_never_do_does_not_hold_up_the_rest(source: Played, store: Connect, tmp_path: Path) -> None:
    source.begin(STUDY_RUN)
    source.begin("0")
    for step in (1, 2, 3):
        source.point("0", step, loss=float(step))
    bad = Point("loss", 5.0, -(10**30), 9)  # a time that no database holds
    view = source.views["0"]
    source.show("0", RunView(view.name, view.tags, {}, (bad, Point("loss", 4.0, BEGAN + 10, 10)), "FINISHED", BEGAN))
    mirror = tell(source, store, tmp_path)
    run = runs_of(store(), source.key)["0"]
    history = store().client.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == [1, 2, 3, 10]
    assert run.info.status == "FINISHED"
    assert mirror.cursor.refused == 1
    assert mirror.cursor.refusals[0].startswith("run 0, loss: ")


def test_odd_names_long_texts_and_infinities_stay_recognisable(source: Played, store: Connect, tmp_path: Path) -> None:
    points = (Point("m (%)", 1.0, BEGAN, 1), Point("m (%)", float("inf"), BEGAN, 2))
    source.begin(STUDY_RUN)
    source.show("0", RunView("trial-000", {"note!": "t" * 9000}, {"p?": "x" * 7000}, points, "RUNNING", BEGAN))
    tell(source, store, tmp_path)
    data = runs_of(store(), source.key)["0"].data
    assert (data.metrics, data.tags["splatsweep.infinite.m ___"]) == ({"m ___": 1.0}, "epoch 2")
    assert "7000 characters, sha256" in data.params["p_"]
    assert "9000 characters" in data.tags["note_"]


def test_files_are_told_when_they_change_and_those_that_are_gone_are_left_out(
    source: Played, store: Connect, tmp_path: Path
) -> None:
    file = tmp_path / "crash.txt"
    file.write_text("boom")
    source.begin(STUDY_RUN)
    view = RunView("trial-000", {}, {}, (), "RUNNING", BEGAN, files={"crash.txt": file, "x/gone.txt": tmp_path / "no"})
    source.show("0", view)
    mirror = tell(source, store, tmp_path)
    run_id, client = mirror.cursor.runs["0"], store().client
    assert [item.path for item in client.list_artifacts(run_id)] == ["crash.txt"]
    file.write_text("boom, twice")
    source.show("0", view)
    tell(source, store, tmp_path)
    assert Path(client.download_artifacts(run_id, "crash.txt", str(tmp_path))).read_text() == "boom, twice"


def test_a_server_that_is_not_there_is_named_and_nothing_is_lost(
    source: Played, store: Connect, tmp_path: Path
) -> None:
    play(source)
    mirror = Mirror(source.again(), at("http://127.0.0.1:9", tmp_path / "home"), tmp_path)
    for _ in range(2):
        with pytest.raises(UnreachableError, match=r"no MLflow server answers at http://127\.0\.0\.1:9"):
            mirror.round()
    cursor = read_cursor(tmp_path)
    assert (cursor.left(len(source.facts)), "MLFLOW_TRACKING_URI" in cursor.trouble) == (len(source.facts), True)
    tell(source, store, tmp_path)
    assert_mirrored(source, store())


def test_a_full_disk_keeps_nothing_from_the_server(
    source: Played, store: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    play(source)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        mirror = Mirror(source.again(), store, tmp_path)
        mirror._source.views = {  # type: ignore[attr-defined]
            name: RunView(**{**vars(view), "files": {}}) for name, view in source.views.items()
        }
        while mirror.round():
            pass
    assert not (tmp_path / "mirror.json").exists()
    tell(source, store, tmp_path)
    assert_mirrored(source, store())


def test_a_database_that_is_held_or_damaged_is_waited_for_and_refuses_nothing(
    source: Played, own: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own" / "mlflow.db"
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.5)
    monkeypatch.setattr(database, "QUIET_SECONDS", 0.1)
    play(source)
    tell(source, own, tmp_path)
    mirror, whole = Mirror(source, own, tmp_path), file.read_bytes()
    with held(file), pytest.raises(UnreachableError, match="is busy"):
        mirror.round()
    mirror.round()
    source.point("0", 5, loss=0.125, probe=5.0, nan=0.0)
    mirror._source.facts = source.facts  # type: ignore[attr-defined]
    # the counter of changes in the header, too: else SQLite believes what it remembers
    file.write_bytes(whole[:24] + b"new!" + whole[28:4096] + b"x" * (len(whole) - 4096))
    with pytest.raises(UnreachableError, match="is damaged"):
        mirror.round()
    assert "is damaged" in read_cursor(tmp_path).trouble
    file.write_bytes(whole)
    while mirror.round():
        pass
    assert_mirrored(source, own())
    cursor = read_cursor(tmp_path)
    assert (cursor.refused, cursor.trouble) == (0, "")
