"""A model as a `torch.export` program: a file that runs where only torch is installed. Written, and checked as data.

    program = torch.export.load("program.pt2").module()
    outputs = program(x)         # x as the card says; any batch size from 1

The batch is the only free dimension. A program is made from a copy on the CPU in evaluation mode;
`torch.export.passes.move_to_device_pass` takes it elsewhere. Left out of the file: the example that was traced (torch
would store it as a pickle) and the paths of our sources.

`torch.export.load` unpickles weights that say so, constants of some names and example inputs, loads compiled libraries,
evaluates the texts of symbolic sizes, resolves the name of any function of torch, imports modules that a tree's
description names, and writes the names of inputs, nodes and weights into the Python source that it compiles. None of
that is needed for an encoder. `check_archive` reads a file as a zip of JSON and tensors, loads nothing, and
lets it pass only if it holds

    weights and constants as plain tensors, example inputs (older bundles have them) that read as tensors alone, no
    compiled code, and a graph of `torch.ops.aten` operators, or loops over such graphs, whose sizes are sums and
    products of numbers and symbols, and whose names are names.

The rules were read off torch 2.15 (`torch/export/pt2_archive`, `torch/_export/serde`).
"""

import copy
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_core.errors import IntegrityError, RegistryError, StorageError
from ssl_core.models.cards import Card

_MEMBERS = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder|version"
    r"|\.data/(version|serialization_id|byteorder)|\.format_version|\.storage_alignment"
)
_SAMPLE = "data/sample_inputs/model.pt"
# from_file is the one operator that opens a file; what begins with two underscores is Python's, not an operator
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file|__)[a-z_0-9]+\.[A-Za-z][A-Za-z_0-9]*|torch\.ops\.higher_order\.while_loop"
    r"|_operator\.(add|sub|mul|floordiv|mod|eq|ge|gt|le|lt)"
)
_SIZE = re.compile(r"(?:(?:Symbol|Mul|Add|Integer|Max|Min|positive|integer|nonnegative|True|'[su]\d+')|[0-9 ,()=-])*")
_SYMBOL = re.compile(r"[su]\d+")
# no quotes, brackets, blanks, '=' or ':': in a list of arguments or after a dot such a text calls nothing
_TEXT = re.compile(r"[A-Za-z0-9_.+-]*")
# a tuple of one tensor and no keywords goes in, one tensor comes out: torch would import what other types are named by
_TREE = re.compile(
    r'(?:"(?:type|context|children_spec|builtins\.tuple|builtins\.dict|null|\[\])"|null|[0-9 ,:]|[\[\]{}])*'
)
_TREES = ("in_spec", "out_spec")
_FORBIDDEN = ("as_custom_obj", "as_operator")
_MAX_JSON = 64 * 2**20
REMEDY = "do not load it; make the bundle again with `save_bundle`"


def check_archive(file: Path, input_shape: tuple[int, ...] | None = None) -> None:
    """Refuse a program file that is more than data, or whose input [batch, ...] has another shape than is given.

    Raises:
        IntegrityError: not a program file at all. RegistryError: it holds a pickle, a library, or calls beyond torch's
        operators; or its shapes are not the card's.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(file, archive)
            texts = {name: _json(archive, info) for name, info in members.items() if name.endswith(".json")}
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise IntegrityError(f"{file}: not a program of torch.export ({' '.join(str(error).split())[:120]})") from None
    if "models/model.json" not in texts:
        raise IntegrityError(f"{file}: holds no graph, so it is not a program of torch.export; {REMEDY}")
    graph = texts["models/model.json"]
    if not isinstance(graph, dict) or graph.get("guards_code"):
        raise RegistryError(f"{file}: its graph brings code of its own; {REMEDY}")
    for name, content in texts.items():
        _check_values(f"{file}: {name}", content)
    if input_shape is not None:
        _check_shape(file, graph, input_shape)


def _members(file: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by their name under the archive's one root folder. Raises RegistryError for any that is not expected."""
    found: dict[str, zipfile.ZipInfo] = {}
    roots = {info.filename.partition("/")[0] for info in archive.infolist()}
    for info in archive.infolist():
        name = info.filename.partition("/")[2]
        # two members of one name: two readers may each take another
        if len(roots) != 1 or name in found or not _MEMBERS.fullmatch(name):
            raise RegistryError(f"{file}: holds {ascii(info.filename)[:80]}, which no program of ours has; {REMEDY}")
        if name == _SAMPLE and info.file_size and not _tensors_alone(archive, info):
            raise RegistryError(f"{file}: holds a pickle ({_SAMPLE}), which torch.export.load would run; {REMEDY}")
        found[name] = info
    return found


