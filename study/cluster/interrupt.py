"""Ctrl-C and SIGTERM as a flag: the study is left between two decisions, never inside one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class LeaveLoop(BaseException):
    """Raised at a safe place to leave Tune's loop at once. No `Exception`: nobody may take it for a failure."""


class Interrupt:
    """Whether a signal came."""

    def __init__(self) -> None:
        self.signal: int | None = None


@contextmanager
def watch_signals(interrupt: Interrupt) -> Iterator[None]:
    """Record the first SIGINT or SIGTERM; a second one acts at once. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.signal is not None:
            raise KeyboardInterrupt
        interrupt.signal = number

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
