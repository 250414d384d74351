"""Which stages a study shares between its trials, and whether they are made already."""

from search_spaces.parameter import edges
from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError
from study.run.trial_opener import TrialOpener


def stage_forecast(space: SearchSpace, opener: TrialOpener) -> dict[str, str]:
    """A few words by stage. What the space may set is tried one key at a time on top of the base."""
    single = [{parameter.key: value} for parameter in space.parameters for value in edges(parameter.domain)]
    folders = opener.stage_folders({})
    places = {stage: {folder} for stage, folder in folders.items()}
    for values in single if folders else []:
        try:
            found = opener.stage_folders(values)
        except ConfigError:
            continue  # wrong alone, perhaps right with the values that go with it
        for stage, folder in found.items():
            places[stage].add(folder)
    return {stage: _words(sum(place.is_dir() for place in each), len(each)) for stage, each in places.items()}


def _words(made: int, settings: int) -> str:
    if settings > 1:
        return f"depends on searched keys; {made} of {settings} settings made already, each other will be made once"
    return "made already" if made else "will be made once, by the first trial that needs it"
