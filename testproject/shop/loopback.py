"""The servers that the shop talks to, on this machine: a supplier's, a social network's, a mail server."""

import json
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from aiosmtpd.controller import Controller

EXPIRED = "Error validating access token: The session has expired."


class WebServer(ThreadingHTTPServer):
    """Serves `files` by path, and takes tweets at /2/tweets from whoever has one of the `tokens`."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], tokens: set[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.tokens = tokens
        self.tweets: list[str] = []
        self.busy: set[str] = set()  # the next request for such a path is asked to come back later
        self.broken: set[str] = set()  # the connection breaks in the middle of such a file
        self.retry_after = 1  # seconds
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.tweets_url = self.url + "2/tweets"


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self):
        content = self.server.files.get(self.path)
        if self.path in self.server.busy:
            self.server.busy.remove(self.path)
            self._answer(503, b"", ("Retry-After", str(self.server.retry_after)))
        elif content is None:
            self._answer(404, b"")
        else:
            self._send_file(content, f'"{sha256(content).hexdigest()}"')

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, _, token = self.headers.get("Authorization", "").partition(" ")
        if not self.server.tweets_url.endswith(self.path):
            self._answer(404, b"")
        elif token not in self.server.tokens:
            error = {"type": "OAuthException", "message": EXPIRED}
            self._answer(401, json.dumps({"error": error}).encode())
        else:
            self.server.tweets.append(json.loads(body)["text"])
            self._answer(201, json.dumps({"data": {"id": str(len(self.server.tweets))}}).encode())

    def _send_file(self, content, etag):
        if self.headers.get("If-None-Match") == etag:
            self._answer(304, b"", ("ETag", etag))
        else:
            self._answer(200, content, ("ETag", etag))

    def _answer(self, status, content, *headers):
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path in self.server.broken else content)

    def log_message(self, *arguments):
        """The summary at the end tells enough."""


class MailServer(Controller):
    """A mail server that keeps what arrives, in `mails`."""

    def __init__(self, port: int) -> None:
        super().__init__(
            self, hostname="127.0.0.1", port=port, ready_timeout=30, server_hostname="mail.example"
        )
        self.mails: list[bytes] = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(envelope.original_content)
        return "250 OK"

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]  # for port 0, the system has chosen a free one
        super()._trigger_server()


class LoopbackServers:
    """Both servers, for the length of a `with` block."""

    def __init__(self, files: dict[str, bytes], tokens: set[str], smtp_port: int = 0) -> None:
        self.web = WebServer(files, tokens)
        self.mail = MailServer(smtp_port)

    def __enter__(self):
        self._thread = Thread(target=self.web.serve_forever, args=(0.05,))
        self._thread.start()
        self.mail.start()
        return self

    def __exit__(self, *_):
        self.mail.stop()
        self.web.shutdown()
        self._thread.join()
        self.web.server_close()
