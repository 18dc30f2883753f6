"""An upstream that tells all it knows, in headers, bodies and events: the key it is called with, account and host.

`hostile-STATUS-KIND`: json, html, text, quota; `hostile-stream-N` fails inside a stream, after N events.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-proj-hostile-canary-0123456789abcdef"
ORGANIZATION, PROJECT = "org-CanaryCanary123456", "proj_CanaryCanary123456"
HEADERS = {
    "set-cookie": "__cf_bm=canary; path=/", "openai-organization": ORGANIZATION, "openai-project": PROJECT,
    "cf-ray": "canary", "server": "canary", "alt-svc": 'h3=":443"', "x-ratelimit-remaining-requests": "29999",
    "www-authenticate": "Bearer realm=canary", "x-request-id": "req_canary", "location": "https://canary.example/",
    "x-should-retry": "canary", "openai-processing-ms": "7", "x-envoy-upstream-service-time": "7", "via": "1.1 canary",
    "link": "<https://canary.example>", "retry-after": "7", "retry-after-ms": "6500", "x-canary": "canary",
}  # fmt: skip
CODES = {
    400: "context_length_exceeded", 401: "invalid_api_key", 402: "billing", 403: "unsupported_country_region_territory",
    404: "model_not_found", 429: "rate_limit_exceeded",
}  # fmt: skip


class Hostile:
    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.origin = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.origin}/v1"
        self.requests = self._server.requests = []
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((self.raw_requestline, self.headers.items(), body))
        asked = json.loads(body)
        _, what, kind = asked["model"].split("-")
        told = f"key {KEY} {self.headers['authorization']} of {ORGANIZATION} {PROJECT} at {self.headers['host']}"
        if what == "stream":
            self.answer(200, "text/event-stream", _events(told, int(kind)))
        else:
            self.answer(int(what), *_error(int(what), kind, told))

    def answer(self, status, kind, body):
        self.send_response_only(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def _error(status, kind, told):
    if kind == "html":
        return "text/html", f"<html><h1>{status}</h1>{told}</html>".encode()
    if kind == "text":
        return "text/plain", told.encode()
    error = {"message": f"Bad: {told}", "type": "invalid_request_error", "param": told, "code": CODES.get(status, told)}
    if kind == "quota":
        error["code"] = error["type"] = "insufficient_quota"
    return "application/json", json.dumps({"error": error, "told": told}).encode()


def _events(told, count):
    response = {"id": "resp_hostile", "object": "response", "status": "in_progress", "model": "m", "output": []}
    events = [{"type": "response.created", "sequence_number": 0, "response": response}]
    events += [
        {"type": "response.output_text.delta", "sequence_number": number, "item_id": "msg_1", "output_index": 0,
         "content_index": 0, "delta": "word "} for number in range(1, count)
    ]  # fmt: skip
    error = {"type": "server_error", "code": "server_error", "message": told, "param": None}
    events.append({"type": "error", "sequence_number": len(events), **error, "error": error})
    events.append({
        "type": "response.failed", "sequence_number": len(events),
        "response": {**response, "status": "failed", "error": {"code": "server_error", "message": told}},
    })  # fmt: skip
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events[-2 - count :])
