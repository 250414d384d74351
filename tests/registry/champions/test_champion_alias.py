"""Who is champion, on a real registry: hands, deaths half-way, two gates at once, and a history with holes."""

import json
import sqlite3
import threading

import pytest
from known_features import clouds, report_of

from registry.champions import champion_alias
from registry.champions.champion_alias import ChampionAlias
from registry.champions.gate import GateConfig
from registry.champions.promote import judge, promote_by_hand, rollback
from registry.champions.promotion_history import HistoryStore
from registry.versions.store import EncoderStore
from ssl_core.errors import IntegrityError, RegistryError

NAME = "cross-modal-points"
GOOD, MIDDLE, POOR = (report_of({None: clouds(noise, 1)}) for noise in (0.8, 2.0, 4.0))


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(champion_alias, "GRACE", 0.05)


@pytest.fixture
def versions(store, bundles, lineage, trial):
    """Three registered versions."""
    return [store.register(bundle, NAME, lineage, trial) for bundle in bundles]


def put_before(store, version, report, rival=None, against=None):
    """One version before the gate with the report given; its decision."""
    alias = ChampionAlias(store, NAME)
    history = alias.reconcile()
    reports = {version.version: report, **({rival.version: against} if rival else {})}
    return judge(alias, history, [version], rival, reports, GateConfig())[version.version]


def lines(store):
    return HistoryStore(store, NAME).read().lines


def kinds(store):
    return [(line.kind, line.how, line.version) for line in lines(store)]


def champion(store):
    version = store.with_alias(NAME, "champion")
    return version.version if version is not None else None


def test_every_decision_is_a_line_and_an_event(store, versions):
    one, two, three = versions
    assert put_before(store, one, MIDDLE).promoted
    refused = put_before(store, two, POOR, one, MIDDLE)
    won = put_before(store, three, GOOD, one, MIDDLE)
    assert kinds(store) == [("promoted", "gate", 1), ("refused", "gate", 2), ("promoted", "gate", 3)]
    assert [line.incumbent for line in lines(store)] == [None, 1, 1]
    assert (refused.entry, won.entry) == (2, 3)
    assert lines(store)[1].numbers == refused.numbers
    assert lines(store)[2].numbers["challengers"] == 2, "who challenged the same champion before shares the chance"
    assert champion(store) == 3
    found = {version.version: (version.status, version.events[-1].reason) for version in store.list(NAME)}
    assert found[1] == ("former champion", f"followed by version 3: {won.reason}")
    assert found[2] == ("refused", refused.reason)
    assert found[3] == ("champion", won.reason)


def test_the_same_question_gets_the_same_answer_and_no_new_line(store, versions):
    one, two, _ = versions
    put_before(store, one, MIDDLE)
    first = put_before(store, two, POOR, one, MIDDLE)
    assert put_before(store, two, POOR, one, MIDDLE) == first
    assert len(lines(store)) == 2
    assert [event.kind for event in store.get(NAME, 2).events] == ["registered", "refused"]


def test_an_alias_moved_by_hand_is_written_down_and_counts(store, versions):
    one, two, three = versions
    put_before(store, one, MIDDLE)
    store.client.set_registered_model_alias(NAME, "champion", "2")
    put_before(store, three, POOR, two, MIDDLE)
    assert kinds(store)[1:] == [("observed", "hand", 2), ("refused", "gate", 3)]
    assert "moved to version 2 by hand; by the history it was version 1" in lines(store)[1].reason
    assert (store.get(NAME, 1).status, store.get(NAME, 2).status) == ("former champion", "champion")


def test_an_alias_deleted_by_hand_is_written_down_and_the_bar_stays(store, versions):
    one, _, _ = versions
    put_before(store, one, MIDDLE)
    store.client.delete_registered_model_alias(NAME, "champion")
    alias = ChampionAlias(store, NAME)
    history = alias.reconcile()
    assert kinds(store)[1:] == [("observed", "hand", None)]
    assert "taken away from version 1" in history.lines[-1].reason
    assert alias.rival(history).version == 1
    assert store.get(NAME, 1).status == "former champion"
    assert alias.reconcile() == history, "seen once"
    assert rollback(store, NAME, "give it back").version == 1
    assert champion(store) == 1


