"""The counts of the fuzzer stand at the end of a test run, whether or not it passed."""

from collections.abc import Callable

import pytest

_TABLE = "mutated inputs"


@pytest.fixture
def show_counts(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Print a table after the last test; it travels with the test's report, so a worker process may have made it."""
    return lambda table: record_property(_TABLE, table)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, table in getattr(report, "user_properties", ()):
                if name == _TABLE and getattr(report, "when", "") == "call":
                    terminalreporter.section(_TABLE)
                    terminalreporter.write_line(table)
