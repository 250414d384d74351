"""Six encoders evaluated as after a study: one after another, spread over the cores, and on a machine that is busy."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.objects import Made, write_objects
from benchmarks.table import Samples, Section, Table, digits, seconds
from registry.champions.evaluation_claims import work_key
from registry.tracking.run_log import RunLog, open_run_log
from registry.versions.records import Lineage
from registry.versions.store import EncoderStore
from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.packing.pack_writer import write_pack
from study.registration.evaluation_job import EvaluationJob
from study.registration.job_pools import ProcessPool, finished

SPREAD_BAR, BUSY_BAR = 1.6, 3.0


OBJECTS = Made(classes=6, train=12, test=6, gaussians=2000, opaque=0.9, views=4, image=64)


@dataclass(frozen=True)
class Sizes:
    """How much is measured. of_each: encoders of points, and as many of images."""

    made: Made = OBJECTS
    points: int = 256
    of_each: int = 3
    repetitions: int = 2


QUICK = Sizes(
    made=Made(classes=2, train=6, test=2, gaussians=700, opaque=0.45, views=2, image=32),
    points=64,
    of_each=1,
    repetitions=1,
)


def measure(quick: bool = False) -> Section:
    """Seconds of all evaluations in each way, by turns."""
    sizes, cores = QUICK if quick else Sizes(), len(os.sched_getaffinity(0))
    found: dict[str, list[float]] = {"alone": [], "spread": [], "busy": []}
    with tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as folder:
        home, pack = Path(folder, "home"), made_pack(Path(folder), sizes.made)
        with open_run_log(None, home) as log:
            versions = registered(log, pack, Path(folder), sizes)
            for turn in range(sizes.repetitions):
                jobs = [
                    jobs_of(versions, pack, home, EvaluationConfig(draw_seed=3 * turn + way)) for way in range(3)
                ]  # fmt: skip
                found["alone"].append(seconds_of(jobs[0], home, 1))
                found["spread"].append(seconds_of(jobs[1], home, cores))
                with spinning(cores):
                    found["busy"].append(seconds_of(jobs[2], home, cores))
    samples = {way: Samples(tuple(values)) for way, values in found.items()}
    ratios = {
        "alone": Samples(tuple(a / b for a, b in zip(found["alone"], found["spread"], strict=True))),
        "busy": Samples(tuple(a / b for a, b in zip(found["busy"], found["spread"], strict=True))),
    }
    return Section(
        title="Evaluations after a study",
        shows=f"{2 * sizes.of_each} encoders, half of points and half of images, by the protocol that the gate asks "
        "for, as jobs of one thread.",
        baseline="The baseline is one job after another. Busy: a process that spins on each core, at normal priority.",
        tables=(table(samples, ratios, cores),),
        notes=(
            f"{sizes.made.classes * (sizes.made.train + sizes.made.test)} objects, {sizes.points} points (PointNet), "
            f"{sizes.made.views} views of {sizes.made.image} px (ResNet-18). Nothing is kept between turns; within "
            "one, encoders of an architecture share their random twins. Starting the processes is in it. The bars: "
            f"spread at least {SPREAD_BAR:g} times as fast on two cores or more, busy at most {BUSY_BAR:g} times as "
            "slow.",
        ),
        missed=() if quick else missed(ratios, cores),
    )


def missed(ratios: dict[str, Samples], cores: int) -> tuple[str, ...]:
    """The bars that were."""
    short = []
    if cores > 1 and ratios["alone"].median < SPREAD_BAR:
        short.append(f"spread over {cores} cores {digits(ratios['alone'].median)} times as fast, bar {SPREAD_BAR:g}")
    if ratios["busy"].median > BUSY_BAR:
        short.append(f"on a busy machine {digits(ratios['busy'].median)} times as slow, bar {BUSY_BAR:g}")
    return tuple(short)


def table(samples: dict[str, Samples], ratios: dict[str, Samples], cores: int) -> Table:
    """A row each."""
    times = {way: sample.text(seconds) for way, sample in samples.items()}
    longer = {way: f"{sample.text(digits)} times as long" for way, sample in ratios.items()}
    rows = (
        ("one after another", times["alone"], longer["alone"]),
        (f"spread over {cores} cores", times["spread"], ""),
        ("the same, all cores taken", times["busy"], longer["busy"]),
    )
    return Table(("way", "time", "beside spread"), rows)


def made_pack(root: Path, made: Made) -> Pack:
    """Objects, and their pack."""
    write_objects(root, made)
    return write_pack(root / "points", root / "images", root / "pack", PackConfig(cached_points=256, starts=2))


def registered(log: RunLog, pack: Pack, folder: Path, sizes: Sizes) -> list[tuple[str, int]]:
    """Names and versions of untrained encoders, one of each kind after the other."""
    store, found = EncoderStore(log), []
    cards = {
        "points": PointEncoderCard(contract=PointsContract(num_points=sizes.points), backbone=PointNetConfig()),
        "image": ImageEncoderCard(
            contract=ImageContract(image_size=sizes.made.image), backbone=ResNetConfig(kind="resnet18")
        ),
    }
    for seed in range(sizes.of_each):
        run_id = log.start_run(f"trial {seed}", {}, {})
        log.finish(run_id, "FINISHED")
        for name, card in cards.items():
            bundle = folder / f"{name}{seed}"
            save_bundle(card.build(100 + seed), card, bundle, name=name, lineage={})
            lineage = Lineage(study="benchmark", trial=seed, run_id=run_id, seed=seed, pack_digest=pack.digest)
            version = store.register(bundle, name, lineage, run_id)
            found.append((version.name, version.version))
    return found


def jobs_of(versions: list[tuple[str, int]], pack: Pack, home: Path, protocol: EvaluationConfig) -> list[EvaluationJob]:
    """An evaluation of each."""
    work = work_key(pack.digest, protocol.digest())
    place = {"pack": str(pack.path), "home": str(home), "protocol": protocol, "gate": False, "work": work}
    return [EvaluationJob.model_validate({"name": name, "version": number, **place}) for name, number in versions]


def seconds_of(jobs: list[EvaluationJob], home: Path, workers: int) -> float:
    """With nothing kept from before."""
    shutil.rmtree(home / "features", ignore_errors=True)
    began = time.perf_counter()
    pool = ProcessPool(workers, home / "workers.log")
    try:
        answers = finished(pool, jobs, f"evaluating {len(jobs)} encoders")
    finally:
        pool.close()
    failed = [answer.reason for answer in answers if answer.outcome != "judged"]
    if failed:
        raise RuntimeError(f"an evaluation failed: {failed[0]}")
    return time.perf_counter() - began


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many processes that do nothing, as fast as they can."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
