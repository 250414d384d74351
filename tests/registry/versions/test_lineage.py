"""Lineage both ways on a real store: what is known of a version, what saw a pack, and what is said to be missing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.tracking.run_log import RunLog
from registry.versions.environment import Environment, differences, environment_here, facts
from registry.versions.lineage import of_pack, of_study, plain_digest, read_curves, trace
from registry.versions.records import Lineage
from registry.versions.store import EncoderStore
from ssl_core.errors import RegistryError

NAME = "cross-modal-points"
CONFIG = {"training": {"epochs": 3, "lr": 0.1}, "loss": {"beta": 1e-4}}
SPACE = {"recipe": "cross_modal", "base": CONFIG, "space": {"loss.beta": {"domain": {"kind": "log"}}}}
PACK = "feed5eedfeed5eed"


def study_run(log: RunLog, name: str, pack: str, **extra: str) -> str:
    """A study's run, as its recorder leaves it."""
    tags = {"splatsweep.kind": "study", "splatsweep.study": name, "splatsweep.pack_digest": pack}
    run_id = log.start_run(name, {**tags, **extra}, {"study.threads_per_trial": None, "study.cpus_per_trial": 2.0})
    log.log_text(run_id, json.dumps(SPACE), "space.json")
    return run_id


def trial_run(log: RunLog, study: str, **tags: str) -> str:
    """A trial's run with three epochs, the second of which was the best."""
    run_id = log.start_nested(
        study, "trial-004", {"splatsweep.pack": "/packs/mine", **tags}, {"loss.beta": CONFIG["loss"]["beta"]}
    )
    log.log_text(run_id, json.dumps(CONFIG, indent=1), "config.json")
    for epoch, value in enumerate((0.5, 0.7, 0.6), start=1):
        log.client.log_metric(run_id, "val/probe", value, step=epoch)
        log.client.log_metric(run_id, "train/loss", 1 / (3 * epoch), step=epoch)
    log.client.log_metric(run_id, "objective", 0.7, step=2)
    return run_id


def lineage_of(run_id: str, **changed: object) -> Lineage:
    """Of trial 4 of the study."""
    fields = {
        "study": "mine",
        "trial": 4,
        "run_id": run_id,
        "seed": 7,
        "recipe": "cross_modal",
        "config_digest": plain_digest(CONFIG),
        "space_digest": plain_digest(SPACE),
        "pack_digest": PACK,
        "code_revision": "abc",
        "environment_digest": environment_here().digest(),
    }
    return Lineage.model_validate({**fields, **changed})


@pytest.fixture
def run_id(log: RunLog) -> str:
    """Of the trial, with its environment."""
    tags = {f"splatsweep.{key}": value for key, value in facts(threads=3).items()}
    return trial_run(log, study_run(log, "mine", PACK), **tags)


def test_a_version_leads_to_everything_that_made_it(store: EncoderStore, bundles: list[Path], run_id: str) -> None:
    version = store.register(bundles[0], NAME, lineage_of(run_id), run_id)
    for reference in (f"{NAME}@candidate", version.reference):
        found = trace(store, reference)
        assert found.version.bundle_digest == version.bundle_digest
    recorded = found.recorded
    assert recorded.gaps == ()
    assert (recorded.config, recorded.space) == (CONFIG, SPACE)
    assert (recorded.pack, recorded.best_epoch, recorded.threads) == ("/packs/mine", 2, 3)
    assert recorded.environment == environment_here()
    assert recorded.values == {"loss.beta": "0.0001"}
    assert store.client.get_run(recorded.study_run).info.run_name == "mine"
    curves = read_curves(store, run_id)
    assert curves["val/probe"] == {1: 0.5, 2: 0.7, 3: 0.6}
    assert curves["train/loss"] == {1: 1 / 3, 2: 1 / 6, 3: 1 / 9}, "not one bit is lost on the way"
    assert "objective" not in curves


