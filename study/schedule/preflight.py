"""What population based training may change while a trial trains is checked before anything is spent."""

from search_spaces.parameter import Parameter
from search_spaces.space import SearchSpace
from ssl_core.config import nearest
from ssl_core.errors import SpaceError
from study.schedule.spec import PBT, SchedulerSpec

ALLOWED = ("training.", "loss.", "augment.")
"""Where a key may lie: what is there changes how a model is trained, not which weights it has."""

_FIXED = ("training.epochs", "training.batch_size", "training.device", "training.amp")
"""How long and on what a trial trains stays as it was."""


def check_perturbed(space: SearchSpace, scheduler: SchedulerSpec) -> None:
    """Refuse keys in `perturb` that a trial cannot take on halfway.

    Raises:
        SpaceError: a key is not searched, decides about shapes, chooses among kinds, or others depend on it.
    """
    if not isinstance(scheduler, PBT):
        return
    where = f"{space.source}: study.scheduler.perturb"
    if not scheduler.perturb:
        raise SpaceError(f"{where}: name at least one searched key; without any, PBT only copies")
    searched = {parameter.key: parameter for parameter in space.parameters}
    for key in scheduler.perturb:
        if key not in searched:
            raise SpaceError(f"{where}: '{key}' is not searched{nearest(key, list(searched))}")
        _check(where, key, searched)


def _check(where: str, key: str, searched: dict[str, Parameter]) -> None:
    allowed = ", ".join(f"{prefix}*" for prefix in ALLOWED)
    if not key.startswith(ALLOWED) or key.endswith(".kind") or key in _FIXED:
        raise SpaceError(
            f"{where}: '{key}' cannot change while a trial trains; keys are of {allowed}, without kinds and "
            f"{', '.join(_FIXED)}"
        )
    dependent = sorted(other for other, parameter in searched.items() if key in parameter.when)
    if dependent:
        raise SpaceError(f"{where}: '{key}' cannot change while a trial trains: '{dependent[0]}' depends on it")
