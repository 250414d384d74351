"""Multi-view contrast: its stage is made once and mapped, gradients go where they belong, the teacher stays itself."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_core.config import override
from ssl_core.data.object_pack import Pack
from ssl_core.errors import ConfigError, InfeasibleError
from ssl_core.evaluation.extract import image_features, point_batches
from ssl_core.models.ridge import RidgeRegression
from ssl_core.models.teachers import build_teacher
from ssl_core.recipes.multiview_contrast import MULTIVIEW_CONTRAST
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig, paper, quick
from ssl_core.recipes.multiview_contrast.points_trial import check
from ssl_core.recipes.multiview_contrast.stage_facts import write_facts
from ssl_core.recipes.multiview_contrast.teacher import TEACHER, TeacherFeatures
from ssl_core.recipes.multiview_contrast.trial import MultiviewContrastTrial
from ssl_core.training.stages import Stages

torch.set_num_threads(1)
SMALL = {
    "points.num_points": 32,
    "heads.hidden": 16,
    "teacher.network.image_size": 32,
    "teacher.views": 2,
    "training.batch_size": 6,
    "validation.label_draws": 2,
    "validation.labels_per_class": 2,
}


def small(**values: object) -> MultiviewContrastConfig:
    return override(quick(), {**SMALL, **values})


@pytest.fixture
def stage(tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.getbasetemp() / "derived"
    return Stages(MULTIVIEW_CONTRAST, root).made(small(), tiny_pack)["teacher"]


def trial_of(pack: Pack, stage: Path, **values: object) -> MultiviewContrastTrial:
    return MultiviewContrastTrial(small(**values), pack, stage, 0, torch.device("cpu"))


def test_the_stage_holds_what_the_teacher_says_of_training_objects(tiny_pack: Pack, stage: Path) -> None:
    found, train = TeacherFeatures.of(stage, tiny_pack), tiny_pack.objects("train")
    teacher = build_teacher(small().teacher.network)
    wanted = image_features(teacher, tiny_pack, train, 32, views=2)
    np.testing.assert_array_equal(found.views[found.row[train]], wanted)
    np.testing.assert_array_equal(found.pooled[:, 0], wanted.max(axis=1))
    assert (found.row[tiny_pack.objects("test")] == -1).all()
    assert isinstance(found.views, np.memmap)
    fit = tiny_pack.objects("fit")
    targets = found.targets(fit)[fit]
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-4)
    varied = found.pooled[found.row[fit], 0].std(axis=0) > 1e-4
    np.testing.assert_allclose(targets[:, varied].std(axis=0), 1, atol=1e-3)


def test_a_second_study_computes_nothing_of_the_stage(tiny_pack: Pack, stage: Path) -> None:
    before = (stage / "views.npy").stat().st_mtime_ns
    again = Stages(MULTIVIEW_CONTRAST, stage.parent).made(small(**{"loss.global_loss": "mse"}), tiny_pack)
    assert again["teacher"] == stage
    assert (stage / "views.npy").stat().st_mtime_ns == before
    other = Stages(MULTIVIEW_CONTRAST, stage.parent).folder(TEACHER, small(**{"teacher.views": 1}), tiny_pack)
    assert other != stage


def private_bytes() -> int:
    """Memory that this process has changed and shares with nobody."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no account of private memory here")
def test_fifty_trials_share_one_copy_of_the_stage(tiny_pack: Pack, tmp_path: Path) -> None:
    train, rng = tiny_pack.objects("train"), np.random.default_rng(0)
    views = rng.random((len(train), 120, 1280), dtype=np.float32)  # 15 MB
    np.save(tmp_path / "views.npy", views)
    np.save(tmp_path / "pooled.npy", np.stack([views.max(axis=1), views.mean(axis=1)], axis=1))
    write_facts(tmp_path, tiny_pack, views.shape[1], time.perf_counter())
    size = views.nbytes
    first = TeacherFeatures.of(tmp_path, tiny_pack)
    first.targets(train)[train[:4]].sum()
    before, opened = private_bytes(), []
    for _ in range(50):
        found = TeacherFeatures.of(tmp_path, tiny_pack)
        opened.append((found, found.targets(train)))
        assert float(found.views.max()) == float(views.max())  # every page is read
    assert private_bytes() - before < size / 2  # copies would be 50 of it


def test_each_loss_reaches_its_own_parameters(tiny_pack: Pack, stage: Path) -> None:
    trial = trial_of(tiny_pack, stage, **{"loss.agreement_weight": 0.5})
    losses = trial.losses(next(iter(trial.batches(0))))
    assert losses["points"].terms.keys() == {"global", "agreement"}
    losses["image"].total.backward(retain_graph=True)
    networks = trial.networks
    assert all(p.grad is None for p in (*networks.points.parameters(), *networks.head.trained()))
    assert all(p.grad is not None for p in networks.image.head.hidden.parameters())
    networks.zero_grad()
    losses["points"].total.backward()
    assert all(p.grad is not None for p in (*networks.points.parameters(), *networks.head.trained()))


