"""An imported checkpoint in a real registry: versions, files beside them, the gate, and a second time."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from registry.champions.promote import promote
from registry.versions.fetching import pull
from registry.versions.import_checkpoint import check_pack, register_imported
from ssl_core.errors import InfeasibleError, RegistryError
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.bundle import load_bundle, read_card
from ssl_core.models.imported import ImageImport, Imported, import_image_weights
from ssl_core.models.onnx_export import check_onnx
from ssl_core.models.program import check_program
from ssl_core.models.reference_checkpoint import ReferenceImport, import_reference_checkpoint
from tests.ssl_core.models.reference_checkpoints import FUSION, IMAGE, random_checkpoint, random_state, saved

CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()),
    point_draws=1,
    baselines=("random_twins",),
    twin_seeds=(5,),
)
SETTINGS = ReferenceImport(num_points=64, image_size=32)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return saved(random_checkpoint(), tmp_path_factory.mktemp("reference") / "best_model.pth")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    """Plain image weights."""
    return saved(random_state("resnet18"), tmp_path_factory.mktemp("plain") / "resnet18.pth")


@pytest.fixture(scope="module")
def imported(file) -> Imported:
    return import_reference_checkpoint(file, SETTINGS)


@pytest.mark.slow
def test_both_encoders_are_registered_with_their_source(store, imported, file, tmp_path):
    points, image = register_imported(store, imported, "elsewhere", "cross_modal")
    assert (points.reference, image.reference) == ("elsewhere-points/1", "elsewhere-image/1")
    assert points.aliases == image.aliases == ("candidate",)
    assert (points.lineage.study, points.lineage.trial) == ("", -1)
    tags = store.client.get_model_version(points.name, "1").tags
    assert tags["splatsweep.source_sha256"] == imported.report.sha256
    assert tags["splatsweep.source_placed"].endswith("tensors placed (100 %)")
    assert store.client.get_run(points.run_id).info.status == "FINISHED"
    for version, modality in ((points, "points"), (image, "image")):
        pulled = load_bundle(pull(store, version.reference, tmp_path / modality))
        ours = imported.models[modality].module.state_dict()
        assert all(torch.equal(tensor, ours[name]) for name, tensor in pulled.state_dict().items())
    account = json.loads(Path(store.client.download_artifacts(points.run_id, "import.json")).read_text())
    assert [placement["part"] for placement in account["placements"]][1:] == [IMAGE, FUSION]
    fusion = safetensors.torch.load_file(store.client.download_artifacts(points.run_id, "fusion.safetensors"))
    assert torch.equal(fusion["hidden.weight"], torch.load(file, weights_only=True)[FUSION]["fc1.weight"])


@pytest.mark.slow
def test_a_network_that_searches_its_centres_has_every_form(store, tmp_path):
    file = saved(random_checkpoint("pointnet2_cls_msg", 10), tmp_path / "best_model.pth")
    drawn = {"sampling": "uniform", "num_points": 600, "image_size": 32}
    settings = ReferenceImport(model="pointnet2_cls_msg", features=("xyz", "scale", "rotation"), **drawn)
    points, _ = register_imported(store, import_reference_checkpoint(file, settings), "searching", "cross_modal")
    folder = pull(store, points.reference, tmp_path / "pulled")
    encoder = load_bundle(folder)
    assert encoder.backbone.centres == "fps"
    check_onnx(encoder, read_card(folder).card, folder / "encoder.onnx")
    check_program(encoder, read_card(folder).card, folder / "program.pt2")


@pytest.mark.slow
def test_the_same_import_again_is_the_same_version(store, resnet):
    settings = ImageImport(image_size=32)
    (first,) = register_imported(store, import_image_weights(resnet, settings), "resnet18")
    assert (first.reference, first.kind) == ("resnet18-image/1", "image_encoder")
    (again,) = register_imported(store, import_image_weights(resnet, settings), "resnet18")
    assert (again.reference, again.run_id) == (first.reference, first.run_id)
    other = import_image_weights(resnet, ImageImport(image_size=40))
    assert [version.version for version in register_imported(store, other, "resnet18")] == [2]


@pytest.mark.slow
def test_an_import_that_died_half_way_is_completed(store, imported, monkeypatch):
    from registry.versions import import_checkpoint

    save = import_checkpoint.save_bundle

    def dies_at_the_image(encoder, backbone, folder, **named):
        if folder.name == "image":
            raise KeyboardInterrupt
        save(encoder, backbone, folder, **named)

    monkeypatch.setattr(import_checkpoint, "save_bundle", dies_at_the_image)
    with pytest.raises(KeyboardInterrupt):
        register_imported(store, imported, "elsewhere")
    (half,) = store.list()
    assert store.client.get_run(half.run_id).info.status == "FAILED"
    monkeypatch.setattr(import_checkpoint, "save_bundle", save)
    points, image = register_imported(store, imported, "elsewhere")
    assert (points.reference, image.reference) == ("elsewhere-points/1", "elsewhere-image/1")
    assert points.run_id == image.run_id == half.run_id
    assert store.client.get_run(half.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_imports_are_judged_as_any_others(store, imported, tiny_pack):
    check_pack(imported, tiny_pack)
    versions = register_imported(store, imported, "elsewhere")
    decisions = [promote(store, tiny_pack, version, CONFIG) for version in versions]
    for version, decision in zip(versions, decisions, strict=True):
        judged = store.get(version.name, version.version)
        assert judged.evaluation is not None
        assert judged.evaluation.pack_digest == tiny_pack.manifest.pack_digest
        assert judged.decision == decision
        assert (judged.status == "champion") == decision.promoted
        run = store.client.get_run(judged.evaluation.run_id)
        assert run.data.tags["mlflow.parentRunId"] == version.run_id


def test_a_pack_that_cannot_serve_the_encoder_is_told_before_anything_is_registered(file, tiny_pack):
    with pytest.raises(InfeasibleError, match="num_points 2048"):
        check_pack(import_reference_checkpoint(file, ReferenceImport(image_size=32)), tiny_pack)


def test_an_unsafe_name_is_refused_before_anything_is_written(store, imported):
    for stem in ("../elsewhere", "a/b", "", "-x", "a\nb"):
        with pytest.raises(RegistryError, match="not a usable model name"):
            register_imported(store, imported, stem)
    assert store.list() == ()
    assert not store.client.search_runs([store.run_log.connection.experiment_id])


def test_weights_that_are_finite_and_useless_are_refused(store, resnet, tmp_path):
    state = torch.load(resnet, weights_only=True)
    state["layer4.1.bn2.running_var"] = torch.full((512,), -1.0)
    broken = import_image_weights(saved(state, tmp_path / "broken.pth"), ImageImport(image_size=32))
    with pytest.raises(RegistryError, match="features are not finite"):
        register_imported(store, broken, "resnet18")
    assert store.list() == ()
