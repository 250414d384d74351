"""A model as ONNX: for programs in other languages, and for services that have no torch.

    session = onnxruntime.InferenceSession("encoder.onnx")
    features = session.run(["features"], {"points": x})[0]      # names: the card's

The batch is the only free dimension, as in `program.pt2`. The file is written from the same traced graph and compared
with the live model under onnxruntime before it gets its name.

One operator has no ONNX form: the sorted search of a ball query. It is replaced by a scatter with equal results. The
search for farthest points is a `Loop`: each step subtracts, multiplies, adds and compares single numbers, which
runtimes round alike unless they fuse them, so it finds the same centres even where two points are nearly equally far.
"""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_core.errors import MissingDependencyError, RegistryError
from ssl_core.files.whole import atomic_write
from ssl_core.models.cards import Card
from ssl_core.models.program import TOLERANCE, compared, on_the_cpu, traced

OPSET = 18
"""The oldest with every operator used here; runtimes since 2023 read it."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")
NEAR_TIE = 1e-2
"""How far one object's features may be off where two neighbours were nearly equally far; see `check_onnx`."""


def missing_libraries() -> tuple[str, ...]:
    """Which of the libraries for writing and checking ONNX are not installed."""
    return tuple(name for name in NEEDED if importlib.util.find_spec(name) is None)


def export_onnx(module: nn.Module, card: Card, file: Path) -> None:
    """Write the model that `card` describes as ONNX to `file`, after comparing it with the live one under onnxruntime.

    Raises:
        MissingDependencyError: a library for it is not installed.
        RegistryError: it cannot be converted, its outputs are not finite, or they differ by more than 1e-5 of
            1 + the largest output of one input.
        StorageError: the file cannot be written.
    """
    if missing := missing_libraries():
        raise MissingDependencyError(f"writing ONNX needs {', '.join(missing)}; install them beside splatsweep")
    twin = on_the_cpu(module)
    with atomic_write(file) as stream:
        stream.write(_converted(twin, card))
        stream.flush()
        check_onnx(twin, card, Path(stream.name))


def check_onnx(module: nn.Module, card: Card, file: Path) -> None:
    """Compare an ONNX file with the live model (on the CPU, in evaluation mode).

    A model whose card names a share of `near_ties` makes choices by computed numbers. DGCNN chooses neighbours by
    distances between features: where two are nearly equally far, the last digit decides, and another library may round
    it otherwise; at 1024 points a few objects in a hundred then differ by about 1e-4. So two thirds of its objects must
    agree to 1e-5 and all to 1e-2. A model without such choices must agree to 1e-5 throughout.

    Raises RegistryError: they differ.
    """
    run = OnnxRunner(file, card.output_name)
    differences: list[float] = []
    for x, live in compared(module, card):
        got = run(x)
        if got.shape != live.shape:
            raise RegistryError(f"{file}: gives {list(got.shape)} where the model gives {list(live.shape)}")
        got, live = card.comparable(got), card.comparable(live)
        # relative to 1 + the object's largest feature, not to 1 + each: a small one is what remains of large terms. In
        # a ResNet with features near 100 the live encoder's own are off by 1.5e-5 of 1 + each from those in float64
        off, largest = (got - live).abs().flatten(1).amax(1), live.abs().flatten(1).amax(1)
        differences += (off / (1 + largest)).tolist()
    allowed = int(len(differences) * card.near_ties)
    above = sum(difference > TOLERANCE for difference in differences)
    if above > allowed or not max(differences) <= (NEAR_TIE if allowed else TOLERANCE):
        raise RegistryError(
            f"the ONNX file differs from the model by {max(differences):.1e}, in {above} of {len(differences)} "
            f"objects by more than {TOLERANCE:.0e}; this is a fault of the export, please report it with the card "
            f"and torch {torch.__version__}"
        )


class OnnxRunner:
    """An ONNX file under onnxruntime, on one CPU thread."""

    def __init__(self, file: Path, output: str) -> None:
        import onnxruntime

        self._output = output
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own error classes are not part of its interface
            reason = " ".join(str(error).split())[:200]
            raise RegistryError(f"{file}: onnxruntime cannot read it ({reason}); pull or export it again") from None

    def __call__(self, x: Tensor) -> Tensor:
        """[B, ...] as the card says -> [B, ...]."""
        (given,) = self._session.get_inputs()
        return torch.from_numpy(self._session.run([self._output], {given.name: x.numpy()})[0])


def _converted(twin: nn.Module, card: Card) -> bytes:
    """The file's bytes, without the paths and stack traces that the exporter would note."""
    program = traced(twin, card).run_decompositions({torch.ops.aten.searchsorted.Tensor: first_reached})
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                f=None,
                input_names=[card.input_name],
                output_names=[card.output_name],
                opset_version=OPSET,
                dynamic_shapes=({0: "batch"},),
                dynamo=True,
            )
        assert made is not None
        proto = made.model_proto
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RegistryError(f"this model cannot be written as ONNX ({reason}); use program.pt2") from None
    for item in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.functions):
        del item.metadata_props[:]
        item.doc_string = ""
    content: bytes = proto.SerializeToString()
    return content


def first_reached(found: Tensor, wanted: Tensor, **_: object) -> Tensor:
    """`torch.searchsorted(found, wanted)` for running counts `found` [..., N] and `wanted` = 1 ... K: [..., K].

    Where the count first reaches j stands the j-th member; each member writes its place there. What is not reached: N.
    """
    count, points = wanted.shape[-1], found.shape[-1]
    rises = found > F.pad(found[..., :-1], (1, 0))
    slot = torch.where(rises & (found <= count), found - 1, count).to(torch.int64)
    places = torch.arange(points, device=found.device).expand(slot.shape)
    spare = torch.full((*slot.shape[:-1], count + 1), points, dtype=torch.int64, device=found.device)
    return spare.scatter(-1, slot, places)[..., :count]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of what does not concern us."""
    level = logging.getLogger("torch.onnx").level
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
