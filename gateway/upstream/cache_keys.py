"""Where an upstream keeps prompt caches of several tenants none of them meets another's (gateway/wire/cache_key.py)."""

from uuid import UUID

from msgspec.structs import replace

from gateway.catalog import UpstreamFacts
from gateway.upstream.exchange import Call
from gateway.wire.cache_key import CacheKey
from gateway.wire.request import CreateRequest, InvalidRequest, with_fields


def with_own_cache_key(call: Call, asked: CreateRequest, upstream: UpstreamFacts, organization_id: UUID) -> Call:
    """`call` with the organization's own prompt_cache_key, where the upstream's setting says so. InvalidRequest."""
    if not upstream.namespaces_cache_keys:
        return call
    key = asked.prompt_cache_key
    if key is not None and not isinstance(key, str):
        message = "Invalid type for 'prompt_cache_key': expected a string."
        raise InvalidRequest(message, param="prompt_cache_key", code="invalid_type")
    own = CacheKey(organization_id, key or None)
    return replace(call, body=with_fields(call.body, {"prompt_cache_key": own.upward}), cache_key=own)
