"""The counts of the fuzzer stand at the end of a test run, whether or not it passed."""

from collections.abc import Callable

import pytest

_TABLES = pytest.StashKey[list[str]]()


@pytest.fixture
def show_counts(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print a table after the last test."""
    return pytestconfig.stash.setdefault(_TABLES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for table in config.stash.get(_TABLES, []):
        terminalreporter.section("mutated inputs")
        terminalreporter.write_line(table)
