"""Worker processes that import what trials need while the driver still imports Ray Tune.

A trial's first process spends seconds on importing torch and Ray Tune. Left to themselves these seconds begin when Tune
asks for the process, and until then other cores wait. A Ray on this machine starts a process per core ahead of time;
told these modules, they begin with them at once.
"""

from study.session import OpenSession

MOST_AHEAD = 8
"""On machines with more cores the processes that no trial gets would cost more than the others save."""


def modules_of(open_session: OpenSession) -> tuple[str, ...]:
    """What a trial's process imports before its first session is opened."""
    return ("study.trainable", open_session.__module__)
