"""An encoder as a `torch.export` program: a file that runs where only torch is installed.

    program = torch.export.load("program.pt2").module()
    features = program(x)        # x as the contract says; any batch size from 1, `num_points` points

The batch is the only free dimension. A program is made from a copy on the CPU in evaluation mode;
`torch.export.passes.move_to_device_pass` takes it elsewhere.

Left out of the file: the example that was traced (torch would store it as a pickle) and the paths of our sources.
Torch's own loader unpickles what a file asks it to; `program_check.check_archive` finds a file that asks for it.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor

from ssl_core.errors import RegistryError, StorageError
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract
from ssl_core.models.program_check import check_archive

CHECKED_BATCHES = (1, 2, 7)
TOLERANCE = 1e-5


def example_input(contract: PointsContract | ImageContract, batch: int) -> Tensor:
    """A plausible input of the contract's shape: points in the unit ball, pixels in [0, 1].

    The same every time.
    """
    generator = torch.Generator().manual_seed(batch)
    if isinstance(contract, ImageContract):
        return torch.rand((batch, 3, contract.image_size, contract.image_size), generator=generator)
    x = torch.randn((batch, contract.num_points, contract.columns), generator=generator)
    x[..., :3] /= x[..., :3].norm(dim=-1, keepdim=True).amax(1, keepdim=True)
    return x


def export_program(encoder: Encoder, file: Path) -> None:
    """Write `encoder` as a program to `file`, then load it and compare.

    Raises:
        RegistryError: the encoder's features are not finite, or the loaded program's differ by more than
        1e-5. StorageError: the file cannot be written.
    """
    twin = on_the_cpu(encoder)
    program = traced(twin)
    program.example_inputs = None
    for module in program.graph_module.modules():  # a loop's steps are a module of their own
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    try:
        torch.export.save(program, file)
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{file}: cannot be written ({error}); free some space or choose another folder") from None
    check_archive(file, twin.contract)  # a program that is refused elsewhere shall not be written here
    check_program(twin, file)


def on_the_cpu(encoder: Encoder) -> Encoder:
    """A copy on the CPU, in evaluation mode and without gradients."""
    twin: Encoder = copy.deepcopy(encoder).cpu().eval().requires_grad_(False)
    return twin


def traced(twin: Encoder) -> torch.export.ExportedProgram:
    """The forward of `on_the_cpu(encoder)` as a graph with a free batch."""
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        return torch.export.export(twin, (example_input(twin.contract, 2),), dynamic_shapes=({0: batch},))


def check_program(encoder: Encoder, file: Path) -> None:
    """Compare a program on disk with the live encoder (on the CPU, in evaluation mode) for batches of 1, 2
    and 7.
    """
    program = torch.export.load(file).module()
    for batch in CHECKED_BATCHES:
        x = example_input(encoder.contract, batch)
        with torch.no_grad():
            live, loaded = encoder(x), program(x)
        if not torch.isfinite(live).all():
            raise RegistryError(
                "the encoder's features are not finite, it is not worth keeping; use an earlier checkpoint"
            )
        if not torch.allclose(loaded, live, rtol=TOLERANCE, atol=TOLERANCE):
            worst = (loaded - live).abs().max().item()
            raise RegistryError(
                f"the exported program differs from the encoder by {worst:.1e} at batch {batch} "
                f"(limit {TOLERANCE:.0e}); this is a fault of the export, "
                f"please report it with the backbone and torch {torch.__version__}"
            )
