"""A full disk is waited for: somebody frees space, and the study goes on as if nothing had happened."""

import errno
import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ssl_core.errors import StorageError
from study.spec.clock import Clock, SystemClock

T = TypeVar("T")
log = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
# what safetensors and torch make of a failed write
_TEXTS = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)|PytorchStreamWriter failed writing")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is that a disk or quota is full."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if (isinstance(error, OSError) and error.errno in _FULL) or _TEXTS.search(str(error)):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


class FullDiskRetry:
    """Repeats what failed for want of space until there is some.

    Args:
        limit: seconds to wait at most, for each action.
        say: told once when waiting begins and once when it ends.
        give_up: asked while waiting; True ends it early, for example because somebody pressed Ctrl-C.
    """

    def __init__(
        self,
        limit: float = 600.0,
        say: Callable[[str], None] = log.warning,
        give_up: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limit, self.say, self.give_up = limit, say, give_up
        self._clock, self._sleep = clock or SystemClock(), sleep

    def __call__(self, action: Callable[[], T], place: Path) -> T:
        """Do it, again and again while the disk of `place` is full.

        Raises:
            StorageError: it stayed full for too long, or waiting was given up. Other errors pass.
        """
        began, pause = self._clock.monotonic(), 0.25
        while True:
            try:
                done = action()
            except Exception as error:
                if not is_disk_full(error):
                    raise
                waited = self._clock.monotonic() - began
                if pause == 0.25:
                    self.say(f"{place}: the disk is full; waiting up to {self.limit / 60:g} minutes for space")
                if waited >= self.limit or self.give_up():
                    raise StorageError(
                        f"{place}: the disk is full; nothing is lost: free space, then start the same command again"
                    ) from error
                self._wait(min(pause, self.limit - waited))
                pause = min(5.0, 2 * pause)
                continue
            if pause > 0.25:
                self.say(f"{place}: there is space again; going on")
            return done

    def _wait(self, seconds: float) -> None:
        """In short pieces, for the sake of `give_up`."""
        while seconds > 0 and not self.give_up():
            self._sleep(min(0.25, seconds))
            seconds -= 0.25


class DiskWatch:
    """Says when the disk of a study is full, although it is the workers who wait: nobody hears them."""

    _EVERY, _LITTLE = 5.0, 2**20

    def __init__(self, folder: Path, say: Callable[[str], None], clock: Clock) -> None:
        self._folder, self._say, self._clock = folder, say, clock
        self._looked, self._full = float("-inf"), False

    def tick(self) -> None:
        """Called each turn; looks every few seconds."""
        now = self._clock.monotonic()
        if now - self._looked < self._EVERY:
            return
        self._looked = now
        try:
            full = shutil.disk_usage(self._folder).free < self._LITTLE
        except OSError:
            return
        if full and not self._full:
            self._say(f"{self._folder}: the disk is full; trials wait for space")
        self._full = full