def test_a_champion_deleted_by_hand_leaves_the_throne_to_its_predecessor(store, versions):
    one, two, _ = versions
    put_before(store, one, POOR)
    put_before(store, two, GOOD, one, POOR)
    store.client.delete_model_version(NAME, "2")
    alias = ChampionAlias(store, NAME)
    history = alias.reconcile()
    assert "version 2 was deleted by hand" in history.lines[-1].reason
    assert alias.rival(history).version == 1
    assert rollback(store, NAME, "the other is gone").version == 1


@pytest.mark.parametrize("step", ["set_alias", "tag"])
def test_a_promotion_that_died_after_its_line_is_carried_out(store, versions, monkeypatch, step):
    one, two, _ = versions
    put_before(store, one, POOR)

    def dead(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EncoderStore, step, dead)
        with pytest.raises(KeyboardInterrupt):
            put_before(store, two, GOOD, one, POOR)
    assert len(lines(store)) == 2
    history = ChampionAlias(store, NAME).reconcile()
    assert champion(store) == 2
    assert (store.get(NAME, 1).status, store.get(NAME, 2).status) == ("former champion", "champion")
    assert history.unfinished is None
    assert len(history.lines) == 2, "nothing of it looks like a hand's work"


def test_rollback_goes_back_one_champion_at_a_time(store, versions):
    one, two, three = versions
    with pytest.raises(RegistryError, match="no champion to roll back"):
        rollback(store, NAME, "why not")
    put_before(store, one, POOR)
    with pytest.raises(RegistryError, match="nothing to go back to"):
        rollback(store, NAME, "why not")
    put_before(store, two, MIDDLE, one, POOR)
    promote_by_hand(store, three, "I like it")
    assert rollback(store, NAME, "I was wrong").version == 2
    assert rollback(store, NAME, "and again").version == 1
    with pytest.raises(RegistryError, match="nothing to go back to"):
        rollback(store, NAME, "and again")
    with pytest.raises(RegistryError, match="needs a reason"):
        rollback(store, NAME, "  ")
    assert kinds(store)[-2:] == [("rolled back", "hand", 2), ("rolled back", "hand", 1)]
    assert [version.status for version in store.list(NAME)] == ["champion", "former champion", "former champion"]


def test_a_promotion_by_hand_says_what_the_gate_would(store, versions):
    one, _, _ = versions
    decision = promote_by_hand(store, one, "a person\nsays so")
    assert decision.reason == "by hand: a person says so (the gate would say: it was never evaluated)"
    assert store.get(NAME, 1).decision == decision
    assert kinds(store) == [("promoted", "hand", 1)]
    with pytest.raises(RegistryError, match="is the champion already"):
        promote_by_hand(store, store.get(NAME, 1), "again")


def test_a_registry_older_than_its_history_keeps_its_champions(store, versions):
    one, two, three = versions
    store.add_event(store.set_alias(one, "champion"), "promoted", "long ago")
    store.add_event(store.set_alias(two, "champion"), "promoted", "later")
    put_before(store, three, POOR, two, GOOD)
    assert kinds(store) == [
        ("observed", "before the ledger", 1),
        ("observed", "before the ledger", 2),
        ("refused", "gate", 3),
    ]
    assert rollback(store, NAME, "back").version == 1


@pytest.mark.parametrize(
    "change",
    ["UPDATE params SET value = '{' WHERE key = 'line.000002'", "DELETE FROM params WHERE key = 'line.000001'"],
)
def test_a_history_with_holes_stops_the_gate(store, versions, home, change):
    """Only somebody with the database can make them: MLflow refuses."""
    one, two, three = versions
    put_before(store, one, POOR)
    put_before(store, two, GOOD, one, POOR)
    with sqlite3.connect(home / "mlflow.db") as database:
        assert database.execute(change).rowcount == 1
    database.close()
    for act in (
        lambda: put_before(store, three, GOOD, two, GOOD),
        lambda: rollback(store, NAME, "x"),
        lambda: promote_by_hand(store, three, "x"),
    ):
        with pytest.raises(IntegrityError, match=f"promotion history of {NAME} was changed"):
            act()
    assert champion(store) == 2
    assert len(HistoryStore(store, NAME).read(strict=False).lines) == ("UPDATE" in change)


