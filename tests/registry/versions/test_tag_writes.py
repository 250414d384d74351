"""Several programs that set the same tag or alias for the first time."""

import threading

import pytest
from mlflow.exceptions import MlflowException

from registry.tracking.connection import WRITES, write_again
from registry.versions.store import EncoderStore

NAME = "cross-modal-points"
TAKEN = [
    "(sqlite3.IntegrityError) UNIQUE constraint failed: model_version_tags.key",
    '(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "registered_model_aliases_pk"',
    "(pymysql.err.IntegrityError) (1062, \"Duplicate entry 'a-1' for key 'PRIMARY'\")",
]


class Racing:
    """A client whose first writes find that somebody else was quicker."""

    def __init__(self, refusals: int, text: str) -> None:
        self.left, self.text, self.tries = refusals, text, 0

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self.tries += 1
        if self.left:
            self.left -= 1
            raise MlflowException(self.text)


@pytest.mark.parametrize("text", TAKEN)
def test_a_lost_race_is_run_again(text: str) -> None:
    client = Racing(1, text)
    write_again(client.set_model_version_tag, NAME, "1", "key", "value")
    assert client.tries == 2


@pytest.mark.parametrize(("refusals", "text", "tries"), [(99, TAKEN[0], WRITES), (1, "no such version", 1)])
def test_what_is_no_race_is_raised(refusals: int, text: str, tries: int) -> None:
    client = Racing(refusals, text)
    with pytest.raises(MlflowException):
        write_again(client.set_model_version_tag, NAME, "1", "key", "value")
    assert client.tries == tries


def test_many_at_once_on_a_real_registry(store, bundles, lineage, trial) -> None:
    version = store.register(bundles[0], NAME, lineage, trial)
    number, workers, rounds = str(version.version), 6, 8
    line, problems = threading.Barrier(workers), []

    def work(worker: int) -> None:
        client = EncoderStore(store.run_log).client
        try:
            for turn in range(rounds):
                line.wait(timeout=30)
                write_again(client.set_model_version_tag, NAME, number, f"version-{turn}", str(worker))
                write_again(client.set_registered_model_tag, NAME, f"model-{turn}", str(worker))
                write_again(client.set_registered_model_alias, NAME, f"alias-{turn}", number)
        except Exception as error:  # told by the test itself
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not problems
    tags = store.client.get_model_version(NAME, str(version.version)).tags
    assert {tags[f"version-{turn}"] for turn in range(rounds)} <= {str(worker) for worker in range(workers)}
    assert {f"alias-{turn}" for turn in range(rounds)} <= set(store.get(NAME, version.version).aliases)
