"""Whether registered versions are fine-tuned without being asked, and within which budget.

`SPLATSWEEP_FINE_TUNING` is `off`, or CPU seconds for one version in place of the default budget.
"""

import os
from typing import TYPE_CHECKING

from ssl_core.errors import ConfigError

if TYPE_CHECKING:
    from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings

VARIABLE = "SPLATSWEEP_FINE_TUNING"
_OFF = "off"


def asked_seconds() -> float | None:
    """What the variable says: 0 for off; None: the default budget. Raises ConfigError where it says something else."""
    given = os.environ.get(VARIABLE, "").strip()
    if given in ("", _OFF):
        return 0.0 if given else None
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{VARIABLE}={given}: give off, or CPU seconds for one version, such as 120")
    return seconds


def asked_fine_tuning(wanted: bool = True) -> "FineTuningSettings | None":
    """What every version gets after the frozen protocol; None for nothing. Raises as `asked_seconds`."""
    from ssl_core.evaluation.fine_tuning_plan import FineTuningBudget, automatic_settings  # imports torch

    seconds = asked_seconds()
    if not wanted or seconds == 0:
        return None
    if seconds is None:
        return automatic_settings()
    return automatic_settings(FineTuningBudget(seconds=seconds, per_object=0.0))
