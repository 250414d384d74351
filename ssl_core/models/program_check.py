"""Whether a program file is data: read as a zip of JSON and tensors, never loaded, nothing in it run.

`torch.export.load` unpickles weights that say so, constants of some names and example inputs, loads compiled libraries,
evaluates the texts of symbolic sizes, and resolves the name of any function of torch. None of that is needed for an
encoder. A file passes here only if it holds

    weights and constants as plain tensors, example inputs (older bundles have them) that read as tensors alone, no
    compiled code, and a graph of `torch.ops.aten` operators, whose sizes are sums and products of numbers and symbols.

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
from ssl_core.models.encoder import ImageContract, PointsContract

_MEMBERS = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder|version"
    r"|\.data/(version|serialization_id|byteorder)|\.format_version|\.storage_alignment"
)
_SAMPLE = "data/sample_inputs/model.pt"
# from_file is the one operator that opens a file
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file)[a-z_0-9]+\.[A-Za-z_0-9]+|_operator\.(add|sub|mul|floordiv|mod|eq|ge|gt|le|lt)"
)
_SIZE = re.compile(r"(?:(?:Symbol|Mul|Add|Integer|Max|Min|positive|integer|nonnegative|True|'[su]\d+')|[0-9 ,()=-])*")
_SYMBOL = re.compile(r"[su]\d+")
_FORBIDDEN = ("as_custom_obj", "as_operator", "as_graph")
_MAX_JSON = 64 * 2**20
REMEDY = "do not load it; make the bundle again with `save_bundle`"


def check_archive(file: Path, contract: PointsContract | ImageContract | None = None) -> None:
    """Refuse a program file that is more than data, or (given a contract) whose input has another shape.

    Raises:
        IntegrityError: not a program file at all. RegistryError: it holds a pickle, a library, or calls beyond torch's
        operators; or its shapes are not the contract's.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(file, archive)
            texts = {name: _json(archive, info) for name, info in members.items() if name.endswith(".json")}
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise IntegrityError(f"{file}: not a program of torch.export ({' '.join(str(error).split())[:120]})") from None
    if "models/model.json" not in texts:
        raise IntegrityError(f"{file}: holds no graph, so it is not a program of torch.export; {REMEDY}")
    for name, content in texts.items():
        _check_values(f"{file}: {name}", content)
    graph = texts["models/model.json"]
    if not isinstance(graph, dict) or graph.get("guards_code"):
        raise RegistryError(f"{file}: its graph brings code of its own; {REMEDY}")
    if contract is not None:
        _check_shape(file, graph, contract)


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
    """Walk JSON without recursion and refuse every key that makes torch's loader run something."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
            continue
        if not isinstance(value, dict):
            continue
        for key, inner in value.items():
            if key == "use_pickle" and inner:
                raise RegistryError(f"{where}: holds a pickle, which torch.export.load would run; {REMEDY}")
            if key in _FORBIDDEN:
                raise RegistryError(f"{where}: holds '{key}', which no encoder's program needs; {REMEDY}")
            if key == "target" and isinstance(inner, str) and not _OPERATOR.fullmatch(inner):
                raise RegistryError(f"{where}: calls {ascii(inner)[:80]}, which is not an operator of torch; {REMEDY}")
            if key == "expr_str" and not (isinstance(inner, str) and _SIZE.fullmatch(inner)):
                raise RegistryError(f"{where}: a size is {ascii(inner)[:80]}, not a product of numbers; {REMEDY}")
            if key == "range_constraints" and not all(_SYMBOL.fullmatch(name) for name in inner):
                raise RegistryError(f"{where}: a range is not of a size; {REMEDY}")
            waiting.append(inner)


def _check_shape(file: Path, graph: dict[str, Any], contract: PointsContract | ImageContract) -> None:
    """The graph's one input is [batch, ...] as the contract says. Raises RegistryError."""
    match contract:
        case PointsContract():
            wanted: list[int] = [contract.num_points, contract.columns]
        case ImageContract():
            wanted = [3, contract.image_size, contract.image_size]
    try:
        module = graph["graph_module"]
        inputs = [spec["user_input"]["arg"]["as_tensor"]["name"] for spec in _user_inputs(module)]
        shapes = [[size.get("as_int") for size in module["graph"]["tensor_values"][name]["sizes"]] for name in inputs]
    except (KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{file}: its graph names no inputs, so it is not a whole program; {REMEDY}") from None
    if shapes != [[None, *wanted]]:
        shown = "; ".join(str(["batch" if size is None else size for size in shape]) for shape in shapes)
        raise RegistryError(
            f"{file}: takes {shown}, but encoder.json says {['batch', *wanted]}: the contract is not this program's; "
            "make the bundle again"
        )


def _user_inputs(module: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec for spec in module["signature"]["input_specs"] if "user_input" in spec]
