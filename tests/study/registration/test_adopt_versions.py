"""What a stranger may register: files that are no files, addresses that lead elsewhere, weights and tags that lie."""

import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from plain_client import PROTOCOL, another_bundle, edit_card, first_bundle, register, spoil_weights, with_checksums

from registry.champions.adoption import UnfitError, adopted
from registry.champions.pending import one_version
from registry.champions.promote import evaluate_version, promote_by_hand
from registry.tracking.run_log import open_run_log
from registry.versions.evaluation_log import read_report
from registry.versions.store import EncoderStore
from ssl_core.contracts import ImageContract
from ssl_core.errors import NewerVersionError
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import encoder_card
from ssl_core.models.image import ResNetConfig

WEIGHTS = "encoder.safetensors"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with open_run_log(None, tmp_path_factory.mktemp("home")) as log:
        yield EncoderStore(log)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return first_bundle(tmp_path_factory.mktemp("bundles") / "first")


@pytest.fixture
def bundle(first: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return another_bundle(first, tmp_path / "bundle", 1)


def unfit(store: EncoderStore, source: Path | str, **tags: str) -> str:
    """Why what was registered is refused for good: no other error, which would be tried again and again."""
    name, _, number = register(store.client, source, **tags).rpartition("/")  # type: ignore[arg-type]
    with pytest.raises(UnfitError) as told:
        adopted(store, one_version(store, name, int(number)))
    return str(told.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("target", ["/dev/zero", "/etc", "."])
def test_a_link_is_not_followed(store, bundle, target):
    (bundle / "notes").symlink_to(target)
    assert "'notes', which is a link" in unfit(store, bundle)


def test_weights_behind_a_link_and_pipes_are_refused(store, bundle, tmp_path):
    shutil.move(bundle / WEIGHTS, tmp_path / "elsewhere")
    (bundle / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    assert WEIGHTS in unfit(store, bundle)
    (bundle / WEIGHTS).unlink()
    os.mkfifo(bundle / WEIGHTS)
    assert "link or a device" in unfit(store, bundle)


@pytest.mark.parametrize("source", ["/dev", "file:///dev", "../../dev", "runs:/none/encoder", "/nowhere at\x07all"])
def test_an_address_that_leads_elsewhere_is_refused_once_and_for_all(store, source):
    assert unfit(store, source)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.int32, torch.complex64])
def test_weights_of_another_type_are_not_converted(store, bundle, kind):
    state = safetensors.torch.load_file(bundle / WEIGHTS)
    safetensors.torch.save_file({key: value.to(kind) for key, value in state.items()}, bundle / WEIGHTS)
    assert f"is {kind}, not torch." in unfit(store, with_checksums(bundle))


def test_a_header_that_lies_is_refused(store, bundle):
    content = (bundle / WEIGHTS).read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, rest = content[8 : 8 + size], content[8 + size :]
    deep = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    lies = (header.replace(b'"F32"', b'"F64"'), header.replace(b'"F32"', b'"U32"'), deep, b"{}")
    for lie in lies:
        (bundle / WEIGHTS).write_bytes(struct.pack("<Q", len(lie)) + lie + rest)
        assert WEIGHTS in unfit(store, with_checksums(bundle))
    (bundle / WEIGHTS).write_bytes(struct.pack("<Q", 2**62) + header + rest)
    assert WEIGHTS in unfit(store, with_checksums(bundle))


@pytest.mark.parametrize("width", [10**6, 10**12, 10**30])
def test_a_width_without_weights_is_not_made_room_for(store, bundle, width):
    edit_card(bundle, backbone__feature_dim=width)
    assert "too small" in unfit(store, bundle)


def test_a_card_may_not_name_another_file_of_weights(store, tmp_path):
    """It would be opened wherever the encoder is built."""
    contract, backbone = ImageContract(image_size=24), ResNetConfig(kind="resnet18")
    card = encoder_card(contract, backbone)
    save_bundle(card.build(0), card, tmp_path / "image", name="i", lineage={})
    os.mkfifo(tmp_path / "pipe.pth")
    edit_card(tmp_path / "image", backbone__weights_file=str(tmp_path / "pipe.pth"))
    assert "weights_file" in unfit(store, tmp_path / "image")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"model_id": "m-none"}, "logged model 'm-none'"),
        ({"model_id": "../../x"}, "logged model"),
        ({"event.2020": '{"kind": "promoted", "time": "2020", "reason": "mine"}'}, "verdict of its own"),
    ],
)
def test_tags_that_lie_are_found_before_hours_are_spent(store, bundle, tags, reason):
    assert reason in unfit(store, bundle, **tags)


