"""The protocol as values: which questions are the same, which settings make no sense, what a draw seed changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_core.config import validated
from ssl_core.errors import ConfigError
from ssl_core.evaluation.protocol import PROTOCOL_VERSION, LabelSetting
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS, Sections
from ssl_core.evaluation.sections.retrieval import RetrievalSettings
from ssl_core.evaluation.sections.robustness import RobustnessSettings, light_disturbances
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig, full_protocol, reference_table
from ssl_core.evaluation.tasks.scene_field_report import SceneFieldConfig

DEFAULT = EvaluationConfig()


def changed(**values: object) -> EvaluationConfig:
    return validated(EvaluationConfig, {**DEFAULT.model_dump(), **values})


def test_the_labels_and_views_of_the_protocol():
    assert [setting.name for setting in DEFAULT.label_settings] == ["5 per class", "1 %", "10 %", "50 %", "all"]
    assert DEFAULT.deciding_labels == LabelSetting(per_class=5, draws=10)
    assert DEFAULT.views == (1, 4, 16, 32, 64)
    assert set(DEFAULT.pooling) == {"max", "mean"}
    assert set(DEFAULT.probes) == {"svm", "one_scale_svm", "knn", "nearest", "linear"}
    assert DEFAULT.protocol == PROTOCOL_VERSION


def test_an_evaluation_without_a_person_asks_for_what_is_cheap_and_the_full_one_for_everything():
    assert DEFAULT.sections.fine_tuning is None
    assert DEFAULT.sections.novel_views is None
    assert None not in [section for _, section in full_protocol().sections]


def test_a_fuller_report_answers_a_smaller_question_and_not_the_reverse():
    full = full_protocol()
    assert full.covers(DEFAULT)
    assert not DEFAULT.covers(full)
    assert DEFAULT.covers(changed(sections=NO_SECTIONS))
    assert not changed(sections=NO_SECTIONS).covers(DEFAULT)
    assert not full.covers(changed(knn_k=3))
    assert not full.covers(changed(sections=Sections(retrieval=RetrievalSettings(ks=(50,)))))
    fewer = RobustnessSettings(disturbances=light_disturbances()[:1])
    assert DEFAULT.covers(changed(sections=Sections(robustness=fewer)))
    assert all(config.covers(config) for config in (DEFAULT, full, reference_table(), SceneFieldConfig()))
    assert not full.covers(SceneFieldConfig())
    assert not SceneFieldConfig().covers(full)


def test_what_decides_must_be_the_same_to_compare_and_nothing_else():
    assert DEFAULT.deciding_key == full_protocol().deciding_key
    fewer = changed(label_settings=DEFAULT.label_settings[:1], twin_seeds=(), probes=("svm",))
    assert DEFAULT.deciding_key == fewer.deciding_key
    for other in (
        changed(draw_seed=1),
        changed(point_draws=1),
        changed(svm_c=0.1),
        changed(label_settings=(LabelSetting(per_class=5, draws=9),)),
        reference_table(),
    ):
        assert DEFAULT.deciding_key != other.deciding_key


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 999), st.integers(0, 999))
def test_no_two_draw_seeds_share_a_draw(a: int, b: int, first: int, second: int):
    one, two = changed(draw_seed=a), changed(draw_seed=b)
    same = a == b and first == second
    assert (one.label_seed(first) == two.label_seed(second)) == same
    assert (one.view_seed(first) == two.view_seed(second)) == same


@given(st.integers(0, 50), st.integers(1, 7))
def test_point_draws_follow_each_other(seed: int, draws: int):
    config = changed(draw_seed=seed, point_draws=draws)
    following = config.model_copy(update={"draw_seed": seed + 1})
    assert config.point_number(draws - 1) + 1 == following.point_number(0)


@pytest.mark.parametrize(
    "values",
    [
        {"probes": ["knn"]},
        {"pooling": ["mean"]},
        {"views": []},
        {"draw_seed": -1},
        {"protocol": "1"},
        {"label_settings": [{"draws": 3}]},
        {"label_settings": [{"per_class": 2, "fraction": 0.1}]},
        {"sections": {"astrology": {}}},
    ],
)
def test_questions_that_make_no_sense_are_refused(values):
    with pytest.raises(ConfigError):
        changed(**values)


def test_the_full_protocol_without_fine_tuning_is_not_the_full_one():
    short, full = full_protocol(fine_tuning=False), full_protocol()
    assert full.not_measured() == ()
    assert short.not_measured() == ("fine_tuning",)
    assert DEFAULT.not_measured() == ("robustness", "novel_views", "fine_tuning")
    assert changed(probes=("svm",), sections=full.sections.model_dump()).not_measured() == ("probes",)
    assert not short.covers(full), "who asks for the full protocol later gets it"
    assert full.covers(short)
    assert short.covers(DEFAULT), "it answers for what the gate asks"
    assert short.deciding_key == full.deciding_key
    assert short.digest() != full.digest()


@given(st.sets(st.sampled_from(sorted(Sections.model_fields))))
def test_what_is_left_out_is_named_and_nothing_else(names):
    full = full_protocol()
    sections = full.sections.model_copy(update=dict.fromkeys(names))
    config = full.model_copy(update={"sections": sections})
    assert set(config.not_measured()) == names
    assert config.covers(full) == (not names)
