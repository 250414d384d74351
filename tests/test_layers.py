"""Imports go one way: ssl_core <- search_spaces, registry <- study; heavy libraries stay in their rooms."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ssl_core", "search_spaces", "registry", "study")
MAY_IMPORT = {
    "ssl_core": {"ssl_core"},
    "search_spaces": {"ssl_core", "search_spaces"},
    "registry": {"ssl_core", "registry"},
    "study": set(PACKAGES),
}
HEAVY = {"ray": ("study/",), "mlflow": ("registry/",), "optuna": ("search_spaces/", "study/"), "pyarrow": ("study/",)}


def imports(file: Path) -> Iterator[str]:
    """Every absolute module a file imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""


FILES = sorted(f for package in PACKAGES for f in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_one_way(file: Path) -> None:
    relative = file.relative_to(ROOT).as_posix()
    package = relative.split("/")[0]
    for module in imports(file):
        top = module.split(".")[0]
        if top in PACKAGES:
            assert top in MAY_IMPORT[package], f"{relative} imports {module}"
        if top in HEAVY:
            assert relative.startswith(HEAVY[top]), f"{relative} imports {module}"
        if top == "gsplat":
            assert relative == "ssl_core/render/gsplat_raster.py", f"{relative} imports gsplat"


def test_recipes_never_import_each_other() -> None:
    recipes = ROOT / "ssl_core/recipes"
    for folder in (f for f in recipes.iterdir() if f.is_dir() and f.name != "__pycache__"):
        for file in folder.rglob("*.py"):
            for module in imports(file):
                if module.startswith("ssl_core.recipes."):
                    assert module.split(".")[2] == folder.name, f"{file.relative_to(ROOT)} imports {module}"


def test_the_guard_sees_a_forbidden_import(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    import mlflow.tracking\n    from ray import tune\n")
    assert set(imports(file)) == {"mlflow.tracking", "ray"}
