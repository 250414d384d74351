"""A registered version, evaluated and logged: its partner is found, features are kept, all lies where it should."""

import json

import pytest
from tiny_bundles import make_bundle

from registry.versions.evaluation_log import FEATURES_FOLDER, evaluate_registered, log_evaluation, read_report
from ssl_core.evaluation.protocol import OBJECTS_FILE, PROTOCOL_VERSION, LabelSetting, ObjectLists
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.sections.retrieval import RetrievalSettings
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig

CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()),
    probes=("svm",),
    point_draws=2,
    view_draws=1,
    baselines=("random_twins",),
    twin_seeds=(5,),
    sections=NO_SECTIONS.model_copy(update={"retrieval": RetrievalSettings(ks=(1,))}),
)


@pytest.fixture(scope="module")
def image_bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("image") / "bundle", 0, "image")


@pytest.mark.slow
def test_a_version_is_evaluated_with_its_partner_and_the_log_holds_it_all(
    store, home, bundles, image_bundle, lineage, trial, tiny_pack
):
    version = store.register(bundles[0], "tiny-points", lineage, trial)
    alone, _ = evaluate_registered(store, tiny_pack, version, CONFIG)
    assert "no encoder of the other modality" in alone.report.sections.left_out["retrieval"]
    kept = list((home / FEATURES_FOLDER).glob("*.safetensors"))
    assert len(kept) == 2 * 2, "two point draws of the encoder and of its twin"

    store.register(image_bundle, "tiny-image", lineage, trial)
    found, card = evaluate_registered(store, tiny_pack, version, CONFIG)
    assert {row.kind for row in found.report.sections.retrieval} >= {"points to images", "images to points"}
    assert found.report.extraction.kept >= 2
    assert found.report.rows == alone.report.rows

    version = log_evaluation(store, version, found, card, trial)
    assert read_report(store, version) == found.report
    run = store.client.get_run(version.evaluation.run_id)
    assert run.data.tags["splatsweep.protocol"] == PROTOCOL_VERSION
    assert run.data.tags["splatsweep.config_digest"] == CONFIG.digest()
    assert run.data.params["protocol.draw_seed"] == "0"
    assert run.data.metrics["retrieval/points_to_images/aligned/same_object/map"] > 0
    assert 0 < run.data.metrics["seconds/share_saved"] < 1
    raw = store.client.get_model_version("tiny-points", "1")
    assert raw.tags["splatsweep.protocol"] == PROTOCOL_VERSION
    files = {item.path for item in store.client.list_artifacts(version.evaluation.run_id)}
    assert files >= {"report.json", OBJECTS_FILE, "accuracy.png", "pca.png", "embedding.png", "retrieval.png"}
    with open(store.client.download_artifacts(run.info.run_id, OBJECTS_FILE)) as file:  # noqa: PTH123
        lists = ObjectLists.model_validate(json.load(file))
    assert lists.digest() == found.report.objects_digest
    assert (
        "### Retrieval among test objects"
        in (store.download(version.name, version.version, home) / "model_card.md").read_text()
    )


def test_an_encoder_of_another_trial_is_no_partner(store, log, bundles, image_bundle, lineage, trial, tiny_pack):
    version = store.register(bundles[0], "tiny-points", lineage, trial)
    other = log.start_run("another", {}, {})
    store.register(image_bundle, "tiny-image", lineage.model_copy(update={"run_id": other}), other)
    found, _ = evaluate_registered(store, tiny_pack, version, CONFIG.model_copy(update={"baselines": ()}))
    assert {row.kind for row in found.report.sections.retrieval} == {"across point draws", "wholes by parts"}
