"""Whether a Ray cluster lets this process in, asked before Ray itself is.

Ray tries for half a minute and then says "failed to connect", whatever the reason. A cluster has one shared token
(`RAY_AUTH_MODE=token`); it is looked for where Ray looks for it.
"""

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ssl_core.errors import StudyError

ANSWER_SECONDS = 10.0
_REMEDY = (
    "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the token that the cluster was started with"
)
_ASK = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""The first question of every client of Ray's control process; its empty message needs no generated code."""


def ray_token() -> str | None:
    """The token that Ray would send; None without one or when RAY_AUTH_MODE switches authentication off.

    Raises:
        StudyError: RAY_AUTH_TOKEN_PATH names a file that cannot be read or is empty, where Ray would abort.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").strip().lower()
    if mode not in ("", "token"):
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        token = _read(Path(path).expanduser())
        if not token:
            raise StudyError(f"RAY_AUTH_TOKEN_PATH={path} holds no token; write the cluster's token into that file")
        return token
    return _read(Path.home() / ".ray" / "auth_token") or None


def check_cluster(address: str) -> None:
    """Ask the control process at `host:port` who it is.

    Addresses of other forms (`auto`, `ray://`) and clusters with TLS are left to Ray.

    Raises:
        StudyError: nobody answers there within 10 s, or the token is missing or wrong; the text names the remedy.
    """
    token = ray_token()
    if os.environ.get("RAY_AUTH_MODE", "").strip().lower() == "token" and token is None:
        raise StudyError(f"RAY_AUTH_MODE=token, but there is no token; {_REMEDY}")
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host or os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
        return
    import grpc

    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        ask = channel.unary_unary(_ASK)
        try:
            ask(b"", metadata=metadata, timeout=ANSWER_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            _explain(error, address, token)


def check_dashboard(address: str) -> None:
    """Ask the Jobs API at `http://host:port`.

    Raises:
        StudyError: nobody answers there, it is not Ray's dashboard, or the token is missing or wrong.
    """
    token = ray_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(f"{address.rstrip('/')}/api/jobs/", headers=headers)
        urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise _refused(f"the Ray cluster at {address}", token) from None
        raise StudyError(
            f"{address} answers {error.code} to Ray's Jobs API; name the dashboard of a cluster with ray[default]"
        ) from None
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no Ray dashboard answers at {address} ({error}); start the cluster (make up), open a tunnel "
            "(ssh -L 8265:127.0.0.1:8265 head), or set RAY_API_SERVER_ADDRESS"
        ) from None


def _explain(error: Any, address: str, token: str | None) -> None:
    import grpc

    match error.code():
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            raise _refused(f"the Ray cluster at RAY_ADDRESS={address}", token) from None
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            raise StudyError(
                f"no Ray cluster answers at RAY_ADDRESS={address}; start one with `ray start --head`, correct the "
                "address, or unset RAY_ADDRESS to run on this machine"
            ) from None
        case _:
            return  # another version's control process, perhaps; Ray itself will say


def _refused(cluster: str, token: str | None) -> StudyError:
    what = "does not accept this token" if token else "asks for a token, and none is set"
    return StudyError(f"{cluster} {what}; {_REMEDY}")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
