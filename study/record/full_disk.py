"""A full disk is waited for: somebody frees space, and the study goes on as if nothing had happened."""

import errno
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ssl_core.errors import StorageError
from study.record.journal import Journal
from study.record.journal_lines import Line
from study.spec.clock import Clock, SystemClock

T = TypeVar("T")
log = logging.getLogger(__name__)

LIMIT_SECONDS = 600.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
# what safetensors and torch make of a failed write
_TEXTS = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)|PytorchStreamWriter failed writing")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is that a disk or quota is full."""
    return any(
        (isinstance(one, OSError) and one.errno in _FULL) or _TEXTS.search(str(one)) is not None
        for one in _chain(error)
    )


class FullDiskRetry:
    """Repeats what failed for want of space until there is some.

    Args:
        limit: seconds to wait at most, for each action.
        say: told once when waiting begins and once when it ends.
        give_up: asked while waiting; True ends it early, for example because somebody pressed Ctrl-C.
        clock, sleep: of the wait.
    """

    def __init__(
        self,
        limit: float = LIMIT_SECONDS,
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


class RetryingJournal:
    """A journal that waits for space. What was appended is in order, and whole, whatever the wait."""

    def __init__(self, journal: Journal, place: Path, disk_retry: FullDiskRetry) -> None:
        self._journal, self._place, self._patience = journal, place, disk_retry

    def read(self) -> list[Line]:
        """See `Journal`."""
        return self._journal.read()

    def append(self, group: Sequence[Line], *, sync: bool) -> None:
        """See `Journal`. Raises StorageError when there is no space for too long."""
        self._patience(lambda: self._journal.append(group, sync=sync), self._place)


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


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
