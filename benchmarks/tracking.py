"""What tracking costs: a report on the driver, and a study's results per second with a real MLflow server.

.venv/bin/python -m benchmarks.tracking
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, describe_load, describe_machine
from benchmarks.table import Section, Table, seconds

TRIALS, EPOCHS, PAIRS = 24, 50, 3
PACES = (0.0, 0.02)
"""Seconds of an epoch: none, and about the shortest that anybody trains."""
STOCK_TRIALS, STOCK_EPOCHS = 4, 15
REPORTS = 1500
REPORT_LIMIT, SHARE_LIMIT = 1e-3, 0.8
TIMEOUT = 600.0


def measure(quick: bool = False) -> Section:
    """Both tables; a small study once when quick."""
    trials, epochs, pairs = (4, 10, 1) if quick else (TRIALS, EPOCHS, PAIRS)
    with _server() as address:
        off = run("report", 1, 200 if quick else REPORTS)
        on = run("report", 1, 200 if quick else REPORTS, address)
        rates = {pace: Rates() for pace in PACES}
        for pace, found in rates.items():
            for _ in range(pairs):
                found.bare.append(run("bare", trials, epochs, pace=pace))
                found.tracked.append(run("tracked", trials, epochs, address, pace))
        stock = run("stock", *((2, 3) if quick else (STOCK_TRIALS, STOCK_EPOCHS)), address)
    p95 = _quantile(on, 0.95)
    missed = []
    if p95 > REPORT_LIMIT:
        missed.append(f"a report takes {seconds(p95)} of the driver (p95), the bar is {seconds(REPORT_LIMIT)}")
    for pace, found in rates.items():
        for which, of in enumerate(("while trials run", "of the whole study")):
            if (share := found.share(which)) < SHARE_LIMIT:
                missed.append(
                    f"with epochs of {1000 * pace:g} ms tracking leaves {100 * share:.0f} % of the results per second "
                    f"{of}, the bar is 80 %"
                )
    return Section(
        title="Tracking",
        shows="What it costs that every epoch's 20 metrics go to MLflow: the time a report keeps the driver (journal "
        f"and metrics file), and results per second of a study of {trials} trials of {epochs} epochs, two "
        "at a time, that train for no time or sleep: while its trials run, and of the whole study from its call to its "
        "return, when the last record is in MLflow (a server over HTTP, SQLite).",
        baseline="The baselines are the same study without tracking, and stock Ray Tune with OptunaSearch and "
        "MLflow's own callback on the same server.",
        tables=(_report_table(off, on), _rate_table(rates, stock)),
        notes=("The server runs on the same two cores. Starting Ray and the server is in none of the numbers.",),
        missed=() if quick else tuple(missed),
    )


def _report_table(off: list[float], on: list[float]) -> Table:
    rows = [
        (name, *(seconds(_quantile(values, q)) for q in (0.5, 0.95, 0.99)), str(len(values)))
        for name, values in (("without tracking", off), ("with tracking", on))
    ]
    return Table(("a report on the driver", "p50", "p95", "p99", "reports"), tuple(rows))


@dataclass
class Rates:
    """Results per second of studies without and with tracking, in pairs: (while trials run, of the whole study)."""

    bare: list[list[float]] = field(default_factory=list)
    tracked: list[list[float]] = field(default_factory=list)

    def share(self, which: int) -> float:
        """With tracking over without: median of the pairs."""
        pairs = zip(self.tracked, self.bare, strict=True)
        return _median([with_it[which] / without[which] for with_it, without in pairs])

    def rows(self, epoch: str) -> list[tuple[str, ...]]:
        """Of the table."""
        bare, tracked = (
            [_median([one[which] for one in side]) for which in (0, 1)] for side in (self.bare, self.tracked)
        )
        shares = [f"{100 * self.share(which):.0f} %" for which in (0, 1)]
        return [
            (f"without tracking, {epoch}", f"{bare[0]:.0f}", "100 %", f"{bare[1]:.0f}", "100 %"),
            (f"with MLflow, {epoch}", f"{tracked[0]:.0f}", shares[0], f"{tracked[1]:.0f}", shares[1]),
        ]


def _rate_table(rates: dict[float, Rates], stock: float) -> Table:
    rows = [row for pace, found in rates.items() for row in found.rows(f"epochs of {1000 * pace:g} ms")]
    bare = _median([one[1] for one in rates[PACES[0]].bare])
    name = f"stock Tune with MLflowLoggerCallback, epochs of {1000 * PACES[0]:g} ms"
    rows.append((name, "", "", f"{stock:.1f}", f"{100 * stock / bare:.1f} %"))
    return Table(("a study", "results/s while trials run", "of bare", "results/s of the whole", "of bare"), tuple(rows))


def run(what: str, trials: int, epochs: int, address: str | None = None, pace: float = 0.0) -> Any:
    """One measurement in a process of its own. Raises RuntimeError when it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS",)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "benchmarks.tracking_study", what, str(trials), str(epochs), str(pace)]
    words += [address] if address else []
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise RuntimeError(f"the process that measures {what} ended with {done.returncode}: {last[:300]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def _server() -> Iterator[str]:
    """An MLflow server of its own on SQLite."""
    with socket.socket() as probe, tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as folder:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination", f"{folder}/artifacts", "--host", "127.0.0.1", "--port", str(port),
            "--workers", "1",
        ]  # fmt: skip
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with Path(folder, "server.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            _wait(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


def _wait(address: str) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _median(values: list[float]) -> float:
    return _quantile(values, 0.5)


if __name__ == "__main__":
    print(describe_machine(), describe_load(), sep=", ")
    print(measure().text())
