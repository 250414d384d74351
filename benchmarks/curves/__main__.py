"""Makes a table of learning curves from finished studies.

.venv/bin/python -m benchmarks.curves export STUDY_FOLDER ... [--out FILE] [--about TEXT]

Trials that ran all their epochs become rows: searched values, seed, seconds and validation metrics of each epoch. The
folders are read only; a study may still run.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.curves import TABLE
from benchmarks.recorded_runs import RecordedRun, RecordedRuns, load_runs
from ssl_core.errors import DataError, SplatsweepError

LEFT_OUT = ("_se", "matching_constant", "matching_class_oracle", "distance_positive", "distance_negative")
"""Endings of validation metrics that are constant or follow from others."""
SECONDS = ("seconds/train", "seconds/validate")


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 when a folder holds no finished run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__)
    parser.add_argument("command", choices=["export"])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--about", help="how the runs were made; default what the file says already")
    options = parser.parse_args(arguments)
    try:
        table = export(options.folders, about(options.out) if options.about is None else options.about)
    except SplatsweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    table.save(options.out)
    print(f"{len(table.runs)} runs of {table.epochs} epochs, {len(table.groups())} configurations: {options.out}")
    return 0


def export(folders: Sequence[Path], about: str = "") -> RecordedRuns:
    """All whole runs of all folders, those of the greatest length. Raises DataError when there is none."""
    found = [(recipe, run) for folder in folders for recipe, run in _runs(folder)]
    if not found:
        raise DataError(f"{', '.join(map(str, folders))}: no trial has trained all its epochs yet; wait for one")
    if len(recipes := {recipe for recipe, _ in found}) > 1:
        raise DataError(f"the studies are of different recipes ({', '.join(sorted(recipes))}); export each alone")
    longest = max(len(run.seconds) for _, run in found)
    return RecordedRuns(
        recipe=found[0][0], about=about, runs=tuple(run for _, run in found if len(run.seconds) == longest)
    )


def about(path: Path) -> str:
    """What an earlier table says of itself."""
    return load_runs(path).about if path.is_file() else ""


def _runs(folder: Path) -> Iterator[tuple[str, RecordedRun]]:
    """Recipe and curve of each trial that was trained to its end."""
    with _opened(folder) as study:
        recipe, trials = json.loads(study.user_attrs["space"])["recipe"], study.get_trials()
    for trial in trials:
        if trial.user_attrs.get("outcome") == "COMPLETE":
            path = folder / "trials" / f"{trial.number:04d}" / "metrics.jsonl"
            epochs = {row["epoch"]: row for row in map(json.loads, path.read_text().splitlines()) if row["epoch"] > 0}
            if sorted(epochs) == list(range(1, trial.user_attrs["epochs"] + 1)):
                own = recipe if isinstance(recipe, str) else trial.user_attrs["values"]["recipe"]  # one of a choice
                yield own, _run(trial, [epochs[epoch] for epoch in sorted(epochs)])


def _run(trial: optuna.trial.FrozenTrial, epochs: Sequence[dict[str, float]]) -> RecordedRun:
    names = sorted(name for name in epochs[0] if name.startswith("val/") and not name.endswith(LEFT_OUT))
    return RecordedRun(
        values=trial.user_attrs["values"],
        seed=trial.user_attrs["seed"],
        seconds=tuple(round(sum(row.get(name, 0.0) for name in SECONDS), 2) for row in epochs),
        metrics={name: tuple(float(f"{row[name]:.5g}") for row in epochs) for name in names},
    )


@contextmanager
def _opened(folder: Path) -> Iterator[optuna.Study]:
    """The journal, from a copy without the line that may just be written."""
    journal = folder / "journal.log"
    if not journal.is_file():
        raise DataError(f"{folder}: no journal.log there; name the folder of a study")
    with tempfile.TemporaryDirectory() as scratch:
        copy, content = Path(scratch, journal.name), journal.read_bytes()
        copy.write_bytes(content[: content.rfind(b"\n") + 1])
        storage = JournalStorage(JournalFileBackend(str(copy)))
        yield optuna.load_study(study_name=storage.get_all_studies()[0].study_name, storage=storage)


if __name__ == "__main__":
    sys.exit(main())
