"""Features and the reference's table: each object and each view is read and encoded once, and nothing else differs from
encoding everything anew for every setting."""

import numpy as np
import pytest
import torch

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.extract import ExtractionTimes, image_features, point_features
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.tasks.probing import evaluate_encoder
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig, reference_table
from ssl_core.models.cards import encoder_card
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.packing.pack_writer import write_pack
from tests.conftest import write_tiny_set
from tests.reference.plain_pipeline import plain_table

POINTS = PointsContract(num_points=64, features=("xyz", "scale"), alpha_threshold=0.05)
IMAGE = ImageContract(image_size=20)
FRACTIONS = (LabelSetting(fraction=0.01), LabelSetting(fraction=0.1), LabelSetting(fraction=0.5), LabelSetting())


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def table_pack(tmp_path_factory) -> Pack:
    """More views and objects than the tiny pack, so that the settings of the table differ."""
    root = write_tiny_set(tmp_path_factory.mktemp("set"), train=8, test=5, views=4, seed=4)
    out = tmp_path_factory.mktemp("packs") / "table"
    return write_pack(root / "points", root / "images", out, PackConfig(cached_points=128, starts=2))


BACKBONE = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=64)
POINT_CARD, IMAGE_CARD = encoder_card(POINTS, BACKBONE), encoder_card(IMAGE, ResNetConfig(kind="resnet18"))


class CountedViews:
    """The views of a pack, with a count per view of how often it was read, and the most read at once."""

    def __init__(self, views):
        self.views, self.reads, self.most = views, np.zeros(len(views), dtype=int), 0

    def __getitem__(self, index):
        self.reads[index] += 1
        self.most = max(self.most, len(index))
        return self.views[index]


def count_forwards(encoder):
    """Inputs that went through the encoder, as a list that grows."""
    seen = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.extend(x.clone() for x in inputs[0]))
    return seen


def test_the_reference_table_is_that_of_the_seeds():
    config = reference_table()
    assert config.views == (1, 4, 16, 32, 64)
    assert [setting.name for setting in config.label_settings] == ["1 %", "10 %", "50 %", "all"]
    assert (config.point_draws, config.view_draws, config.svm_c, config.twin_seeds) == (1, 1, 1.0, ())
    assert config != EvaluationConfig(), "the gate compares reports of equal config only"


@pytest.mark.parametrize("card", [POINT_CARD, IMAGE_CARD])
def test_accuracies_are_those_of_the_plain_way(card, table_pack):
    encoder, config = card.build(3), reference_table().model_copy(update={"views": (1, 2, 64)})
    report = evaluate_encoder(encoder, card, table_pack, config).report
    found = {(row.labels, row.views): row.accuracy.mean for row in report.rows if row.probe == "svm"}
    expected = plain_table(encoder, table_pack, config)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=1e-9)
    assert len(set(expected.values())) > 1, "a table whose cells are equal shows nothing"
    rows = report.by_views()
    assert [row["views"] for row in rows] == (["-"] if card is POINT_CARD else ["1", "2", "4"])
    assert all(list(row)[1:] == ["1 %", "10 %", "50 %", "all"] for row in rows)
    assert rows[-1]["all"] == report.row("svm", "all").accuracy.percent()


def test_each_view_is_read_and_encoded_once_for_the_whole_table(table_pack, monkeypatch):
    encoder, counted = IMAGE_CARD.build(0), CountedViews(table_pack.views)
    seen = count_forwards(encoder)
    monkeypatch.setattr(table_pack, "views", counted)
    evaluate_encoder(encoder, IMAGE_CARD, table_pack, reference_table())
    assert (counted.reads == 1).all()
    assert len(seen) == len(counted.views)
    assert counted.most <= 64, "views come in batches of bounded size"


def test_each_object_is_sampled_and_encoded_once_per_point_draw(table_pack, monkeypatch):
    made, drawn = [], []
    init, draw = PointSampler.__init__, PointSampler.draw
    monkeypatch.setattr(PointSampler, "__init__", lambda self, *rest: (made.append(1), init(self, *rest))[1])
    monkeypatch.setattr(
        PointSampler,
        "draw",
        lambda self, objects, number: (
            drawn.extend((number, int(index)) for index in objects),
            draw(self, objects, number),
        )[1],
    )
    encoder = POINT_CARD.build(0)
    seen = count_forwards(encoder)
    config = reference_table().model_copy(update={"point_draws": 2})
    evaluate_encoder(encoder, POINT_CARD, table_pack, config)
    objects = np.concatenate([table_pack.objects("train"), table_pack.objects("test")])
    assert sorted(drawn) == sorted((number, int(index)) for number in (0, 1) for index in objects)
    assert len(seen) == len(drawn)
    assert len(made) == 1


def test_no_file_of_the_pack_is_opened_again(table_pack, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a file of the pack was opened a second time")

    monkeypatch.setattr(np, "load", refuse)
    monkeypatch.setattr(np, "memmap", refuse)
    config = EvaluationConfig(label_settings=FRACTIONS[-1:], baselines=())
    for card in (IMAGE_CARD, POINT_CARD):
        evaluate_encoder(card.build(0), card, table_pack, config)


@pytest.mark.parametrize("card", [POINT_CARD, IMAGE_CARD])
def test_the_time_of_the_extraction_is_told_apart(card, table_pack):
    times = ExtractionTimes()
    evaluate_encoder(card.build(0), card, table_pack, reference_table(), times=times)
    assert times.forward > 0
    assert times.data > 0
    assert 0 < times.forward_share < 1
    assert ExtractionTimes().forward_share == 0


def test_times_add_up(tiny_pack):
    times = ExtractionTimes()
    objects = tiny_pack.objects("test")
    image_features(IMAGE_CARD.build(0), tiny_pack, objects, 20, views=1, times=times)
    before = (times.forward, times.data)
    point_features(POINT_CARD.build(0), PointSampler(tiny_pack, POINTS, objects), objects, 0, times=times)
    assert (times.forward, times.data) > before


def test_extraction_leaves_mode_and_gradients_alone(tiny_pack):
    encoder = IMAGE_CARD.build(0).train()
    image_features(encoder, tiny_pack, tiny_pack.objects("test"), 20)
    assert encoder.training
    assert encoder(torch.rand(2, 3, 20, 20)).requires_grad