def test_the_teacher_is_bit_for_bit_the_same_after_training_and_in_no_checkpoint(
    tiny_pack: Pack, stage: Path, tmp_path: Path
) -> None:
    config = small(**{"training.epochs": 2})
    session = MULTIVIEW_CONTRAST.open(config, tiny_pack, {"teacher": stage}, 0)
    while session.epoch < session.epochs:
        session.run_epoch()
    wanted = build_teacher(config.teacher.network).backbone.state_dict()
    image = dict(session.trial.models())["image"][0]  # type: ignore[attr-defined]
    found = image.backbone.backbone.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    session.save(tmp_path / "checkpoint")
    assert sum(file.stat().st_size for file in (tmp_path / "checkpoint").iterdir()) < 4e6  # the teacher alone has 14 MB
    session.export(tmp_path / "encoders", {})


def test_the_hidden_layer_is_what_is_exported(tiny_pack: Pack, stage: Path) -> None:
    trial = trial_of(tiny_pack, stage)
    points, card = trial.models()["points"]
    batch = next(iter(trial.batches(0)))["points"]
    trial.networks.eval()
    parts, _ = trial.networks.parts(batch)
    torch.testing.assert_close(points.eval()(batch), parts["hidden"])
    assert card.output_shape == (16,)
    rebuilt = card.build(0).eval()
    rebuilt.load_state_dict(points.state_dict())
    torch.testing.assert_close(rebuilt(batch), parts["hidden"])


