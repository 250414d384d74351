"""What every store of registered models owes those who register and pull: the embedded one, and a server over HTTP."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from registry.tracking.run_log import RunLog, open_run_log
from registry.versions.fetching import pull
from registry.versions.records import CANDIDATE, Lineage
from registry.versions.store import EncoderStore
from ssl_core.errors import IntegrityError, RegistryError
from ssl_core.models.bundle import WEIGHTS, load_bundle, save_bundle
from ssl_core.models.cards import Card
from tests.contracts.cards import ONE_OF_EACH, QUICK_OF_EACH
from tests.registry.http_server import MlflowServer

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def address(request, tmp_path_factory) -> Iterator[str | None]:
    """None for the embedded store."""
    if request.param == "embedded":
        yield None
        return
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    server.wait()
    yield server.address
    server.kill()


@pytest.fixture(scope="module")
def log(address, tmp_path_factory) -> Iterator[RunLog]:
    with open_run_log(address, tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture(params=ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def card(request) -> Card:
    torch.set_num_threads(1)
    return request.param


@pytest.fixture
def name() -> str:
    """Of a model that nobody else has."""
    return f"kit-{next(NUMBERS)}"


@pytest.fixture
def lineage(log: RunLog) -> Lineage:
    run = log.start_nested(log.start_run("kit", {}, {}), "trial-001", {}, {})
    return Lineage(study="kit", trial=1, run_id=run, seed=7, recipe="mock_recipe", config_digest="c0ffee")


def bundle(card: Card, folder: Path, seed: int = 0) -> Path:
    save_bundle(card.build(seed), card, folder, name="kit", lineage={})
    return folder


stores = pytest.mark.parametrize(
    "address",
    ["embedded", pytest.param("server", marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
    indirect=True,
)


@stores
def test_what_was_registered_is_found_and_pulled_to_the_last_bit(log, card, name, lineage, tmp_path) -> None:
    store, made = EncoderStore(log), bundle(card, tmp_path / "made")
    version = store.register(made, name, lineage, lineage.run_id, {"useful": 2.5})
    assert (version.reference, version.kind, version.status) == (f"{name}/1", card.kind, "registered")
    assert version.lineage == lineage
    assert version.aliases == (CANDIDATE,)
    for reference in (version.reference, f"{name}@{CANDIDATE}"):
        assert store.resolve(reference) == version
    assert store.get(name, 1) == version
    assert store.list(name) == store.known(name) == (version,)
    pulled = pull(store, version.reference, tmp_path / "pulled")
    assert (pulled / WEIGHTS).read_bytes() == (made / WEIGHTS).read_bytes()
    example = card.example(2)
    assert torch.equal(load_bundle(pulled)(example), load_bundle(made)(example))


@pytest.mark.parametrize("card", QUICK_OF_EACH)
@stores
def test_once_is_enough_and_other_weights_are_another_version(log, card: Card, name, lineage, tmp_path) -> None:
    store, made = EncoderStore(log), bundle(card, tmp_path / "made")
    first = store.register(made, name, lineage, lineage.run_id)
    again = EncoderStore(log)
    assert again.register(made, name, lineage, lineage.run_id) == first
    second = again.register(bundle(card, tmp_path / "other", seed=1), name, lineage, lineage.run_id)
    assert [version.version for version in store.list(name)] == [1, 2]
    assert store.resolve(f"{name}@{CANDIDATE}") == second
    assert first.bundle_digest != second.bundle_digest


@stores
def test_what_is_not_whole_is_not_taken_and_what_is_not_there_is_named(log, name, lineage, tmp_path) -> None:
    store, made = EncoderStore(log), bundle(ONE_OF_EACH["pose_estimator"], tmp_path / "made")
    broken = shutil.copytree(made, tmp_path / "broken")
    with (broken / WEIGHTS).open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    with pytest.raises(IntegrityError, match=WEIGHTS):
        store.register(broken, name, lineage, lineage.run_id)
    assert store.list(name) == ()
    for reference in (f"{name}/1", f"{name}@champion"):
        with pytest.raises(RegistryError, match=name):
            store.resolve(reference)
    store.register(made, name, lineage, lineage.run_id)
    with pytest.raises(RegistryError, match="no alias 'champion'"):
        pull(store, f"{name}@champion", tmp_path / "out")
    assert not (tmp_path / "out").exists()
