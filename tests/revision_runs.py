"""Two small runs through the command line, and what of them has to be the same at every revision.

Used by `golden/make_revision_goldens.py`, which records them, and by `test_revision_golden.py`, which compares. Names
of the product that are relied on, and that only this file knows:

* commands `sample`, `pack`, `train`, `sweep --json`, `status --json`, `models --json` and their options as used here;
* keys of the space file below; environment variable SPLATSWEEP_HOME;
* files `metrics.jsonl` of `train --out` and of `<home>/studies/<study>/trials/<number>/` (one JSON line per epoch), and
  `encoders/<output>/encoder.safetensors` of `train --out`;
* keys of the JSON that the three commands print, as read in `study_facts` and `trial_facts`.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

REVISION = "3e03538"
GOLDEN = Path(__file__).parent / "golden" / f"revision_{REVISION}.json"
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "optuna")
SAMPLE = ("--train-per-class", "8", "--test-per-class", "4", "--views", "4", "--image-size", "48", "--gaussians", "600")
SPACE = """
recipe: cross_modal
preset: quick
base:
  points.num_points: 64
  image.image_size: 32
  training.batch_size: 8
  training.epochs: 3
  validation: {label_draws: 3, labels_per_class: 3, point_draws: 2, views: 2, pool_per_class: 6, matching_repeats: 1}
study:
  trials: 6
  metric: val/probe
  sampler: {kind: tpe, startup: 3}
  scheduler: {kind: asha, grace: 1, reduction: 2}
  top_k: 2
  seed: 7
space:
  points.features: {choice: [[xyz], [xyz, normals], [xyz, opacity, sh_dc]]}
  loss.beta: {log: [0.1, 3]}
  loss.margin: {float: [0.5, 3]}
  training.optimizer.lr: {log: [3.0e-4, 2.0e-3]}
  negatives: {choice: [any, other_class]}
"""
_MEASURED = ("seconds/", "cost/", "system/", "train/samples_per_second", "train/data_wait")
"""Prefixes of metrics that no two runs share: timings and costs."""


@dataclass(frozen=True)
class CommandLine:
    """`splatsweep` of the checkout at `root`, run in `folder` with `folder/runs` as its home, on one CPU thread."""

    root: Path
    folder: Path

    def __call__(self, *words: str, timeout: float = 900, code: int = 0) -> str:
        """Standard output. Fails on any other exit code than `code`."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("splatsweep")), *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Of the command: this checkout before any installed one, no server, no GPU, one thread."""
        outer = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SPLATSWEEP_REVISION")
        kept = {name: value for name, value in os.environ.items() if name not in outer}
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        home = str(self.folder / "runs")
        given = {"PYTHONPATH": str(self.root), "SPLATSWEEP_HOME": home, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}
        return {**kept, **single, **given, "RAY_USAGE_STATS_ENABLED": "0"}


def make_pack(run: CommandLine) -> None:
    """`folder/pack`: a smaller household set than that of `make sweep`, of the same make."""
    run("sample", "--out", "data", *SAMPLE)
    run("pack", "--points", "data/points", "--images", "data/images", "--out", "pack")


def training_facts(run: CommandLine) -> dict[str, Any]:
    """`quick()` for three epochs on `folder/pack`, seed 0: metrics of each epoch, digests of the exported encoders."""
    run("train", "--pack", "pack", "--out", "trial", "--set", "training.epochs=3", "--seed", "0", "--threads", "1")
    weights = sorted((run.folder / "trial/encoders").glob("*/encoder.safetensors"))
    return {
        "epochs": _metrics(run.folder / "trial/metrics.jsonl"),
        "encoders": {
            file.parent.name: {"file": hashlib.sha256(file.read_bytes()).hexdigest(), "tensors": _tensors(file)}
            for file in weights
        },
    }


def study_facts(run: CommandLine) -> dict[str, Any]:
    """Six trials one after the other on `folder/pack`: suggestions, metrics, outcomes, winner, versions, verdicts."""
    (run.folder / "space.yaml").write_text(SPACE)
    words = ("sweep", "space.yaml", "--pack", "pack", "--name", "golden", "--concurrency", "1", "--json")
    swept = json.loads(run(*words))
    status = json.loads(run("status", "golden", "--json"))
    return {
        "trials": trial_facts(run, "golden"),
        "rungs": status["rungs"],
        "leaders": status["leaders"],
        "winner": swept["best"][0],
        "versions": [_version(item) for item in json.loads(run("models", "--json"))],
    }


def trial_facts(run: CommandLine, study: str) -> list[dict[str, Any]]:
    """Each trial of a study by number: suggestion, outcome, verdicts, metrics of each epoch."""
    trials = sorted(json.loads(run("status", study, "--json"))["trials"], key=lambda trial: trial["number"])
    return [_trial(trial, run.folder / "runs/studies" / study / "trials") for trial in trials]


def environment_facts() -> dict[str, str]:
    """What the bits depend on: versions of what computes, the instructions that torch uses, the processor."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "capability": str(torch.backends.cpu.get_cpu_capability()),
        "processor": _processor(),
    }


def _trial(trial: dict[str, Any], folder: Path) -> dict[str, Any]:
    keys = ("number", "params", "seed", "outcome", "reason", "epochs", "best", "best_epoch")
    return {
        **{key: trial[key] for key in keys},
        "origin": {key: trial["origin"][key] for key in ("kind", "sampler", "seed")},
        "verdicts": [
            {key: verdict[key] for key in ("action", "rung", "value", "bar", "among")} for verdict in trial["verdicts"]
        ],
        "metrics": _metrics(folder / f"{trial['number']:04d}" / "metrics.jsonl"),
    }


def _version(item: dict[str, Any]) -> dict[str, Any]:
    decision = item["decision"]
    # the baseline's mean was called by its only kind then
    numbers = {"twin" if name == "baseline" else name: value for name, value in decision["numbers"].items()}
    return {
        "reference": f"{item['name']}/{item['version']}",
        "trial": item["lineage"]["trial"],
        "aliases": sorted(item["aliases"]),
        "events": [{"kind": event["kind"], "reason": event["reason"]} for event in item["events"]],
        "headline": item["evaluation"]["headline"],
        "decision": {**{key: decision[key] for key in ("promoted", "reason", "incumbent")}, "numbers": numbers},
    }


def _metrics(file: Path) -> list[dict[str, float]]:
    # the revision knew no epoch 0, which is the untrained models'
    lines = [line for line in map(json.loads, file.read_text().splitlines()) if line["epoch"] > 0]
    kept = lambda name: name != "at" and not name.startswith(_MEASURED)  # noqa: E731 - `at`: when it was written
    return [{name: value for name, value in line.items() if kept(name)} for line in lines]


def _tensors(file: Path) -> str:
    """sha256 of the tensors, whatever their names and order."""
    found = load_file(file).values()
    single = sorted(hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest() for tensor in found)
    return hashlib.sha256("".join(single).encode()).hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
