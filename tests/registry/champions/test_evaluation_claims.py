"""One evaluates, others yield or wait; a claim ends with its owner or its time; a lost race costs work and no truth."""

import json
import random
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from registry.champions import evaluation_claims as claims
from registry.champions.evaluation_claims import CLAIM, Claim, claim_in, claimed, work_key

WORK = work_key("feed" * 4, "c0de" * 4)
NAME = "cross-modal-points"
CODE = (
    "import time; from registry.champions.evaluation_claims import _ClaimTag; "
    "print(_ClaimTag(None, 'n', '1', 'w').me, flush=True); time.sleep(60)"
)


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
        with self._lock:
            self.tags.pop(key, None)

    def put(self, who: str, minutes: float = 5.0) -> None:
        self.tags[CLAIM + WORK] = Claim(who=who, until=datetime.now(UTC) + timedelta(minutes=minutes)).to_json()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "SETTLE_SECONDS", 0.02)


@pytest.mark.slow
def test_of_eight_that_begin_together_at_most_one_goes_on_and_all_get_their_turn():
    """Requests take less than the moment that a writer waits, so here the race is always seen."""
    client, inside, most, done = MemoryClient(pause=0.002), [0], [0], []

    def contend(seed: int) -> None:
        with claimed(client, NAME, 1, WORK, wait_seconds=60) as mine:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(random.Random(seed).random() * 0.03)
            inside[0] -= 1
            done.append(mine)

    threads = [threading.Thread(target=contend, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert done == [True] * 8
    assert client.tags == {}


def test_on_a_real_registry_a_claim_holds_and_is_given_back(store, bundles, lineage, trial):
    version = store.register(bundles[0], NAME, lineage, trial)
    with claimed(store.client, NAME, 1, WORK) as mine:
        assert mine
        answers = []

        def other() -> None:
            for work in (WORK, work_key("other", "c0de")):  # another work, another claim
                with claimed(store.client, NAME, 1, work) as theirs:
                    answers.append(theirs)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert answers == [False, True]
        with claimed(store.client, NAME, 1, WORK) as again:  # within one's own
            assert again
        assert claim_in(store.client.get_model_version(NAME, "1").tags, WORK) is not None
    assert not [key for key in store.client.get_model_version(NAME, "1").tags if key.startswith(CLAIM)]
    assert store.get(NAME, 1).events == version.events


def test_a_claim_from_another_machine_counts_until_its_time():
    client = MemoryClient()
    client.put("far 1 1 1")
    with claimed(client, NAME, 1, WORK) as mine:
        assert not mine
    assert claim_in(client.tags, WORK).who == "far 1 1 1"
    client.put("far 1 1 1", minutes=-0.01)
    with claimed(client, NAME, 1, WORK) as mine:
        assert mine


def test_a_killed_process_of_this_machine_holds_nothing():
    process = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True)
    try:
        client = MemoryClient()
        client.put(process.stdout.readline().strip())
        with claimed(client, NAME, 1, WORK) as mine:
            assert not mine
        process.kill()  # not waited for: a zombie is dead, too
        deadline = time.monotonic() + 10
        while claim_in(client.tags, WORK) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with claimed(client, NAME, 1, WORK) as mine:
            assert mine
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_reused_process_id_is_no_life():
    client = MemoryClient()
    mine = claims._ClaimTag(client, NAME, "1", WORK).me
    client.put(mine)
    assert claim_in(client.tags, WORK) is not None
    client.put(f"{mine.rpartition(' ')[0]} 1")
    assert claim_in(client.tags, WORK) is None


def test_it_is_renewed_and_one_that_was_taken_away_is_not_brought_back(monkeypatch):
    monkeypatch.setattr(claims, "LEASE", timedelta(seconds=0.1))
    client = MemoryClient()
    with claimed(client, NAME, 1, WORK):
        time.sleep(0.5)
        assert claim_in(client.tags, WORK) is not None
        client.put("far 1 1 1")
        time.sleep(0.2)
    assert claim_in(client.tags, WORK).who == "far 1 1 1"


def test_the_second_waits_for_the_first():
    client, order = MemoryClient(), []

    def second() -> None:
        with claimed(client, NAME, 1, WORK, wait_seconds=30):
            order.append("second")

    with claimed(client, NAME, 1, WORK):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]
    assert client.tags == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"who": 3}', json.dumps({"who": "a", "until": "soon"})])
def test_edited_claims_are_passed_over(text):
    client = MemoryClient()
    client.tags[CLAIM + WORK] = text
    with claimed(client, NAME, 1, WORK) as mine:
        assert mine
