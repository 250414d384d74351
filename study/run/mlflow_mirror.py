"""The program that shows a study in MLflow: a process of its own, which takes neither time nor locks from the driver.

    python -m study.run.mlflow_mirror    reads its settings as one line of JSON from standard input; then the line
                                         `hurry` ends the pauses between rounds, and `leave` says that no trial runs any
                                         more; at the end of the input, which a dead driver brings about too, it tells
                                         what there is for a last time and ends

It follows the study's folder, so whatever the server says or fails to say, nothing is lost: the next one goes on from
the cursor. It may be killed at any moment. One at a time works on a study; the next waits for its lock.
"""

import json
import logging
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from registry.tracking.connection import UnreachableError, connect, import_mlflow
from registry.tracking.cursor import read_cursor
from registry.tracking.mirror import Mirror
from study.run.study_source import StudySource

PACE = 1.0
"""seconds between rounds: what many epochs report meanwhile goes in one request"""
REST = 3.0
"""pause after a round as a multiple of what the round took, while trials run"""
FIRST_PAUSE, HURRIED_PAUSE, LONGEST_PAUSE = 0.5, 3.0, 15.0
"""seconds between attempts: at first, at most while somebody waits, at most"""
LINGER = 60.0
"""seconds for what is there when the driver has gone"""
LOCK = "mirror.lock"
NICENESS = 10
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the mirror tries again by itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would ask for the run each time
}


class _Wishes:
    """What the driver says on standard input."""

    def __init__(self) -> None:
        self.hurry = self.leave = self.over = False
        self._changed = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self.hurry = True
            self.leave = self.leave or line.strip() == "leave"
            self._changed.set()
        self.hurry = self.leave = self.over = True
        self._changed.set()
        time.sleep(LINGER)
        os._exit(1)  # in the middle of a request: the next mirror repeats it

    def wait(self, seconds: float) -> None:
        self._changed.wait(seconds)
        self._changed.clear()


def main() -> None:
    """Follow a study until it is left and all of it has arrived."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    settings = json.loads(sys.stdin.readline())
    os.nice(NICENESS)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    folder, wishes, lock = Path(settings["folder"]), _Wishes(), FileLock(Path(settings["folder"]) / LOCK)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0)
        except Timeout:  # that of a driver that was killed is still ending
            wishes.wait(0.2)
    import_mlflow()  # seconds, which are no part of what a round takes
    source = StudySource(folder, read_cursor(folder).position)
    opened = partial(connect, settings["address"], Path(settings["home"]), settings["experiment"])
    _follow(source, Mirror(source, opened, folder), wishes)


def _follow(source: StudySource, mirror: Mirror, wishes: _Wishes) -> None:
    pause = FIRST_PAUSE
    while True:
        began, resting = time.monotonic(), wishes.leave
        if resting:
            source.rest()
        try:
            some = mirror.round()
        except UnreachableError as error:
            logging.warning("%s", error)
            if wishes.over:
                return
            wishes.wait(pause)
            pause = min(2 * pause, HURRIED_PAUSE if wishes.hurry else LONGEST_PAUSE)
            continue
        if resting and not some:
            mirror.finish()
            return
        pause, took = FIRST_PAUSE, time.monotonic() - began
        if not wishes.hurry:
            # it may share its processors with the trials, and is left alone for longer than it was kept busy
            wishes.wait(max(PACE - took, REST * took))
        elif not some:
            wishes.wait(0.05)


if __name__ == "__main__":
    main()
    logging.shutdown()
    # everything is on disk; taking MLflow and its threads apart would keep the driver waiting for most of a second
    os._exit(0)
