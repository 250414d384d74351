"""Ray's dashboard behind TLS and proxies, as Ray's own client reaches it."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from registry.tracking.network import PROXY_VARIABLES
from ssl_core.errors import StudyError
from study.cluster.cluster import check_dashboard
from study.cluster.submission import open_client
from tests.certificates import Authority
from tests.registry.http_server import Wire


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "no_proxy", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "")  # set first, so that it is put back
        monkeypatch.delenv(name)


def test_a_dashboard_on_loopback_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire("http://127.0.0.1:9")
    wire.answers[:] = [200, 404]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    check_dashboard(wire.address)
    with pytest.raises(StudyError, match=rf"^{wire.address} answers 404 to Ray's Jobs API; name the dashboard"):
        check_dashboard(wire.address)
    wire.close()


def test_a_proxy_before_a_dashboard_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Wire("http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", proxy.address)
    proxy.answers[:] = [503]
    says = rf"http://head\.example:8265 through http_proxy={proxy.address} answers 503 .*add head\.example to NO_PROXY"
    with pytest.raises(StudyError, match=says):
        check_dashboard("http://head.example:8265")
    monkeypatch.setenv("http_proxy", "http://ann:hunter2@127.0.0.1:1")
    says = r"no Ray dashboard answers at \S+ through http_proxy=http://127\.0\.0\.1:1 \(Connection refused\); add head"
    with pytest.raises(StudyError, match=says):
        check_dashboard("http://head.example:8265")
    proxy.close()


def test_a_private_authority_is_trusted_as_ray_trusts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "api/jobs").mkdir(parents=True)  # all that a client asks for before it submits
    (tmp_path / "api/version").write_text('{"ray_version": "2.60.0"}')
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=served.serve_forever, args=(0.05,), daemon=True).start()
    authority = Authority(tmp_path / "authority")
    wire = Wire(f"http://127.0.0.1:{served.server_port}", authority.issue("head", "127.0.0.1"))
    with pytest.raises(StudyError, match=r"no secure connection to the Ray dashboard .*; set REQUESTS_CA_BUNDLE"):
        open_client(wire.address)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    assert open_client(wire.address)._ssl_context.cert_store_stats()["x509_ca"] == 1, "for the log, by aiohttp"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(StudyError, match=r"there is no file REQUESTS_CA_BUNDLE=/nowhere\.pem"):
        check_dashboard(wire.address)
    wire.close()
    served.shutdown()
    served.server_close()
