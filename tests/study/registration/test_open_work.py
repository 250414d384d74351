"""What is to be done next follows from the registry as it stands."""

import json
from datetime import UTC, datetime, timedelta

from registry.champions.evaluation_claims import Claim, work_key
from registry.champions.pending import PendingVersion
from ssl_core.evaluation.fine_tuning_plan import automatic_settings
from ssl_core.evaluation.tasks.fine_tuned import with_fine_tuning
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.evaluation.tasks.scene_field_report import SceneFieldConfig
from study.registration.open_work import OpenWork, find_open_work

PACK, OTHER, PROTOCOL = "a" * 16, "b" * 16, EvaluationConfig(draw_seed=3)
WORK = work_key(PACK, PROTOCOL.digest())
KIND = {"splatsweep.kind": "encoder"}
DONE = json.dumps({"outcome": "refused", "reason": "r", "time": "t"})


def found(version: int, name: str = "points", champion: bool = False, kind: bool = True, **tags: str) -> PendingVersion:
    ours = {f"splatsweep.{key}": value for key, value in tags.items()}
    return PendingVersion(name, version, ours, KIND if kind else {}, champion=champion)


def open_work(
    *versions: PendingVersion, packs: tuple[str, ...] = (PACK, OTHER), running: tuple[str, ...] = ()
) -> OpenWork:
    return find_open_work(versions, packs, PROTOCOL, running)


def references(made: OpenWork) -> list[str]:
    return [task.found.reference for task in made.tasks]


def test_every_open_version_once_in_order():
    assert references(open_work(found(2), found(1), found(1, "image"))) == ["image/1", "points/1", "points/2"]


def test_judged_unfit_running_and_strangers_are_left_out():
    made = open_work(
        found(1, **{f"judged.{WORK}": DONE}), found(2, unfit="no weights"), found(3), found(4, kind=False), found(5),
        running=("points/3",),
    )  # fmt: skip
    assert references(made) == ["points/5"]
    assert made.external == 1


def test_a_note_of_another_protocol_or_pack_or_an_edited_one_does_not_count():
    other = {f"judged.{work_key(PACK, 'd' * 16)}": DONE, f"judged.{work_key(OTHER, PROTOCOL.digest())}": DONE}
    assert references(open_work(found(1, **other), found(2, **{f"judged.{WORK}": "yes"}))) == ["points/1", "points/2"]


def test_each_gets_the_pack_that_it_names():
    made = open_work(found(1), found(2, pack_digest=OTHER), found(3, pack_digest="e" * 16))
    assert [task.pack_digest for task in made.tasks] == [PACK, OTHER]
    assert made.without_pack == {"points/3": "e" * 16}
    assert open_work(found(1), packs=()).without_pack == {"points/1": ""}


def test_the_champion_goes_first_and_alone():
    made = open_work(found(1), found(2, champion=True), found(3, "image"))
    assert references(made) == ["image/3", "points/2"]
    done = found(2, champion=True, **{f"judged.{WORK}": DONE})
    assert references(open_work(found(1), done)) == ["points/1"]


def test_a_claimed_version_is_left_until_its_claim_ends():
    for minutes, claimed in ((1, True), (-1, False)):
        claim = Claim(who="another 1 1 1", until=datetime.now(UTC) + timedelta(minutes=minutes))
        made = open_work(found(1, **{f"claim.{WORK}": claim.to_json()}))
        assert references(made) == ([] if claimed else ["points/1"])


def test_each_kind_is_asked_what_the_gate_asks_of_it():
    """Versions of before the cards, of every kind, and one that says nothing we know."""
    kinds = ({"modality": "image"}, {"card": "point_encoder"}, {"card": "scene_field"}, {"card": "hologram"}, {})
    versions = [found(number, **tags) for number, tags in enumerate(kinds, start=1)]
    tasks = find_open_work(versions, [PACK], None).tasks
    probing, drawing = (work_key(PACK, config.digest()) for config in (EvaluationConfig(), SceneFieldConfig()))
    assert [task.work for task in tasks] == [probing, probing, drawing, probing, probing]


def test_fine_tuning_comes_after_the_judging_of_all_and_once():
    """Of those that were measured alone: what this pack cannot serve was refused without a report."""
    asked = with_fine_tuning(PROTOCOL, automatic_settings())
    assert asked is not None
    tuned = {f"judged.{work_key(PACK, asked.digest())}": DONE}
    judged = {f"judged.{WORK}": DONE, "evaluation": "{}"}
    unserved = found(4, **{f"judged.{WORK}": DONE})
    versions = (found(1, **judged), found(2), found(3, **judged, **tuned), unserved, found(5, **judged))
    made = find_open_work(versions, [PACK], PROTOCOL, ["points/5"], automatic_settings())
    assert [(task.found.version, task.fine_tunes) for task in made.tasks] == [(2, False), (1, True)]
    assert made.tasks[1].protocol == asked
    assert references(open_work(*versions)) == ["points/2"], "it was not asked for"


def test_a_scene_field_is_not_fine_tuned():
    field = found(
        1, card="scene_field", evaluation="{}", **{f"judged.{work_key(PACK, SceneFieldConfig().digest())}": DONE}
    )
    assert find_open_work([field], [PACK], None, (), automatic_settings()).tasks == ()
