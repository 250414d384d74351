"""Commands that train nothing end at a signal as well: at once, with one line and the exit code of Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_says_one_line(number: int, tmp_path: Path) -> None:
    out = tmp_path / "set"
    process = subprocess.Popen(
        [sys.executable, "-m", "study.commands.cli", "sample", "--out", str(out), "--train-per-class", "500"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(out.glob("points/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; the same command continues where it stopped"
    assert "Traceback" not in errors