def test_what_is_missing_or_was_edited_is_said_and_the_rest_is_told(
    store: EncoderStore, log: RunLog, bundles: list[Path], run_id: str
) -> None:
    store.register(bundles[0], NAME, lineage_of(run_id, config_digest="0123456789abcdef"), run_id)
    recorded = trace(store, f"{NAME}/1").recorded
    assert recorded.config is None
    assert "config.json" in recorded.gaps[0]
    assert "is not the one" in recorded.gaps[0]
    assert recorded.space == SPACE

    old = trial_run(log, study_run(log, "old", PACK))
    store.register(bundles[1], NAME, lineage_of(old, environment_digest=""), old)
    recorded = trace(store, f"{NAME}/2").recorded
    assert recorded.gaps == ("the environment was not recorded",)
    assert recorded.threads == 2, "of the study's settings"

    store.register(bundles[2], NAME, lineage_of("0" * 32), run_id)
    recorded = trace(store, f"{NAME}/3").recorded
    assert "not in MLflow" in recorded.gaps[0]
    assert read_curves(store, "0" * 32) == {}

    log.client.set_tag(run_id, "splatsweep.environment", "{broken")
    log.client.delete_run(recorded.study_run or store.client.get_run(run_id).data.tags["mlflow.parentRunId"])
    assert trace(store, f"{NAME}/1").recorded.environment is None
    log.client.set_tag(run_id, "splatsweep.environment", environment_here().to_json())
    store.register(bundles[2], "other", lineage_of(run_id, environment_digest="0" * 16), run_id)
    recorded = trace(store, "other/1").recorded
    assert recorded.environment is None
    assert recorded.gaps == ("the environment of the run is not the one that the encoder was registered with",)


def test_an_imported_encoder_has_a_source_and_no_trial(store: EncoderStore, log: RunLog, bundles: list[Path]) -> None:
    run_id = log.start_run("import best_model.pth", {}, {})
    version = store.register(bundles[0], NAME, Lineage(study="", trial=-1, run_id=run_id, seed=0), run_id)
    store.tag(version, {"splatsweep.source_file": "best_model.pth", "splatsweep.source_sha256": "ab" * 32})
    found = trace(store, version.reference)
    assert not found.trained_here
    assert found.source == {"source_file": "best_model.pth", "source_sha256": "ab" * 32}
    assert found.recorded.gaps == ()


def test_a_pack_leads_to_every_encoder_that_saw_it(
    store: EncoderStore, log: RunLog, bundles: list[Path], run_id: str
) -> None:
    other = "0ddba11"
    store.register(bundles[0], NAME, lineage_of(run_id), run_id)
    store.register(bundles[1], NAME, lineage_of(run_id, pack_digest=other), run_id)
    store.register(bundles[2], "foreign", lineage_of(run_id, pack_digest="c0ffee"), run_id)
    study_run(log, "without-encoders", PACK)
    for reference in (f"{NAME}/1", f"{NAME}/2", "gone/9"):
        tags = {"kind": "evaluation", "encoder": reference, "pack_digest": PACK}
        log.start_run("evaluate", {f"splatsweep.{k}": v for k, v in tags.items()}, {"protocol.protocol": "2"})
    seen = of_pack(store, PACK)
    assert {one.reference: one.uses for one in seen.encoders} == {
        f"{NAME}/1": ("trained", "evaluated"),
        f"{NAME}/2": ("evaluated",),
        "gone/9": ("evaluated",),
    }
    assert [one.status for one in seen.encoders if one.reference == "gone/9"] == ["removed"]
    assert seen.studies == ("mine", "without-encoders")
    assert [one.uses for one in of_pack(store, other).encoders] == [("trained",)]
    assert of_pack(store, "abcdef").encoders == ()
    assert [(one.pack_digest, one.protocol) for one in trace(store, f"{NAME}/1").evaluations] == [(PACK, "2")]
    for wrong in ("x' or '1' = '1", "../up", ""):
        with pytest.raises(RegistryError, match="no pack"):
            of_pack(store, wrong)


def test_a_study_leads_to_its_encoders(store: EncoderStore, bundles: list[Path], run_id: str) -> None:
    with pytest.raises(RegistryError, match="none comes from a study"):
        of_study(store, "mine")
    store.register(bundles[0], NAME, lineage_of(run_id), run_id)
    assert [version.reference for version in of_study(store, "mine")] == [f"{NAME}/1"]
    with pytest.raises(RegistryError, match="did you mean 'mine'"):
        of_study(store, "mime")


def test_the_environment_is_the_one_that_computes() -> None:
    import torch

    here = environment_here()
    assert here.libraries["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert len(here.lock_digest) == 16
    assert Environment.from_json(facts(1)["environment"]) == here
    assert facts(2)["environment_digest"] == here.digest()
    assert all(len(value) < 4900 for value in facts(1).values()), "a tag holds it whole"


@given(st.dictionaries(st.sampled_from(("torch", "numpy", "new")), st.text("0123456789.", min_size=1)), st.text())
def test_environments_differ_exactly_where_they_differ(libraries: dict[str, str], python: str) -> None:
    here = environment_here()
    other = here.model_copy(update={"libraries": libraries, "python": python})
    found = differences(here, other)
    assert differences(here, here) == ()
    names = {text.split(" ")[0] for text in found}
    changed = {
        name for name in here.libraries.keys() | libraries.keys() if here.libraries.get(name) != libraries.get(name)
    }
    assert names == changed | ({"python"} if python != here.python else set())
