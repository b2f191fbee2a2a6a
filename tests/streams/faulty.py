"""An S3 that fails on request: moto's server behind a proxy that spoils answers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

import boto3
from moto.server import ThreadedMotoServer

Fault = Literal["500", "cut", "hang-up"]
HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}
BUCKET = "values"


class S3(NamedTuple):
    """Where it listens; `faults` are spent one a request, in order; `requests` are the lines of what came."""

    endpoint: str
    faults: list[Fault]
    requests: list[str]
    client: Any


@contextmanager
def s3() -> Iterator[S3]:
    """moto with one bucket, and the proxy before it; the environment needs credentials, any will do."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    client = boto3.session.Session().client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    faults: list[Fault] = []
    requests: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _proxy(host, port, faults, requests))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield S3(f"http://127.0.0.1:{server.server_address[1]}", faults, requests, client)
    finally:
        server.shutdown()
        server.server_close()
        client.close()
        moto.stop()


def _proxy(host: str, port: int, faults: list[Fault], requests: list[str]) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append(f"{self.command} {self.path}")
            fault = faults.pop(0) if faults else None
            if fault == "hang-up":
                self.close_connection = True
                return
            if fault == "500":
                self._answer(500, [], b"<Error><Code>InternalError</Code><Message>We are sorry</Message></Error>")
                return
            onward = http.client.HTTPConnection(host, port, timeout=10)
            onward.request(self.command, self.path, body, dict(self.headers))
            answer = onward.getresponse()
            content = answer.read()
            length = answer.getheader("Content-Length")
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
            onward.close()
            self._answer(answer.status, kept, content, length=length, cut=fault == "cut")

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

        def _answer(
            self, status: int, headers: list[tuple[str, str]], content: bytes, *, length: str | None = None,
            cut: bool = False,
        ) -> None:  # fmt: skip
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = cut

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    return Proxy
