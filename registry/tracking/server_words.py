"""What an error of MLflow's client says, in one line, also where a proxy or a sign-in page answered and not MLflow."""

import re
from urllib.parse import unquote, urlsplit

import requests

TOO_LARGE = 413
_STATUS = re.compile(r"failed with error code (\d{3})")
_ENDPOINT = re.compile(r"request to endpoint (\S+) failed with error code 404")
_PROXY_SAYS = re.compile(r"size limit exceeded|(entity|payload|content|request) too (large|long)", re.IGNORECASE)
"""of proxies that refuse a large request in JSON, from which MLflow's client drops the status"""
_PAGE = re.compile(r"<(!doctype html|html|head|title)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_LONGEST, _LOOKED_AT = 400, 20_000
"""characters: of what is said, and of an answer"""


def status_of(error: BaseException | None) -> int:
    """HTTP status that the error came with; 0 where it does not say."""
    if isinstance(error, requests.HTTPError):
        return 0 if error.response is None else error.response.status_code
    text = str(error)[:_LOOKED_AT]
    found = _STATUS.search(text)
    if found:
        return int(found[1])
    return TOO_LARGE if _PROXY_SAYS.search(text) else 0


def words_of(error: BaseException) -> str:
    """One line; of a request that carried a file, with the file's name and size."""
    text, status, sent = str(error)[:_LOOKED_AT], status_of(error), _sent(error)
    if status == TOO_LARGE:
        return (
            f"{sent or 'a request'} is larger than a proxy in front of MLflow allows (413); raise its limit "
            "(nginx: client_max_body_size), then run the same command again"
        )
    said = f"{sent}: " if sent else ""
    if _PAGE.search(text):
        found = _TITLE.search(text)
        title = f" '{' '.join(found[1].split())[:80]}'" if found else ""
        answer = f"a web page{title}" + (f" with status {status}" if status else "")
        if status >= 500:
            return f"{said}the proxy in front of MLflow answers {answer}"
        if asked := _ENDPOINT.search(text):
            answer += f" to {asked[1]}"
        return (
            f"{said}{answer} answers there, not MLflow; complete the address (is a path missing after the host?), give "
            "what the page asks for, or upgrade an MLflow older than 3"
        )
    lines = text.strip().splitlines() or [type(error).__name__]
    return said + lines[0][:_LONGEST]


def _sent(error: BaseException) -> str:
    """The file that a refused request carried: `encoder.safetensors (12.3 MB)`."""
    request = error.response.request if isinstance(error, requests.HTTPError) and error.response is not None else None
    if request is None or request.method != "PUT" or not request.url:
        return ""
    size = int(request.headers.get("Content-Length") or 0)
    amount = f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
    return f"{unquote(urlsplit(request.url).path.rpartition('/')[2])} ({amount})"
