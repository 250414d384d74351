"""Records that are kept up to date line by line are those that are made from all lines at once."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from study.engine.history import History
from study.record import journal_lines as lines
from study.record.journal_lines import Line
from study.record.trial_record import record_of
from study.spec.study_spec import StudySpec

numbers = st.floats(-1e3, 1e3, allow_nan=False)
reports = st.builds(
    lambda trial, epoch, value, seconds: [
        lines.trial_value(trial, epoch, value),
        lines.trial_attr(trial, "seconds", seconds),
        lines.trial_attr(trial, "held", seconds + 1),
        lines.trial_attr(trial, "epochs", 30),
    ],
    st.integers(0, 1), st.integers(1, 30), numbers, st.floats(0, 100),
)  # fmt: skip
others = st.one_of(
    st.builds(lambda trial, value: [lines.trial_attr(trial, "crashes", value)], st.integers(0, 1), st.integers(0, 3)),
    st.builds(lambda trial: [lines.trial_state(trial, TrialState.COMPLETE, [1.0])], st.integers(0, 1)),
    st.builds(lambda trial: [lines.trial_attr(trial, "outcome", "COMPLETE")], st.integers(0, 1)),
)
look = st.none()


@settings(deadline=None, max_examples=300)
@given(
    groups=st.lists(st.one_of(reports, reports, reports, others, look), max_size=40),
    direction=st.sampled_from(("maximize", "minimize")),
)
def test_records_do_not_depend_on_when_one_looks(groups: list[list[Line] | None], direction: str) -> None:
    """None in the list is a look; epochs come in any order, twice, and after the end."""
    history = History(Path("journal.log"), follow_sampler=False)
    spec = StudySpec.model_validate({"metric": "val/probe", "direction": direction})
    begin = [lines.create_study("s", [direction]), lines.study_attr("spec", spec.to_json())]
    for line in [*begin, *(lines.create_trial({}, {}, {}, {}) for _ in range(2))]:
        history.apply(json.loads(json.dumps(line)))
    for group in groups:
        for line in group or ():
            history.apply(json.loads(json.dumps(line)))
        if group is None:
            history.records()
    assert history.records() == [record_of(trial, direction) for trial in history.state.trials]
    assert [list(record.curve) for record in history.records()] == [sorted(t.curve) for t in history.state.trials]