def test_a_verdict_that_came_along_is_dropped(store, bundle):
    """It would name a report of the stranger's own making, and keep the gate away."""
    evaluation = '{"run_id": "r", "pack_digest": "p", "config_digest": "c", "headline": "100 %"}'
    tags = {"decision": '{"promoted": true, "reason": "mine"}', "evaluation": evaluation}
    name, _, number = register(store.client, bundle, **tags).rpartition("/")
    assert store.get(name, int(number)).evaluation is not None
    for _ in range(2):
        version, _ = adopted(store, one_version(store, name, int(number)))
        assert (version.evaluation, version.decision) == (None, None)


def test_who_registers_honestly_is_taken_and_taken_again(store, bundle):
    event = '{"kind": "registered", "time": "2020", "reason": "by hand"}'
    name, _, number = register(store.client, bundle, **{"event.2020": event}).rpartition("/")
    for _ in range(2):
        version, card = adopted(store, one_version(store, name, int(number)))
        assert (version.feature_dim, card.card.output_shape) == (32, (32,))
        assert version.model_id


def test_a_hand_and_a_single_evaluation_take_a_stranger_in_first(store, first, tmp_path, tiny_pack):
    """Not the watcher alone meets what another client registered; a hand's promotion once stopped half-way at it."""
    name = "strangers"
    for seed in range(2):
        register(store.client, another_bundle(first, tmp_path / str(seed), seed), name=name)
    bad = another_bundle(first, tmp_path / "bad", 5)
    register(store.client, spoil_weights(bad), name=name)
    decision = promote_by_hand(store, store.get(name, 1), "wanted")
    assert decision.promoted
    champion = store.resolve(f"{name}@champion")
    assert (champion.version, champion.status, champion.decision) == (1, "champion", decision)
    report = evaluate_version(store, tiny_pack, store.get(name, 2), PROTOCOL)
    assert read_report(store, store.get(name, 2)) == report
    for attempt in (
        lambda: promote_by_hand(store, store.get(name, 3), "wanted"),
        lambda: evaluate_version(store, tiny_pack, store.get(name, 3), PROTOCOL),
    ):
        with pytest.raises(UnfitError, match="not finite"):
            attempt()
    assert store.resolve(f"{name}@champion").version == 1


def test_a_decision_stands_where_its_evaluation_was_removed_for_good(store, first, tmp_path):
    name = "purged"
    reference = register(store.client, another_bundle(first, tmp_path / "one", 1), name=name)
    version, _ = adopted(store, one_version(store, name, 1))
    gone = '{"run_id": "0123456789abcdef", "pack_digest": "p", "config_digest": "c", "headline": "-"}'
    store.tag(version, {"splatsweep.evaluation": gone})
    decision = promote_by_hand(store, store.get(name, 1), "wanted")
    assert "its evaluation cannot be read" in decision.reason
    assert store.resolve(f"{name}@champion").reference == reference
    assert store.get(name, 1).decision == decision


def test_what_a_newer_installation_registered_is_not_refused_for_good(store, bundle):
    for change in ({"card": {"kind": "hologram"}}, {"format_version": 99}):
        name, _, number = register(store.client, edit_card(bundle, **change)).rpartition("/")
        with pytest.raises(NewerVersionError, match="upgrade splatsweep"):
            adopted(store, one_version(store, name, int(number)))
