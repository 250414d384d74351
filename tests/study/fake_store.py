"""A real S3 API on loopback in a process of its own, counting requests; and small packs with block digests.

Run as a script: serves until its standard input ends; prints the port, then one line per request.
"""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

BLOCK = 64 * 1024
"""Blocks of the packs here; the code under test is told."""


class S3Server:
    """The served API: `requests` holds lines such as `GET /bucket/key`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        self.requests: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.requests.append(line.strip())

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def gets(self, ending: str) -> int:
        """Finished GET requests of keys with this ending."""
        return sum(1 for line in list(self.requests) if line.startswith("GET ") and line.endswith(ending))


@contextmanager
def s3_server(**environment: str) -> Iterator[S3Server]:
    """Serve for the duration of the block, with one bucket named `packs`."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield S3Server(process)
    finally:
        process.kill()
        process.wait()


def make_pack(folder: Path, *, rows: int = 6000, seed: int = 0, block: int = BLOCK) -> Path:
    """A pack folder of two objects with random content, sh_rest and block digests included."""
    from ssl_core.data.object_pack import PackConfig, PackManifest, PackObject

    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    np.save(folder / "gaussians.npy", rng.normal(size=(rows, 14)).astype(np.float32))
    np.save(folder / "sh_rest.npy", rng.normal(size=(rows, 45)).astype(np.float32))
    np.save(folder / "orders.npy", np.arange(2 * 64, dtype=np.int32).reshape(2, 1, 64) % 64)
    np.save(folder / "views.npy", rng.integers(0, 255, (4, 3, 16, 16), dtype=np.uint8))
    files = {file.name: facts_of(file, block) for file in sorted(folder.iterdir())}
    objects = tuple(
        PackObject(class_name=f"c{i}", split="train", validation=False, name=f"o{i}", source_digest="0" * 16,
                   sh_degree=3, gaussians_in_file=rows // 2, first_row=i * rows // 2, rows=rows // 2,
                   first_view=2 * i, views=2)
        for i in range(2)
    )  # fmt: skip
    config = PackConfig(starts=1)
    manifest = PackManifest(
        config=config, class_names=("c0", "c1"), image_size=16,
        groups=("xyz", "opacity", "scale", "rotation", "sh_dc", "sh_rest", "normals"), views_rendered=False,
        objects=objects, files=files,
    ).sealed()  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1))
    return folder


def facts_of(file: Path, block: int = BLOCK):
    """Length and block digests of a file."""
    from ssl_core.data.manifest import FileFacts

    content = file.read_bytes()
    digests = [hashlib.sha256(content[at : at + block]).hexdigest() for at in range(0, len(content), block)]
    return FileFacts(bytes=len(content), blocks=tuple(digests))


def _serve() -> None:
    import logging

    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        def log_request(self, code="-", size="-") -> None:
            if serving.is_set():
                sys.stdout.write(f"{self.command} {self.path.split('?')[0]}\n")  # one write: threads do not mix
                sys.stdout.flush()

    serving = threading.Event()
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True,
                         request_handler=Handler)  # fmt: skip
    threading.Thread(target=server.serve_forever, daemon=True).start()
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.server_port}", **keys).create_bucket(Bucket="packs")
    print(server.server_port, flush=True)
    serving.set()
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
