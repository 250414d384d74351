"""Real signals to this process: noted, or acted upon, and one for several that come together."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ssl_core import interrupt as kit
from ssl_core.interrupt import Interrupt, ends_within, sheltered_children, watch_signals

ROOT = Path(__file__).resolve().parents[2]


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # handlers run between two steps of the main thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_is_noted_what_comes_with_it_is_the_same_and_a_later_one_acts(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt, before = Interrupt(), signal.getsignal(number)
    with watch_signals(interrupt):
        send(number)
        send(signal.SIGTERM)
        assert interrupt.signal == number
        monkeypatch.setattr(kit, "ONE_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            send(number)
    assert signal.getsignal(number) == before


def test_the_first_acts_where_nothing_has_to_be_ended_first() -> None:
    with watch_signals(Interrupt(at_once=True)), pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)


def test_nohup_stays_and_other_threads_watch_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupt = Interrupt(at_once=True)
        with watch_signals(interrupt):
            send(signal.SIGHUP)
        assert interrupt.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)
    found = list[object]()

    def elsewhere() -> None:
        with watch_signals(Interrupt()):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def test_sheltered_children_are_ended_by_their_parent_only() -> None:
    with sheltered_children():
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        child.send_signal(number)
    child.communicate(b"\n", timeout=60)
    assert child.returncode == 0
    with pytest.raises(KeyboardInterrupt), watch_signals(Interrupt(at_once=True)):
        send(signal.SIGTERM)  # this process gets them as before


WAITS = """
import ctypes
from ssl_core.interrupt import Interrupt, ends_within, watch_signals

with watch_signals(Interrupt()), ends_within(0.3, "left"):
    print("ready", flush=True)
    while True:  # in C, and back there when a signal interrupts it
        ctypes.CDLL(None).sleep(60)
"""


def test_who_waits_elsewhere_ends_all_the_same() -> None:
    waits = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert waits.stdout is not None
    assert waits.stdout.readline() == "ready\n"
    waits.send_signal(signal.SIGTERM)
    _, errors = waits.communicate(timeout=60)
    assert (waits.returncode, errors) == (130, "left\n")


def test_who_leaves_in_time_goes_on() -> None:
    before = signal.set_wakeup_fd(-1)
    with watch_signals(Interrupt()), ends_within(0.2, "left"):
        send(signal.SIGTERM)
    time.sleep(0.4)
    assert signal.set_wakeup_fd(before) == -1
