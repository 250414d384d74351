"""The next configuration: a function of the study's spec and space, the trial's number, and what the sampler knows.

Nothing else enters, no clock and no state of an earlier call. So what was suggested can be worked out again from the
journal, and a study that was interrupted goes on as it would have.
"""

import warnings
from dataclasses import dataclass
from typing import Any, assert_never

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler
from optuna.samplers._ga import BaseGASampler
from optuna.trial import Trial, TrialState

from search_spaces.space import SearchSpace
from ssl_core.errors import SpaceError
from study.record.trial_record import Origin, OriginKind
from study.samplers.proposal import Proposal, check_cmaes, check_grid, next_of_cmaes, next_of_grid, next_of_sequence
from study.samplers.sampler_view import NOTE, SamplerView
from study.samplers.tpe import StudyTPE, window
from study.samplers.view_storage import entry
from study.spec.sampler_spec import CMAES, GP, NSGA2, NSGA3, TPE, GridSearch, QuasiRandom, RandomSearch
from study.spec.study_spec import StudySpec

_PRIVATE = ("fixed_params", "tpe:relative_params", "gp:relative_params")
"""What Optuna's samplers leave with a trial and nobody reads once it has all its values."""


@dataclass(frozen=True)
class Suggestion:
    """What is written to the journal in one line."""

    params: dict[str, Any]  # in Optuna's terms, as are their
    distributions: dict[str, BaseDistribution]
    values: dict[str, Any]  # the dotted config values they mean
    notes: dict[str, Any]  # of the sampler; those about the study have the prefix `study:`
    origin: Origin  # where it came from


def suggest(spec: StudySpec, space: SearchSpace, view: SamplerView, number: int) -> Suggestion:
    """The configuration of trial `number`. The view is left as it was.

    Raises:
        SpaceExhaustedError: the sampler has tried all there is.
    """
    seed = sampler_seed(spec, number)
    kind, proposal = _by_hand(spec, space, view, number) or _by_method(spec, space, view, seed)
    origin = Origin(
        kind="startup" if kind == "sampler" and _starting(spec, view) else kind,
        sampler=spec.sampler.kind,
        seed=seed,
        known=view.known(),
        running=view.running(),
        warm=view.warm,
        note=proposal.note,
    )
    return _ask(space, view, _sampler(spec, view, seed), proposal, origin)


def sampler_seed(spec: StudySpec, number: int) -> int:
    """One stream of random numbers for each trial of a study."""
    return (spec.seed * 1_000_003 + number) % 2**32


def _by_hand(spec: StudySpec, space: SearchSpace, view: SamplerView, number: int) -> tuple[OriginKind, Proposal] | None:
    """The preset itself comes first, then the points of `enqueue` in their order."""
    if spec.first_is_base and number == 0:
        return "base", Proposal(space.base_params(), note="the preset itself")
    place = view.kinds["enqueued"]
    if place < len(spec.enqueue):
        note = f"point {place + 1} of {len(spec.enqueue)} given by hand"
        return "enqueued", Proposal(space.fixed_params(spec.enqueue[place]), note=note)
    return None


def _by_method(spec: StudySpec, space: SearchSpace, view: SamplerView, seed: int) -> tuple[OriginKind, Proposal]:
    match spec.sampler:
        case CMAES():
            return "sampler", next_of_cmaes(space, spec.sampler, seed, view)
        case GridSearch():
            return "sampler", next_of_grid(space, spec.sampler.steps, spec.seed, view.storage.entries)
        case QuasiRandom():
            return "sampler", next_of_sequence(space, spec.sampler.sequence, spec.seed, view.storage.entries)
        case _:
            return "sampler", Proposal()


def _sampler(spec: StudySpec, view: SamplerView, seed: int) -> BaseSampler:
    match spec.sampler:
        case TPE():
            return StudyTPE(seed=seed, startup=spec.startup, multivariate=spec.sampler.multivariate, known=view.storage)
        case GP():
            return GPSampler(seed=seed, n_startup_trials=spec.startup, warn_independent_sampling=False)
        case NSGA2():
            return NSGAIISampler(seed=seed, population_size=spec.sampler.population)
        case NSGA3():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return NSGAIIISampler(seed=seed, population_size=spec.sampler.population)
        case CMAES() | RandomSearch() | GridSearch() | QuasiRandom():
            return RandomSampler(seed=seed)
        case _:
            assert_never(spec.sampler)


def _starting(spec: StudySpec, view: SamplerView) -> bool:
    """Whether the sampler knows too little to do more than draw."""
    match spec.sampler:
        case TPE():
            return view.count(TrialState.COMPLETE, TrialState.PRUNED) < spec.startup
        case GP():
            return view.count(TrialState.COMPLETE) < spec.startup
        case _:
            return False


def _ask(space: SearchSpace, view: SamplerView, sampler: BaseSampler, proposal: Proposal, origin: Origin) -> Suggestion:
    storage = view.storage
    before = dict(storage.attrs)
    study = optuna.Study(study_name="view", storage=storage, sampler=sampler, pruner=NopPruner())
    if origin.sampler == "tpe":
        storage.window = window(storage)
    fixed = {"fixed_params": proposal.params} if proposal.params else {}
    place = len(storage.entries)
    storage.create_new_trial(0, entry(place, TrialState.RUNNING, system_attrs=fixed))
    try:
        values = space.suggest(Trial(study, place))
        if isinstance(sampler, BaseGASampler):  # not asked when all values were given by hand
            sampler.get_trial_generation(study, storage.get_trial(place))
        trial = storage.take_asked()
        about = {NOTE + key: value for key, value in storage.attrs.items() if before.get(key) != value}
    finally:
        storage.asked, storage.window, storage.attrs = None, None, before
    own = {key: value for key, value in trial.system_attrs.items() if not key.startswith(_PRIVATE)}
    notes = {**own, **proposal.marks, **about}
    generation = next((value for key, value in own.items() if key.endswith(":generation")), None)
    if generation is not None and origin.kind == "sampler":
        kind: OriginKind = "sampler" if generation else "startup"
        origin = origin.model_copy(update={"kind": kind, "note": f"generation {generation}"})
    return Suggestion(trial.params, trial.distributions, values, notes, origin)


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
