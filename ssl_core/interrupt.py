"""Signals that ask a program to end: Ctrl-C, a closed terminal, `kill`, `timeout`, systemd, Slurm."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
ONE_SECONDS = 1.0
"""Signals within so many seconds are one: `timeout` signals its child and then the child's group, a terminal that is
closed does the like."""


class Interrupt:
    """Whether such a signal came. A second one raises KeyboardInterrupt; so does the first while `at_once` is set."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.signal: int | None = None
        self.at_once = at_once
        self._first = 0.0

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGHUP:
            _write_to_nobody()
        if self.signal is None:
            self.signal, self._first = number, now
            if not self.at_once:
                return
        elif now - self._first < ONE_SECONDS:
            return
        raise KeyboardInterrupt


def _write_to_nobody() -> None:
    """A terminal that is gone refuses each word; whoever leaves goes on without it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            os.dup2(nowhere, stream)
    os.close(nowhere)


@contextmanager
def watch_signals(interrupt: Interrupt) -> Iterator[None]:
    """Inside, SIGINT, SIGTERM and SIGHUP go to `interrupt`; a SIGHUP that is ignored (`nohup`) stays so.

    Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = set(_SIGNALS)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt._handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ends_within(seconds: float, last_words: str) -> Iterator[None]:
    """Inside, a signal ends this process after so many seconds, with code 130, whatever its main thread waits for.

    Handlers run between two steps of the main thread. One that waits in a library of another language, for somebody
    whom the same signal ended, never gets there. For programs that may be killed at any moment. Does nothing outside
    the main thread.

    Args:
        last_words: a line on standard error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before, left = signal.set_wakeup_fd(writing, warn_on_full_buffer=False), threading.Event()

    def wait() -> None:
        while number := os.read(reading, 1):
            if number[0] in _SIGNALS and not left.wait(seconds):
                with suppress(OSError):  # a terminal that is gone
                    os.write(2, f"{last_words}\n".encode())
                os._exit(130)
        os.close(reading)

    threading.Thread(target=wait, name="ends-within", daemon=True).start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.close(writing)


@contextmanager
def sheltered_children() -> Iterator[None]:
    """Processes that are started inside do not get these signals, whoever sends them; their parent has to end them.

    Signals to a whole service would end them before the parent, which still needs them to leave in good order.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
