"""Makes `home_3e03538.tar.xz` with revision 3e03538: a home as people have it, for `tests/test_old_home.py`; and
`home_3e03538_ended.json`, what that revision itself makes of it.

    git worktree add --detach ../splatsweep-3e03538 3e03538
    PYTHONPATH=../splatsweep-3e03538 python tests/golden/make_home_golden.py ../splatsweep-3e03538

In it, under the neutral path /tmp/splatsweep_home where it is made:

    runs/             SPLATSWEEP_HOME: study `old` of four trials, interrupted in the third, which has a checkpoint of
                      its first epoch; registered, evaluated and judged, both encoders of the best trial
    runs/mlflow.sql   mlflow.db as a dump in SQL: smaller, and paths in it can be rewritten as text
    pack/             its pack
    space.yaml        its space file
    features.safetensors  inputs, and the features that both encoders give for them at that revision

A ResNet-18 has 43 MB of weights that cannot be compressed. Therefore every tensor of more than 62 elements, in
checkpoints and so in encoders, was replaced by repetitions of its first 31, rounded to bfloat16, once the study was
interrupted: formats and shapes are those of the revision, and training goes on from there. Taken out: pictures and HTML
pages, copies of checkpoints and encoders in MLflow's runs and beside the checkpoints, kept features, the ONNX files.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from make_revision_goldens import check_revision
from old_home import ARCHIVE, ENDED, MADE_AT, SWEEP, continued, opened
from revision_runs import CommandLine, environment_facts
from safetensors.torch import save_file
from torch import Tensor

PERIOD = 31
CLASSES = ("chair", "lamp", "table")
SPACE = """
recipe: cross_modal
preset: quick
base:
  points.num_points: 32
  point_backbone.feature_dim: 64
  image.image_size: 24
  fusion_hidden: 16
  training.batch_size: 6
  training.epochs: 3
  training.optimizer: {kind: sgd, lr: 1.0e-3, momentum: 0.9}
  validation: {label_draws: 2, labels_per_class: 2, point_draws: 1, views: 2, pool_per_class: 4, matching_repeats: 1}
study: {trials: 4, metric: val/probe, scheduler: {kind: asha, grace: 3}, top_k: 1, seed: 3}
space:
  points.features: {choice: [[xyz], [xyz, normals]]}
  loss.beta: {log: [0.1, 3]}
