"""One trial in this process, resumable: what `splatsweep train` does."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ssl_core.errors import CheckpointError
from ssl_core.files.whole import standing
from ssl_core.training.checkpoint import has_checkpoint, replace_checkpoint
from ssl_core.training.contract import Session

Report = Callable[[int, Mapping[str, float], float], None]


def train_single(
    session: Session, out: Path, report: Report, *, config: str, lineage: Mapping[str, str]
) -> Mapping[str, Path]:
    """Train to the end, checkpointing each epoch, and export each output of its own best epoch.

    Writes `config.json`, `metrics.jsonl` (one line per epoch), `last/` (checkpoint) and `encoders/<output>/`.

    Args:
        session: a fresh session.
        out: the trial's folder; a checkpoint in it is continued.
        report: called with (epoch, metrics, estimated seconds left).
        config: of the session, as JSON.
        lineage: for the bundles.

    Raises:
        CheckpointError: `out` holds another trial.
        DivergedError: the loss became non-finite; the last checkpoint stays.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings, log, last = out / "config.json", out / "metrics.jsonl", out / "last"
    if settings.exists() and settings.read_text() != config:
        raise CheckpointError(f"{out} holds a trial of another config; choose another --out")
    settings.write_text(config)
    if has_checkpoint(last):
        session.load(standing(last))
    lines = log.read_text().splitlines() if log.exists() else []
    kept = [line for line in lines if json.loads(line)["epoch"] <= session.epoch]
    log.write_text("".join(f"{line}\n" for line in kept))
    began, first = time.perf_counter(), session.epoch
    while session.epoch < session.epochs:
        metrics = session.run_epoch()
        replace_checkpoint(session, last)
        with log.open("a") as file:
            file.write(json.dumps({"epoch": session.epoch, **metrics}) + "\n")
        pace = (time.perf_counter() - began) / (session.epoch - first)
        report(session.epoch, metrics, pace * (session.epochs - session.epoch))
    return session.export(out / "encoders", lineage)