def test_a_ridge_head_makes_no_gradient_step_and_is_solved_on_fit_objects_alone(tiny_pack: Pack, stage: Path) -> None:
    trial = trial_of(tiny_pack, stage, **{"heads.kind": "ridge"})
    before = {name: tensor.clone() for name, tensor in trial.module.state_dict().items()}
    assert list(trial.batches(0)) == []
    assert trial.parameters() == {}
    metrics = trial.validate()
    moved = {name for name, tensor in trial.module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"{head}.ridge.{part}" for head in ("head", "image.head") for part in ("weight", "bias")}
    assert metrics["val/points_probe"] == metrics["val/points_ridge_probe"]
    assert trial.validate() == metrics

    fit, val = (pack_objects.tolist() for pack_objects in (tiny_pack.objects("fit"), tiny_pack.objects("val")))
    with torch.inference_mode():
        features = trial.networks.eval().points(
            torch.cat(list(point_batches(trial.sampler, np.array([*fit, *val]), 0)))
        )
    objects = tiny_pack.objects("fit")
    wanted = torch.from_numpy(TeacherFeatures.of(stage, tiny_pack).targets(objects)[objects])
    weight, bias = RidgeRegression(features[: len(fit)], 100.0).solve(wanted)
    layer = trial.networks.head.ridge
    assert layer is not None
    torch.testing.assert_close(layer.weight, weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(layer.bias, bias, rtol=1e-4, atol=1e-5)


def test_the_refit_follows_training_and_is_exported_view_by_view(tiny_pack: Pack, stage: Path) -> None:
    config = small(**{"heads.points": ["ridge"], "heads.image": ["ridge"], "training.epochs": 2})
    session = MULTIVIEW_CONTRAST.open(config, tiny_pack, {"teacher": stage}, 0)
    layers = []
    while session.epoch < session.epochs:
        assert "train/adapter" not in session.run_epoch()
        layers.append(session.trial.networks.head.ridge.weight.clone())  # type: ignore[attr-defined]
    assert not torch.equal(layers[0], layers[1])
    trial = session.trial  # type: ignore[attr-defined]
    model, card = trial.models()["image"]
    objects = tiny_pack.objects("fit")[:3]
    alive = torch.from_numpy(image_features(model, tiny_pack, objects, card.contract.image_size, views=2))
    with torch.inference_mode():
        wanted = trial.networks.image.head.ridge(trial.networks.image.view_features(objects, 2))
    torch.testing.assert_close(alive, wanted, rtol=1e-4, atol=1e-4)


def test_the_adapter_predicts_standardised_points_from_the_maximum_over_views(tiny_pack: Pack, stage: Path) -> None:
    trial = trial_of(tiny_pack, stage, **{"image.views": 3})
    batch = next(iter(trial.batches(0)))
    assert batch["views"].shape == (6, 3, 1280)
    adapter = trial.networks.eval().image
    points = torch.randn(6, 16, generator=torch.Generator().manual_seed(0)) * 3 + 5
    with torch.no_grad():
        found = adapter.loss(batch["views"], points, batch["target"]).total
        largest = [adapter.head(views)["hidden"].max(dim=0).values for views in batch["views"]]
        predicted = adapter.head.output(torch.stack(largest)).numpy()
    wanted = (points.numpy() - points.numpy().mean(0)) / points.numpy().std(0, ddof=1)
    cosines = (predicted * wanted).sum(1) / np.linalg.norm(predicted, axis=1) / np.linalg.norm(wanted, axis=1)
    np.testing.assert_allclose(float(found), 1 - cosines.mean(), rtol=1e-5)


def test_further_steps_of_the_adapter_see_other_views_of_the_same_objects_and_move_it_alone(
    tiny_pack: Pack, stage: Path
) -> None:
    once, trial = (trial_of(tiny_pack, stage, **{"image.steps": steps}) for steps in (1, 3))
    batches, plain = list(trial.batches(0)), list(once.batches(0))
    assert len(batches) == trial.steps_per_epoch == 3 * once.steps_per_epoch == 3 * len(plain)
    assert [trial.samples(batch) for batch in batches[:3]] == [once.samples(plain[0]), 0, 0]
    torch.testing.assert_close(batches[0]["points"], plain[0]["points"], rtol=0, atol=0)
    for batch in batches[1:3]:
        assert batch.keys() == {"views"}
        assert not torch.equal(batch["views"], batches[0]["views"])
    trial.losses(batches[0])
    with torch.no_grad():
        seen = trial.networks.read(trial.networks.parts(batches[0]["points"])[0])
        wanted = trial.networks.image.loss(batches[1]["views"], seen, batches[0]["target"]).total
    losses = trial.losses(batches[1])
    assert losses.keys() == {"image"}
    torch.testing.assert_close(losses["image"].total.detach(), wanted)
    trial.networks.zero_grad()
    losses["image"].total.backward()
    assert all(p.grad is None for p in (*trial.networks.points.parameters(), *trial.networks.head.trained()))
    assert all(p.grad is not None for p in trial.networks.image.trained())


def test_the_adapter_may_learn_the_hidden_layer_whatever_is_exported(tiny_pack: Pack, stage: Path) -> None:
    """But not where nothing is trained: an untrained layer says nothing of an object."""
    exported = {"heads.points": ["head"], "image.learns": "hidden"}
    trial = trial_of(tiny_pack, stage, **exported)
    parts = trial.networks.parts(next(iter(trial.batches(0)))["points"])[0]
    torch.testing.assert_close(trial.networks.taught(parts), parts["hidden"], rtol=0, atol=0)
    assert trial.networks.image.head.output.out_features == parts["hidden"].shape[1] != parts["head"].shape[1]
    assert trial.config.taught == ("hidden",)
    assert small(**{**exported, "image.learns": "read"}).taught == ("head",)
    assert small(**{**exported, "heads.kind": "ridge"}).taught == ("ridge",)


@pytest.mark.parametrize("target", ["teacher", "points"])
def test_a_student_learns_from_views_and_the_points_do_not_hear_of_it(
    target: str, tiny_pack: Pack, stage: Path
) -> None:
    student = {"image.kind": "student", "image.image_size": 16, "image.target": target}
    trial = trial_of(tiny_pack, stage, **student, **{"heads.image": ["hidden", "ridge"]})
    losses = trial.losses(next(iter(trial.batches(0))))
    assert losses["image"].terms.keys() == {"student"}
    losses["image"].total.backward(retain_graph=True)
    networks = trial.networks
    assert all(p.grad is None for p in (*networks.points.parameters(), *networks.head.parameters()))
    assert all(p.grad is not None for p in networks.image.trained())
    assert all(p.grad is None for p in networks.image.head.ridge.parameters())
    assert {id(p) for group in trial.parameters()["image"] for p in group.parameters} == {
        id(p) for p in networks.image.trained()
    }
    width = networks.readout.width(networks.points.feature_dim) if target == "points" else trial.teacher.dim
    model, card = trial.models()["image"]
    assert card.output_shape == (16 + width,)
    assert model.eval()(card.example(2)).shape == (2, 16 + width)


def test_what_cannot_be_is_refused(tiny_pack: Pack) -> None:
    with pytest.raises(ConfigError, match="nothing would be learnt"):
        small(**{"loss.global_weight": 0})
    with pytest.raises(ConfigError, match="feature_transform"):
        small(**{"loss.transform_weight": 0.1})
    for term in ("local_weight", "agreement_weight"):
        with pytest.raises(ConfigError, match=rf"heads\.kind=ridge makes no gradient step, so loss\.{term} > 0"):
            small(**{"heads.kind": "ridge", f"loss.{term}": 0.5})
    with pytest.raises(ConfigError, match="normal_tensor"):
        small(**{"augment.yaw": 15})
    with pytest.raises(InfeasibleError, match="num_points 9000"):
        check(small(**{"points.num_points": 9000}), tiny_pack)
    assert paper().loss.global_loss == "mse"


@pytest.mark.parametrize(
    ("values", "points", "image"),
    [
        ({}, True, True),
        ({"loss.global_weight": 0, "loss.local_weight": 1}, True, True),
        ({"loss.global_weight": 0, "loss.agreement_weight": 1}, False, True),
        ({"loss.global_weight": 0, "loss.agreement_weight": 1, "heads.points": ["ridge"]}, True, True),
        ({"teacher.network.kind": "trained"}, False, False),
    ],
)
def test_a_card_names_labels_where_they_reached_the_output(
    values: dict[str, object], points: bool, image: bool
) -> None:
    config = override(quick(), values)
    said = {output: config.supervision(output) for output in ("points", "image")}
    assert {output: text == "an ImageNet-supervised teacher" for output, text in said.items()} == {
        "points": points,
        "image": image,
    }
    assert set(said.values()) <= {"", "an ImageNet-supervised teacher"}
