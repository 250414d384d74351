"""What population based training may change while a trial trains is checked before anything is spent."""

from search_spaces.parameter import Parameter
from search_spaces.space import SearchSpace
from ssl_core.config import nearest
from ssl_core.config_roles import changeable
from ssl_core.errors import SpaceError
from study.spec.scheduler_spec import PBT, SchedulerSpec


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
        _check(where, key, space, searched)


def _check(where: str, key: str, space: SearchSpace, searched: dict[str, Parameter]) -> None:
    config = type(space.base_config)
    if not changeable(config, key):
        can = ", ".join(other for other in searched if changeable(config, other)) or "none"
        raise SpaceError(
            f"{where}: '{key}' cannot change while a trial trains; of the searched keys, {can} can: "
            "single values that the recipe's config marks as LIVE"
        )
    dependent = sorted(other for other, parameter in searched.items() if key in parameter.when)
    if dependent:
        raise SpaceError(f"{where}: '{key}' cannot change while a trial trains: '{dependent[0]}' depends on it")
