"""The way to other machines: proxies, certificates, and what is said when a request gets no answer.

Every client here (requests, so MLflow and Ray's Jobs API; boto3; curl) goes by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and
NO_PROXY, in upper or lower case. What they lack: that loopback is never behind a proxy, and who stood in the way.
requests is imported where used: every command comes past here.
"""

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1", "[::1]")
"""As they stand in addresses; some clients compare the last with its brackets."""
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_WRONG_NAME = (62, 64)
_WRONG_DATE = (9, 10)
"""OpenSSL's codes (x509_vfy.h): the certificate is for another host name or address; not valid yet, or not any more."""


@dataclass(frozen=True)
class CertificateVariables:
    """Where a client looks for the authorities that it trusts, first choice first, and for its own certificate."""

    trusted: tuple[str, ...]
    own: str | None  # None: it can send none


MLFLOW_CERTIFICATES = CertificateVariables(
    ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "MLFLOW_TRACKING_CLIENT_CERT_PATH"
)


@dataclass(frozen=True)
class Proxy:
    """What stands between this process and an address."""

    url: str  # with its user and password
    setting: str  # VARIABLE=address, without them


def keep_loopback_direct() -> None:
    """Where a proxy is set, add loopback's names to NO_PROXY, no_proxy, or both as they are there.

    Changes this process's environment, which child processes and Ray's workers inherit; what the variables hold stays.
    Without a proxy it changes nothing: on macOS the variable alone would switch the system's own proxies off.
    """
    if not any(os.environ.get(name) for name in PROXY_VARIABLES):
        return
    # the lower one hides the other even where it is empty, so it is not made: who sets NO_PROXY later is heard
    for name in [name for name in ("no_proxy", "NO_PROXY") if name in os.environ] or ["NO_PROXY"]:
        text = os.environ.get(name) or os.environ.get("NO_PROXY") or ""
        listed = [entry.strip() for entry in text.split(",")]
        if listed != ["*"]:  # which counts only where it stands alone
            text = ",".join([*filter(None, listed), *(each for each in LOOPBACK_NAMES if each not in listed)])
        os.environ[name] = text


def proxy_of(address: str) -> Proxy | None:
    """The proxy that requests for an address go through; None on loopback, without one, and where NO_PROXY says so."""
    from requests.utils import get_environ_proxies, select_proxy

    try:
        parts = urlsplit(address)
        if parts.hostname is None or parts.hostname in LOOPBACK_NAMES:
            return None
        url = select_proxy(address, get_environ_proxies(address))
    except ValueError:  # no address: whoever asks there will say
        return None
    if not url:
        return None
    names = [name for name in PROXY_VARIABLES if name.lower() in (f"{parts.scheme}_proxy", "all_proxy")]
    named = next((name for name in names if os.environ.get(name) == url), "the system's proxy")
    scheme, _, rest = url.rpartition("://")
    return Proxy(url, f"{named}={scheme or 'http'}://{rest.rpartition('@')[2].partition('/')[0]}")


def through(address: str) -> str:
    """` through HTTP_PROXY=http://proxy:3128`, to be put behind an address; nothing where no proxy is in the way."""
    proxy = proxy_of(address)
    return f" through {proxy.setting}" if proxy else ""


def proxy_remedy(address: str) -> str:
    """What to do about a proxy that does not pass requests on; nothing where none is in the way."""
    proxy = proxy_of(address)
    if proxy is None:
        return ""
    host, variable = urlsplit(address).hostname, proxy.setting.partition("=")[0]
    return f"add {host} to NO_PROXY if it is reached without a proxy, or correct {variable}"


def no_answer(who: str, place: str, error: BaseException, certificates: CertificateVariables, remedy: str) -> str:
    """One line on a request that got no answer: what happened, through which proxy, and what to do.

    Args:
        who: was asked, for example "MLflow server".
        place: its address, without credentials.
        error: of requests, or of a library that uses it.
        remedy: where neither a certificate nor a proxy is to blame.
    """
    causes = list(_causes(error))
    reason, where = _reason(causes), f"{place}{through(place)}"
    for name in (*certificates.trusted, *filter(None, [certificates.own])):
        if (file := os.environ.get(name)) and "invalid path" in reason and file in reason:
            return f"the {who} at {where} was not asked: there is no file {name}={file}; correct {name}"
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            remedy = _certificate_remedy(cause, certificates)
            return f"no secure connection to the {who} at {where} ({reason}); {remedy}"
    return f"no {who} answers at {where} ({reason}); {proxy_remedy(place) or remedy}"


def _certificate_remedy(error: ssl.SSLError, certificates: CertificateVariables) -> str:
    code, text = getattr(error, "verify_code", None), str(error).upper()
    if code in _WRONG_NAME:
        return "use a name that stands in the server's certificate"
    if code in _WRONG_DATE:
        return "renew the server's certificate, or correct this machine's clock"
    if isinstance(error, ssl.SSLCertVerificationError):
        given = next((f"{name}={os.environ[name]}" for name in certificates.trusted if os.environ.get(name)), None)
        lacks = f"{given} lacks the authority that signed its certificate; " if given else ""
        return f"{lacks}set {certificates.trusted[0]} to a file (.pem) with that authority's certificate"
    # it hangs up (EOF) on one who was still writing
    if any(word in text for word in ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "CERTIFICATE_UNKNOWN", "EOF")):
        send = f"set {certificates.own} to a file (.pem) with yours and its key" if certificates.own else "use a tunnel"
        return f"if it asks for a client's certificate, {send}"
    if "WRONG_VERSION" in text or "RECORD_LAYER" in text:
        return "nobody speaks TLS at that port: write http://, or another port"
    return f"check {', '.join(filter(None, [certificates.trusted[0], certificates.own]))} and the server"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made from; urllib3 keeps some in arguments."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop(0)
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            inner = (found.__cause__, found.__context__, *found.args)
            waiting += [each for each in inner if isinstance(each, BaseException)]


def _reason(causes: list[BaseException]) -> str:
    """The system's own words where there are any, else the library's."""
    from requests import RequestException

    own = [each for each in causes if isinstance(each, OSError) and not isinstance(each, RequestException)]
    last = (own or causes)[-1]
    text = getattr(last, "verify_message", None) or getattr(last, "strerror", None) or str(last)
    return " ".join(str(text).split())[:200].rstrip(".") or type(last).__name__
