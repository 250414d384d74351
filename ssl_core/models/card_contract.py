"""What a card is: the words in which it describes itself, and what it must offer."""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ssl_core.config import Config


@dataclass(frozen=True)
class CardText:
    """A card in words."""

    title: str  # what kind of model it is
    network: str  # its architecture, in a word
    does: str  # what it turns into what, to go on after the network's name
    purpose: str  # what it is good for, in sentences
    takes: str  # the input, as Markdown
    sample: str  # Python that makes a batch of four inputs from torch
    reads: str  # what a loaded model reads by itself
    method: str  # by which method (`ssl_core.encode.ready_encoder`)
    limits: tuple[str, ...]  # what it should not be trusted with, a sentence each


class ModelCard(Config):
    """What every card offers. Not for `isinstance`: `ssl_core.models.cards.Card` is the closed union of its
    members."""

    input_name: ClassVar[str]
    """in ONNX files and signatures"""
    output_name: ClassVar[str]

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output, without the batch; channels first."""

    @property
    def near_ties(self) -> float:
        """Share of inputs for which a choice within the model may hang on a last digit, that another library rounds
        otherwise."""
        return 0.0

    def comparable(self, outputs: Tensor) -> Tensor:
        """What of outputs [B, ...] two libraries have to agree in: not a choice that is told as a number."""
        return outputs

    @abstractmethod
    def build(self, seed: int) -> nn.Module:
        """The model [B, *input_shape] -> [B, *output_shape] on the CPU.

        The seed decides every initial weight and touches no global generator.
        """

    @abstractmethod
    def example(self, batch: int) -> Tensor:
        """Plausible inputs [batch, *input_shape] float32, the same every time."""

    @abstractmethod
    def describe(self) -> CardText:
        """For a person."""

    def settings(self) -> tuple[tuple[str, str], ...]:
        """Every setting as text, by dotted name."""
        return tuple((name, _text(value)) for name, value in _flat(self.model_dump(mode="json")))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " + ".join(value)
    return value if isinstance(value, str) else json.dumps(value)
