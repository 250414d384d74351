"""A simulated study from beginning to end, over all drivers that run it."""

from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory

from study.ledger import Ledger, StudyIdentity, memory_ledger, open_ledger
from study.simulator.clock import FakeClock
from study.simulator.faults import Fuse, PowerCutError
from study.simulator.invocation import Invocation, World
from study.simulator.scene import Scene, Simulated, Trace
from study.simulator.worker import Workplace


def simulate(scene: Scene) -> Simulated:
    """Run a whole study.

    A driver that dies leaves the journal, the checkpoints and the meter's files; the next one begins from those.

    Raises:
        StudyError: the engine starved a trial: nothing runs, and it is not finished.
        ValueError: a driver shall die but its ledger lives in memory.
    """
    if scene.faults.deaths and scene.folder is None:
        raise ValueError("a ledger in memory dies with its driver; give the scene a folder")
    with TemporaryDirectory(prefix="splatsweep-simulated-") as scratch:
        return _simulate(scene, scene.folder or Path(scratch, "study"))


def _simulate(scene: Scene, folder: Path) -> Simulated:
    spec, faults = scene.spec, scene.faults
    workplace = Workplace(scene.curves, spec.metric, spec.direction, scene.timing)
    clock = FakeClock()
    world = World(clock, workplace, Trace(spec.direction, clock), deque(faults.losses), deque(faults.jumps))
    deaths: deque[int | None] = deque([*faults.deaths, None])
    invocations, down = 0, 0.0
    while True:
        invocations += 1
        ledger = _open(scene, folder)
        try:
            invocation = Invocation(scene, world, ledger, folder, Fuse(deaths.popleft()))
            invocation.run()
            break
        except PowerCutError:
            down += faults.down
            clock.advance_to(clock.elapsed + faults.down)
            clock.reboot()
    return Simulated(
        records=tuple(ledger.records()),
        seconds=clock.elapsed,
        driven=clock.elapsed - down,
        epochs=world.epochs,
        receipt=invocation.receipt(),
        points=tuple(world.trace.points),
        told=tuple(world.trace.told),
        invocations=invocations,
        finished=invocation.director.finished,
        reason=invocation.director.stop_reason or "",
        ledger=ledger,
    )


def _open(scene: Scene, folder: Path) -> Ledger:
    identity = StudyIdentity(
        name="simulated", recipe=scene.space.recipe, space_digest=scene.space.digest, pack_digest="simulated"
    )
    if scene.folder is None:
        return memory_ledger(identity, scene.spec, scene.space)
    return open_ledger(folder, identity, scene.spec, scene.space)
