"""The estimate follows from what each kind of step has taken, not from steps alike."""

import pytest

from ssl_core.evaluation.report import Steps
from study.reports.evaluation_pace import EvaluationPace, duration, share

SECONDS = {"features of the encoder": 0.3, "features of random twins": 0.3, "probes": 0.01, "retrieval": 0.1}
PLAN = {"features of the encoder": 50, "features of random twins": 150, "probes": 2000, "retrieval": 20}
WHOLE = sum(SECONDS[what] * count for what, count in PLAN.items())


class Run:
    """An evaluation whose steps take what they take, and what was estimated meanwhile."""

    def __init__(self, kept: str = "", plan: dict[str, int] | None = PLAN) -> None:
        self.now, self.kept, self.estimates = 0.0, kept, list[tuple[float, float | None]]()
        self.pace = EvaluationPace(lambda: self.now)
        steps = Steps.planned("e", plan, self.listen) if plan else Steps("e", sum(PLAN.values()), self.listen)
        for what, count in PLAN.items():
            with steps.block(what, count):
                for _ in range(0 if what == kept else count):
                    self.now += SECONDS[what]
                    steps.step()

    def listen(self, stand) -> None:
        self.pace.listen(stand)
        self.estimates.append((self.now, self.pace.left(stand)))
        self.last = stand


def test_the_estimate_is_about_right_from_the_first_steps_on():
    run = Run()
    for now, left in run.estimates[2:]:
        assert now + left == pytest.approx(WHOLE, rel=0.35), now
    assert run.estimates[-1][1] == 0


def test_counting_steps_alike_is_far_off():
    early = [(now, left) for now, left in Run(plan=None).estimates if left is not None and 0 < now < 5]
    assert all(now + left > 5 * WHOLE for now, left in early)


def test_what_was_kept_takes_no_time_and_is_not_waited_for():
    run = Run(kept="features of random twins")
    assert run.estimates[-1][1] == 0
    after = [left for now, left in run.estimates if now > 15.5]
    assert max(after) < 0.9 * WHOLE - 15


def test_shares_and_durations():
    stand = Run().last
    assert share(stand, 30, 10) == 0.75
    assert share(stand, 30, None) == 1.0
    assert [duration(seconds) for seconds in (0.4, 59, 200)] == ["0 s", "59 s", "3 min 20 s"]
