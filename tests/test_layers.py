"""Imports go one way: between packages, between the rooms of a package, and never round in a circle of files."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "ssl_core": {"ssl_core"},
    "search_spaces": {"ssl_core", "search_spaces"},
    "registry": {"ssl_core", "registry"},
    "study": {"ssl_core", "search_spaces", "registry", "study"},
}
ROOMS = {  # each imports only from rooms before it; a file that lies in no room is a room of its own
    "ssl_core": (
        "own_packages", "errors", "interrupt", "yaml_text", "config", "config_roles", "contracts", "files", "gaussians",
        "clouds", "scenes", "meshes", "data", "losses", "render", "models", "encode", "packing", "splatting", "inspect",
        "training", "evaluation", "recipes",
    ),
    "search_spaces": (
        "parameter", "space_recipes", "conditions", "searched_parameters", "space_file", "space", "stored",
    ),
    "registry": ("tracking", "server", "versions", "champions", "pull"),
    "study": (
        "spec", "record", "samplers", "schedulers", "workers", "engine", "cluster", "analysis", "reports", "datasets",
        "run", "forecast", "registration", "commands",
    ),
}  # fmt: skip
HEAVY = {
    "ray": ("study/cluster/", "study/datasets/"),
    "mlflow": ("registry/",),
    "optuna": ("search_spaces/", "study/"),
    "pyarrow": ("study/",),
    "gsplat": ("ssl_core/render/gsplat_raster.py",),
}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in MAY_IMPORT
    for path in sorted((ROOT / package).rglob("*.py"))
}
Graph = Mapping[str, set[str]]


def imports(file: Path) -> Iterator[str]:
    """Every module a file imports, wherever the statement stands; `from a import b` may be a.b, if that is a module."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module or ""


def graph() -> Graph:
    """Which of our modules imports which."""
    return {name: {m for m in imports(path) if m in FILES} - {name} for name, path in FILES.items()}


def upward(edges: Graph) -> list[str]:
    """Imports from a room into one that stands above it, or that stands nowhere."""
    found = []
    for module, imported in edges.items():
        package, room = module.split(".")[0], _room(module)
        order = ROOMS[package]
        if room is not None and room not in order:
            found.append(f"{module} lies in no room of {package}")
        for other in imported:
            theirs = _room(other)
            known = other.split(".")[0] == package and room in order and theirs in order
            if known and order.index(theirs) > order.index(room):
                found.append(f"{module} imports {other}")
    return sorted(found)


def circles(edges: Graph) -> list[list[str]]:
    """Groups of files that import each other, by any way round: strongly connected components (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in edges[module]:
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for module in edges:
        if module not in index:
            visit(module)
    return sorted(found)


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


@pytest.mark.parametrize("name", FILES)
def test_packages_import_one_way_and_heavy_libraries_stay_in_their_rooms(name: str) -> None:
    relative, package = FILES[name].relative_to(ROOT).as_posix(), name.split(".")[0]
    for module in imports(FILES[name]):
        top = module.split(".")[0]
        assert top not in MAY_IMPORT or top in MAY_IMPORT[package], f"{relative} imports {module}"
        assert top not in HEAVY or relative.startswith(HEAVY[top]), f"{relative} imports {module}"


def test_rooms_import_only_from_rooms_below_them() -> None:
    assert upward(graph()) == []


def test_every_room_is_there() -> None:
    for package, order in ROOMS.items():
        there = {
            path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
        }
        assert there - {"__init__"} == set(order), package


def test_no_files_stand_in_a_circle() -> None:
    assert circles(graph()) == []


def test_a_file_and_a_class_are_found_by_their_names() -> None:
    files, classes = defaultdict(list), defaultdict(list)
    for name, path in FILES.items():
        if path.name not in ("__init__.py", "config.py", "trial.py"):  # those of each recipe
            files[path.name].append(name)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(name)
    assert {name: where for name, where in files.items() if len(where) > 1} == {}
    assert {name: where for name, where in classes.items() if len(where) > 1} == {}


def test_recipes_never_import_each_other() -> None:
    for name, path in FILES.items():
        if name.startswith("ssl_core.recipes."):
            own = name.split(".")[2]
            for module in imports(path):
                if module.startswith("ssl_core.recipes."):
                    assert module.split(".")[2] == own, f"{name} imports {module}"


def test_the_guards_see_what_is_put_in_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(
        "def f():\n    import mlflow.tracking\n    from ray import tune\n    from study.spec import budget\n"
    )
    assert set(imports(file)) == {"mlflow.tracking", "ray", "study.spec.budget"}
    edges = {name: set(imported) for name, imported in graph().items()}
    edges["study.spec.budget"].add("study.run.driver")
    assert upward(edges) == ["study.spec.budget imports study.run.driver"]
    assert any({"study.spec.budget", "study.run.driver"} <= set(circle) for circle in circles(edges))
    edges["study.lost"] = set()
    assert "study.lost lies in no room of study" in upward(edges)
