"""Says what waits for a process of Ray's, and why: after 30 seconds, again when the reason changes, and now and then.

Ray itself waits without a word, and for ever.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ssl_core.errors import StudyError
from ssl_core.own_packages import module_command
from study.cluster.waiting_reasons import LIMIT, Waiting, without_numbers

PATIENCE = 30.0
"""Seconds without a word; starting takes a few."""
LOOK_SECONDS = 5.0
AGAIN_SECONDS = 120.0

Say = Callable[[str], None]


class PendingStarts:
    """Watches what waits to be started; `tick` is called often.

    Args:
        what: `trial`, `task`.
        say: for a person.
        why: asked when something has waited for long.
    """

    def __init__(self, what: str, say: Say, why: Callable[[], Waiting]) -> None:
        self._what, self._say, self._why = what, say, why
        self._since: dict[object, float] = {}
        self._next = self._again = 0.0
        self._said = ""

    def tick(self, waiting: Sequence[object]) -> None:
        """Raises StudyError when what waits can never start."""
        now = time.monotonic()
        self._since = {each: self._since.get(each, now) for each in waiting}
        late = [since for since in self._since.values() if now - since >= PATIENCE]
        if not late:
            if self._said and not waiting:
                self._said = ""
            return
        if now < self._next:
            return
        self._next = now + LOOK_SECONDS
        found = self._why()
        many = f"{len(late)} {self._what}s wait" if len(late) > 1 else f"1 {self._what} waits"
        text = f"{many} for a process: {found.reason}"
        if without_numbers(text) != self._said or now >= self._again:
            self._said, self._again = without_numbers(text), now + AGAIN_SECONDS
            self._say(f"{text} ({now - min(late):.0f} s so far)")
        if found.limit is not None and now - min(late) >= found.limit:
            raise StudyError(f"{text}; this does not change by itself: mend it and run the same command again")


_SLEEP = """
import os, sys, time
from _signal import SIG_IGN, SIGINT, signal
signal(SIGINT, SIG_IGN)
for _ in range(int(sys.argv[1])):
    time.sleep(1)
    if os.getppid() != int(sys.argv[2]):
        sys.exit()
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def watched_start(limit: float = LIMIT) -> Iterator[None]:
    """Within, Ray is started or joined, in which it may wait for ever, with Python's lock held: no other thread runs.

    So a process beside this one says what Ray waits for, and ends this one after `limit` seconds or with Ctrl-C.
    """
    watch = (*module_command("study.cluster.start_watch"), os.getpid(), PATIENCE, limit)
    # until it is needed it is an interpreter with nothing imported
    words = (sys.executable, "-I", "-S", "-c", _SLEEP, int(PATIENCE), os.getpid(), *watch)
    with subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()
