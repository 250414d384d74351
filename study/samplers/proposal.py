"""Values for some parameters, from a method that needs no Optuna sampler; the rest is drawn at random."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Proposal:
    """What a method suggests.

    Attributes:
        params: Optuna params; those that take no part in the trial are ignored.
        marks: stored with the trial, read again for later suggestions.
        note: for a person.
        startup: drawn at random because too little is known.
    """

    params: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    startup: bool = False
