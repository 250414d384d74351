"""A real MLflow server tells a listener of a version that another client registers."""

import base64
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from http_server import MlflowServer

from registry.service.webhook_signature import Deliveries, DeliveryRefusedError
from registry.service.webhooks import register_webhook
from registry.tracking.run_log import open_run_log
from ssl_core.errors import ConfigError, RegistryError

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http,https")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", base64.urlsafe_b64encode(os.urandom(32)).decode())
    made = MlflowServer(tmp_path / "server")
    made.folder.mkdir()
    made.start()
    made.wait()
    yield made
    made.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_tells_of_a_new_version(server: MlflowServer, tmp_path: Path) -> None:
    deliveries, heard, refused = Deliveries(SECRET), threading.Event(), list[str]()

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                deliveries.check(self.headers, payload)  # type: ignore[arg-type]
                heard.set()
            except DeliveryRefusedError as error:
                refused.append(str(error))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    ear = ThreadingHTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=ear.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{ear.server_address[1]}/webhook"
    log = open_run_log(server.address, tmp_path / "home")
    try:
        assert register_webhook(log, url, "another-secret-of-some-length")
        assert not register_webhook(log, url, SECRET)  # renewed: one webhook, the new secret
        assert len(log.client.list_webhooks()) == 1
        server.kill()  # the secret outlives the server
        server.start()
        server.wait()
        log.client.create_registered_model("points", {"splatsweep.kind": "encoder"})
        run = log.start_run("r", {}, {})
        log.client.create_model_version("points", f"runs:/{run}/model", run_id=run)
        assert heard.wait(60), (refused, (server.folder / "server.log").read_text()[-3000:])
        assert refused == []
    finally:
        ear.shutdown()
        ear.server_close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_that_takes_no_near_addresses_names_the_remedy(tmp_path: Path) -> None:
    made = MlflowServer(tmp_path)
    made.start()
    try:
        made.wait()
        log = open_run_log(made.address, tmp_path / "home")
        with pytest.raises(RegistryError, match="MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"):
            register_webhook(log, "http://127.0.0.1:1/webhook", SECRET)
    finally:
        made.kill()


def test_no_secret_and_no_server(tmp_path: Path) -> None:
    log = open_run_log(None, tmp_path)
    with pytest.raises(ConfigError, match="SPLATSWEEP_WEBHOOK_SECRET"):
        register_webhook(log, "https://watch.example/webhook", None)
    with pytest.raises(ConfigError, match="embedded"):
        register_webhook(log, "https://watch.example/webhook", SECRET)
