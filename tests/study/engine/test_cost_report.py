"""Every second of every slot is counted once: by a clock of our own exactly, by a real study within two per cent."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.engine.cost_report import CostReport, receipt_of
from study.engine.meter import TOTALS, TRIALS, Meter, MeterFile, TrialTime
from study.spec.outcome import Outcome


class HandClock:
    """Moved by hand; its wall clock may be set to anything."""

    def __init__(self) -> None:
        self.now, self.offset = 100.0, 1.7e9

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.offset


class Folder:
    """All that a meter wants of a ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def meter_of(clock: HandClock, folder: Path, slots: int = 2, gpus: float = 0.0) -> Meter:
    return Meter(clock, slots, gpus, Folder(folder))  # type: ignore[arg-type]


def receipt(meter: Meter, **outcomes: Outcome | None) -> CostReport:
    named = {int(name[1:]): outcome for name, outcome in outcomes.items()}
    return receipt_of(meter.times(), named, meter.totals().idle, meter.totals().gpus)


def test_a_study_by_hand(tmp_path: Path) -> None:
    clock = HandClock()
    meter = meter_of(clock, tmp_path, gpus=0.5)
    clock.now += 3  # Ray starts: both slots idle
    meter.launched(0)
    clock.now += 1
    meter.launched(1)
    clock.now += 10
    meter.reported(0, 8.0)  # three seconds were start-up
    clock.now += 4
    meter.reported(1, 12.0)
    meter.left(1)
    clock.now += 1
    meter.left(0, lost=True)  # five seconds into its second epoch
    clock.now += 1
    meter.close()
    found = receipt(meter, t0=Outcome.CRASHED, t1=Outcome.COMPLETE)
    assert found.useful == 12.0
    assert found.failed == 8.0 + 5.0
    assert found.stopped == 0.0
    assert found.overhead == (3 * 2) + 1 + (3 + 2) + 1 + 2
    assert found.held == meter.seconds() * 2 == 40.0
    assert meter.gpu_seconds() == 20.0
    assert found.gpu_hours == pytest.approx(20.0 / 3600)
    assert meter.held(0) == 16.0
    assert meter.held(7) == 0.0


def test_a_dead_driver_counts_to_its_last_tick_and_its_epochs_are_found_again(tmp_path: Path) -> None:
    clock = HandClock()
    meter = meter_of(clock, tmp_path, slots=1)
    meter.launched(0)
    clock.now += 5
    meter.reported(0, 5.0)
    for _ in range(6):
        clock.now += 1
        meter.tick()
    del meter  # kill -9: ticks are written every two seconds
    clock.now += 1000
    again = meter_of(clock, tmp_path, slots=1)
    assert again.seconds() == pytest.approx(11, abs=2)
    assert again.times()[0].lost == pytest.approx(6, abs=2)
    again.launched(0)
    clock.now += 1
    again.reported(0, 4.0)  # the checkpoint was ahead of the ledger: trained before the kill
    again.left(0)
    again.close()
    time = again.times()[0]
    assert time.training == 9.0
    assert time.held == again.seconds()
    assert receipt(again, t0=Outcome.COMPLETE).held == pytest.approx(again.seconds())


def test_an_interrupted_trial_loses_the_epoch_under_way(tmp_path: Path) -> None:
    clock = HandClock()
    meter = meter_of(clock, tmp_path)
    meter.launched(3)
    clock.now += 7
    meter.close()
    assert meter_of(clock, tmp_path).times()[3] == TrialTime(held=7.0, lost=7.0)


@pytest.mark.parametrize("jump", [-36000.0, 36000.0, -1.7e9])
def test_a_wall_clock_that_jumps_changes_nothing(tmp_path: Path, jump: float) -> None:
    clock = HandClock()
    meter = meter_of(clock, tmp_path)
    meter.launched(0)
    clock.now, clock.offset = clock.now + 2, clock.offset + jump
    meter.reported(0, 2.0)
    meter.left(0)
    meter.close()
    assert meter.seconds() == 2.0
    assert receipt(meter, t0=Outcome.STOPPED) == CostReport(stopped=2.0, overhead=2.0)


def test_a_clock_that_goes_back_takes_nothing_away(tmp_path: Path) -> None:
    clock = HandClock()
    meter = meter_of(clock, tmp_path)
    clock.now -= 50
    assert meter.seconds() == 0.0
    clock.now += 51
    assert meter.seconds() == 1.0


def test_trials_with_a_larger_share_never_hold_more_than_there_is(tmp_path: Path) -> None:
    clock = HandClock()
    meter = meter_of(clock, tmp_path)
    meter.launched(0, share=2.0)
    clock.now += 3
    assert meter.held(0) == 6.0
    meter.launched(1)
    clock.now += 3
    assert meter.held(0) + meter.held(1) == pytest.approx(12.0)
    assert meter.totals().idle == 0.0


def test_damaged_files_cost_times_only(tmp_path: Path) -> None:
    clock = HandClock()
    meter = meter_of(clock, tmp_path)
    meter.launched(0)
    clock.now += 2
    meter.left(0)
    meter.close()
    with (tmp_path / TRIALS).open("a") as stream:
        stream.write('{"trial": 1, "held": 3')
    (tmp_path / TOTALS).write_text("{")
    again = meter_of(clock, tmp_path)
    assert again.seconds() == 0.0
    assert again.held(0) == 2.0
    again.launched(2)
    clock.now += 1
    again.left(2)
    again.close()
    assert set(MeterFile(tmp_path).read()[1]) == {0, 2}
    whole = [line for line in (tmp_path / TRIALS).read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["trial"] for line in whole] == [0, 2]


def test_a_full_disk_does_not_end_a_study(tmp_path: Path) -> None:
    clock = HandClock()
    meter = meter_of(clock, tmp_path)
    meter.launched(0)
    (tmp_path / TRIALS).mkdir()  # cannot be appended to
    clock.now += 5
    meter.left(0)
    meter.tick()
    (tmp_path / TRIALS).rmdir()
    clock.now += 5
    meter.tick()
    assert MeterFile(tmp_path).read()[1] == {0: TrialTime(held=5.0)}


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["launch", "report", "left", "lost", "kill", "tick"]),
        st.integers(0, 4),
        st.floats(0, 100),
        st.floats(0, 300),
    ),
    max_size=40,
)


@given(EVENTS)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_all_slot_seconds_are_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, float, float]]
) -> None:
    folder, clock = tmp_path_factory.mktemp("meter"), HandClock()
    meter, live = meter_of(clock, folder, slots=3), set[int]()
    for what, number, passed, training in events:
        clock.now += passed
        match what:
            case "launch" if number not in live and len(live) < 3:
                meter.launched(number)
                live.add(number)
            case "report":
                meter.reported(number, training)
            case "left" | "lost":
                meter.left(number, lost=what == "lost")
                live.discard(number)
            case "kill":
                meter.tick()
                meter, live = meter_of(clock, folder, slots=3), set()
            case _:
                meter.tick()
    found = receipt(meter, t0=Outcome.COMPLETE, t1=Outcome.STOPPED, t2=Outcome.CRASHED, t3=Outcome.DIVERGED)
    assert found.held == pytest.approx(meter.seconds() * 3)
    assert min(found.useful, found.stopped, found.failed, found.overhead) >= 0
    for time in meter.times().values():
        assert time.training + time.lost <= time.held + 1e-6
