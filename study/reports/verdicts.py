"""What the registry says of a study's encoders, kept beside the study: report and status read it without a registry.

<study>/verdicts.json     a `StudyVerdicts`, written when a sweep has judged, and by `splatsweep report`
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from registry.tracking.cursor import read_cursor
from registry.versions.gain import Gain
from ssl_core.config import Config
from ssl_core.errors import ConfigError
from ssl_core.files.whole import atomic_write

if TYPE_CHECKING:  # and with it torch, which a status does without
    from registry.versions.records import EncoderVersion

VERDICTS = "verdicts.json"


class EncoderVerdict(Config):
    """One registered model, and what was found about it."""

    name: str
    version: int
    kind: str  # of its card
    study: str  # study and trial: where it came from; empty and -1 for what no study trained
    trial: int
    status: str  # as `EncoderVersion.status`
    aliases: tuple[str, ...] = ()
    headline: str = ""  # of its last evaluation; empty: not evaluated
    gain: Gain | None = None
    decision: str = ""  # the gate's reason; empty: not judged
    fine_tuning: tuple[str, ...] = ()  # a line per label setting

    @property
    def reference(self) -> str:
        """`name/version`."""
        return f"{self.name}/{self.version}"

    @classmethod
    def of(cls, version: "EncoderVersion", fine_tuning: Sequence[str] = ()) -> "EncoderVerdict":
        """As the registry has it."""
        return cls(
            name=version.name,
            version=version.version,
            kind=version.kind,
            study=version.lineage.study,
            trial=version.lineage.trial,
            status=version.status,
            aliases=version.aliases,
            headline=version.evaluation.headline if version.evaluation else "",
            gain=version.gain,
            decision=version.decision.reason if version.decision else "",
            fine_tuning=tuple(fine_tuning),
        )


class StudyVerdicts(Config):
    """Those of one study, as they stood at a time."""

    format: Literal[1] = 1
    at: datetime
    encoders: tuple[EncoderVerdict, ...] = ()


def in_order(verdicts: Sequence[EncoderVerdict]) -> list[EncoderVerdict]:
    """By name (points before image), the champion before others, larger gains before smaller, none last."""

    def place(verdict: EncoderVerdict) -> tuple[bool, float, int]:
        gain = float("-inf") if verdict.gain is None else verdict.gain.mean
        return verdict.status != "champion", -gain, verdict.version

    names = sorted({verdict.name for verdict in verdicts}, reverse=True)
    return [one for name in names for one in sorted((v for v in verdicts if v.name == name), key=place)]


def best_of_each_kind(verdicts: Sequence[EncoderVerdict]) -> list[EncoderVerdict]:
    """Of each name of model its champion, else the one with the largest gain; names without any gain are left out."""
    best: dict[str, EncoderVerdict] = {}
    for verdict in in_order([one for one in verdicts if one.gain is not None]):
        best.setdefault(verdict.name, verdict)
    return list(best.values())


def keep_verdicts(folder: Path, verdicts: Sequence[EncoderVerdict]) -> None:
    """Write them beside the study in `folder`. Raises StorageError."""
    found = StudyVerdicts(at=datetime.now(UTC), encoders=tuple(verdicts))
    with atomic_write(folder / VERDICTS) as stream:
        stream.write(found.to_json().encode())


def read_verdicts(folder: Path) -> tuple[EncoderVerdict, ...]:
    """What was kept last; nothing where none was, or a newer version wrote it otherwise."""
    try:
        return StudyVerdicts.from_json((folder / VERDICTS).read_text()).encoders
    except (OSError, ValueError, ConfigError):
        return ()


def of_study(folder: Path, versions: "Sequence[EncoderVersion]") -> "list[EncoderVersion]":
    """Those of `versions` that the trials of the study in `folder` made."""
    runs = set(read_cursor(folder).runs.values())
    return [version for version in versions if version.lineage.run_id in runs]
