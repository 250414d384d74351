"""A study's side of the tracking server: everything is put into the outbox at once and sent by another process.

Nothing here waits for the server except `flush`, which says so and has an end. Without a server the outbox fills, and
the next process that opens the study's log sends what is there.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.tracking.entries import STUDY_RUN, Entry, Finish, Points, RunStatus, Start, Tags, Text, now
from registry.tracking.outbox import Known, Outbox, read_sent, waiting
from registry.tracking.run_ids import RunIds
from ssl_core.errors import StorageError

log = logging.getLogger(__name__)

Say = Callable[[str], None]
SAY_EVERY, GIVE_UP = 5.0, 60.0
"""Seconds between words to a person who waits, and until a server that does not answer is left alone."""
MOST_STARTS = 3


class StudyLog:
    """Runs of one study. Made by `registry.tracking.run_log.RunLog.study_log`; one process at a time has it open.

    A run is named by its trial's number, the parent run by None. Every point is put once: a step that is not later
    than the run's last one is passed over.

    Args:
        folder: the outbox's.
        key, name: the study's, see `Outbox`.
        settings: address, home and experiment, for the sender.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path, key: str, name: str, settings: Mapping[str, str | None]) -> None:
        self.folder = folder
        self._settings = {"folder": str(folder.resolve()), **settings}
        self._outbox = Outbox(folder, key, name)
        self._starts, self._hurried, self._warned = 0, False, False
        self.behind: set[str] = set()
        """runs of which something could not be put (the disk was full): all that follows has to be told again"""
        self._sender = self._start_sender()

    # ---- what is told

    def start(
        self,
        trial: int | None,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        at: datetime | None = None,
    ) -> None:
        """The run begins or goes on, now or at a time that is past."""
        texts = {key: str(value) for key, value in params.items()}
        self._put(Start(_run(trial), _time(at), name, dict(tags), texts))

    def points(self, trial: int | None, step: int, metrics: Mapping[str, float], *, again: bool = False) -> None:
        """Metrics of one step. `again`: told from memory, only what the server lacks will be sent."""
        run = _run(trial)
        if again or step > self.known(trial).step:
            self._put(Points(run, now(), step, dict(metrics), again))

    def tags(self, trial: int | None, tags: Mapping[str, str]) -> None:
        """Tags of the run."""
        self._put(Tags(_run(trial), now(), dict(tags)))

    def text(self, trial: int | None, text: str, name: str) -> None:
        """A text artifact."""
        self._put(Text(_run(trial), now(), name, text))

    def file(self, trial: int | None, path: Path, name: str = "", *, keep: bool = True) -> None:
        """A file artifact. `keep`: it may change or vanish before it is sent, so a copy or link is made."""
        try:
            self._outbox.put_file(_run(trial), path, name or path.name, keep=keep)
        except StorageError as error:
            self._fall_behind(_run(trial), error)

    def finish(
        self,
        trial: int | None,
        status: RunStatus,
        tags: Mapping[str, str],
        last: Mapping[str, float] | None = None,
        step: int = 0,
        at: datetime | None = None,
        again: bool = False,
    ) -> None:
        """The run ends, with last metrics if given. `again`: as in `points`, for a run that may have ended before."""
        run, time_ms = _run(trial), _time(at)
        points = (Points(run, time_ms, step, dict(last), again),) if last else ()
        self._put(*points, Finish(run, time_ms, status, dict(tags)))

    # ---- how it stands

    def known(self, trial: int | None) -> Known:
        """What has been put about a run."""
        return self._outbox.known.get(_run(trial), Known())

    def has(self, trial: int | None) -> bool:
        """Whether the run was ever begun."""
        return _run(trial) in self._outbox.known

    def runs(self) -> tuple[dict[str, str], set[str]]:
        """Run ids that are known by now, and the runs that the server had lost, by `study` or the trial's number."""
        ids = RunIds(self.folder / "runs.jsonl")
        return {run: ref.id for run, ref in ids.runs.items()}, ids.lost

    def trouble(self) -> str:
        """Why the sender does not get on; empty when it does."""
        return read_sent(self.folder).trouble

    def hurry(self) -> None:
        """Somebody waits, or will soon: the sender makes no more pauses for the server's sake."""
        self._wake()

    def flush(self, seconds: float, say: Say) -> int:
        """Wait until everything has arrived; says how much is left every few seconds.

        Returns:
            How many entries have not arrived: the time is over, or the server does not answer.
        """
        began = said = time.monotonic()
        troubled: float | None = None
        while left := waiting(self.folder):
            self._wake()
            moment, trouble = time.monotonic(), self.trouble()
            troubled = (troubled or moment) if trouble else None
            if moment - began >= seconds or (troubled and moment - troubled >= min(GIVE_UP, seconds)):
                break
            if moment - said >= SAY_EVERY:
                say(f"waiting for MLflow: {left} records are on their way{f' ({trouble})' if trouble else ''}")
                said = moment
            time.sleep(0.02 if moment - began < 1 else 0.2)
        return left

    def close(self) -> None:
        """Nothing more is told. The sender goes on for a minute with what waits; the rest is for the next opening."""
        if self._sender.stdin is not None:
            with suppress(OSError):
                self._sender.stdin.close()
        if not waiting(self.folder):
            with suppress(subprocess.TimeoutExpired):
                self._sender.wait(timeout=2.0)
        self._outbox.close()

    # ---- inside

    def _put(self, *entries: Entry) -> None:
        """Entries of one run. After a gap nothing more of it is put, so that what is known of it has no holes."""
        run = entries[0].run
        if run in self.behind:
            return
        try:
            self._outbox.put(*entries)
        except StorageError as error:
            self._fall_behind(run, error)

    def _fall_behind(self, run: str, error: StorageError) -> None:
        (log.debug if self._warned else log.warning)("MLflow will be told later: %s", error)
        self._warned = True
        self.behind.add(run)

    def _start_sender(self) -> "subprocess.Popen[str]":
        self._starts, self._hurried = self._starts + 1, False
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with (self.folder / "sender.log").open("a") as words:
            sender = subprocess.Popen(
                [sys.executable, "-m", "registry.tracking.sender"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=words,
                env={**os.environ, "PYTHONPATH": path},
                text=True,
                start_new_session=True,  # Ctrl-C is for the study
            )
        assert sender.stdin is not None
        with suppress(OSError):
            sender.stdin.write(f"{json.dumps(self._settings)}\n")
            sender.stdin.flush()
        return sender

    def _wake(self) -> None:
        if self._sender.poll() is not None and self._starts < MOST_STARTS:
            log.warning("the sender ended with %s; see %s", self._sender.returncode, self.folder / "sender.log")
            self._sender = self._start_sender()
        if self._hurried or self._sender.stdin is None:
            return
        self._hurried = True
        with suppress(OSError, ValueError):
            self._sender.stdin.write("hurry\n")
            self._sender.stdin.flush()


def _run(trial: int | None) -> str:
    return STUDY_RUN if trial is None else str(trial)


def _time(at: datetime | None) -> int:
    return now() if at is None else int(at.timestamp() * 1000)
