"""Fine-tuning added to a report: nothing else of it changes, trainings are kept, and controls are shared."""

from pathlib import Path

import pytest
import torch

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.evaluation.extract import FeatureCache
from ssl_core.evaluation.fine_tune import FineTuningConfig
from ssl_core.evaluation.fine_tuning_plan import FineTuningBudget, FineTuningSettings
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.sections import fine_tuning as section
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.fine_tuned import (
    fine_tuned,
    fine_tuning_words,
    was_fine_tuned,
    with_fine_tuning,
    without_fine_tuning,
)
from ssl_core.evaluation.tasks.probing import evaluate_encoder
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.readout import ReadoutConfig

SETTINGS = FineTuningSettings(
    label_settings=(LabelSetting(per_class=2, draws=2), LabelSetting()),
    seeds=(0, 1),
    training=FineTuningConfig(epochs=2, batch_size=8, test_draws=1, test_views=2),
    min_steps=1,
)
TRAININGS = 6
FROZEN = EvaluationConfig(
    label_settings=SETTINGS.label_settings, probes=("svm",), point_draws=1, view_draws=1, twin_seeds=(),
    sections=NO_SECTIONS,
)  # fmt: skip
READ = ReadoutConfig(hidden=16, output=24)
POINT_CARD = PointEncoderCard(
    contract=PointsContract(num_points=64),
    backbone=PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32),
    readout=READ,
)
ADAPTED = ImageEncoderCard(
    contract=ImageContract(image_size=24),
    backbone=ResNetConfig(kind="resnet18"),
    readout=READ,
    frozen_backbone=True,
)


class Bench:
    """A pack, a place for what is kept, and a count of trainings that were made."""

    def __init__(self, pack, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pack, self.home, self.made, self.ends_after = pack, home, 0, 10**6
        train = section.fine_tune

        def counted(*arguments):
            if self.made == self.ends_after:
                raise KeyboardInterrupt
            self.made += 1
            return train(*arguments)

        monkeypatch.setattr(section, "fine_tune", counted)

    def tune(self, card, seed: int, settings: FineTuningSettings = SETTINGS):
        """The report before, the report after, and the encoder."""
        encoder = card.build(seed)
        context = Context(identity=f"weights {seed}", cache=FeatureCache(self.home / "features"))
        before = evaluate_encoder(encoder, card, self.pack, FROZEN, context).report
        config = with_fine_tuning(FROZEN, settings)
        return before, fine_tuned(encoder, card, self.pack, config, context, before).report, encoder


@pytest.fixture
def bench(tiny_pack, tmp_path, monkeypatch) -> Bench:
    return Bench(tiny_pack, tmp_path, monkeypatch)


def test_a_report_gets_the_section_and_stays_what_it_was(bench):
    before, after, _ = bench.tune(POINT_CARD, 0)
    rows = after.sections.fine_tuning
    assert [(row.labels, row.runs, row.over) for row in rows] == [
        ("2 per class", 4, "label draws"),
        ("all", 2, "test objects"),
    ]
    assert (after.deciding, after.baseline, after.rows) == (before.deciding, before.baseline, before.rows)
    assert after.config.covers(FROZEN)
    assert after.config == with_fine_tuning(FROZEN, SETTINGS)
    assert without_fine_tuning(after.config) == FROZEN
    assert without_fine_tuning(FROZEN) is None
    assert "from scratch" in fine_tuning_words(after)
    assert was_fine_tuned(after)
    assert fine_tuning_words(before) == ""


def test_versions_of_an_architecture_share_their_control(bench):
    """n versions cost n + 1, whatever is read out of them; a second time costs nothing."""
    for seed, parts in enumerate((("hidden",), ("backbone", "hidden"))):
        card = POINT_CARD.model_copy(update={"readout": READ.model_copy(update={"parts": parts})})
        bench.tune(card, seed)
    assert bench.made == 3 * TRAININGS
    _, again, _ = bench.tune(POINT_CARD, 0)
    assert bench.made == 3 * TRAININGS
    assert again.sections.fine_tuning[0].runs == 4


@pytest.mark.slow  # three times all trainings
def test_one_that_was_cut_short_goes_on(bench, tmp_path):
    bench.ends_after = 7
    with pytest.raises(KeyboardInterrupt):
        bench.tune(POINT_CARD, 0)
    bench.ends_after = 10**6
    _, found, _ = bench.tune(POINT_CARD, 0)
    assert bench.made == 2 * TRAININGS
    bench.home = tmp_path / "another"
    _, undisturbed, _ = bench.tune(POINT_CARD, 0)
    assert found.sections.fine_tuning == undisturbed.sections.fine_tuning


@pytest.mark.slow  # through a ResNet
def test_over_a_network_that_was_not_trained_the_read_out_is(bench):
    _, after, encoder = bench.tune(ADAPTED, 0)
    assert {row.trained for row in after.sections.fine_tuning} == {"read-out"}
    assert "its network left as it is" in after.sections.markdown()
    assert bench.made == 2 * TRAININGS
    other = ADAPTED.build(1)
    other.backbone.backbone = encoder.backbone.backbone
    for name, value in ADAPTED.build(0).state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name])
    # another read-out over the same network meets the same control
    context = Context(identity="another", cache=FeatureCache(bench.home / "features"))
    before = evaluate_encoder(other, ADAPTED, bench.pack, FROZEN, context).report
    fine_tuned(other, ADAPTED, bench.pack, with_fine_tuning(FROZEN, SETTINGS), context, before)
    assert bench.made == 3 * TRAININGS


def test_a_budget_cuts_and_says_so_or_leaves_it_out(bench):
    tiny = SETTINGS.model_copy(update={"budget": FineTuningBudget(seconds=1e-6, per_object=0)})
    _, without, _ = bench.tune(POINT_CARD, 0, tiny)
    assert without.sections.fine_tuning is None
    assert "its budget is" in without.sections.left_out["fine_tuning"]
    assert fine_tuning_words(without).startswith("not fine-tuned: the least of it takes about")
    assert not was_fine_tuned(without)
    assert bench.made == 0
    ample = SETTINGS.model_copy(update={"budget": FineTuningBudget(seconds=1e6)})
    _, whole, _ = bench.tune(POINT_CARD, 0, ample)
    assert whole.sections.left_out == {}
    assert [row.runs for row in whole.sections.fine_tuning] == [4, 2]
