"""What a worker is asked travels as JSON and comes out as what it was."""

from typing import get_args

import pytest

from ssl_core.evaluation.task import AnyConfig
from study.registration.evaluation_job import EvaluationJob


@pytest.mark.parametrize("kind", get_args(AnyConfig))
def test_each_protocol_stays_its_own_kind(kind):
    """Protocols of two tasks may have the same keys."""
    job = EvaluationJob(name="model", version=1, work="key", pack="pack", home="home", protocol=kind())
    assert type(EvaluationJob.model_validate_json(job.to_json()).protocol) is kind
