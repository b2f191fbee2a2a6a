"""Metrics and health of one process over HTTP: /metrics, /healthz (progress) and /readyz, on loopback by default."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field

Check = Callable[[], str | None]  # None is well; a sentence says what is wrong


class ObserveSettings(BaseModel):
    """Section `[observe]` of a role: where it serves metrics and health; port 0 serves nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(default=0, ge=0, le=65535)
    host: str = "127.0.0.1"


class Observatory:
    """Serves `registry` and two checks; extra pages are JSON by path (for instance /batches)."""

    def __init__(
        self,
        settings: ObserveSettings,
        registry: CollectorRegistry,
        *,
        healthy: Check,
        ready: Check,
        pages: dict[str, Callable[[], object]] | None = None,
    ) -> None:
        checks = {"/healthz": healthy, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?", 1)[0]
                if path == "/metrics":
                    self._reply(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                elif path in checks:
                    wrong = checks[path]()
                    self._reply(503 if wrong else 200, ((wrong or "ok") + "\n").encode(), "text/plain; charset=utf-8")
                elif pages and path in pages:
                    self._reply(200, json.dumps(pages[path]()).encode(), "application/json")
                else:
                    known = ["/metrics", *checks, *(pages or {})]
                    self._reply(404, f"pages: {', '.join(known)}\n".encode(), "text/plain; charset=utf-8")

            def _reply(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Scrapes are not worth a line each."""

        self._server = ThreadingHTTPServer((settings.host, settings.port), Handler) if settings.port else None
        self._thread = threading.Thread(target=self._serve, name="observe", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1]) if self._server else 0

    def start(self) -> None:
        if self._server:
            self._thread.start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def _serve(self) -> None:
        assert self._server is not None
        self._server.serve_forever(poll_interval=0.5)
