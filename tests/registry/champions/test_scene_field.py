"""A model that is neither points nor image goes the same way: registered, evaluated by its card, then the gate."""

from registry.champions.promote import promote
from registry.versions.evaluation_log import read_report
from ssl_core.models.bundle import save_bundle
from tests.ssl_core.evaluation.test_novel_view_task import CARD, CONFIG, blurred, scene_pack

__all__ = ["scene_pack"]


def test_a_scene_field_becomes_champion_and_gives_way_to_a_better_one(store, lineage, trial, scene_pack, tmp_path):
    versions = []
    for number, amount in enumerate((0.05, 0.0)):
        folder = tmp_path / str(number)
        save_bundle(blurred(5, amount), CARD, folder, name="fox-field", lineage={})
        versions.append(store.register(folder, "fox-field", lineage, trial))
    off, good = versions
    first = promote(store, scene_pack, off, CONFIG)
    assert first.promoted, first.reason
    won = promote(store, scene_pack, good, CONFIG)
    assert won.promoted, won.reason
    assert won.reason.startswith("better than the champion: colours of test views ")
    assert store.resolve("fox-field@champion").version == good.version
    champion = store.get("fox-field", good.version)
    assert " dB over 6 test views" in champion.evaluation.headline
    report = read_report(store, champion)
    assert report.deciding.unit == "test views"
    run = store.client.get_run(champion.evaluation.run_id)
    assert run.data.metrics["novel_view/psnr"] > 50
    card = (store.download(champion.name, champion.version, tmp_path) / "model_card.md").read_text()
    assert "| view | PSNR | untrained twin |" in card
    assert "Gate: promoted. better than the champion" in card
    assert not promote(store, scene_pack, off, CONFIG).promoted
