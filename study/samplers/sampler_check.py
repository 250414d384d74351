"""What a study asks of its sampler is checked before anything is spent."""

from search_spaces.space import SearchSpace
from ssl_core.errors import SpaceError
from study.samplers.cmaes import check_cmaes
from study.samplers.grid import check_grid
from study.spec.sampler_spec import CMAES, GridSearch
from study.spec.study_spec import StudySpec


def check_search(spec: StudySpec, space: SearchSpace) -> None:
    """Refuse a sampler that cannot search this space, and points given by hand that do not lie in it.

    Raises:
        SpaceError: naming the space file, the key and the remedy.
    """
    match spec.sampler:
        case CMAES():
            if len(spec.vector) > 1:
                raise SpaceError(
                    f"{space.source}: CMA-ES follows one objective, the study names {len(spec.vector)}; "
                    "use the sampler nsga2 or tpe, or take 'objectives' out"
                )
            check_cmaes(space)
        case GridSearch():
            check_grid(space, spec.sampler.steps)
        case _:
            pass
    for number, point in enumerate(spec.enqueue, start=1):
        try:
            space.fixed_params(point)
        except SpaceError as error:
            raise SpaceError(f"{space.source}: study.enqueue, point {number}: {error}") from None
