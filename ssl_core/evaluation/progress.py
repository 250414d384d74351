"""How far an evaluation is: its steps are counted before the first is made."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationProgress:
    """`done` of `total` steps, `what` is under way. A step is a batch through the model, or a fit of a probe."""

    title: str
    what: str
    done: int
    total: int


Tell = Callable[[EvaluationProgress], None]


def silent(progress: EvaluationProgress) -> None:
    """Tell nobody."""


@dataclass
class Steps:
    """Counts the steps of one evaluation and tells of each."""

    title: str = ""
    total: int = 0
    tell: Tell = silent
    done: int = 0
    what: str = ""

    @contextmanager
    def block(self, what: str, count: int) -> Iterator[None]:
        """`count` steps of one kind; what of them was not needed, because it was kept, is done at the end."""
        end, self.what = self.done + count, what
        self.step(0)
        yield
        self.done = end
        self.step(0)

    def step(self, count: int = 1) -> None:
        """So many were made."""
        self.done = min(self.done + count, self.total)
        self.tell(EvaluationProgress(self.title, self.what, self.done, self.total))
