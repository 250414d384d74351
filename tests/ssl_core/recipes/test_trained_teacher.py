"""A teacher trained on the pack's own views: once, on objects of `fit` alone, towards what tells objects apart."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_core.config import override
from ssl_core.contracts import ImageContract
from ssl_core.data.object_pack import Pack
from ssl_core.errors import ConfigError, InfeasibleError
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.readout import ReadoutConfig
from ssl_core.models.small_cnn import SmallCnnConfig
from ssl_core.models.teachers import BundleTeacher, build_teacher
from ssl_core.recipes.multiview_contrast import MULTIVIEW_CONTRAST
from ssl_core.recipes.multiview_contrast.config import TrainedTeacher, quick
from ssl_core.recipes.multiview_contrast.teacher import TeacherFeatures
from ssl_core.recipes.multiview_contrast.trained_teacher import given_network, train_network
from ssl_core.training import stage_progress
from ssl_core.training.stage_progress import stages_in_progress
from ssl_core.training.stages import Stages

torch.set_num_threads(1)
CPU = torch.device("cpu")
SMALL = {
    "points.num_points": 32,
    "heads.hidden": 16,
    "teacher.views": 2,
    "training.batch_size": 6,
    "validation.label_draws": 2,
    "validation.labels_per_class": 2,
}
TINY = TrainedTeacher(
    backbone=SmallCnnConfig(channels=(8, 12, 16)),
    image_size=24,
    epochs=12,
    hidden=16,
    feature_dim=8,
    crop_min_scale=0.8,
)


class ReadViews:
    """The views of a pack, keeping which were read."""

    def __init__(self, views):
        self.views, self.read = views, []

    def __getitem__(self, index):
        self.read.append(np.asarray(index))
        return self.views[index]


def test_the_loss_begins_at_chance_and_falls(tiny_pack: Pack) -> None:
    """About ln(2 B - 1) at random features, B objects a batch."""
    first = train_network(TINY.model_copy(update={"epochs": 1, "lr": 1e-9, "temperature": 1.0}), tiny_pack, CPU)[2][0]
    size = len(tiny_pack.objects("fit"))
    assert first == pytest.approx(np.log(2 * size - 1), rel=0.1)
    encoder, card, losses = train_network(TINY, tiny_pack, CPU)
    assert losses[-1] < 0.85 * losses[0]
    assert not encoder.training
    assert card.output_shape == (16,)


def test_it_is_repeatable_and_touches_no_global_generator(tiny_pack: Pack) -> None:
    short = TINY.model_copy(update={"epochs": 2})
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, _, losses = train_network(short, tiny_pack, CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    two, _, again = train_network(short, tiny_pack, CPU)
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_it_sees_objects_of_fit_alone(tiny_pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_pack, "views", ReadViews(tiny_pack.views))
    train_network(TINY.model_copy(update={"epochs": 3}), tiny_pack, CPU)
    owner = np.repeat(np.arange(len(tiny_pack.manifest.objects)), tiny_pack.num_views)
    seen = [index.reshape(2, -1, 2) for index in tiny_pack.views.read]
    assert set(owner[np.concatenate(seen, axis=1)].ravel().tolist()) == set(tiny_pack.objects("fit").tolist())
    for sets in seen:
        assert (owner[sets] == owner[sets[:1, :, :1]]).all(), "both sets are of one object"
        four = np.sort(np.concatenate(sets, axis=-1), axis=-1)
        assert (np.diff(four, axis=-1) > 0).all(), "no view is in both sets, or twice in one"


def test_it_is_trained_once_for_all_stages_and_trials(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
    config = override(quick(), {**SMALL, "teacher.network": TINY})
    stages = Stages(MULTIVIEW_CONTRAST, tmp_path)
    made = stages.made(config, tiny_pack)["teacher"]
    (trained,) = tmp_path.glob("multiview_contrast-trained_teacher-*[!k]")
    losses = json.loads((trained / "losses.json").read_text())
    assert len(losses) == TINY.epochs
    monkeypatch.setattr(f"{given_network.__module__}.train_network", None)  # it would fail if it were called again
    other = stages.made(override(config, {"teacher.views": 1}), tiny_pack)["teacher"]
    assert other != made
    found = TeacherFeatures.of(made, tiny_pack)
    assert found.dim == 16
    session = stages.open(config, tiny_pack, 0)
    before = build_teacher(given_network(TINY, tiny_pack, tmp_path, CPU)).state_dict()
    metrics = session.run_epoch()
    assert 0 <= metrics["val/teacher_probe"] <= 1
    module, card = session.trial.models()["image"]  # type: ignore[attr-defined]
    assert card.backbone == TINY.backbone
    frozen = module.backbone.backbone.state_dict()
    assert all(torch.equal(before[f"backbone.{name}"], tensor) for name, tensor in frozen.items())


def test_how_far_its_training_is_can_be_seen(tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
    monkeypatch.setattr(stage_progress, "BETWEEN_SECONDS", 0.0)
    seen, real = [], stage_progress.tell_stage

    def told(done: int, total: int, unit: str) -> None:
        real(done, total, unit)
        seen.extend(stages_in_progress(tmp_path, tiny_pack.digest))

    monkeypatch.setattr(f"{given_network.__module__}.tell_stage", told)
    given_network(TINY.model_copy(update={"epochs": 2}), tiny_pack, tmp_path, CPU)
    assert [one.text.split(",")[0] for one in seen] == [f"trained_teacher: {done} of 2 epochs" for done in (1, 2)]
    assert stages_in_progress(tmp_path, tiny_pack.digest) == []


def test_what_cannot_teach_is_refused(tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readout = ReadoutConfig(hidden=4, output=5)
    card = ImageEncoderCard(contract=ImageContract(image_size=24), backbone=TINY.backbone, readout=readout)
    monkeypatch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
    save_bundle(card.build(0).eval(), card, tmp_path / "headed", name="some-image", lineage={})
    headed = BundleTeacher(folder=str(tmp_path / "headed"), sha256="0" * 64)
    with pytest.raises(ConfigError, match="head of its own"):
        given_network(headed, tiny_pack, tmp_path, CPU)
    monkeypatch.setattr(tiny_pack, "num_views", np.ones_like(tiny_pack.num_views))
    with pytest.raises(InfeasibleError, match="two views each"):
        given_network(TINY, tiny_pack, tmp_path, CPU)
