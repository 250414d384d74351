"""Several small trials on one GPU: samples per second of all together, each in a process of its own as in a study.

.venv/bin/python -m benchmarks.gpu_packing PACK DEVICE SECONDS    one trial; what `together` starts several of
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks.machine import ROOT
from benchmarks.table import Samples, Section, Table, digits
from ssl_core.config import Config, override
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.meshes.household import HouseholdConfig
from ssl_core.packing.pack_writer import write_pack
from ssl_core.recipes import recipe_named
from ssl_core.recipes.cross_modal.config import quick as quick_preset
from ssl_core.splatting.household_set import write_household
from ssl_core.training.contract import PEAK_MEMORY

COUNTS = (1, 2, 4, 8)
TIMEOUT = 600.0


class Trained(Config):
    """What one of several trials did while all ran.

    Attributes:
        samples: that it trained on.
        seconds: it took for them, validation included.
        peak_bytes: of its memory.
    """

    samples: int
    seconds: float
    peak_bytes: float


def measure(quick: bool = False) -> Section:
    """One, two, four and eight at a time; nothing without a GPU."""
    title, there = "Trials that share a GPU", torch.cuda.is_available()
    rows = measured_rows("cuda", COUNTS[:2] if quick else COUNTS, 5.0 if quick else 30.0) if there else ()
    best = max((float(row[2]) for row in rows), default=0.0)
    missed = there and not quick and best <= 1.0
    return Section(
        title=title,
        shows="Samples per second of all trials of the quick preset together, each in a process of its own on the same "
        "GPU, validation included.",
        baseline="The baseline is one trial that has the GPU for itself.",
        tables=(Table(("trials", "samples/s, all together", "of one alone", "memory of each"), rows),),
        notes=() if there else ("This machine has no CUDA device: nothing was measured.",),
        missed=("several trials on a GPU are no faster than one",) if missed else (),
    )


def measured_rows(device: str, counts: tuple[int, ...], seconds: float) -> tuple[tuple[str, ...], ...]:
    """A row for each number of trials at a time."""
    with tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as root:
        pack = made_pack(Path(root), objects=4 if seconds < 1 else 16)
        found = {count: together(pack, device, count, seconds) for count in counts}
    speeds = {count: sum(one.samples / one.seconds for one in trials) for count, trials in found.items()}
    alone = speeds[counts[0]]
    return tuple(
        (
            str(count),
            digits(speeds[count]),
            f"{speeds[count] / alone:.2f}",
            f"{Samples(tuple(one.peak_bytes / 1e9 for one in trials)).median:.2g} GB",
        )
        for count, trials in found.items()
    )


def together(pack: Path, device: str, count: int, seconds: float) -> list[Trained]:
    """Train `count` trials for so long, all at the same time. Raises RuntimeError when one fails."""
    words = [sys.executable, "-m", "benchmarks.gpu_packing", str(pack), device, str(seconds)]
    started = [
        subprocess.Popen([*words, str(n)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(count)
    ]
    try:
        # everyone opens the pack and warms up, then all begin at once
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"a trial failed while {count} opened; its words are above")
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [Trained.from_json(process.communicate(timeout=TIMEOUT)[0].splitlines()[-1]) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def train_here(pack: Path, device: str, seconds: float, seed: int) -> None:
    """One trial: warm up, say so, wait for the word, train, and print what was done."""
    torch.set_num_threads(1)
    config = override(quick_preset(), {"training.device": device, "training.batch_size": 16})
    if seconds < 1:
        config = override(config, {"points.num_points": 32, "image.image_size": 16, "training.batch_size": 4})
    session = recipe_named("cross_modal").open(config, Pack.open(pack), {}, seed)
    session.run_epoch()
    print("ready", flush=True)
    sys.stdin.readline()
    began, samples = time.perf_counter(), 0
    metrics: Mapping[str, float] = {}
    while time.perf_counter() - began < seconds:
        metrics = session.run_epoch()
        samples += session.trial.steps_per_epoch * config.training.batch_size
    elapsed = time.perf_counter() - began
    print(json.dumps({"samples": samples, "seconds": elapsed, "peak_bytes": metrics[PEAK_MEMORY]}), flush=True)


def made_pack(root: Path, objects: int) -> Path:
    """A pack of procedural objects."""
    config = HouseholdConfig(train_per_class=objects, test_per_class=1, views=2, image_size=48, gaussians=400)
    write_household(root / "set", config)
    write_pack(root / "set/points", root / "set/images", root / "pack", PackConfig(cached_points=256, starts=1))
    return root / "pack"


if __name__ == "__main__":
    from benchmarks import gpu_packing

    gpu_packing.train_here(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
