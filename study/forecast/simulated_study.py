"""A simulated study from beginning to end."""

from pathlib import Path
from tempfile import TemporaryDirectory

from study.engine.ledger import Ledger, StudyIdentity, memory_ledger, open_ledger
from study.forecast.simulated_driver import Invocation, World
from study.forecast.simulation import Simulated, Simulation


def simulate(scene: Simulation) -> Simulated:
    """Run a whole study.

    Raises:
        StudyError: the engine starved a trial: nothing runs, and it is not finished.
    """
    with TemporaryDirectory(prefix="splatsweep-simulated-") as scratch:
        folder = scene.folder or Path(scratch, "study")
        invocation = Invocation(scene, World.of(scene), open_simulated(scene, folder), folder)
        invocation.run()
        return invocation.result()


def open_simulated(scene: Simulation, folder: Path) -> Ledger:
    """The study's ledger, in memory where the scene has no folder."""
    identity = StudyIdentity(
        name="simulated", recipe=scene.space.recipe, space_digest=scene.space.digest, pack_digest="simulated"
    )
    if scene.folder is None:
        return memory_ledger(identity, scene.spec, scene.space)
    return open_ledger(folder, identity, scene.spec, scene.space)
