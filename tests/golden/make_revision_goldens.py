"""Records what revision 3e03538 computes, in `revision_3e03538.json`, for `tests/test_revision_golden.py`.

    git worktree add --detach ../splatsweep-3e03538 3e03538
    python tests/golden/make_revision_goldens.py ../splatsweep-3e03538

The product's code is that of the checkout named; the two runs are those of `tests/revision_runs.py` here. About two
minutes on two cores.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from revision_runs import (
    GOLDEN,
    REVISION,
    CommandLine,
    environment_facts,
    make_pack,
    study_facts,
    training_facts,
)

PACKAGES = ("ssl_core", "search_spaces", "registry", "study")


def main(checkout: Path) -> None:
    """Run both and write the file."""
    check_revision(checkout)
    with tempfile.TemporaryDirectory() as folder:
        run = CommandLine(checkout, Path(folder))
        make_pack(run)
        facts = {
            "revision": REVISION,
            "environment": environment_facts(),
            "training": training_facts(run),
            "study": study_facts(run),
        }
    GOLDEN.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"written: {GOLDEN}")


def check_revision(checkout: Path) -> None:
    """The product's code there is that of the revision, to the letter."""
    words = ["git", "-C", str(checkout), "diff", "--stat", REVISION, "--", *PACKAGES]
    changed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if changed:
        sys.exit(f"{checkout} is not revision {REVISION}:\n{changed}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