def test_a_ledger_of_revision_3e03538_is_read_and_goes_on(store, versions):
    """Its lines held each the sha256 of the one before, and the model a tag with the last one's."""
    histories = HistoryStore(store, NAME)
    old = {
        "sequence": 1, "time": "2026-11-01T00:00:00.000000+00:00", "kind": "promoted", "how": "gate", "by": "me",
        "version": 1, "bundle_digest": versions[0].bundle_digest, "incumbent": None, "reason": "first", "numbers": {},
        "pack_digest": "p", "protocol": "q", "gate": "g", "previous": "",
    }  # fmt: skip
    refused = {**old, "sequence": 2, "kind": "refused", "version": 2, "incumbent": 1, "previous": "ab" * 32}
    run = histories._founded()
    for line in (old, refused):
        text = json.dumps(line, sort_keys=True, separators=(",", ":"))
        store.client.log_param(run, f"line.{line['sequence']:06d}", text)
    store.client.log_param(run, "done.000001", "yes")
    store.set_alias(versions[0], "champion")
    store.client.set_registered_model_tag(NAME, "splatsweep.ledger_head", '{"sequence":2,"sha256":"cd"}')
    put_before(store, versions[2], GOOD, versions[0], POOR)
    assert kinds(store) == [("promoted", "gate", 1), ("refused", "gate", 2), ("promoted", "gate", 3)]
    assert champion(store) == 3


def test_a_line_is_written_once(store, versions):
    histories = HistoryStore(store, NAME)
    empty = histories.read()
    first = histories.append(empty, champion_alias.draft("promoted", "gate", versions[0], "first"))
    assert first is not None
    assert (
        HistoryStore(store, NAME).append(empty, champion_alias.draft("promoted", "gate", versions[1], "too late"))
        is None
    )
    assert histories.read() == first
    with pytest.raises(Exception, match="not allowed"):
        store.client.log_param(histories._run_id, "line.000001", "{}")


def test_a_deleted_history_comes_back(store, versions):
    put_before(store, versions[0], POOR)
    histories = HistoryStore(store, NAME)
    before = histories.read()
    store.client.delete_run(histories._run_id)
    assert HistoryStore(store, NAME).read() == before
    store.client.delete_experiment(store.client.get_experiment_by_name(histories.experiment).experiment_id)
    assert HistoryStore(store, NAME).read() == before
    put_before(store, versions[1], GOOD, versions[0], POOR)
    assert len(lines(store)) == 2


def test_two_gates_at_once_leave_one_champion_and_one_history(store, versions, monkeypatch):
    """No lock: the database says who came first."""
    monkeypatch.setattr(champion_alias, "GRACE", 2.0)
    one, two, three = versions
    put_before(store, one, POOR)
    gates = threading.Barrier(2)
    found, problems = {}, []

    def gate(version, report):
        reports = {1: POOR, 2: MIDDLE, 3: GOOD}
        alias = ChampionAlias(EncoderStore(store.run_log), NAME)
        try:
            gates.wait(timeout=30)
            while version.version not in found:
                history = alias.reconcile()
                rival = alias.rival(history)
                assert rival.version != version.version
                answer = judge(alias, history, [version], rival, reports, GateConfig())
                if answer is not None:
                    found.update(answer)
        except Exception as error:  # told by the test itself
            problems.append(error)

    threads = [threading.Thread(target=gate, args=(two, MIDDLE)), threading.Thread(target=gate, args=(three, GOOD))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not problems
    assert found[3].promoted, "the best wins whoever comes first"
    assert champion(store) == 3
    assert [version.status for version in store.list(NAME)].count("champion") == 1
    history = HistoryStore(store, NAME).read()
    assert [line.kind for line in history.lines].count("observed") == 0
    assert history.unfinished is None
    second = history.lines[1:]
    assert {line.version for line in second} == {2, 3}
    assert [line.incumbent for line in second] in ([1, 1], [1, 2], [1, 3])


@pytest.mark.parametrize(
    "reason", ["日本" * 1000, "🙂" * 1500, "\x1b[31m red \udcff bytes \0", "x" * 5000, '"\\' * 900]
)
def test_a_reason_of_any_letters_finds_room_in_its_line(store, versions, reason, monkeypatch):
    """A line is a parameter of MLflow's, of at most 6000 characters, in which these take up to twelve each."""
    monkeypatch.setenv("LOGNAME", "me\x1b" + "é" * 5000)
    promote_by_hand(store, versions[0], reason)
    promote_by_hand(store, versions[1], "another")
    rollback(store, NAME, reason)
    first, _, last = lines(store)
    assert (first.kind, last.kind) == ("promoted", "rolled back")
    assert all(line.reason.isprintable() and line.by.isprintable() for line in (first, last))
    begun = "".join(letter if letter.isprintable() else "?" for letter in reason.strip())[:300]
    assert begun in first.reason
    assert store.get(NAME, 1).status == "champion"
