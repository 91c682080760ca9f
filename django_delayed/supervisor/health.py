"""Whether a supervisor is well, over HTTP, for probes. Its own thread and those of requests run no SQL."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, NamedTuple

logger = logging.getLogger("django_delayed")

# Seconds. The main thread makes a round at least each second; after so long without one, it hangs.
HANGS_AFTER = 30.0
SECONDS_FOR_A_REQUEST = 5


class Round(NamedTuple):
    """The result of a round of the main thread: the number of its workers, and of those that are ready."""

    at: float
    workers: int
    ready: int
    is_stopping: bool


class Health(ThreadingTCPServer):
    """Answers GET /live and GET /ready. The main thread tells it the state, and never waits for it.

    /live is 200 as long as the main thread makes its rounds, else 503. Database and workers do not count: a
    restart of the supervisor would help neither. /ready is 200 if each worker has started up and the database
    has taken its heartbeat within a lease, else 503.
    """

    allow_reuse_address = True
    daemon_threads = True
    # A slow reader does not keep the supervisor from ending.
    block_on_close = False

    def __init__(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._last = Round(time.monotonic(), 0, 0, False)
        super().__init__((host, port), _Probe)

    def tell(self, workers: int, ready: int, is_stopping: bool) -> None:
        """Called in each round of the main thread."""
        self._last = Round(time.monotonic(), workers, ready, is_stopping)

    def live(self) -> tuple[bool, str]:
        """Whether the main thread makes its rounds, and a sentence about it."""
        ago = time.monotonic() - self._last.at
        if ago > HANGS_AFTER:
            return False, f"the supervisor's main thread has not reported for {ago:.0f} s"
        return True, "live"

    def ready(self) -> tuple[bool, str]:
        """Whether all workers are ready, and a sentence about it."""
        is_live, words = self.live()
        last = self._last
        if not is_live or last.is_stopping:
            return False, "stopping" if is_live else words
        return 0 < last.workers == last.ready, f"{last.ready} of {last.workers} workers are ready"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A block in which requests are answered; it stops listening at its end."""
        host, port = self.server_address[:2]
        logger.info("Answering /live and /ready at %s:%s", host, port)
        options = {"poll_interval": 0.2}
        threading.Thread(target=self.serve_forever, kwargs=options, name="health", daemon=True).start()
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing about a reader that goes away."""
        logger.debug("A request for the health of this supervisor has failed", exc_info=True)


class _Probe(BaseHTTPRequestHandler):
    server: Health
    server_version, sys_version = "django_delayed", ""
    timeout = SECONDS_FOR_A_REQUEST

    def do_GET(self) -> None:
        answers = {"/live": self.server.live, "/ready": self.server.ready}
        if answer := answers.get(self.path.partition("?")[0]):
            is_so, words = answer()
            self._write(200 if is_so else 503, words)
        else:
            self._write(404, "not found; use /live or /ready")

    do_HEAD = do_GET

    def _write(self, status: int, words: str) -> None:
        body = f"{words}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds."""
