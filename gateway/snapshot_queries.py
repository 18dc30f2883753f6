"""The three statements behind the snapshot, and what their rows become. Each reads the revision with the data."""

import logging
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from accounts.authentication import KeyFacts
from accounts.policy import Policy
from billing.prices.estimation import Ratio
from billing.prices.price_list import ListedPrice, PriceList
from billing.prices.pricing import PriceSheet, TokenPrice
from gateway.addresses import ForbiddenAddress, origin_of
from gateway.catalog import Catalog, ModelFacts, RouteFacts, UpstreamFacts

logger = logging.getLogger(__name__)

REVISION = "SELECT value, extract(epoch FROM clock_timestamp()) FROM accounts_revision"

KEY = """
SELECT revision.value, k.id, k.name, k.hint, p.id, p.name, o.id, o.name, k.expires_at, k.revoked_at,
    least(o.suspended_at, p.suspended_at), k.allowed_models, k.allowed_endpoints, k.allowed_networks,
    ARRAY(SELECT DISTINCT q.metric FROM billing_quota q
        WHERE q.scope_id = ANY (ARRAY[o.id, p.id, k.id]) AND q.retired_at IS NULL
            AND q.held_as IN ('hard cost', 'hard tokens')),
    p.allowed_service_tiers, p.allowed_tools, p.allows_store, p.allows_urls
FROM accounts_revision revision
LEFT JOIN accounts_apikey k ON k.digest = ANY (%s)
LEFT JOIN accounts_project p ON p.id = k.project_id
LEFT JOIN accounts_organization o ON o.id = p.organization_id
"""

CATALOG = """
SELECT revision.value,
    (SELECT coalesce(json_agg(u), '[]') FROM gateway_upstream u WHERE u.disabled_at IS NULL),
    (SELECT coalesce(json_agg(m), '[]') FROM gateway_model m WHERE m.disabled_at IS NULL),
    (SELECT coalesce(json_agg(r ORDER BY r.position, r.id), '[]') FROM gateway_route r),
    (SELECT coalesce(json_agg(p), '[]') FROM (
        SELECT price.*,
            (SELECT coalesce(json_agg(v), '[]') FROM billing_pricevariant v WHERE v.price_id = price.id) AS variants,
            (SELECT coalesce(json_object_agg(t.tool, t.pico_usd), '{}') FROM billing_toolprice t
                WHERE t.price_id = price.id) AS tools
        FROM billing_price price) p),
    (SELECT coalesce(json_agg(a), '[]') FROM billing_modelratio a)
FROM accounts_revision revision
"""


def key_facts_of(row: tuple[Any, ...]) -> KeyFacts:
    key_id, name, hint, project_id, project, organization_id, organization, expires, revoked, suspended = row[:10]
    return KeyFacts(
        id=key_id,
        name=name,
        hint=hint,
        project_id=project_id,
        project=project,
        organization_id=organization_id,
        organization=organization,
        expires_at=expires,
        revoked_at=revoked,
        suspended_at=suspended,
        allowed_models=tuple(row[10]),
        allowed_endpoints=tuple(row[11]),
        allowed_networks=tuple(ip_network(network) for network in row[12]),
        hard_metrics=frozenset(row[13]),
        policy=Policy(frozenset(row[14]), frozenset(row[15]), *row[16:18]),
    )


def catalog_of(upstreams: Any, models: Any, routes: Any, prices: Any, ratios: Any) -> Catalog:
    """The catalog from JSON rows; routes whose upstream or model is disabled, or may not be called, are left out."""
    usable = {row["id"]: upstream for row in upstreams if (upstream := _upstream_of(row)) is not None}
    of_model: dict[str, list[RouteFacts]] = {}
    for row in routes:
        if row["upstream_id"] in usable:
            of_model.setdefault(row["model_id"], []).append(
                RouteFacts(usable[row["upstream_id"]], row["upstream_model"])
            )
    return Catalog(
        models={
            row["name"]: ModelFacts(
                row["name"],
                tuple(row["endpoints"]),
                row["context_window"],
                row["max_output_tokens"],
                tuple(of_model.get(row["id"], ())),
            )
            for row in models
        },
        ratios={
            row["model"]: Ratio(row["request_bytes"], row["input_tokens"], row["delta_events"], row["output_tokens"])
            for row in ratios
        },
        upstreams={upstream.id: upstream for upstream in usable.values()},
        prices=PriceList(map(_price_of, prices)),
    )


def _upstream_of(row: dict[str, Any]) -> UpstreamFacts | None:
    """None where its URL is not allowed any more: one upstream must not keep the others."""
    try:
        origin = origin_of(row["base_url"], allow_private=row["allow_private"])
    except ForbiddenAddress as error:
        logger.error("upstream %s cannot be used: %s", row["name"], error)
        return None
    return UpstreamFacts(
        id=UUID(row["id"]),
        name=row["name"],
        base_url=row["base_url"],
        origin=origin,
        sealed_key=bytes.fromhex(row["sealed_key"][2:]) if row["sealed_key"] else None,  # bytea is \x... in JSON
        organization_id=UUID(row["organization_id"]) if row["organization_id"] else None,
        namespaces_cache_keys=row["namespace_prompt_cache"],
    )


def _price_of(row: dict[str, Any]) -> ListedPrice:
    return ListedPrice(
        id=UUID(row["id"]),
        model=row["model"],
        effective_from=datetime.fromisoformat(row["effective_from"]).astimezone(UTC),
        sheet=PriceSheet.of(
            _token_price_of(row),
            [(kept["service_tier"], kept["above_input_tokens"], _token_price_of(kept)) for kept in row["variants"]],
            row["tools"],
        ),
    )


def _token_price_of(row: dict[str, Any]) -> TokenPrice:
    return TokenPrice(
        input=row["input_pico_usd"],
        cached_input=row["cached_input_pico_usd"],
        cache_write=row["cache_write_pico_usd"],
        output=row["output_pico_usd"],
        reasoning=row["reasoning_pico_usd"],
    )
