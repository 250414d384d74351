"""What a study is to run, and where: all that its driver needs to know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces.space import SearchSpace
from study.engine.ledger import StudyIdentity
from study.spec.study_spec import StudySpec
from study.spec.trial_request import CheckValues, OpenSession


@dataclass(frozen=True)
class StudyPlan:
    """What to run and where.

    Attributes:
        name: of the study, also of its folder.
        folder: `<home>/studies/<name>`, absolute; on storage that all workers see.
        pack_digest: of the data; a study belongs to one data set.
        recipe_digest: of the source of a recipe of the user's own; empty for ours.
        spec, space: how and what to search.
        open_session: builds a trial's session in a worker; picklable.
        check: refuses configurations before they cost a worker.
        facts: lineage for tags, for example revision and pack path.
    """

    name: str
    folder: Path
    pack_digest: str
    spec: StudySpec
    space: SearchSpace
    open_session: OpenSession
    check: CheckValues | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    recipe_digest: str = ""

    @property
    def identity(self) -> StudyIdentity:
        """What must not change between invocations."""
        return StudyIdentity(
            name=self.name,
            recipe=self.space.recipe,
            space_digest=self.space.digest,
            pack_digest=self.pack_digest,
            recipe_digest=self.recipe_digest,
        )
