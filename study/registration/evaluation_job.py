"""What a worker is asked and what it answers, as JSON: one version, one protocol, one pack."""

from typing import Literal

from ssl_core.config import Config
from ssl_core.evaluation.task import AnyConfig


class EvaluationJob(Config):
    """Judge this version. Places are the worker's: a folder that it can see, or an address."""

    name: str
    version: int
    work: str
    """`registry.champions.evaluation_claims.work_key` of the pack and the protocol"""
    pack: str
    home: str
    tracking_uri: str | None = None
    protocol: AnyConfig | None = None
    """None: what the gate asks of the version's kind"""

    @property
    def reference(self) -> str:
        """`name/version`."""
        return f"{self.name}/{self.version}"


class Answer(Config):
    """What became of a job.

    `judged`: evaluated, and put before the gate if it had not been. `refused`: unfit, and noted on the version.
    `busy`: another has it. `failed`: not done; the next look tries again. `trouble`: not done, because the registry or
    a disk did not answer, which says nothing against the version.
    """

    outcome: Literal["judged", "refused", "busy", "failed", "trouble"]
    reason: str = ""
    seconds: float = 0.0
