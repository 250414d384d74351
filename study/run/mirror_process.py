"""The driver's side of the mirror: starts the process, starts it again when it died, waits for it at the end."""

import json
import logging
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from registry.tracking.cursor import Cursor, read_cursor
from registry.tracking.run_log import RunLog
from ssl_core.interrupt import sheltered_children
from ssl_core.own_packages import module_command
from study.engine.history import JOURNAL
from study.engine.ledger import Ledger
from study.record.config_file import ConfigFile, write_once
from study.record.journal import count_lines

log = logging.getLogger(__name__)

Say = Callable[[str], None]
END_SECONDS, INTERRUPTED_SECONDS = 120.0, 5.0
"""Seconds to wait for MLflow at the end of a study, and when it is interrupted."""
SAY_EVERY, GIVE_UP = 5.0, 60.0
"""Seconds between words to a person who waits, and until a server that does not answer is left alone."""
AGAIN = 60.0
"""Seconds between two starts of a mirror that dies, at most; the first comes after one."""


class MirrorProcess:
    """A running `study.run.mlflow_mirror` of one study. Used on one thread.

    Args:
        run_log: where the study shall be seen; its server may be down.
        ledger: of the study, open for writing.
        say: for a person who waits.
    """

    def __init__(self, run_log: RunLog, ledger: Ledger, say: Say) -> None:
        self._folder, self._say = ledger.folder, say
        if "tracking_key" not in ledger.attrs:
            ledger.set_attr("tracking_key", uuid.uuid4().hex[:16])
        # all that a mirror that is started again has to hear
        self._said = [json.dumps({"folder": str(ledger.folder.resolve()), **run_log.settings})]
        self._pause, self._started = 1.0, time.monotonic()
        self._process = self._start()

    def tick(self) -> None:
        """Between two decisions: one that died is started again."""
        if self._process.poll() is None or time.monotonic() - self._started < self._pause:
            return
        log.warning("the mirror ended with %s; see %s", self._process.returncode, self._folder / "mirror.log")
        self._pause, self._started = min(2 * self._pause, AGAIN), time.monotonic()
        with suppress(OSError):  # a machine without memory or space: the study does not end for that
            self._process = self._start()

    def hurry(self) -> None:
        """Somebody waits, or will soon: no more pauses for the server's sake."""
        self._tell("hurry")

    def leave(self, seconds: float) -> int:
        """No trial runs any more and the journal says all: wait until it has arrived.

        Returns:
            Records that have not arrived in time. The mirror goes on for a minute; the next command sends the rest.
        """
        self._tell("leave")
        began = said = time.monotonic()
        troubled: float | None = None
        while self._process.poll() != 0:
            self.tick()
            moment, cursor = time.monotonic(), read_cursor(self._folder)
            troubled = (troubled or moment) if cursor.trouble else None
            if moment - began >= seconds or (troubled and moment - troubled >= min(GIVE_UP, seconds)):
                break
            if moment - said >= SAY_EVERY:
                left = cursor.left(count_lines(self._folder / JOURNAL))
                what = f"{left} records" if left else f"{cursor.files_left} files"
                self._say(f"waiting for MLflow: {what} are on their way{_why(cursor)}")
                said = moment
            time.sleep(0.02 if moment - began < 1 else 0.2)
        self.close()
        return self._report(read_cursor(self._folder))

    def close(self, *, at_once: bool = False) -> None:
        """Nobody watches over the mirror any more: it goes on for a minute with what waits, and ends.

        Args:
            at_once: whoever interrupted the study waits for all its processes: the next command sends the rest.
        """
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        if at_once:
            self._process.kill()
            self._process.wait()

    def _report(self, cursor: Cursor) -> int:
        left = cursor.left(count_lines(self._folder / JOURNAL))
        if left:
            self._say(
                f"{left} records have not reached MLflow{_why(cursor)}; they are kept in {self._folder} and sent by "
                "the next command on this study"
            )
        for line in cursor.shortfall():
            self._say(line)
        return left

    def _start(self) -> "subprocess.Popen[str]":
        # signals are for the study, of whose end the mirror has yet to tell
        with (self._folder / "mirror.log").open("a") as words, sheltered_children():
            process = subprocess.Popen(
                module_command("study.run.mlflow_mirror"),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=words,
                text=True,
                start_new_session=True,
            )
        for line in self._said:
            _write(process, line)
        return process

    def _tell(self, word: str) -> None:
        self._said.append(word)
        _write(self._process, word)


def _write(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    with suppress(OSError, ValueError):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()


def behind(ledger: Ledger, run_log: RunLog) -> bool:
    """Whether MLflow lacks something of a study that is over, or another server is to have it."""
    cursor = read_cursor(ledger.folder)
    left = cursor.left(count_lines(ledger.folder / JOURNAL))
    return cursor.address != run_log.address or left > 0 or bool(cursor.waiting)


def write_down(ledger: Ledger, configs: ConfigFile, source: Path) -> None:
    """What the mirror cannot work out without the recipe: settings of trials that began before, and the space file."""
    for record in ledger.records():
        configs.started(record)
    if source.is_file():
        write_once(ledger.folder / "space.yaml", source.read_text())


def _why(cursor: Cursor) -> str:
    return f" ({cursor.trouble})" if cursor.trouble else ""
