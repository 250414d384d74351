"""What answers a death: the same again, a larger share, or an outcome."""

import pytest

from study.engine.recovery import Again, GiveUp, after_death, already_failed
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec

SPEC = StudySpec(max_attempts=2)


def trial(crashes: int = 0, share: float = 1.0) -> TrialRecord:
    return TrialRecord(number=0, crashes=crashes, share=share)


@pytest.mark.parametrize(
    ("record", "out_of_memory", "answer"),
    [
        (trial(), False, Again(1)),
        (trial(1), False, GiveUp(Outcome.CRASHED, "boom (2 attempts; see crash-2.txt)")),
        (trial(1, share=2), False, Again(2)),  # the first death was for want of memory
        (trial(2, share=2), False, GiveUp(Outcome.CRASHED, "boom (3 attempts; see crash-3.txt)")),
        (trial(), True, Again(2)),
        (trial(1, share=2), True, Again(3)),
        (trial(1), True, Again(2)),  # a crash before does not take the larger share away
        (trial(2, share=3), True, GiveUp(Outcome.INFEASIBLE, "out of memory with 3 times the usual share, the most "
                                                             "there is: boom")),
    ],
)  # fmt: skip
def test_the_answer_to_a_death(record: TrialRecord, out_of_memory: bool, answer: Again | GiveUp) -> None:
    assert after_death(record, SPEC, 3.0, "boom", out_of_memory) == answer


def test_without_retries_memory_is_the_configurations_fault() -> None:
    spec = StudySpec(on_oom="infeasible")
    assert after_death(trial(), spec, 3.0, "boom", True) == GiveUp(Outcome.INFEASIBLE, "out of memory: boom")


def test_a_driver_that_died_after_the_last_attempt_finds_it_failed() -> None:
    assert already_failed(trial(1), SPEC, "boom") is None
    assert already_failed(trial(2), SPEC, "boom") == GiveUp(Outcome.CRASHED, "boom (2 attempts; see crash-2.txt)")
    assert already_failed(trial(2, share=2), SPEC, "boom") is None
