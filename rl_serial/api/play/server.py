"""A game in a page of the browser: a small server of this machine alone.

The page is one file that loads nothing from elsewhere. What the server takes is the name of a move,
a seat, or nothing; none of it is run. It listens on the loopback address, and answers only what is
addressed to it by that name, so that no page from elsewhere can play.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rl_serial.api.play.session import FIRST, SECOND, Session
from rl_serial.errors import UserError

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("page.html")
MOST_BYTES = 1024
"""Of a request's body."""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def serve(session: Session, port: int = 0) -> ThreadingHTTPServer:
    """A server of the game, bound to the loopback address; ``serve_forever`` starts it.

    Args:
        session: the game.
        port: 0: any that is free; ``server_address`` says which.

    Raises:
        UserError: the port is taken.
    """
    lock = threading.Lock()

    class Handler(_Handler):
        pass

    Handler.session, Handler.lock = session, lock
    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise UserError(error.strerror or error, f"--port {port}") from None
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    """Answers the page."""

    session: Session
    lock: threading.Lock
    server: ThreadingHTTPServer
    server_version = "rl_serial"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """The page, and the position."""
        if not self._is_ours():
            return
        path = urlsplit(self.path).path
        if path == "/":
            self._send(HTTPStatus.OK, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif path == "/state":
            with self.lock:
                self._send_json(HTTPStatus.OK, self.session.view())
        else:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": "no such page"})

    def do_POST(self) -> None:
        """A move, an undo, a new game or a question."""
        if not self._is_ours():
            return
        actions: dict[str, Callable[[dict[str, Any]], None]] = {
            "/move": self._move,
            "/undo": lambda _: self.session.undo(),
            "/new": self._new,
            "/hint": lambda _: self._hint(),
        }
        action = actions.get(urlsplit(self.path).path)
        if action is None:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": "no such page"})
            return
        try:
            data = self._body()
            with self.lock:
                action(data)
                view = self.session.view()
        except UserError as error:
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        self._send_json(HTTPStatus.OK, view)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""

    def _move(self, data: dict[str, Any]) -> None:
        move = data.get("move")
        if not isinstance(move, str):
            raise UserError("must be a text", "move")
        self.session.move(move)

    def _new(self, data: dict[str, Any]) -> None:
        if data.get("seat") not in (FIRST, SECOND) or isinstance(data.get("seat"), bool):
            raise UserError("must be 0 or 1", "seat")
        self.session.begin(int(data["seat"]))

    def _hint(self) -> None:
        if self.session.ask() is None:
            raise UserError("it shows nothing of what it thinks")

    def _is_ours(self) -> bool:
        """Whether the request was addressed to this server by its own page, or by no page."""
        port = self.server.server_port
        hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in hosts and (
            origin is None or origin.removeprefix("http://") in hosts
        ):
            return True
        self._send_json(HTTPStatus.FORBIDDEN, {"error": "not from here"})
        return False

    def _body(self) -> dict[str, Any]:
        """The JSON object of a request."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json":
            raise UserError("must be application/json", "Content-Type")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            raise UserError(f"must be at most {MOST_BYTES}", "Content-Length")
        try:
            data = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise UserError("the request is no JSON") from None
        if not isinstance(data, dict):
            raise UserError("the request is no JSON object")
        return data

    def _send_json(self, status: HTTPStatus, data: dict[str, Any]) -> None:
        self._send(status, json.dumps(data).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
