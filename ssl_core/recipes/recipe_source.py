"""A recipe by what a space file calls it: one of ours, one in a Python file, one in an installed module.

    cross_modal                 ours
    my_recipe.py:RECIPE         in a file, beside the space file or at a path relative to it
    package.module:RECIPE       in a module that is installed wherever trials run

A file travels as its text, and is imported from that text on every machine: what it imports must be installed there.
"""

import importlib
import linecache
import re
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from ssl_core.config import Config, short_digest
from ssl_core.errors import ConfigError
from ssl_core.recipes import preset_named, recipe_named
from ssl_core.training.contract import AnyRecipe, Recipe

_HINT = "`recipe:` names one of ours, FILE.py:NAME relative to the space file, or installed.module:NAME"


class RecipeSource(Config):
    """A recipe that can be sent."""

    name: str  # as in the space file, a file without its folder
    text: str = ""  # of its file; empty for the others
    source_digest: str = ""  # of its file's or module's text; empty for ours, which the code's revision covers

    def load(self) -> AnyRecipe:
        """The recipe. Raises ConfigError naming the file and what is wrong or missing."""
        return _loaded(self)


def recipe_source(place: str) -> RecipeSource:
    """The recipe at a place: a name, or a file's path or module with the name in it.

    Raises ConfigError: there is no such file or module.
    """
    if ":" not in place:
        return RecipeSource(name=place)
    where, _, attribute = place.rpartition(":")
    if not where.endswith(".py"):
        text = _module_text(_module(where))
        return RecipeSource(name=place, source_digest=short_digest(text))
    try:
        text = Path(where).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot be read as a recipe ({error}); {_HINT}") from None
    return RecipeSource(name=f"{Path(where).name}:{attribute}", text=text, source_digest=short_digest(text))


@lru_cache(maxsize=8)
def _loaded(source: RecipeSource) -> AnyRecipe:
    if ":" not in source.name:
        return recipe_named(source.name)
    where, _, attribute = source.name.rpartition(":")
    if where.endswith(".py"):
        module = _imported(where, source)
    else:
        module = _module(where)
        if short_digest(_module_text(module)) != source.source_digest:
            raise ConfigError(
                f"{where}: the module installed here is not the one that the study began with; install that version"
            )
    return _checked(source.name, where, getattr(module, attribute, None), module)


def _imported(where: str, source: RecipeSource) -> ModuleType:
    """A module of the text, under a name of its content: one text is one module, in every process."""
    name = f"splatsweep_recipe_{source.source_digest}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = file = f"<{where} {source.source_digest}>"
    linecache.cache[file] = (len(source.text), None, source.text.splitlines(keepends=True), file)  # for tracebacks
    sys.modules[name] = module
    try:
        exec(compile(source.text, file, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        line = _line_in(error, file)
        raise ConfigError(f"{where}: cannot be imported ({type(error).__name__}: {error}{line}); mend it") from error
    return module


def _checked(name: str, where: str, found: object, module: ModuleType) -> AnyRecipe:
    if not isinstance(found, Recipe):
        there = sorted(key for key, value in vars(module).items() if isinstance(value, Recipe))
        has = f"it has {', '.join(there)}" if there else "it has no `ssl_core.training.contract.Recipe` at all"
        raise ConfigError(f"{where}: '{name.rpartition(':')[2]}' is no recipe there; {has}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", found.name):
        raise ConfigError(
            f"{where}: the recipe's name {found.name!r} must be of a-z, 0-9 and _, as models are named after it"
        )
    return found


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"recipe module '{name}' cannot be imported here ({error}); install it, or check: {_HINT}"
        ) from None


def _module_text(module: ModuleType) -> str:
    """Of a package, that of all its files: a recipe may lie in several."""
    if not module.__file__:
        return ""
    file = Path(module.__file__)
    if not hasattr(module, "__path__"):
        return file.read_text(encoding="utf-8")
    files = sorted(file.parent.rglob("*.py"))
    return "".join(f"{each.relative_to(file.parent)}\n{each.read_text(encoding='utf-8')}" for each in files)


def _line_in(error: BaseException, file: str) -> str:
    """`, line 12` of the recipe's own text, where the error came from."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""


def preset_at(place: str, preset: str) -> Config:
    """For `load_space(path, preset_at)`. Raises ConfigError naming what is known, or what is wrong with a file."""
    return preset_named(recipe_source(place).load(), preset)
