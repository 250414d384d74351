"""Studies with several objectives and constraints, cut off at any moment: the same study, told, replayed, explained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fake_plans import make_space
from faulty_simulation import WildLaw, simulate_deaths, simulate_mishaps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces.space import SearchSpace
from study.engine.explain import explain
from study.engine.replay import replay
from study.forecast.learning_curve import Curve, PowerLaw
from study.forecast.simulated_driver import Simulated, Simulation
from study.reports.status import read_status
from study.spec.outcome import Outcome
from study.spec.study_spec import Constraint, ObjectiveMetric, StudySpec

METRIC = "val/probe"
TWO = (ObjectiveMetric(metric=METRIC), ObjectiveMetric(metric="cost/size", direction="minimize"))
BAND = (Constraint(metric="cost/size", at_most=0.8), Constraint(metric="cost/size", at_least=0.2))
seeds = st.integers(0, 10**6)


@dataclass(frozen=True)
class Costed:
    """Curves with a cost that depends on the configuration and differs between epochs."""

    curves: PowerLaw

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        """See `CurveSource`."""
        plain, size = self.curves.curve(values, seed), float(values["quality"])
        metrics = ({**told, "cost/size": size + 0.01 * epoch} for epoch, told in enumerate(plain.metrics))
        return replace(plain, metrics=tuple(metrics))


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    ranges = {"quality": {"float": [0.1, 1.0]}, "pace": {"log": [0.01, 1.0]}}
    return make_space(tmp_path_factory.mktemp("spaces"), ranges)


def story(found: Simulated) -> list[Any]:
    """What a study found, but for times."""
    fields = {"number", "values", "outcome", "reason", "curve", "best_epoch", "seed", "crashes", "verdicts"}
    vectors = [{**record.vector, "trial/seconds": 0.0} for record in found.records]
    return [(record.model_dump(include=fields), vector) for record, vector in zip(found.records, vectors, strict=True)]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=seeds,
    deaths=st.lists(st.integers(0, 30), max_size=4),
    kind=st.sampled_from(["tpe", "cmaes", "nsga2", "nsga3", "qmc"]),
    bounded=st.booleans(),
)
def test_a_driver_that_dies_loses_no_metric(
    space: SearchSpace,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    deaths: list[int],
    kind: str,
    bounded: bool,
) -> None:
    folder = tmp_path_factory.mktemp("studies") / "study"
    several = {} if kind == "cmaes" else {"objectives": TWO}
    spec = StudySpec(metric=METRIC, trials=8, seed=seed, sampler=kind, constraints=BAND * bounded, **several)
    law = WildLaw(space, metric=METRIC, epochs=6, crossing=0.5, diverging=0.2, crashing=0.2, landscape=seed)
    scene = Simulation(space, spec, Costed(law))
    found, _ = simulate_deaths(scene, folder, deaths)
    undisturbed = simulate_mishaps(scene)
    assert story(found) == story(undisturbed)
    for record in (record for record in found.records if record.outcome is Outcome.COMPLETE):
        assert record.best_epoch is not None
        assert record.values is not None
        assert record.vector["cost/size"] == float(record.values["quality"]) + 0.01 * (record.best_epoch - 1)
    assert replay(folder).differences == ()
    assert [explain(folder, record.number).trial for record in found.records] == list(found.records)
    assert sum(read_status(folder).counts.values()) == len(found.records)
