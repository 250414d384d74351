"""The program that empties a study's outbox: a process of its own, which takes neither time nor locks from the study.

    python -m registry.tracking.sender    settings as one line of JSON on standard input; the line `hurry` ends the
                                          pauses between rounds; when the input ends, what is there is sent and the
                                          program ends

So a study that is interrupted, or killed, leaves at once, and its last words arrive all the same. Whatever the server
says or fails to say, the entries stay until they have arrived. The program may be killed at any moment: the next one
sends again what this one had not noted as sent.
"""

import json
import logging
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from registry.tracking.courier import Courier
from registry.tracking.entries import File
from registry.tracking.http_transport import HttpTransport, speaks_http
from registry.tracking.names import own_tags
from registry.tracking.outbox import Sent, head_of, read_entries, read_sent, segments, write_sent
from registry.tracking.run_ids import RunIds
from registry.tracking.transport import Transport, UnreachableError

PACE = 1.0
"""seconds between rounds: what many epochs report meanwhile goes in one request"""
REST = 3.0
"""pause after a round as a multiple of what the round took, while trials run"""
ROUND_BYTES = 4 << 20
FIRST_PAUSE, HURRIED_PAUSE, LONGEST_PAUSE = 0.5, 3.0, 15.0
"""seconds between attempts: at first, at most while somebody waits, at most"""
LINGER = 60.0
"""seconds for what is there when the study has gone"""
LOCK = "sender.lock"


class Sender:
    """Delivers what an outbox holds. The caller holds the outbox's lock.

    Args:
        folder: of the outbox; there is a head in it already.
        transport: to the server.
        round_bytes: how much of the outbox is read at a time.
    """

    def __init__(self, folder: Path, transport: Transport, round_bytes: int = ROUND_BYTES) -> None:
        head = head_of(folder)
        assert head is not None, f"no outbox in {folder}"
        self._folder, self._round_bytes = folder, round_bytes
        self._courier = Courier(transport, RunIds(folder / "runs.jsonl"), head["key"], head["name"], own_tags())
        self._sent = read_sent(folder)
        there = segments(folder)
        last = there[-1] if there else 1
        self._old = (last, (folder / f"entries-{last:06d}.jsonl").stat().st_size)

    def round(self) -> bool:
        """Send what is there, or a good part of it; False when there was nothing.

        Raises:
            UnreachableError: it did not all arrive; the next round sends it again.
        """
        entries, after = read_entries(self._folder, self._sent, self._round_bytes)
        if entries:
            try:
                # what lay there before this program may have been sent by another
                new = (self._sent.segment, self._sent.offset) >= self._old
                self._courier.deliver(entries, first_time=new)
            except UnreachableError as error:
                self._note(replace(self._sent, trouble=str(error)))
                raise
        self._note(replace(after, refused=after.refused + self._courier.refused))
        self._courier.refused = 0
        for entry in entries:
            if isinstance(entry, File) and entry.ours:
                Path(entry.path).unlink(missing_ok=True)
        return bool(entries)

    def _note(self, sent: Sent) -> None:
        if sent != self._sent:
            write_sent(self._folder, sent)
            self._sent = sent


def transport_for(address: str | None, home: Path, experiment: str) -> Transport:
    """The lightest way to an MLflow address; None for the embedded store under `home`."""
    if address and speaks_http(address):
        return HttpTransport(address, experiment)
    from registry.tracking.store_transport import StoreTransport  # imports MLflow, which takes seconds

    return StoreTransport(address, home, experiment)


class _Wishes:
    """What the study says on standard input."""

    def __init__(self) -> None:
        self.hurry = self.over = False
        self.changed = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self.hurry = self.hurry or line.strip() == "hurry"
            self.changed.set()
        self.over = True
        self.changed.set()
        time.sleep(LINGER)
        os._exit(0)  # in the middle of a request: the next sender repeats it

    def wait(self, seconds: float) -> None:
        self.changed.wait(seconds)
        self.changed.clear()


def main() -> None:
    """Empty an outbox until the input ends."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    settings = json.loads(sys.stdin.readline())
    os.nice(5)
    folder, wishes, lock = Path(settings["folder"]), _Wishes(), None
    while lock is None and not wishes.over:
        try:
            lock = FileLock(folder / LOCK, timeout=0)
            lock.acquire()
        except Timeout:  # that of a study that was killed is still ending
            lock = None
            wishes.wait(0.2)
    if not wishes.over:
        home, address = Path(settings["home"]), settings["address"]
        _serve(Sender(folder, transport_for(address, home, settings["experiment"])), wishes)


def _serve(sender: Sender, wishes: _Wishes) -> None:
    pause = FIRST_PAUSE
    while True:
        began, last = time.monotonic(), wishes.over
        try:
            some = sender.round()
        except UnreachableError as error:
            logging.warning("%s", error)
            if wishes.over:
                return
            wishes.wait(pause)
            pause = min(2 * pause, HURRIED_PAUSE if wishes.hurry else LONGEST_PAUSE)
            continue
        if last and not some:
            return
        pause, took = FIRST_PAUSE, time.monotonic() - began
        if wishes.over:
            continue
        if not wishes.hurry:
            # it may share its processors with the trials, and is left alone for longer than it was kept busy
            wishes.wait(max(PACE - took, REST * took))
        elif not some:
            wishes.wait(0.05)


if __name__ == "__main__":
    main()
    logging.shutdown()
    # everything is on disk; taking MLflow and its threads apart would keep the study, which waits, for most of a second
    os._exit(0)
