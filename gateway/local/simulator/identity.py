"""Who the simulator says it is: the account that a gateway must not show to its tenants, and the headers naming it."""

import secrets
from email.utils import formatdate

ORGANIZATION = "org-simulated-acme-holding"
PROJECT = "proj_simulated0f1e2d3c4b5a"

LIMITS = (
    ("x-ratelimit-limit-requests", "30000"),
    ("x-ratelimit-limit-tokens", "150000000"),
    ("x-ratelimit-remaining-requests", "29999"),
    ("x-ratelimit-remaining-tokens", "149999970"),
    ("x-ratelimit-reset-requests", "2ms"),
    ("x-ratelimit-reset-tokens", "0s"),
)
CONSTANT = "".join(
    f"{name}: {value}\r\n"
    for name, value in (
        *LIMITS,
        ("server", "cloudflare"),
        ("openai-version", "2020-10-01"),
        ("openai-organization", ORGANIZATION),
        ("openai-project", PROJECT),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("x-content-type-options", "nosniff"),
        ("cf-cache-status", "DYNAMIC"),
        ("alt-svc", 'h3=":443"; ma=86400'),
    )
)


def random_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def answer_headers() -> str:
    """The headers on every answer of the API, as CRLF-ended lines."""
    token = secrets.token_hex(32)
    return (
        f"date: {formatdate(usegmt=True)}\r\n"
        f"x-request-id: req_{token[:32]}\r\n"
        f"openai-processing-ms: {20 + int(token[:2], 16)}\r\n"
        f"x-envoy-upstream-service-time: {24 + int(token[:2], 16)}\r\n"
        f"cf-ray: {token[32:48]}-FRA\r\n"
        f"set-cookie: __cf_bm={token[16:]}; path=/; HttpOnly; Secure; SameSite=None\r\n" + CONSTANT
    )
