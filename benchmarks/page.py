"""docs/BENCHMARKS.md: one marked block per measurement, so that one can be renewed and the others stay."""

import re
from pathlib import Path

from benchmarks.table import Section
from ssl_core.files.whole import atomic_write

INTRODUCTION = """# Benchmarks

Written by `make bench`; `.venv/bin/python -m benchmarks --only NAME` renews one section. Every ratio table sets ours
beside a baseline; where both compute the same thing, that is checked before they are timed. Numbers are medians, with
minimum and maximum over the repetitions in brackets, and the two sides take turns. A ratio is baseline over ours: above
1, ours is better. Unless a row says otherwise, everything runs on the CPU and, but for whole trials, in one thread.
"""


def block(name: str, section: Section, measured: str) -> str:
    """A section between its marks; `measured` says when, at which revision and on what."""
    return f"{_begin(name)}\n{section.text()}\n\n{measured}\n{_end(name)}\n"


def with_block(page: str, name: str, text: str, order: tuple[str, ...]) -> str:
    """The page with the block of `name` replaced or put in its place of `order`; the blocks of others stay."""
    blocks = {each: found for each in order if (found := _find(page, each)) is not None}
    blocks[name] = text
    return "\n".join([INTRODUCTION, *(blocks[each] for each in order if each in blocks)])


def renew(path: Path, name: str, text: str, order: tuple[str, ...]) -> None:
    """Put a block into the file, which is made when missing. Raises StorageError when it cannot be written."""
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    with atomic_write(path) as stream:
        stream.write(with_block(page, name, text, order).encode())


def _find(page: str, name: str) -> str | None:
    found = re.search(f"{re.escape(_begin(name))}\n.*?{re.escape(_end(name))}\n", page, flags=re.DOTALL)
    return found[0] if found else None


def _begin(name: str) -> str:
    return f"<!-- begin {name} -->"


def _end(name: str) -> str:
    return f"<!-- end {name} -->"
