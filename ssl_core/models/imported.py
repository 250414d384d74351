"""What an import gives: encoders made of somebody else's file, and an account of where each of its tensors went.

A tensor is *placed* when it is in an encoder, or kept beside the encoders under its meaning (a classifier's head, the
fusion network). An import that cannot place every tensor of a network is refused; so the account always reads 100 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.models.cards import Card


class Placement(Config):
    """Where the tensors of one network of the file went."""

    part: str
    """the network, as the file calls it"""
    tensors: int = Field(ge=0)
    """how many the file holds of it"""
    encoder: int = Field(ge=0)
    """how many of them are in an encoder"""
    beside: tuple[str, ...] = ()
    """names of those that are kept beside the encoders"""
    kept_as: str = ""
    """what the ones beside are"""

    @property
    def placed(self) -> int:
        """How many have a place."""
        return self.encoder + len(self.beside)


class ImportReport(Config):
    """The account of one import."""

    file: str
    sha256: str
    model: str
    settings: str
    """digest of the settings of the import"""
    placements: tuple[Placement, ...]
    left: tuple[str, ...] = ()
    """what else the file holds and no network is made of, in words"""
    notes: tuple[str, ...] = ()
    """what a user of the encoders should know"""

    @property
    def summary(self) -> str:
        """`219 of 219 tensors placed (100 %)`."""
        placed, tensors = sum(p.placed for p in self.placements), sum(p.tensors for p in self.placements)
        return f"{placed} of {tensors} tensors placed ({100 * placed // max(1, tensors)} %)"


@dataclass(frozen=True)
class ImportedModel:
    """A model in evaluation mode on the CPU, and its card."""

    module: nn.Module
    card: Card


@dataclass(frozen=True)
class Imported:
    """Models by the last part of the name to register, what is kept beside them (file stem -> tensors by name), and the
    account."""

    models: Mapping[str, ImportedModel]
    report: ImportReport
    beside: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
