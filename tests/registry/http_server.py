"""A real MLflow server that can be killed, and a wire to it that can be slow, broken, cut, or a proxy with TLS."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Through no proxy, whatever the tests set."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """`mlflow server` over a folder, at one port for its life: started, killed, started again. `more`: its options."""

    def __init__(self, folder: Path, more: Sequence[str] = ()) -> None:
        self.folder, self.port, self._more = folder, free_port(), more
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1",
            "--port", str(self.port), "--workers", "1", *self._more,
        ]  # fmt: skip
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as words:
            self._process = subprocess.Popen(
                command, stdout=words, stderr=words, env=environment, cwd=self.folder, start_new_session=True
            )

    def wait(self, seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                DIRECT.open(f"{self.address}/health", timeout=5).close()
                return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()[-2000:]
                time.sleep(0.2)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Wire:
    """A proxy in front of a server. `answers` holds the statuses of the next requests, which are not passed on.

    As companies have them: with a `limit` of bytes for a request, under a `prefix`, with a `page` to sign in, or with a
    `broken` part of the paths. It serves as a forward proxy, too: whatever host a client asks for by http is `target`;
    tunnels get 502.

    Args:
        prefix: of every path.
        certificate: it speaks TLS and shows this one (.pem with key).
        clients: and asks clients for a certificate of this authority.
    """

    def __init__(
        self, target: str, certificate: Path | None = None, clients: Path | None = None, *, prefix: str = ""
    ) -> None:
        self.delay, self.answers, self.lost_answers = 0.0, list[int](), 0
        self.limit, self.page, self.broken = 0, "", ""
        self.requests: list[str] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                wire.requests.append(f"{self.command} {self.path.partition('?')[0]}")
                time.sleep(wire.delay)
                if wire.page:
                    self._answer(200, wire.page.encode(), "text/html")
                    return
                if wire.limit and len(body) > wire.limit:
                    page = b"<html><head><title>413 Request Entity Too Large</title></head></html>"
                    self._answer(413, page, "text/html")
                    return
                if wire.broken and wire.broken in self.path:
                    self._answer(503, b"<html><head><title>503 Service Unavailable</title></head></html>", "text/html")
                    return
                if not self.path.startswith(prefix):
                    self._answer(404, b"<html><head><title>404 Not Found</title></head></html>", "text/html")
                    return
                if wire.answers:
                    status = wire.answers.pop(0)  # who refuses access says so in plain words
                    out_of_order = b'{"error_code": "INTERNAL_ERROR", "message": "out of order"}'
                    self._answer(status, b"You are not authenticated." if status in (401, 403) else out_of_order)
                    return
                headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                _, _, path = self.path.removeprefix("http://").partition("/")
                path = f"/{path}".removeprefix(prefix)
                request = urllib.request.Request(target + path, body or None, headers, method=self.command)
                try:
                    with DIRECT.open(request, timeout=60) as answer:
                        status, data = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, data = error.code, error.read()
                if wire.lost_answers:  # the server has done it, and nobody hears of it
                    wire.lost_answers -= 1
                    self.close_connection = True
                    return
                self._answer(status, data)

            def do_CONNECT(self) -> None:
                wire.requests.append(f"CONNECT {self.path}")
                self._answer(502, b"")

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _pass  # noqa: N815

            def _answer(self, status: int, data: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else data)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
            context.load_cert_chain(certificate)
            context.verify_mode = ssl.CERT_REQUIRED if clients else ssl.CERT_NONE
            # the handshake belongs to the thread of the connection: one that hangs would hold up all
            self._server.socket = context.wrap_socket(self._server.socket, True, do_handshake_on_connect=False)
        self.address = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_address[1]}{prefix}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
