"""What every recipe promises (`ssl_core.training.contract.Recipe`); its sessions have a kit of their own."""

import pytest
import torch
from recipe_cases import Case

from registry.champions.promote import promote
from registry.tracking.run_log import open_run_log
from registry.versions.fetching import pull
from registry.versions.records import Lineage
from registry.versions.store import EncoderStore
from ssl_core.config_roles import keys_of, role
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.dense_probes import DenseProbeConfig
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.report import TaskConfig
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.task import task_of
from ssl_core.evaluation.tasks.dense_report import DenseProbingConfig
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.evaluation.tasks.reconstruction_report import ReconstructionConfig
from ssl_core.evaluation.tasks.scene_field_report import SceneFieldConfig
from ssl_core.models.bundle import WEIGHTS, load_bundle, read_card
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.teachers import BundleTeacher, build_teacher
from ssl_core.models.weights_file import file_sha256
from ssl_core.training.stages import Stages

SHORT: dict[type[TaskConfig], TaskConfig] = {
    EvaluationConfig: EvaluationConfig(
        label_settings=(LabelSetting(per_class=2, draws=2),),
        baselines=("random_twins",),
        twin_seeds=(5,),
        sections=NO_SECTIONS,
    ),
    DenseProbingConfig: DenseProbingConfig(probe=DenseProbeConfig(steps=3, bins=4), probe_seeds=(0,)),
    ReconstructionConfig: ReconstructionConfig(points=64, twin_seeds=(0,), matched=1, shown=1),
    SceneFieldConfig: SceneFieldConfig(twin_seeds=(0,)),
}
"""Of tasks whose gate asks for more than a kit needs."""


def test_presets_round_trip(case: Case) -> None:
    for preset in case.recipe.presets.values():
        assert case.recipe.config.from_json(preset().to_json()) == preset()


def test_marked_keys_are_keys_of_the_config(case: Case) -> None:
    for key in keys_of(case.recipe.config, "live"):
        assert role(case.recipe.config, key) == "live"
    assert len(list(keys_of(case.recipe.config, "epochs"))) <= 1


def test_outputs_have_names_of_their_own_and_a_card_with_a_task(case: Case) -> None:
    names = [output.name for output in case.recipe.outputs]
    assert len(set(names)) == len(names)
    for output in case.recipe.outputs:
        assert case.recipe.model_name(output.name) == f"{case.recipe.name.replace('_', '-')}-{output.name}"


def test_data_of_another_kind_is_refused_before_anything_is_made(case: Case, tiny_pack, tiny_scene) -> None:
    stages = Stages(case.recipe, case.derived)
    stages.check(case.config(), case.data)
    other = tiny_pack if isinstance(case.data, ScenePack) else tiny_scene
    with pytest.raises(InfeasibleError, match=f"recipe {case.recipe.name} reads a {case.recipe.reads.__name__}"):
        stages.open(case.config(), other, 0)
    assert not case.derived.exists()


def test_stages_are_made_once_and_by_their_settings_alone(case: Case) -> None:
    stages = Stages(case.recipe, case.derived)
    names = {stage.name for stage in case.recipe.stages_of(case.config(), case.data)}
    first = stages.made(case.config(), case.data)
    assert first.keys() == names
    before = {file: file.stat().st_mtime_ns for folder in first.values() for file in folder.rglob("*")}
    assert stages.made(case.config(), case.data) == first
    case.other()
    assert {file: file.stat().st_mtime_ns for folder in first.values() for file in folder.rglob("*")} == before
    # what stages share among each other may lie beside them
    made = {place for name in names for place in case.derived.glob(f"{case.recipe.name}-{name}-*/")}
    assert made == set(first.values())


def test_what_it_leaves_behind_is_registered_evaluated_judged_and_pulled(case: Case, tmp_path) -> None:
    if not case.recipe.outputs:
        pytest.skip("it exports nothing")
    session = case.open()
    for _ in range(session.epochs):
        session.run_epoch()
    written = session.export(tmp_path / "out", {"study": "s"})
    with open_run_log(None, tmp_path / "home") as log:
        run = log.start_nested(log.start_run("s", {}, {}), "trial-000", {}, {})
        lineage = Lineage(study="s", trial=0, run_id=run, seed=3, recipe=case.recipe.name)
        store = EncoderStore(log)
        for output, bundle in written.items():
            name = case.recipe.model_name(output)
            asked = task_of(read_card(bundle).card).config
            version = store.register(bundle, name, lineage, run)
            decision = promote(store, case.data, version, SHORT.get(asked) or asked())
            assert decision.reason
            judged = store.get(name, version.version)
            turned_away = "candidate" if decision.kept else "refused"
            assert judged.status == ("champion" if decision.promoted else turned_away)
            assert judged.evaluation is not None
            pulled = pull(store, version.reference, tmp_path / name)
            example = read_card(pulled).card.example(2)
            assert torch.equal(load_bundle(pulled)(example), load_bundle(bundle)(example))
            if isinstance(read_card(pulled).card, ImageEncoderCard):  # and it can teach
                teacher = build_teacher(BundleTeacher(folder=str(pulled), sha256=file_sha256(pulled / WEIGHTS)))
                assert torch.equal(teacher(example), load_bundle(bundle)(example))
