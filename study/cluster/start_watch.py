"""Beside a process that starts or joins Ray: says what that waits for, and ends it when it can come no further.

Run by `study.cluster.pending_starts`, with that process's id, how long it has waited, and its limit in seconds.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from study.cluster.waiting_reasons import last_words, machine_strain, without_numbers

_LOOK_SECONDS = 5.0


def main() -> None:
    """Ends with the process that it watches."""
    watched, waited, limit = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    said, began = "", time.monotonic() - waited

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        _end(watched, "interrupted while Ray was starting")

    signal.signal(signal.SIGINT, interrupt)
    while os.getppid() == watched:
        logs, spent = _logs(watched), time.monotonic() - began
        words, strain = last_words(logs), machine_strain()
        text = "; ".join(filter(None, (words, strain))) or "its worker processes have not come up yet"
        if spent >= limit * (1 if words and not strain else 3):
            _end(watched, f"error: Ray does not start: {text}; its logs are in {logs}")
        if without_numbers(text) != said:
            _say(f"waiting for Ray to start ({spent:.0f} s so far): {text}")
            said = without_numbers(text)
        time.sleep(_LOOK_SECONDS)


def _end(watched: int, text: str) -> None:
    """Nothing but this ends it: Ray waits outside Python. Its own processes end with it."""
    _say(text)
    os.kill(watched, signal.SIGKILL)
    sys.exit()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _logs(driver: int) -> Path:
    """Of the Ray that the driver has started, by the command of a process of it; else of one that runs here."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().split(b"\0") if parent == driver else []
        except OSError:
            continue  # it has ended meanwhile
        for word in words:
            if word.startswith(b"--log_dir="):
                return Path(os.fsdecode(word.partition(b"=")[2]))
    return Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray/session_latest/logs"


if __name__ == "__main__":
    main()
