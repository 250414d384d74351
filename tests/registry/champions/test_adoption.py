"""What a version of another client says of itself."""

import pytest

from registry.champions.adoption import CLASSES, declared_classes
from ssl_core.contracts import PointsContract
from ssl_core.models.bundle import BundleCard
from ssl_core.models.cards import encoder_card
from ssl_core.models.pointnet import PointNetConfig


@pytest.mark.parametrize("text", ["café, box", "cafe\u0301,box", '["cafe\u0301", "box"]'])
def test_declared_classes_meet_those_of_a_pack_in_any_unicode_form(text):
    card = BundleCard(name="x", card=encoder_card(PointsContract(), PointNetConfig()))
    assert declared_classes(card, {CLASSES: text}) == ("café", "box")
