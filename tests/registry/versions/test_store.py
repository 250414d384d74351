"""Registering, finding and describing encoders in a real MLflow registry."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from resealed import reseal
from safetensors.torch import load_file, save_file
from tiny_bundles import make_bundle

from registry.tracking.run_log import RunLog
from registry.versions.fetching import pull
from registry.versions.records import Lineage, kind_of, parse_reference
from registry.versions.store import EncoderStore
from ssl_core.errors import IntegrityError, RegistryError

NAME = "cross-modal-points"


def test_a_registered_encoder_is_a_candidate_with_lineage_signature_and_example(store, bundles, lineage, trial):
    version = store.register(bundles[0], NAME, lineage, trial)
    assert version.reference == f"{NAME}/1"
    assert version.aliases == ("candidate",)
    assert version.status == "registered"
    assert version.lineage == lineage
    assert (version.kind, version.feature_dim) == ("point_encoder", 64)
    assert [event.kind for event in version.events] == ["registered"]
    raw = store.client.get_model_version(NAME, "1")
    assert raw.run_id == trial
    assert raw.tags["splatsweep.config_digest"] == "c0ffee"
    assert "Point encoder" in raw.description
    logged = store.client.get_logged_model(version.model_id)
    assert str(logged.status) == "READY"
    assert logged.params["backbone.kind"] == "pointnet"
    assert logged.source_run_id == trial
    files = {item.path for item in store.client.list_logged_model_artifacts(version.model_id)}
    assert {
        "encoder.safetensors",
        "encoder.json",
        "program.pt2",
        "checksums.json",
        "model_card.md",
        "MLmodel",
        "requirements.txt",
        "python_env.yaml",
        "code",
    } <= files
    assert store.serving_digests(version).keys() >= {"MLmodel", "code/splatsweep_encoder.py"}


def test_mlflow_reads_signature_and_example(store, bundles, lineage, trial, tmp_path):
    from mlflow.models import Model

    version = store.register(bundles[0], NAME, lineage, trial)
    folder = store.download(NAME, version.version, tmp_path)
    model = Model.load(str(folder / "MLmodel"))
    assert model.signature.inputs.inputs[0].shape == (-1, 64, 3)
    assert model.signature.outputs.inputs[0].shape == (-1, 64)
    example = model.load_input_example(str(folder))
    assert np.asarray(example["points"]).shape == (1, 64, 3)


def test_registering_twice_is_one_version(store, bundles, lineage, trial):
    first = store.register(bundles[0], NAME, lineage, trial)
    assert store.register(bundles[0], NAME, lineage, trial) == first
    second = store.register(bundles[1], NAME, lineage, trial)
    assert second.version == 2
    assert store.register(bundles[0], NAME, lineage, trial).version == 1
    assert store.resolve(f"{NAME}@candidate").version == 2
    assert [version.version for version in store.list()] == [1, 2]


def test_the_same_weights_from_another_trial_are_another_version(store, bundles, lineage, trial, log):
    store.register(bundles[0], NAME, lineage, trial)
    other = log.start_run("b", {}, {})
    assert store.register(bundles[0], NAME, lineage.model_copy(update={"run_id": other}), other).version == 2


def test_a_program_that_died_before_the_alias_is_made_good_for(store, bundles, lineage, trial):
    store.register(bundles[0], NAME, lineage, trial)
    store.client.delete_registered_model_alias(NAME, "candidate")
    assert store.register(bundles[0], NAME, lineage, trial).aliases == ("candidate",)


def test_models_of_both_kinds_side_by_side(store, bundles, lineage, trial, tmp_path):
    image = make_bundle(tmp_path / "image", 0, "image")
    store.register(bundles[0], NAME, lineage, trial)
    version = store.register(image, "cross-modal-image", lineage, trial)
    assert (version.kind, version.feature_dim) == ("image_encoder", 512)
    assert [v.name for v in store.list()] == ["cross-modal-image", NAME]
    assert [v.name for v in store.list(NAME)] == [NAME]
    assert store.list("nothing") == ()


def test_what_is_not_there_is_answered_with_what_is(store, bundles, lineage, trial):
    with pytest.raises(RegistryError, match="none are registered"):
        store.resolve(f"{NAME}@champion")
    store.register(bundles[0], NAME, lineage, trial)
    with pytest.raises(RegistryError, match=r"no alias 'champion'; its aliases are candidate \(version 1\)"):
        store.resolve(f"{NAME}@champion")
    with pytest.raises(RegistryError, match="no version 3"):
        store.resolve(f"{NAME}/3")
    with pytest.raises(RegistryError, match=f"there are {NAME}"):
        store.resolve("cross-model-points/1")


@pytest.mark.parametrize(
    "text", ["", "a", "../x@y", "a/b/c", "a@", "@a", "a/0", "a/-1", "a\n@b", "a@b/c", ".a@b", "a/1x"]
)
def test_references_that_name_nothing(text):
    with pytest.raises(RegistryError):
        parse_reference(text)


def test_references_that_do():
    assert parse_reference("a-b.c@champion") == ("a-b.c", "champion")
    assert parse_reference("models:/a/12") == ("a", 12)


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a b", "a\x00", "x" * 200])
def test_unsafe_names_are_refused(store, bundles, lineage, trial, name):
    with pytest.raises(RegistryError, match="not a usable model name"):
        store.register(bundles[0], name, lineage, trial)


def test_a_damaged_bundle_is_refused(store, lineage, trial, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", 0)
    with (bundle / "program.pt2").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError, match=r"program\.pt2"):
        store.register(bundle, NAME, lineage, trial)
    assert store.list() == ()


@pytest.mark.parametrize("name", ["notes.txt", "encoder.safetensors", "model.pth"])
def test_a_pickle_is_refused_unread(store, lineage, trial, tmp_path, name):
    bundle = make_bundle(tmp_path / "bundle", 0)
    (bundle / name).write_bytes(pickle.dumps({"weights": [1.0]}))
    reseal(bundle)
    with pytest.raises(RegistryError, match="pickle"):
        store.register(bundle, NAME, lineage, trial)
    assert store.list() == ()


def test_a_program_that_is_more_than_data_is_refused(store, lineage, trial, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", 0)
    with zipfile.ZipFile(bundle / "program.pt2", "a") as archive:
        archive.writestr("program/data/aotinductor/model/library.so", b"machine code")
    reseal(bundle)
    with pytest.raises(RegistryError, match=r"library\.so"):
        store.register(bundle, NAME, lineage, trial)


def test_weights_that_are_not_numbers_and_missing_ones_are_refused(store, lineage, trial, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", 0)
    weights = load_file(bundle / "encoder.safetensors")
    weights["backbone.points_1.norm.running_mean"][0] = float("inf")
    save_file(weights, bundle / "encoder.safetensors")
    reseal(bundle)
    with pytest.raises(RegistryError, match="not finite"):
        store.register(bundle, NAME, lineage, trial)
    (bundle / "encoder.safetensors").unlink()
    with pytest.raises(IntegrityError, match="missing"):
        store.register(bundle, NAME, lineage, trial)
    assert store.list() == ()


def test_a_contract_that_lies_is_refused(store, lineage, trial, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", 0)
    written = json.loads((bundle / "encoder.json").read_text())
    contract = dict(written["card"]["contract"])
    for lie in ({"num_points": 128}, {"features": ["xyz", "scale"]}):
        written["card"]["contract"] = contract | lie
        (bundle / "encoder.json").write_text(json.dumps(written))
        reseal(bundle)
        with pytest.raises(RegistryError, match="the card is not this program's"):
            store.register(bundle, NAME, lineage, trial)
    assert store.list() == ()


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"splatsweep.card": "scene_field"}, "scene_field"),
        ({"splatsweep.modality": "points"}, "point_encoder"),
        ({"splatsweep.modality": "image"}, "image_encoder"),
        ({"splatsweep.modality": "lidar"}, "lidar"),
        ({"splatsweep.card": "image_encoder", "splatsweep.modality": "points"}, "image_encoder"),
        ({}, ""),
    ],
)
def test_tags_of_older_revisions_are_read_and_nothing_is_guessed(tags, kind):
    assert kind_of(tags) == kind


def test_a_kind_of_a_newer_installation_is_listed_and_never_taken_for_another(store, bundles, lineage, trial, tmp_path):
    version = store.register(bundles[0], NAME, lineage, trial)
    store.tag(version, {"splatsweep.card": "hologram"})
    assert [each.kind for each in store.list(NAME)] == ["hologram"]
    with pytest.raises(RegistryError, match=r"of a newer version: a 'hologram'.*upgrade splatsweep"):
        pull(store, version.reference, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


def test_somebody_elses_model_is_left_alone(store, bundles, lineage, trial):
    store.client.create_registered_model(NAME)
    with pytest.raises(RegistryError, match="choose another name"):
        store.register(bundles[0], NAME, lineage, trial)
    assert store.list() == ()


def test_an_encoder_carries_what_it_cost(store, bundles, lineage, trial, tmp_path):
    receipt = {"useful": 100.5, "stopped": 0.0, "failed": 3.0, "overhead": 2.25, "gpus": 0.5}
    version = store.register(bundles[0], NAME, lineage, trial, receipt)
    assert version.receipt == receipt == store.resolve(f"{NAME}/1").receipt
    assert json.loads((store.download(NAME, version.version, tmp_path) / "receipt.json").read_text()) == receipt
    assert store.register(bundles[1], NAME, lineage, trial).receipt is None
    store.tag(version, {"splatsweep.receipt": "nonsense"})
    assert store.get(NAME, 1).receipt is None


def test_lineage_survives_tags():
    lineage = Lineage(study="s", trial=3, run_id="r", seed=1, space_digest="abc")
    assert Lineage.from_tags({**lineage.tags(), "mlflow.other": "x"}) == lineage


def test_a_tag_edited_by_hand_does_not_break_the_listing(store: EncoderStore, bundles, lineage, trial, log: RunLog):
    version = store.register(bundles[0], NAME, lineage, trial)
    store.tag(version, {"splatsweep.evaluation": "nonsense", "splatsweep.event.2000-01-01T00:00:00": "{"})
    found = store.list(NAME)[0]
    assert found.evaluation is None
    assert [event.kind for event in found.events] == ["registered"]
