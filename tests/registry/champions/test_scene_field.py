"""A model that is neither points nor image goes the same way: registered, evaluated by its card, then the gate."""

import pytest

from registry.champions.promote import promote
from registry.versions.evaluation_log import read_report
from ssl_core.models.bundle import save_bundle
from tests.small_fields import mislabelled, true_field
from tests.ssl_core.evaluation.test_scene_field_task import CONFIG, rooms

__all__ = ["rooms"]


@pytest.mark.slow
def test_a_scene_field_becomes_champion_and_gives_way_to_a_better_one(store, lineage, trial, rooms, tmp_path):
    versions = []
    for number, share in enumerate((0.6, 0.0)):
        folder = tmp_path / str(number)
        field, card = true_field(rooms, stride=4)
        save_bundle(mislabelled(field, share), card, folder, name="room-field", lineage={})
        versions.append(store.register(folder, "room-field", lineage, trial))
    off, good = versions
    first = promote(store, rooms, off, CONFIG)
    assert first.promoted, first.reason
    won = promote(store, rooms, good, CONFIG)
    assert won.promoted, won.reason
    assert won.reason.startswith("better than the champion: mIoU of test views ")
    assert store.resolve("room-field@champion").version == good.version
    champion = store.get("room-field", good.version)
    assert champion.evaluation.headline.startswith("mIoU ")
    report = read_report(store, champion)
    assert report.deciding.unit == "test views"
    run = store.client.get_run(champion.evaluation.run_id)
    assert run.data.metrics["scene_field/miou"] > 0.1
    card = (store.download(champion.name, champion.version, tmp_path) / "model_card.md").read_text()
    assert "| view | PSNR | mIoU | untrained field |" in card
    assert "Gate: promoted. better than the champion" in card
    assert not promote(store, rooms, off, CONFIG).promoted
