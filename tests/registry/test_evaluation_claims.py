"""One holder at a time, whatever the order of reads and writes; the dead do not hold; the living are not robbed."""

import json
import random
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from registry.evaluation import evaluation_claims as claims
from registry.evaluation.evaluation_claims import Claim, ClaimLostError, ClaimWatch, claims_in, holding, take, work_key

WORK = work_key("feed" * 4, "c0de" * 4)
NAME = "cross-modal-points"


class MemoryClient:
    """Tags of one version, each request at a moment of its own."""

    def __init__(self, pause: float = 0.0) -> None:
        self.tags: dict[str, str] = {}
        self._pause, self._lock, self._random = pause, threading.Lock(), random.Random(0)

    def _later(self) -> None:
        if self._pause:
            time.sleep(self._random.random() * self._pause)

    def get_model_version(self, name: str, version: str) -> SimpleNamespace:
        self._later()
        with self._lock:
            return SimpleNamespace(tags=dict(self.tags))

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._later()
        with self._lock:
            self.tags[key] = value
        self._later()

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        self._later()
        with self._lock:
            self.tags.pop(key, None)

    def put(self, claim: Claim) -> None:
        self.tags[f"splatsweep.claim.{WORK}.{claim.token}"] = claim.to_json()


def elsewhere(token: str, number: int = 1, beat: int = 0) -> Claim:
    return Claim(token=token, number=number, beat=beat, host="far", pid=1, machine="another", began="1")


def test_never_two_at_once_and_never_none_for_ever():
    """Eight contenders, thousands of interleavings: a counter that only the holder touches."""
    client, inside, most, done = MemoryClient(pause=0.002), [0], [0], []

    def contend(seed: int) -> None:
        rng, wins = random.Random(seed), 0
        deadline = time.monotonic() + 60
        while wins < 5 and time.monotonic() < deadline:
            held = take(client, NAME, 1, WORK)
            if held is None:
                time.sleep(rng.random() * 0.01)
                continue
            with held:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(rng.random() * 0.003)
                inside[0] -= 1
            wins += 1
        done.append(wins)

    threads = [threading.Thread(target=contend, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert done == [5] * 8
    assert client.tags == {}


def test_on_a_real_registry_a_claim_holds_and_is_given_back(store, bundles, lineage, trial):
    version = store.register(bundles[0], NAME, lineage, trial)
    with take(store.client, NAME, 1, WORK) as held:
        assert take(store.client, NAME, 1, WORK) is None
        assert take(store.client, NAME, 1, work_key("other", "c0de")) is not None  # another work, another claim
        tags = store.client.get_model_version(NAME, "1").tags
        assert [claim.number for claim in claims_in(tags, WORK)] == [1]
        held.check()
    assert not claims_in(store.client.get_model_version(NAME, "1").tags, WORK)
    assert store.get(NAME, 1).events == version.events


def test_a_living_claim_from_another_machine_is_respected_and_a_dead_one_removed():
    client = MemoryClient()
    client.put(elsewhere("other"))
    assert take(client, NAME, 1, WORK) is None
    assert [claim.token for claim in claims_in(client.tags, WORK)] == ["other"]
    with take(client, NAME, 1, WORK, dead=frozenset({"other"})):
        assert "other" not in {claim.token for claim in claims_in(client.tags, WORK)}


def test_a_killed_process_of_this_machine_holds_nothing():
    code = (
        "import time; from registry.evaluation.evaluation_claims import _mine; "
        "print(_mine().to_json(), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        theirs = Claim.from_json(process.stdout.readline()).model_copy(update={"number": 1})
        client = MemoryClient()
        client.put(theirs)
        assert take(client, NAME, 1, WORK) is None
        assert ClaimWatch().dead((theirs,)) == frozenset()
        process.kill()
        process.wait()
        assert ClaimWatch().dead((theirs,)) == {theirs.token}
        with take(client, NAME, 1, WORK):
            assert len(claims_in(client.tags, WORK)) == 1
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_reused_process_id_is_no_life():
    mine = claims._mine()
    assert ClaimWatch().dead((mine,)) == frozenset()
    assert ClaimWatch().dead((mine.model_copy(update={"began": "1"}),)) == {mine.token}


def test_a_beat_that_stands_still_is_death_and_one_that_moves_is_life():
    now = [0.0]
    watch = ClaimWatch(clock=lambda: now[0])
    for i in range(30):
        now[0] = 5.0 * i
        still, moving = elsewhere("still"), elsewhere("moving", beat=i)
        dead = watch.dead((still, moving))
        assert dead == ({"still"} if now[0] >= claims.DEAD_SECONDS else frozenset())


def test_a_registry_out_of_reach_does_not_kill_anybody():
    now = [0.0]
    watch = ClaimWatch(clock=lambda: now[0])
    assert watch.dead((elsewhere("a"),)) == frozenset()
    now[0] = 10 * claims.DEAD_SECONDS  # nobody could beat meanwhile
    assert watch.dead((elsewhere("a"),)) == frozenset()


def test_a_claim_that_was_taken_away_is_noticed(monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.02)
    client = MemoryClient()
    with take(client, NAME, 1, WORK) as held:
        held.check()
        client.tags.clear()
        time.sleep(0.2)
        assert client.tags == {}  # it is not brought back by a beat
        with pytest.raises(ClaimLostError):
            held.check()


def test_it_beats(monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)
    client = MemoryClient()
    with take(client, NAME, 1, WORK):
        deadline = time.monotonic() + 10
        while claims_in(client.tags, WORK)[0].beat < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_holding_waits_and_is_free_inside_itself():
    client, order = MemoryClient(), []

    def second() -> None:
        with holding(client, NAME, 1, WORK):
            order.append("second")

    with holding(client, NAME, 1, WORK):
        thread = threading.Thread(target=second)
        thread.start()
        with holding(client, NAME, 1, WORK):
            time.sleep(0.3)
            order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]
    assert client.tags == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 3}', json.dumps({"token": "a", "number": -1})])
def test_edited_claims_are_passed_over(text):
    client = MemoryClient()
    client.tags[f"splatsweep.claim.{WORK}.x"] = text
    with take(client, NAME, 1, WORK) as held:
        held.check()
