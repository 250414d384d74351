"""A model as a `torch.export` program: a file that runs where only torch is installed.

    program = torch.export.load("program.pt2").module()
    outputs = program(x)         # x as the card says; any batch size from 1

The batch is the only free dimension. A program is made from a copy on the CPU in evaluation mode;
`torch.export.passes.move_to_device_pass` takes it elsewhere.

Left out of the file: the example that was traced (torch would store it as a pickle) and the paths of our sources.
Torch's own loader unpickles what a file asks it to; `program_check.check_archive` finds a file that asks for it.
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_core.errors import RegistryError, StorageError
from ssl_core.models.cards import Card
from ssl_core.models.program_check import check_archive

CHECKED_BATCHES = (1, 2, 7)
TOLERANCE = 1e-5


def export_program(module: nn.Module, card: Card, file: Path) -> None:
    """Write the model that `card` describes as a program to `file`, then load it and compare.

    Raises:
        RegistryError: the model's outputs are not finite, or the loaded program's differ by more than
        1e-5. StorageError: the file cannot be written.
    """
    twin = on_the_cpu(module)
    program = traced(twin, card)
    program.example_inputs = None
    for module in program.graph_module.modules():  # a loop's steps are a module of their own
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    try:
        torch.export.save(program, file)
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{file}: cannot be written ({error}); free some space or choose another folder") from None
    check_archive(file, card.input_shape)  # a program that is refused elsewhere shall not be written here
    check_program(twin, card, file)


def on_the_cpu(module: nn.Module) -> nn.Module:
    """A copy on the CPU, in evaluation mode and without gradients."""
    return copy.deepcopy(module).cpu().eval().requires_grad_(False)


def traced(twin: nn.Module, card: Card) -> torch.export.ExportedProgram:
    """The forward of `on_the_cpu(module)` as a graph with a free batch."""
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        return torch.export.export(twin, (card.example(2),), dynamic_shapes=({0: batch},))


def compared(module: nn.Module, card: Card) -> Iterator[tuple[Tensor, Tensor]]:
    """Examples and what the live model gives for them: what an export is compared with, in batches of 1, 2 and 7.

    Raises:
        RegistryError: an output is not finite.
    """
    for batch in CHECKED_BATCHES:
        x = card.example(batch)
        with torch.no_grad():
            live: Tensor = module(x)
        if not torch.isfinite(live).all():
            raise RegistryError(
                f"the model's {card.output_name} are not finite, it is not worth keeping; use an earlier checkpoint"
            )
        yield x, live


def check_program(module: nn.Module, card: Card, file: Path) -> None:
    """Compare a program on disk with the live model (on the CPU, in evaluation mode). Raises RegistryError."""
    program = torch.export.load(file).module()
    for x, live in compared(module, card):
        with torch.no_grad():
            loaded = program(x)
        if not torch.allclose(loaded, live, rtol=TOLERANCE, atol=TOLERANCE):
            worst = (loaded - live).abs().max().item()
            raise RegistryError(
                f"the exported program differs from the model by {worst:.1e} at batch {len(x)} "
                f"(limit {TOLERANCE:.0e}); this is a fault of the export, "
                f"please report it with the card and torch {torch.__version__}"
            )
