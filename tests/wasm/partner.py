"""A partner that speaks HTTP, and misbehaves in every way that its paths name."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Partner(BaseHTTPRequestHandler):
    """Answers as its path says, and writes down what it was asked."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        """A connection is there."""
        super().setup()
        with self.server.counting:
            self.server.connections += 1

    def finish(self) -> None:
        """It is gone."""
        super().finish()
        with self.server.counting:
            self.server.connections -= 1
            self.server.counting.notify_all()

    def do_POST(self) -> None:
        """Answer."""
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size).decode()
        self.server.asked.append((self.command, self.path, dict(self.headers.items()), body))
        getattr(self, f"{self.path.strip('/').partition('/')[0]}_")(body)

    do_GET = do_POST  # noqa: N815 -- http.server calls it so

    def say(self, content: bytes, status: int = 200, **headers: str) -> None:
        """An answer of known length."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def echo_(self, body: str) -> None:
        """What came."""
        self.say(body.encode(), 201, Set_Cookie="a=b", X_Left="3")

    def moved_(self, _: str) -> None:
        """Somewhere else."""
        self.say(b"", 302, Location=f"{self.server.address}/echo")

    def latin_(self, _: str) -> None:
        """In another encoding."""
        self.say("é".encode("latin-1"), Content_Type="text/plain; charset=latin-1")

    def bytes_(self, _: str) -> None:
        """No text."""
        self.say(b"\xff\xfe\xfd")

    def packed_(self, _: str) -> None:
        """Packed, although nobody asked for it."""
        self.say(b"\x1f\x8b", Content_Encoding="gzip")

    def huge_(self, _: str) -> None:
        """More than is taken, and nobody knows how much more."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.server.sent = 0
        try:
            while not self.server.closing.is_set():
                self.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                self.server.sent += 65536
        except OSError:
            self.close_connection = True

    def most_(self, _: str) -> None:
        """As much as is taken."""
        self.say(b"x" * (1 << 20))

    def never_(self, _: str) -> None:
        """Nothing, until who asks has gone."""
        self.server.waiting.set()
        self.connection.settimeout(10)
        try:
            if not self.connection.recv(1):
                self.server.left.set()
        except OSError:
            pass
        self.close_connection = True

    def broken_(self, _: str) -> None:
        """Half of what was promised."""
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """A partner on a port of its own."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Partner)
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.waiting, self.left = threading.Event(), threading.Event()
        self.closing = threading.Event()
        self.sent = 0
        self.counting, self.connections = threading.Condition(), 0

    @property
    def address(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.server_address[1]}"


def request(url: str, **more: Any) -> str:
    return json.dumps({"url": url, **more})
