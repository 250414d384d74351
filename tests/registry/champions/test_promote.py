"""From registered to champion, refused and back, on a real registry and a real pack."""

import json

import pytest
from tiny_bundles import make_bundle

from registry.champions.promote import evaluate_version, promote, promote_best, rollback
from registry.versions.evaluation_log import read_report
from registry.versions.gain import gain_of
from ssl_core.errors import RegistryError
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig

NAME = "cross-modal-points"
CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()),
    point_draws=1,
    baselines=(),
    sections=NO_SECTIONS,
)


BESIDE = CONFIG.model_copy(update={"baselines": ("random_twins",), "twin_seeds": (0,), "probes": ("svm",)})
"""The twin is the first bundle itself."""


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("collapsed") / "bundle", 0, collapsed=True)


def test_an_evaluation_is_stored_where_people_look(store, bundles, lineage, trial, tiny_pack):
    version = store.register(bundles[0], NAME, lineage, trial)
    report = evaluate_version(store, tiny_pack, version, BESIDE)
    version = store.get(NAME, 1)
    assert read_report(store, version) == report
    assert [event.kind for event in version.events] == ["registered", "evaluated"]
    assert version.evaluation.pack_digest == tiny_pack.manifest.pack_digest
    run = store.client.get_run(version.evaluation.run_id)
    assert run.data.tags["mlflow.parentRunId"] == trial
    assert run.info.run_name == "evaluate cross-modal-points v1"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["svm/2_per_class"] == pytest.approx(report.headline.accuracy.mean)
    inputs = [(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs]
    assert inputs == [("test split", report.data_digest)]
    assert version.gain is not None
    assert version.gain == gain_of(report)
    files = {item.path for item in store.client.list_artifacts(version.evaluation.run_id)}
    assert files >= {"report.json", "embedding.png", "confusion.png", "accuracy.png"}
    raw = store.client.get_model_version(NAME, "1")
    assert raw.tags["splatsweep.result"].startswith("linear SVM at 2 per class labels: ")
    assert "random twin" in raw.description
    logged = store.client.get_logged_model(version.model_id)
    assert "svm/2_per_class" in {metric.key for metric in logged.metrics}


def test_the_same_evaluation_is_not_done_twice_but_another_is(store, bundles, lineage, trial, tiny_pack):
    version = store.register(bundles[0], NAME, lineage, trial)
    first = evaluate_version(store, tiny_pack, version, CONFIG)
    assert evaluate_version(store, tiny_pack, store.get(NAME, 1), CONFIG) == first
    assert len(store.get(NAME, 1).events) == 2
    other = CONFIG.model_copy(update={"knn_k": 3})
    assert evaluate_version(store, tiny_pack, store.get(NAME, 1), other).config == other
    assert len(store.get(NAME, 1).events) == 3


def test_who_is_not_better_than_its_baseline_stays_a_candidate(store, bundles, lineage, trial, tiny_pack, tmp_path):
    version = store.register(bundles[0], NAME, lineage, trial)
    decision = promote(store, tiny_pack, version, BESIDE)
    assert (decision.promoted, decision.kept, decision.incumbent) == (False, True, None)
    assert decision.reason.startswith("not shown to be better than the random twin: ")
    kept = store.get(NAME, 1)
    assert (kept.status, kept.aliases, kept.decision) == ("candidate", ("candidate",), decision)
    assert store.client.get_model_version(NAME, "1").tags["splatsweep.status"] == "candidate"
    with pytest.raises(RegistryError, match="no alias 'champion'; its aliases are candidate"):
        store.resolve(f"{NAME}@champion")
    assert "Gate: not promoted. not shown to be" in (store.download(NAME, 1, tmp_path) / "model_card.md").read_text()
    assert promote(store, tiny_pack, kept, BESIDE) == decision, "nor when it is asked again"


def test_the_first_fit_encoder_becomes_champion_and_the_card_says_why(
    store, bundles, lineage, trial, tiny_pack, tmp_path
):
    version = store.register(bundles[0], NAME, lineage, trial)
    decision = promote(store, tiny_pack, version, CONFIG)
    assert decision.promoted, decision.reason
    champion = store.resolve(f"{NAME}@champion")
    assert champion.version == 1
    assert champion.status == "champion"
    assert champion.decision == decision
    assert champion.events[-1].reason == decision.reason
    card = (store.download(champion.name, champion.version, tmp_path) / "model_card.md").read_text()
    assert "| linear SVM | 2 per class |" in card
    assert "Gate: promoted. first champion" in card
    again = promote(store, tiny_pack, champion, CONFIG)
    assert again.reason == "it is the champion already"
    assert len(store.get(NAME, 1).events) == len(champion.events)


def test_a_collapsed_candidate_is_refused_and_the_decision_kept(store, bundles, collapsed, lineage, trial, tiny_pack):
    promote(store, tiny_pack, store.register(bundles[0], NAME, lineage, trial), CONFIG)
    decision = promote(store, tiny_pack, store.register(collapsed, NAME, lineage, trial), CONFIG)
    assert not decision.promoted
    assert "collapsed" in decision.reason
    assert decision.incumbent == 1
    refused = store.get(NAME, 2)
    assert refused.status == "refused"
    assert refused.decision == decision
    text = store.client.download_artifacts(refused.evaluation.run_id, "decision.json")
    with open(text) as file:  # noqa: PTH123
        assert json.load(file)["promoted"] is False
    assert store.resolve(f"{NAME}@champion").version == 1


def test_a_worse_champion_is_followed_and_rollback_brings_it_back(store, bundles, collapsed, lineage, trial, tiny_pack):
    """The champion never had an evaluation on this pack: it is evaluated for the comparison."""
    with pytest.raises(RegistryError, match="no champion"):
        rollback(store, NAME, "test")
    old = store.register(collapsed, NAME, lineage, trial)
    old = store.add_event(store.set_alias(old, "champion"), "promoted", "by hand")
    with pytest.raises(RegistryError, match="nothing to go back to"):
        rollback(store, NAME, "test")
    new = store.register(bundles[0], NAME, lineage, trial)
    decision = promote(store, tiny_pack, new, CONFIG)
    assert decision.promoted, decision.reason
    assert decision.numbers["low"] > 0
    assert store.resolve(f"{NAME}@champion").version == 2
    assert store.get(NAME, 1).status == "former champion"
    assert store.get(NAME, 1).evaluation is not None
    assert store.get(NAME, 1).aliases == ()
    rollback(store, NAME, "it broke downstream")
    assert store.resolve(f"{NAME}@champion").version == 1
    assert store.get(NAME, 1).events[-1].reason == "rollback: it broke downstream"
    assert store.get(NAME, 2).status == "former champion"


def test_an_equal_candidate_does_not_replace_the_champion(store, bundles, lineage, trial, tiny_pack, log):
    promote(store, tiny_pack, store.register(bundles[0], NAME, lineage, trial), CONFIG)
    other = log.start_run("again", {}, {})
    twice = store.register(bundles[0], NAME, lineage.model_copy(update={"run_id": other}), other)
    decision = promote(store, tiny_pack, twice, CONFIG)
    assert not decision.promoted
    assert decision.numbers["difference"] == 0.0


def test_a_promotion_that_died_half_way_is_completed(store, bundles, collapsed, lineage, trial, tiny_pack):
    old = store.register(collapsed, NAME, lineage, trial)
    old = store.add_event(store.set_alias(old, "champion"), "promoted", "by hand")
    new = store.register(bundles[0], NAME, lineage, trial)
    store.set_alias(store.add_event(new, "promoted", "better"), "champion")  # and no further
    promote(store, tiny_pack, new, CONFIG)
    assert store.get(NAME, 1).status == "former champion"
    assert store.get(NAME, 2).status == "champion"
    assert store.get(NAME, 2).decision.reason == "better"


def test_a_former_champion_stays_one_when_it_is_evaluated_again(store, bundles, lineage, trial, tiny_pack):
    version = store.register(bundles[0], NAME, lineage, trial)
    for kind in ("promoted", "demoted"):
        version = store.add_event(version, kind, "test")
    evaluate_version(store, tiny_pack, version, CONFIG)
    assert store.get(NAME, 1).events[-1].kind == "evaluated"
    assert store.get(NAME, 1).status == "former champion"


def test_several_candidates_are_judged_together_and_one_may_win(store, bundles, collapsed, lineage, trial, tiny_pack):
    versions = [store.register(bundle, NAME, lineage, trial) for bundle in (collapsed, *bundles[:2])]
    decisions = promote_best(store, tiny_pack, versions, CONFIG)
    assert [decision.promoted for decision in decisions].count(True) == 1
    assert not decisions[0].promoted
    assert [store.get(NAME, n).decision for n in (1, 2, 3)] == decisions
    winner = next(i for i, decision in enumerate(decisions) if decision.promoted) + 1
    assert store.resolve(f"{NAME}@champion").version == winner
    assert sorted(decision.entry for decision in decisions) == [1, 2, 3]
    again = promote_best(store, tiny_pack, versions, CONFIG)
    assert again[winner - 1].reason == "it is the champion already"
    store.client.delete_registered_model_alias(NAME, "champion")
    taken = promote(store, tiny_pack, versions[winner - 1], CONFIG)
    assert not taken.promoted
    assert "taken away by hand" in taken.reason
    with pytest.raises(RegistryError, match="one name"):
        promote_best(store, tiny_pack, [], CONFIG)


def test_a_report_that_was_touched_decides_nothing(store, bundles, lineage, trial, tiny_pack, home):
    """Perfect answers written into the file: without the digest, the next gate would have crowned them."""
    versions = [store.register(bundle, NAME, lineage, trial) for bundle in bundles[:2]]
    promote(store, tiny_pack, versions[0], CONFIG)
    honest = evaluate_version(store, tiny_pack, versions[1], CONFIG)
    touched = store.get(NAME, 2)
    (file,) = (home / "mlartifacts").glob(f"{touched.evaluation.run_id}/**/report.json")
    values = json.loads(file.read_text())
    values["deciding"]["values"] = [[1.0] * len(draw) for draw in values["deciding"]["values"]]
    file.write_text(json.dumps(values))
    assert read_report(store, touched) is None
    decision = promote(store, tiny_pack, touched, CONFIG)
    assert decision.numbers["accuracy"] == pytest.approx(honest.headline.accuracy.mean, abs=1e-6)
    again = store.get(NAME, 2)
    assert again.evaluation.run_id != touched.evaluation.run_id
    assert read_report(store, again).rows == honest.rows