def _tensors_alone(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Whether the loader's own first, safe attempt at the example inputs succeeds; only a failed one has a second."""
    if info.file_size > _MAX_JSON:
        return False
    try:
        stream = io.BytesIO(archive.read(info))
        torch.load(stream, weights_only=True)
    except Exception:  # whatever it met, it is not what we write
        return False
    return True


def _json(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    if info.file_size > _MAX_JSON:
        raise ValueError(f"{info.filename} claims {info.file_size} bytes")
    return json.loads(archive.read(info))


def _check_values(where: str, content: Any) -> None:
    """Walk JSON without recursion and refuse every entry that makes torch's loader run something."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                _check_text(where, key)
                if not _judged(where, key, inner):
                    waiting.append(inner)
        elif isinstance(value, str):
            _check_text(where, value)


def _judged(where: str, key: str, inner: Any) -> bool:
    """Whether the entry is good as a whole; False: what is in it is still to be looked at. Raises RegistryError."""
    if key == "use_pickle" and inner:
        raise RegistryError(f"{where}: holds a pickle, which torch.export.load would run; {REMEDY}")
    if key in _FORBIDDEN:
        raise RegistryError(f"{where}: holds '{key}', which no encoder's program needs; {REMEDY}")
    if key == "range_constraints" and not (isinstance(inner, dict) and all(map(_SYMBOL.fullmatch, inner))):
        raise RegistryError(f"{where}: a range is not of a size; {REMEDY}")
    if key == "expr_str":
        if not (isinstance(inner, str) and _SIZE.fullmatch(inner)):
            raise RegistryError(f"{where}: a size is {ascii(inner)[:80]}, not a product of numbers; {REMEDY}")
        return True
    if not isinstance(inner, str):
        # the exporter's notes about a node, which are texts and stay texts; anything else may only be called so
        return key == "metadata" and isinstance(inner, dict) and all(isinstance(note, str) for note in inner.values())
    if key == "target" and not _OPERATOR.fullmatch(inner):
        raise RegistryError(f"{where}: calls {ascii(inner)[:80]}, which is not an operator of torch; {REMEDY}")
    if key in _TREES:
        if not _TREE.fullmatch(inner):
            raise RegistryError(f"{where}: {key} is {ascii(inner)[:80]}, not tensors in a tuple; {REMEDY}")
        return True
    return False


def _check_text(where: str, text: str) -> None:
    if not _TEXT.fullmatch(text):
        raise RegistryError(
            f"{where}: {ascii(text)[:80]} stands where torch takes a name into the code it compiles; {REMEDY}"
        )


def _check_shape(file: Path, graph: dict[str, Any], wanted: tuple[int, ...]) -> None:
    """The graph's one input is [batch, *wanted]. Raises RegistryError."""
    try:
        module = graph["graph_module"]
        given = [spec for spec in module["signature"]["input_specs"] if "user_input" in spec]
        inputs = [spec["user_input"]["arg"]["as_tensor"]["name"] for spec in given]
        shapes = [[size.get("as_int") for size in module["graph"]["tensor_values"][name]["sizes"]] for name in inputs]
    except (KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{file}: its graph names no inputs, so it is not a whole program; {REMEDY}") from None
    if shapes != [[None, *wanted]]:
        shown = "; ".join(str(["batch" if size is None else size for size in shape]) for shape in shapes)
        raise RegistryError(
            f"{file}: takes {shown}, but encoder.json says {['batch', *wanted]}: the card is not this program's; "
            "make the bundle again"
        )


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

    Raises RegistryError: an output is not finite.
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
        loaded, live = card.comparable(loaded), card.comparable(live)
        if not torch.allclose(loaded, live, rtol=TOLERANCE, atol=TOLERANCE):
            worst = (loaded - live).abs().max().item()
            raise RegistryError(
                f"the exported program differs from the model by {worst:.1e} at batch {len(x)} "
                f"(limit {TOLERANCE:.0e}); this is a fault of the export, "
                f"please report it with the card and torch {torch.__version__}"
            )
