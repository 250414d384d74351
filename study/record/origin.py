"""Where a trial's values came from; stored with the trial in the same line of the journal."""

from typing import Literal

from pydantic import Field

from ssl_core.config import Config

OriginKind = Literal["base", "enqueued", "startup", "sampler", "repeat", "confirmation"]


class Origin(Config):
    """Who chose a trial's values, and what was known then.

    Attributes:
        kind: `base` the preset itself; `enqueued` given by hand; `startup` drawn at random because too little was
            known; `sampler` suggested from what was known; `repeat` the values of an earlier trial with another
            seed; `confirmation` trained at the end to compare with the winner.
        sampler: kind of the study's sampler (`study.spec.sampler_spec`).
        seed: of the sampler for this suggestion.
        known: finished configurations the sampler had seen, by what it was told: COMPLETE, PRUNED, FAIL.
        running: numbers of the trials that were unfinished then.
        warm: configurations it knew from earlier studies.
        of: the trial whose values these are (`repeat`), or that is confirmed.
        note: for a person.
    """

    kind: OriginKind
    sampler: str = ""
    seed: int = 0
    known: dict[str, int] = Field(default_factory=dict)
    running: tuple[int, ...] = ()
    warm: int = 0
    of: int | None = None
    note: str = ""
