"""Names and lengths that MLflow takes, and the tags by which a study's runs are found."""

import getpass
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run can end."""
RunState = RunStatus | Literal["RUNNING"]
STUDY_RUN = "study"
"""What the parent run is called in a study's folder; the run of trial 7 is called `7`."""
KIND, STUDY, TRIAL, KEY = "splatsweep.kind", "splatsweep.study", "splatsweep.trial", "splatsweep.key"
PARENT = "mlflow.parentRunId"
PARAM_LIMIT, TAG_LIMIT = 6000, 4900


def key_of(name: str) -> str:
    """MLflow takes letters, digits and `_-. :/` in names; anything else becomes an underscore."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def short(text: str, limit: int) -> str:
    """Texts over the limit keep their beginning and a digest of the whole, so they can be told apart."""
    if len(text) <= limit:
        return text
    return f"{text[:200]}… [{len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}]"


def texts_of(values: Mapping[str, Any], limit: int) -> dict[str, str]:
    """Tags or parameters with usable names and lengths."""
    return {key_of(name): short(str(value), limit) for name, value in values.items()}


def own_tags() -> dict[str, str]:
    """Tags of every run we make."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "splatsweep", "mlflow.source.type": "LOCAL"}
