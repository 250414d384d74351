"""The ear for MLflow's webhooks: one address on loopback that wakes the watcher and knows nothing else.

POST /webhook    a signed delivery (`registry.service.webhook_signature`): 202, or 400, 401, 409 with the reason
GET /health      200
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from registry.service.webhook_signature import Deliveries, DeliveryRefusedError
from ssl_core.config import parse_json
from ssl_core.errors import StudyError

LOOPBACK = "127.0.0.1"
PATH = "/webhook"
MOST_BYTES = 2**20
"""A delivery holds the tags of one version."""
_SECONDS = 10.0
_AT_ONCE = 16


class Listener:
    """Listens from its making to `close`, in threads of its own.

    Args:
        host, port: where; port 0 is any free one. deliveries: who may speak. heard: called for each new version that is
        told of. say: told of every delivery that was refused.

    Raises:
        StudyError: the address cannot be had.
    """

    def __init__(
        self, host: str, port: int, deliveries: Deliveries, heard: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        handler = _handler(deliveries, heard, say)
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise StudyError(f"cannot listen at {host}:{port} ({error}); choose another --port or --host") from None
        self.address = f"http://{host}:{self._server.server_address[1]}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhooks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hear no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._room = threading.BoundedSemaphore(_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):  # MLflow tries again, and polling finds what it told
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that hung up; nothing to say."""


def _handler(
    deliveries: Deliveries, heard: Callable[[], None], say: Callable[[str], None]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS
        server_version, sys_version = "splatsweep", ""

        def do_GET(self) -> None:
            self._answer(*((200, "listening") if self.path == "/health" else (404, f"deliveries go to {PATH}")))

        def do_POST(self) -> None:
            if self.path != PATH:
                self._answer(404, f"deliveries go to {PATH}")
                return
            length = self.headers.get("Content-Length") or ""
            if not length.isascii() or not length.isdigit():
                self._answer(411, "a delivery says how long it is")
                return
            if int(length) > MOST_BYTES:
                self._answer(413, f"a delivery has at most {MOST_BYTES} bytes")
                return
            payload = self.rfile.read(int(length))
            try:
                deliveries.check(self.headers, payload)  # type: ignore[arg-type]
            except DeliveryRefusedError as error:
                say(f"refused a webhook from {self.client_address[0]}: {error}")
                self._answer(error.status, str(error))
                return
            self._answer(*_hear(payload, heard))

        def _answer(self, status: int, text: str) -> None:
            data = json.dumps({"answer": text}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: refusals are said, the rest is nobody's business."""

    return Handler


def _hear(payload: bytes, heard: Callable[[], None]) -> tuple[int, str]:
    """A delivery of the right hands. What it says is only a reason to look."""
    try:
        event = parse_json(payload)
        told = (event["entity"], event["action"])
    except (ValueError, TypeError, KeyError):
        return 400, "not a delivery of MLflow"
    if told != ("model_version", "created"):
        return 202, "not needed"
    heard()
    return 202, "looking"
