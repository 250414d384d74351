"""A Ray that starts here without waiting for a port that another one has."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def any_agent_port() -> Iterator[None]:
    """Within, a Ray that starts lets its agent listen on a free port, not on 52365; `ray.init` has no argument for it.

    Where another Ray has that port, or what a killed driver left behind, which lives for a minute, the agent asks for
    it six times and starting takes 3.4 seconds longer. A version of Ray without this place starts as it likes.
    """
    from ray._private import parameter

    usual = getattr(parameter, "RayParams", None)
    if usual is None:
        yield
        return
    parameter.RayParams = partial(usual, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = usual
