"""Tenants of the data plane, with rows that are committed and names that no other test has."""

import ssl
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from django.db import connection

from accounts.models import APIKey, Organization, Project
from accounts.policy import SERVICE_TIERS, TOOLS
from billing.models import Price, UsageRecord, token_price_columns
from billing.prices.pricing import TokenPrice, cost, price_lines
from billing.prices.tokens import TokenUsage
from gateway.models import Model, Route, Upstream

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused, and dear to make anew for each request
UPSTREAM_KEY = "sk-upstream-canary-0123456789"
PRICE = TokenPrice(input=1_250_000, cached_input=125_000, cache_write=1_562_500, output=10_000_000)
MODELS = ("sim-*", "gpt-*", "o3-pro")


def fill_catalog(url):
    simulator, _ = Upstream.objects.get_or_create(name="simulator", defaults={"base_url": url, "allow_private": True})
    simulator.base_url = url
    simulator.seal_key(UPSTREAM_KEY)
    simulator.save()
    for name in MODELS:
        add_model(name, simulator)


def add_model(name, upstream, price=PRICE, **fields):
    model, _ = Model.objects.get_or_create(name=name, defaults=fields)
    Route.objects.get_or_create(model=model, upstream=upstream)
    Price.objects.get_or_create(
        model=name,
        effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        defaults=token_price_columns(price),
    )
    return model


def expected_cost(usage: TokenUsage, price=PRICE):
    return cost(price_lines(usage, price))


@dataclass
class Tenant:
    organization: Organization
    project: Project
    key: APIKey
    secret: str
    url: str

    @classmethod
    def make(cls, name, url, **key_fields):
        organization = Organization.objects.create(name=f"{name}-{uuid.uuid4().hex[:12]}")
        project = Project.objects.create(
            organization=organization, name="website", allowed_service_tiers=list(SERVICE_TIERS),
            allowed_tools=list(TOOLS),
        )  # fmt: skip
        key, secret = APIKey.objects.issue(project=project, name="bot", **key_fields)
        return cls(organization, project, key, secret, url)

    @property
    def headers(self):
        return {"Authorization": f"Bearer {self.secret}"}

    def post(self, body, **fields):
        headers = {**self.headers, **fields.pop("headers", {})}
        kind = {"content": body} if isinstance(body, bytes) else {"json": body}
        return httpx.post(f"{self.url}/responses", headers=headers, timeout=30, verify=TLS, **kind, **fields)

    def ask(self, model, text="Hello there", **fields):
        return self.post({"model": model, "input": text, **fields})

    def stream(self, model, text="Hello there", **fields):
        """A streamed request as a context manager over httpx's response."""
        body = {"model": model, "input": text, "stream": True, **fields}
        return httpx.stream("POST", f"{self.url}/responses", headers=self.headers, json=body, timeout=30, verify=TLS)

    def record(self, request_id):
        """The usage record, once it has ended."""
        return until(lambda: UsageRecord.objects.filter(id=request_id).first())

    def records(self):
        return list(UsageRecord.objects.filter(organization=self.organization).order_by("id"))


def until(condition, seconds=15):
    """What `condition` returns once it is true; for what happens in another process and tells nobody."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return found


def revision():
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM accounts_revision")
        return cursor.fetchone()[0]
