"""What a study may ask of its pack is checked before anything is spent."""

from collections.abc import Callable, Mapping
from typing import Any

from search_spaces.parameter import Choice
from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError, InfeasibleError


def check_choices(space: SearchSpace, check: Callable[[Mapping[str, Any]], None]) -> None:
    """Refuse a space that offers what the pack can never serve, such as a feature group it lacks.

    Each value of each choice is tried alone on top of the base config; combinations that fail only together are
    left to the trials, which end INFEASIBLE with their reason.

    Args:
        space: the study's.
        check: raises InfeasibleError for values that the pack cannot serve.

    Raises:
        InfeasibleError: naming every such value, the reason, and the remedy.
    """
    refused = [
        f"{parameter.key}={value}: {reason}"
        for parameter in space.parameters
        if isinstance(parameter.domain, Choice)
        for value in parameter.domain.values
        if (reason := _refusal(check, parameter.key, value))
    ]
    if refused:
        raise InfeasibleError(
            f"{space.source}: the pack cannot serve {len(refused)} of the choices: {'; '.join(refused)}. "
            "Take them out of the space, or make a pack that can"
        )


def _refusal(check: Callable[[Mapping[str, Any]], None], key: str, value: Any) -> str:
    try:
        check({key: value})
    except InfeasibleError as error:
        return str(error)
    except ConfigError:
        return ""  # wrong alone, perhaps right with the values that go with it
    return ""