"""


def main(checkout: Path) -> None:
    """Everything, from nothing."""
    check_revision(checkout)
    shutil.rmtree(MADE_AT, ignore_errors=True)
    MADE_AT.mkdir()
    os.chdir(MADE_AT)
    os.environ["SPLATSWEEP_HOME"] = str(MADE_AT / "runs")
    run = CommandLine(checkout, MADE_AT)
    make_pack(run)
    (MADE_AT / "space.yaml").write_text(SPACE)
    study = MADE_AT / "runs/studies/old"
    interrupt(run, lambda: (study / "trials/0002/last/state.json").exists())
    for state in study.glob("trials/*/*/state.json"):
        shrink(state.parent)
    register_best()
    for name in ("cross-modal-points", "cross-modal-image"):
        print(run("evaluate", f"{name}/1", "--pack", "pack"))
    keep_features()
    strip()
    pack_up()
    record_end(checkout)


def make_pack(run: CommandLine) -> None:
    """Three classes of the household set, a few small objects each, without view-dependent colour."""
    from ssl_core.data.gaussian_file import read_gaussians
    from ssl_core.data.ply import write_gaussian_ply

    counts = ("--train-per-class", "6", "--test-per-class", "3", "--views", "3", "--image-size", "24")
    run("sample", "--out", "data", *counts, "--gaussians", "64")
    for part in ("points", "images"):
        for folder in (MADE_AT / "data" / part).iterdir():
            if folder.name not in CLASSES:
                shutil.rmtree(folder)
    for file in (MADE_AT / "data/points").rglob("*.ply"):
        cloud = read_gaussians(file).cloud
        write_gaussian_ply(file, replace(cloud, sh_rest=cloud.sh_rest[:, :0]))
    words = ("--points", "data/points", "--images", "data/images", "--cached-points", "64", "--starts", "2")
    run("pack", *words, "--out", "pack", "--alpha-threshold", "0")
    shutil.rmtree(MADE_AT / "data")


def interrupt(run: CommandLine, begun: Callable[[], bool]) -> None:
    """The study, with SIGINT as soon as `begun`."""
    command = [str(Path(sys.executable).with_name("splatsweep")), *SWEEP]
    process = subprocess.Popen(command, cwd=run.folder, env=run.environment())
    while not begun():
        assert process.poll() is None, "the study ended before it was interrupted"
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    trials = json.loads(run("status", "old", "--json"))["trials"]
    print([(trial["number"], trial["outcome"], trial["epochs"]) for trial in trials])


def shrink(folder: Path) -> None:
    """A checkpoint with repetitive weights, written as the revision writes it."""
    from ssl_core.training.checkpoint import load_checkpoint, save_checkpoint

    model, training, state = load_checkpoint(folder, torch.device("cpu"))
    for entry in training["optimizer"]["state"].values():
        entry.update({name: repeated(value) for name, value in entry.items()})
    others = {file.name: file.read_bytes() for file in folder.iterdir()}
    save_checkpoint(folder, {name: repeated(tensor) for name, tensor in model.items()}, training, state)
    for name, content in others.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)


def repeated(value: Any) -> Any:
    """A large tensor as repetitions of its beginning; all else as it is."""
    if not isinstance(value, Tensor) or value.numel() <= 2 * PERIOD:
        return value
    first = value.flatten()[:PERIOD].bfloat16().to(value.dtype)
    return first.repeat(value.numel() // len(first) + 1)[: value.numel()].reshape(value.shape)


def register_best() -> None:
    """Both encoders of the best trial so far, as the end of a study registers them, without ONNX."""
    import study.assess
    from study.ledger import read_ledger
    from study.running import Request, plan_study

    from registry.tracking.run_log import open_run_log
    from registry.versions.store import EncoderStore
    from ssl_core.errors import MissingDependencyError

    def without_onnx(bundle: Path) -> Path:
        raise MissingDependencyError("left out to save space")

    study.assess.add_onnx = without_onnx
    plan, opener, _ = plan_study(Request(Path("space.yaml"), "pack", "old", concurrency=1))
    ended = [record for record in read_ledger(plan.folder).records() if record.best_value is not None]
    best = max((record for record in ended if record.outcome is not None), key=lambda record: record.best_value)
    with open_run_log(None, MADE_AT / "runs") as log:
        for version in study.assess.register_trial(plan, opener, best, EncoderStore(log)):
            print(version.reference, "of trial", best.number)


def keep_features() -> None:
    """What the encoders give for fixed inputs."""
    from registry.pull import load

    random = torch.Generator().manual_seed(0)
    points = load("cross-modal-points/1")
    columns = 6 if "normals" in points.contract.features else 3
    found = {
        "points_input": torch.randn(4, 32, columns, generator=random),
        "image_input": torch.randint(0, 256, (4, 3, 24, 24), generator=random) / 255,
    }
    found["points_features"] = torch.from_numpy(points.encode(found["points_input"]))
    found["image_features"] = torch.from_numpy(load("cross-modal-image/1").encode(found["image_input"]))
    save_file(found, MADE_AT / "features.safetensors")


def strip() -> None:
    """What nobody needs to go on."""
    runs = MADE_AT / "runs"
    shutil.rmtree(runs / "features", ignore_errors=True)
    shutil.rmtree(MADE_AT / "mlruns", ignore_errors=True)
    for folder in [*runs.glob("studies/old/trials/*/encoders"), *runs.glob("mlartifacts/*/artifacts/checkpoint")]:
        shutil.rmtree(folder)
    for file in runs.rglob("*"):
        if file.suffix in (".png", ".html", ".svg"):
            file.unlink()
    with sqlite3.connect(runs / "mlflow.db") as database:
        (runs / "mlflow.sql").write_text("\n".join(database.iterdump()) + "\n")
    database.close()
    for file in runs.glob("mlflow.db*"):
        file.unlink()


def pack_up() -> None:
    """The archive: names sorted, owners and times left out."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for name in ("features.safetensors", "pack", "runs", "space.yaml"):
            archive.add(MADE_AT / name, name, filter=plain)
    print(f"written: {ARCHIVE}, {ARCHIVE.stat().st_size:,} bytes")


def record_end(checkout: Path) -> None:
    """What the revision itself makes of the archive: the study, continued to its end."""
    with tempfile.TemporaryDirectory() as folder:
        facts = {"environment": environment_facts(), **continued(opened(checkout, Path(folder)))}
    ENDED.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"written: {ENDED}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
