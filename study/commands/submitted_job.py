"""The cluster's side of `splatsweep submit`: checks where it has landed, then runs the command it was given.

Run as `python -m study.commands.submitted_job COMMAND ...` in the unpacked working tree.
"""

import os
import sys
from pathlib import Path

from ssl_core.errors import SplatsweepError, StudyError
from study.cluster.working_tree import CHECKED, LOCK, differences


def check_landing() -> None:
    """Raises StudyError when the study would be written where it is lost, or run with other libraries."""
    if not os.environ.get("SPLATSWEEP_HOME"):
        raise StudyError(
            "SPLATSWEEP_HOME is not set on the cluster, and a job's own folder is removed with it; set it to an "
            "absolute folder that all nodes see, on the nodes or where you submit"
        )
    if os.environ.get(CHECKED) == "lock":
        return
    found = differences(Path(LOCK))
    if found:
        shown = "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")
        raise StudyError(
            f"the nodes' environment is not that of {LOCK} ({shown}); rebuild their image from it, or submit with "
            "--environment lock"
        )


def main() -> None:
    """Entry point of the job."""
    try:
        check_landing()
    except SplatsweepError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    from study.commands.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
