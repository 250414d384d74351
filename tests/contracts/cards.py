"""Cards to test what every card must do: each encoder of the kit, and one of each further kind."""

import pytest

from ssl_core.models.cards import Card
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import HeadTuning
from ssl_core.models.dense_networks import DenseMapConfig
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.reconstruction_cards import PoseEstimatorCard, ReconstructorCard
from ssl_core.models.small_cnn import SmallCnnConfig
from tests.contracts import encoders as kit

FIELD = SceneFieldCard(
    gaussians=90, classes=("wall", "chair"), channels=4, embedding=8, decodes=True, sh_degree=1, width=16, height=12,
    examples=((1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 14, 14, 8, 6), (0, 0, -1, 0, 0, 1, 0, 0, 1, 0, 0, 4, 14, 14, 8, 6)),
)  # fmt: skip
RECONSTRUCTOR = ReconstructorCard(image_size=32, num_points=48, bottleneck=16, width=0.1, classes=("chair",))
POSE = PoseEstimatorCard(image_size=32, width=0.1)
DENSE = DenseEncoderCard(
    height=16,
    width=24,
    backbone=DenseMapConfig(network=SmallCnnConfig(channels=(8, 12)), stride=4, channels=12),
    tuning=HeadTuning(hidden=8),
)
CARDS: dict[str, Card] = {case.name: case.card for case in kit.CASES} | {
    "dense_encoder": DENSE,
    "scene_field": FIELD,
    "reconstructor": RECONSTRUCTOR,
    "pose_estimator": POSE,
}
ONE_OF_EACH: dict[str, Card] = {
    name: CARDS[name]
    for name in ("pointnet-plain", "resnet18", "dense_encoder", "scene_field", "reconstructor", "pose_estimator")
}
QUICK_OF_EACH = [
    pytest.param(card, id=name, marks=pytest.mark.slow if name in ("resnet18", "scene_field") else ())
    for name, card in ONE_OF_EACH.items()
]
"""The same where each case writes exports, which takes seconds of these two."""
