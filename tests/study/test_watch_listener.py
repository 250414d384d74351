"""MLflow's own sender against the listener, and what else may knock there."""

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from registry.service.webhook_signature import Deliveries, sign
from ssl_core.errors import StudyError
from study.watching.listener import MOST_BYTES, Listener

SECRET = "0123456789abcdef0123456789abcdef"


class Ear:
    """A listener and what reached it."""

    def __init__(self) -> None:
        self.heard, self.refusals = 0, list[str]()
        self._lock = threading.Lock()
        self.listener = Listener("127.0.0.1", 0, Deliveries(SECRET), self._hear, self.refusals.append)
        self.address = self.listener.address

    def _hear(self) -> None:
        with self._lock:
            self.heard += 1


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.listener.close()


def post(address: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(address, body, headers or {}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def signed(body: bytes, delivery: str = "d1") -> dict[str, str]:
    import time

    stamp = str(int(time.time()))
    values = (delivery, stamp, sign(SECRET, delivery, stamp, body))
    return dict(zip(("X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"), values, strict=True))


def test_mlflows_sender_is_heard(ear, monkeypatch):
    from mlflow.entities.webhook import Webhook, WebhookAction, WebhookEntity, WebhookEvent
    from mlflow.webhooks import delivery

    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http,https")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    created = WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED)
    aliased = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
    session = delivery._create_webhook_session()

    def send(secret: str | None, event: WebhookEvent) -> int:
        hook = Webhook("1", "n", ear.address, [event], 0, 0, secret=secret)
        payload = {"name": "näme", "version": "1", "source": "s", "run_id": None, "tags": {}, "description": None}
        return int(delivery._send_webhook_request(hook, payload, event, session).status_code)

    assert send(SECRET, created) == 202
    assert ear.heard == 1
    assert send(SECRET, aliased) == 202
    assert ear.heard == 1
    assert send("another-secret-of-some-length", created) == 401
    assert send(None, created) == 400
    assert ear.heard == 1
    assert len(ear.refusals) == 2


def test_a_replay_wakes_nobody(ear):
    body = json.dumps({"entity": "model_version", "action": "created", "data": {}}).encode()
    headers = signed(body)
    assert post(ear.address, body, headers) == 202
    assert post(ear.address, body, headers) == 409
    assert post(ear.address, body + b" ", headers) == 401
    assert ear.heard == 1


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'{"entity": 3}', b"\xff\xfe"])
def test_a_signed_nothing_is_refused(ear, body):
    assert post(ear.address, body, signed(body)) == 400
    assert ear.heard == 0


def test_other_doors(ear):
    root = ear.address.removesuffix("/webhook")
    with urllib.request.urlopen(f"{root}/health", timeout=10) as answer:
        assert answer.status == 200
    assert post(f"{root}/other", b"{}", signed(b"{}")) == 404
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{root}/../../etc/passwd", timeout=10)
    assert post(ear.address, b"x", {"Content-Length": "-1"}) == 411
    connection = http.client.HTTPConnection(root.removeprefix("http://"), timeout=10)
    connection.request("POST", "/webhook", headers={"Content-Length": str(MOST_BYTES + 1)})
    assert connection.getresponse().status == 413
    connection.close()


def test_a_taken_port_is_named(ear):
    port = int(ear.address.rsplit(":", 1)[1].partition("/")[0])
    with pytest.raises(StudyError, match=str(port)):
        Listener("127.0.0.1", port, Deliveries(SECRET), lambda: None, print)
