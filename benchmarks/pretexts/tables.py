"""Markdown tables of runs: what validation said, and what the test split said beside what has to be beaten."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.pretexts.rows import ROWS, Row
from benchmarks.pretexts.runs import Costs, Run
from ssl_core.config import parse_json
from ssl_core.evaluation.report import markdown_table
from ssl_core.evaluation.statistics import paired_bootstrap
from ssl_core.evaluation.task import parse_report
from ssl_core.evaluation.tasks.probing_report import ProbingReport


def tables(out: Path) -> str:
    """One of validation, and one per output of the test split."""
    runs = list(_found(out))
    parts = [_validation(runs)]
    for output in sorted({name for run in runs for name in _reports(run)}):
        parts.append(_test(output, runs))
    return "\n\n".join(parts)


def _found(out: Path) -> Iterator[Run]:
    """Runs that were trained, in the order of rows and seeds."""
    for row in ROWS:
        for seed in range(100):
            run = Run(row, seed, Path(), out, 0)
            if (run.folder / "costs.json").is_file():
                yield run


def _reports(run: Run) -> dict[str, list[ProbingReport]]:
    """By output; one per seed of label draws."""
    found: dict[str, list[ProbingReport]] = {}
    for path in sorted(run.folder.glob("test-*.json")):
        report = parse_report(path.read_text(encoding="utf-8"))
        if isinstance(report, ProbingReport):
            found.setdefault(path.name.split("-")[1], []).append(report)
    return found


def _by_row(runs: Sequence[Run]) -> Iterator[tuple[Row, list[Run]]]:
    for row in ROWS:
        if mine := [run for run in runs if run.row == row]:
            yield row, mine


def _validation(runs: Sequence[Run]) -> str:
    """Few-shot probes on validation objects after the last epoch, means over seeds."""
    columns = ["points_probe", "points_backbone_probe", "points_hidden_probe", "points_head_probe", "image_probe"]
    heads = ["group", "row", "seeds", *(name.removesuffix("_probe").replace("_", " ") for name in columns)]
    rows = []
    for row, mine in _by_row(runs):
        last = [json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1]) for run in mine]
        cells = [[each.get(f"val/{name}") for each in last] for name in columns]
        rows.append([row.group, row.name, str(len(mine)), *(_mean(cell) for cell in cells)])
    return f"### Validation objects, 5 labels per class, %\n\n{markdown_table(heads, rows)}"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * np.mean(known):.1f}" if known else "–"


def _test(output: str, runs: Sequence[Run]) -> str:
    """Linear SVM on frozen features; the gain is paired over label draws and test objects."""
    heads = ["group", "row", "5 per class", "by seed", "strongest baseline", "gain (95 %)", "all labels", "CPU s"]
    rows = []
    for row, mine in _by_row(runs):
        reports = [report for run in mine for report in _reports(run).get(output, ())]
        if reports:
            rows.append([row.group, row.name, *_cells(reports), _costs(mine)])
    return f"### `{output}` on the test split, %\n\n{markdown_table(heads, rows)}"


def _cells(reports: Sequence[ProbingReport]) -> list[str]:
    mine, beaten = [], []
    for report in reports:
        assert report.deciding is not None, "features of a written report are finite"
        assert report.baseline is not None, "twins are asked for"
        mine.append(np.array(report.deciding.values))
        beaten.append(np.array(report.baseline.values))
    gain = paired_bootstrap(np.mean(mine, axis=0), np.mean(beaten, axis=0))
    whole = [report.fullest.accuracy.mean for report in reports if report.fullest is not None]
    return [
        f"{100 * np.mean(mine):.1f}",
        ", ".join(f"{100 * each.mean():.1f}" for each in mine),
        f"{100 * np.mean(beaten):.1f}, {reports[0].baseline_name}",
        f"{100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})",
        f"{100 * np.mean(whole):.1f}" if whole else "–",
    ]


def _costs(runs: Sequence[Run]) -> str:
    costs = [Costs.model_validate(parse_json((run.folder / "costs.json").read_text())) for run in runs]
    return f"{np.mean([cost.training for cost in costs]):.0f}"
