"""The house itself: every recipe has its rooms, nothing unpickles, the lock names no index."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_core.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [f for p in ("ssl_core", "search_spaces", "registry", "study") for f in (ROOT / p).rglob("*.py")]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_is_complete(recipe) -> None:
    folder = ROOT / "ssl_core/recipes" / recipe.name
    missing = [n for n in ("config.py", "trial.py", "README.md") if not (folder / n).is_file()]
    assert not missing, f"{folder.name} lacks {missing}"
    assert {"quick", "paper"} <= set(recipe.presets)
    assert list((ROOT / "search_spaces").glob(f"{recipe.name}*.yaml")), f"no search space for {recipe.name}"
    for preset in recipe.presets.values():
        config = preset()
        assert recipe.config.from_json(config.to_json()) == config


def test_every_folder_under_recipes_is_listed() -> None:
    folders = {f.name for f in (ROOT / "ssl_core/recipes").iterdir() if (f / "__init__.py").is_file()}
    assert folders == {recipe.name for recipe in RECIPES}


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: str(f.relative_to(ROOT)))
def test_nothing_is_unpickled(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"\bimport (pickle|cloudpickle|dill|joblib)\b|allow_pickle=True", text)
    for call in re.finditer(r"torch\.load\((?P<arguments>[^)]*)\)", text):
        assert "weights_only=True" in call["arguments"], f"{file}: torch.load without weights_only=True"


def test_lock_has_hashes_and_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index" not in text
    requirements = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    assert requirements
    assert all("==" in line for line in requirements)
    assert text.count("--hash=sha256:") >= len(requirements)


KINDS = {
    "DGCNNConfig", "ImageContract", "PointNet2MSGConfig", "PointNet2SSGConfig", "PointNetConfig",
    "PointTransformerConfig", "PointsContract", "ResNetConfig",
}  # fmt: skip
MAY_ASK = {f"ssl_core/models/{name}.py" for name in ("build", "cards", "dgcnn", "image", "pointnet", "pointnet2")}


def kinds_asked(text: str) -> Iterator[str]:
    """Input contracts and backbone configs that a source tells apart: by `isinstance` or by a class pattern."""
    for node in ast.walk(ast.parse(text)):
        classes: list[ast.expr] = []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            classes = node.args[1:]
        elif isinstance(node, ast.MatchClass):
            classes = [node.cls]
        names = (part for each in classes for part in ast.walk(each))
        for name in (part.id if isinstance(part, ast.Name) else getattr(part, "attr", "") for part in names):
            if name in KINDS:
                yield name


@pytest.mark.parametrize(
    "text",
    [
        "isinstance(x.contract, PointsContract)",
        "isinstance(x, int | (ResNetConfig))",
        "isinstance(x, (str, image.ResNetConfig))",
        "match x:\n    case y, DGCNNConfig(k=3):\n        pass",
    ],
)
def test_a_question_for_the_kind_is_found(text: str) -> None:
    assert list(kinds_asked(text))


def test_contracts_and_backbones_are_told_apart_where_they_are_built_alone() -> None:
    """The card answers everybody else."""
    asking = {f: list(kinds_asked(f.read_text())) for f in SOURCES if str(f.relative_to(ROOT)) not in MAY_ASK}
    assert not {str(f.relative_to(ROOT)): names for f, names in asking.items() if names}
