"""A small OpenAI-compatible server for tests: it says what a script tells it, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]
"""Status and JSON object, or an iterator of bytes; status 0 hangs up without an answer."""
Script = Callable[[str, dict[str, Any]], Reply]
"""From path and body to the reply."""


class OpenAiServer:
    """``asked`` holds path, body and headers of every POST, ``most_at_once`` how many were under way together.

    ``gets`` says what a GET of a path gives, ``statuses`` with which failures it begins.
    """

    def __init__(self, script: Script, *, models: list[dict[str, Any]] | None, version: str | None) -> None:
        self.script = script
        self.models = models
        self.version = version
        self.gets: dict[str, Callable[[], Any]] = {}
        self.statuses: dict[str, Iterator[int]] = {}
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for at, body, _ in self.asked if at == path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if status := next(outer.statuses.get(self.path, iter(())), None):
                    self._send(status, {"detail": "not yet"})
                elif self.path in outer.gets:
                    self._send(200, outer.gets[self.path]())
                elif self.path == "/v1/models" and outer.models is not None:
                    self._send(200, {"object": "list", "data": outer.models})
                elif self.path == "/version" and outer.version is not None:
                    self._send(200, {"version": outer.version})
                else:
                    self._send(404, {"detail": "Not Found"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
                with outer._lock:
                    outer.asked.append((self.path, body, dict(self.headers)))
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                try:
                    status, reply = outer.script(self.path, body)
                    if status == 0:
                        self.close_connection = True
                    else:
                        self._send(status, reply)
                finally:
                    with outer._lock:
                        outer._at_once -= 1

            def _send(self, status: int, value: Any) -> None:
                if isinstance(value, Iterator):
                    self._send_parts(status, value)
                    return
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _send_parts(self, status: int, parts: Iterator[bytes]) -> None:
                """Send what may be endless, until it ends or nobody reads it."""
                self.close_connection = True
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Connection", "close")
                self.end_headers()
                with suppress(OSError):
                    for part in parts:
                        self.wfile.write(part)

            def log_message(self, format: str, *args: Any) -> None: ...

        return Handler

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(
    script: Script, *, models: list[dict[str, Any]] | None = None, version: str | None = None
) -> Iterator[OpenAiServer]:
    server = OpenAiServer(script, models=models, version=version)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def choice(text: str, logprobs: list[float] | None = None, *, chat: bool = False, **more: Any) -> dict[str, Any]:
    """A reply with one choice; ``more`` goes into the choice."""
    given: Any = None
    if logprobs is not None:
        given = {"content": [{"logprob": one} for one in logprobs]} if chat else {"token_logprobs": logprobs}
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    one = {"index": 0, "finish_reason": "stop", "logprobs": given, **said, **more}
    return {"choices": [one], "usage": {"completion_tokens": 3}}
