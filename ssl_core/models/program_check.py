"""Whether a program file is data: read as a zip of JSON and tensors, never loaded, nothing in it run.

`torch.export.load` unpickles weights that say so, constants of some names and example inputs, loads compiled libraries,
evaluates the texts of symbolic sizes, resolves the name of any function of torch, imports modules that a tree's
description names, and writes the names of inputs, nodes and weights into the Python source that it compiles. None of
that is needed for an encoder. A file passes here only if it holds

    weights and constants as plain tensors, example inputs (older bundles have them) that read as tensors alone, no
    compiled code, and a graph of `torch.ops.aten` operators, or loops over such graphs, whose sizes are sums and
    products of numbers and symbols, and whose names are names.

The rules were read off torch 2.15 (`torch/export/pt2_archive`, `torch/_export/serde`).
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from ssl_core.errors import IntegrityError, RegistryError

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
        inputs = [spec["user_input"]["arg"]["as_tensor"]["name"] for spec in _user_inputs(module)]
        shapes = [[size.get("as_int") for size in module["graph"]["tensor_values"][name]["sizes"]] for name in inputs]
    except (KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{file}: its graph names no inputs, so it is not a whole program; {REMEDY}") from None
    if shapes != [[None, *wanted]]:
        shown = "; ".join(str(["batch" if size is None else size for size in shape]) for shape in shapes)
        raise RegistryError(
            f"{file}: takes {shown}, but encoder.json says {['batch', *wanted]}: the card is not this program's; "
            "make the bundle again"
        )


def _user_inputs(module: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec for spec in module["signature"]["input_specs"] if "user_input" in spec]
