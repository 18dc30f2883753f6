"""An upstream of few words in a thread: what it answers to a path is said by the test, byte for byte."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gateway.models import Upstream


class FewWords(ThreadingHTTPServer):
    """`answers` maps a path without /v1 to (status, headers, pieces of the body); `asked` is what came.

    A piece that is an Event is waited for; after a None the connection is cut.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = {}
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append((self.command, self.path, dict(self.headers.items()), body))
        path = self.path.partition("?")[0].removeprefix("/v1")
        status, headers, pieces = self.server.answers[path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for piece in pieces:
            if piece is None:
                break
            if isinstance(piece, threading.Event):
                piece.wait(20)
            else:
                self.wfile.write(piece)

    do_GET = do_POST = do_DELETE = do  # noqa: N815

    def log_message(self, *_):
        pass


@contextmanager
def few_words(name):
    """It, and the row by which the gateway knows it."""
    with FewWords() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        upstream = Upstream(name=name, base_url=server.url, allow_private=True)
        upstream.seal_key("sk-upstream-canary-few-words")
        upstream.save()
        try:
            yield server, upstream
        finally:
            server.shutdown()
            upstream.delete()
