"""A program that runs a fake study without Ray on the small disk at its argument, and fills it for some seconds."""

import sys
import threading
import time
from pathlib import Path

from fake_plans import make_space
from fake_sessions import FakeConfig, OpenFake, trained
from inline_driver import run_inline

from study.driver import StudyPlan
from study.schedule.spec import NoScheduler
from study.spec import StudySpec
from study.workers.patience import Patience


def fill(place: Path) -> None:
    """Take all there is, twice, and give it back."""
    for _ in range(2):
        time.sleep(1.5)
        with (place / "filler").open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(b"0" * 4096)
            except OSError:
                time.sleep(3.0)
        (place / "filler").unlink()


def main(place: Path) -> None:
    """Run it and say how it went."""
    space = make_space(place / "spaces", None, pace=0.3)
    base = space.base_config
    assert isinstance(base, FakeConfig)
    spec = StudySpec(trials=4, metric="val/probe", scheduler=NoScheduler(), concurrency=2)
    plan = StudyPlan("small", place / "studies" / "small", "pack0", spec, space, OpenFake(base))
    filler = threading.Thread(target=fill, args=(place,), daemon=True)
    filler.start()
    patience = Patience(say=lambda text: print(text, file=sys.stderr))
    director = run_inline(plan, patience=patience)
    if director.fatal is not None:
        raise director.fatal
    complete = sum(record.state == "COMPLETE" for record in director.ledger.records())
    epochs = trained(plan.folder)
    print(f"{complete} COMPLETE, {len(epochs)} epochs trained, {len(set(epochs))} different")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
