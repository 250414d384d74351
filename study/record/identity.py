"""What makes a study the same study: it is checked whenever one is continued."""

import json
from collections.abc import Mapping
from pathlib import Path

from ssl_core.config import Config
from ssl_core.errors import StudyError
from study.spec.study_spec import StudySpec


class StudyIdentity(Config):
    """What must not change when a study is continued."""

    name: str
    recipe: str
    space_digest: str
    pack_digest: str
    recipe_digest: str = ""
    """of the source of a recipe of the user's own"""


_FIELDS = (
    ("recipe", "recipe"),
    ("recipe_digest", "text of its recipe"),
    ("space_digest", "search space"),
    ("pack_digest", "pack"),
)
_SETTINGS = ("metric", "direction", "seed", "objectives", "constraints", "warm_start", "repeats")


def refuse_another(old: StudyIdentity, old_spec: StudySpec, new: StudyIdentity, spec: StudySpec,
                   folder: Path) -> None:  # fmt: skip
    """Raises StudyError when the journal in `folder` is not of this study; the text says which part and what to do."""
    if old.name != new.name:
        raise StudyError(
            f"the journal in {folder} is of the study '{old.name}', not of '{new.name}'; "
            "move it back to that study's folder, or choose another --name"
        )
    remedy = f"choose another --name, or delete {folder} to start over"
    for field, thing in _FIELDS:
        before, now = getattr(old, field), getattr(new, field)
        if before != now:
            raise StudyError(f"study '{new.name}' was started with another {thing} ({before}, now {now}); {remedy}")
    for field in _SETTINGS:
        before, now = _plain(old_spec, field), _plain(spec, field)
        if before != now:
            raise StudyError(f"study '{new.name}' was started with {field}={before}, now {now}; {remedy}")


def study_tags(identity: StudyIdentity, facts: Mapping[str, str]) -> dict[str, str]:
    """MLflow tags of lineage."""
    own = {
        "splatsweep.recipe": identity.recipe,
        "splatsweep.space_digest": identity.space_digest,
        "splatsweep.pack_digest": identity.pack_digest,
    }
    if identity.recipe_digest:
        own["splatsweep.recipe_digest"] = identity.recipe_digest
    return {**own, **{f"splatsweep.{key}": value for key, value in facts.items()}}


def _plain(spec: StudySpec, field: str) -> str:
    value = spec.model_dump(mode="json", include={field})[field]
    return value if isinstance(value, str) else json.dumps(value)
