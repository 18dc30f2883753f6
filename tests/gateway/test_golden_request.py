"""What exactly goes upstream, whatever a tenant sends."""

import json

from gateway.models import Model, Upstream
from tests.gateway.hostile import KEY, Hostile
from tests.tenants import add_model

# What a tenant may send and an upstream must not see.
TENANTS_HEADERS = {
    "Cookie": "session=canary", "OpenAI-Organization": "org-canary", "OpenAI-Project": "proj_canary",
    "X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "canary", "Forwarded": "for=10.0.0.1", "X-Real-IP": "10.0.0.1",
    "Idempotency-Key": "canary", "chatgpt-account-id": "canary", "x-codex-turn-metadata": "canary", "TE": "trailers",
    "x-stainless-lang": "canary", "Connection": "keep-alive, x-canary", "X-Canary": "canary", "Accept": "canary/canary",
    "Accept-Encoding": "gzip, br", "User-Agent": "canary", "Authorization_": "canary", "Open_AI_Organization": "canary",
    "Proxy-Authorization": "canary", "Origin": "https://canary", "Referer": "https://canary", "Keep-Alive": "canary",
    "X-Client-Request-Id": "canary", "api-key": "canary", "traceparent": "00-canary", "Priority": "canary",
    "Content-Type": "application/json; charset=utf-8", "X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/canary",
}  # fmt: skip


def test_an_upstream_gets_these_headers_and_no_other(acme, committed):
    with Hostile() as hostile:
        upstream, _ = Upstream.objects.get_or_create(
            name="golden", defaults={"base_url": hostile.url, "allow_private": True}
        )
        upstream.base_url = hostile.url
        upstream.seal_key(KEY)
        upstream.save()
        add_model("hostile-*", upstream)
        body = json.dumps({"model": "hostile-500-json", "input": "hi", "odd": [1.50, "\u4f60"]}, indent=1).encode()
        try:
            response = acme.post(body, headers={**TENANTS_HEADERS, "OpenAI-Beta": "responses=v1"})
            streamed = body.replace(b"{", b'{"stream":true,', 1)
            second = acme.post(streamed, headers=TENANTS_HEADERS, params={"beta": "true"})
        finally:
            Model.objects.filter(name="hostile-*").delete()
        (line, headers, sent), (second_line, second_headers, second_sent) = hostile.requests
    assert (sent, second_sent) == (body, streamed)
    assert (line, second_line) == (b"POST /v1/responses HTTP/1.1\r\n", b"POST /v1/responses?beta=true HTTP/1.1\r\n")
    golden = [
        ("Host", hostile.origin), ("Content-Type", "application/json"), ("Accept", "application/json"),
        ("Accept-Encoding", "identity"), ("User-Agent", "tollgate/0.1"),
        ("X-Client-Request-Id", response.headers["x-request-id"]), ("Content-Length", str(len(body))),
        ("Authorization", f"Bearer {KEY}"), ("OpenAI-Beta", "responses=v1"),
    ]  # fmt: skip
    assert headers == golden
    assert second_headers == [
        *golden[:2], ("Accept", "text/event-stream"), *golden[3:5],
        ("X-Client-Request-Id", second.headers["x-request-id"]), ("Content-Length", str(len(streamed))), golden[7],
    ]  # fmt: skip
