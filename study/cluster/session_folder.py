"""Where a Ray that this machine starts keeps its sessions.

Ray takes `RAY_TMPDIR`, `TMPDIR` or /tmp and puts Unix sockets 68 bytes below; their paths end at 107 bytes. Batch
systems name longer folders, and Ray would give up without saying why.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from ssl_core.errors import StudyError

LONGEST = 36
"""Bytes of the folder that Ray is given."""
_OTHERS = ("/tmp", "/var/tmp", "/dev/shm")
_PLAIN = re.compile(r"/[\w./+@=-]*", re.ASCII)
"""Ray hands the folder on in command lines that it joins and splits again."""


def choose_session_folder() -> None:
    """Set `RAY_TMPDIR` to a folder that will do, where Ray's own choice will not.

    Raises:
        StudyError: there is none that is short enough and can be written.
    """
    asked = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or _OTHERS[0]
    own = f"ray-{os.getuid()}"  # where another user's Ray has made `ray` for itself
    places = (asked, *_OTHERS, *(f"{place}/{own}" for place in _OTHERS))
    found = next((place for place in places if _usable(place)), None)
    if found is None:
        raise StudyError(
            f"Ray needs a folder for its sockets, and {asked} cannot be written or has more than {LONGEST} bytes; "
            "set RAY_TMPDIR to a short one that can be written"
        )
    if found != asked:
        os.environ["RAY_TMPDIR"] = found


def _usable(place: str) -> bool:
    """Whether Ray can have its folder `ray` there."""
    if _PLAIN.fullmatch(place) is None or len(place) > LONGEST:
        return False
    with suppress(OSError):
        folder = Path(place, "ray")
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK)
    return False
